/* SPDX-License-Identifier: MIT */
/*
 * A filter that keeps pages away between hold and release, so that no check depends on how
 * long something takes.
 */
#include <errno.h>

#include <apf/error.h>
#include <apf/store.h>

#include "conformance.h"

struct gate {
	bool holds;
	struct apf_io *first, **end;	/* those that wait, in order */
};

static int gate_open(struct apf_store *s, const char *arg)
{
	struct gate *g = s->state;

	g->end = &g->first;
	return 0;
}

static void gate_submit(struct apf_store *s, struct apf_io *io)
{
	struct gate *g = s->state;

	if (!__atomic_load_n(&g->holds, __ATOMIC_ACQUIRE)) {
		s->below->ops->submit(s->below, io);
		return;
	}
	io->next = NULL;
	*g->end = io;
	g->end = &io->next;
}

static void gate_close(struct apf_store *s)
{
}

static const struct apf_store_ops gate_ops = {
	.version = APF_STORE_VERSION,
	.name = "gate",
	.filter = true,
	.state_size = sizeof(struct gate),
	.open = gate_open,
	.submit = gate_submit,
	.close = gate_close,
};

int conf_gate_register(void)
{
	return apf_store_register(&gate_ops);
}

void conf_gate_hold(struct apf_store *gate)
{
	struct gate *g = gate->state;

	__atomic_store_n(&g->holds, true, __ATOMIC_RELEASE);
}

/* On the pager's thread. */
static void let_go(void *arg)
{
	struct apf_store *s = arg;
	struct gate *g = s->state;

	__atomic_store_n(&g->holds, false, __ATOMIC_RELEASE);
	while (g->first) {
		struct apf_io *io = g->first;

		g->first = io->next;
		s->below->ops->submit(s->below, io);
	}
}

void conf_gate_release(struct apf_store *gate, struct apf_mem *mem)
{
	while (apf_mem_after(mem, 0, let_go, gate) == -EAGAIN)
		conf_sleep(1000000);
}
