/* SPDX-License-Identifier: MIT */
/*
 * Who waits for which page: the part of the guest half that is the same on all
 * architectures. A CPU's lists are touched only by that CPU with interrupts off.
 */
#include "core.h"

void apf_guest_trace(struct apf_guest *g, enum apf_guest_event ev, uint32_t cpu, uint32_t token)
{
	if (g->ops->trace)
		g->ops->trace(g->ctx, ev, cpu, token);
}

int apf_guest_init(struct apf_guest *g, const struct apf_guest_ops *ops, void *ctx, uint32_t cpus)
{
	uint64_t phys;

	g->ops = ops;
	g->ctx = ctx;
	g->cpus = cpus;
	g->abi = APF_GUEST_OFF;
	g->vector = 0;
	g->send_always = false;
	g->keeps_busy = false;
	g->intid = 0;
	g->regions = 0;
	if (!cpus)
		return -APF_GUEST_EINVAL;
	g->cpu = ops->alloc(ctx, cpus * sizeof(*g->cpu), &phys);
	if (!g->cpu)
		return -APF_GUEST_ENOMEM;
	for (uint32_t i = 0; i < cpus; i++) {
		struct apf_guest_cpu *c = ops->alloc(ctx, sizeof(*c), &phys);

		if (!c)
			return -APF_GUEST_ENOMEM;
		c->id = i;
		c->phys = phys;
		g->cpu[i] = c;
	}
	return 0;
}

/* Tokens count up in their upper bits and carry the CPU in the lower ones, or the reverse. */
static struct apf_guest_waiter **bucket_of(struct apf_guest_cpu *c, uint32_t token)
{
	return &c->bucket[(token ^ token >> 12 ^ token >> 16) % APF_GUEST_BUCKETS];
}

static struct apf_guest_waiter *find_waiter(struct apf_guest_cpu *c, uint32_t token)
{
	struct apf_guest_waiter *w = *bucket_of(c, token);

	while (w && w->token != token)
		w = w->next;
	return w;
}

static void queue(struct apf_guest_waiter **head, struct apf_guest_waiter *w)
{
	w->next = *head;
	w->link = head;
	if (w->next)
		w->next->link = &w->next;
	*head = w;
}

static void unqueue(struct apf_guest_waiter *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	w->next = NULL;
	w->link = NULL;
}

/* For a waiter that halts, being unqueued is the news; one that sleeps may be gone after wake. */
static void wake(struct apf_guest *g, struct apf_guest_waiter *w)
{
	unqueue(w);
	apf_guest_trace(g, APF_GUEST_EV_WOKEN, w->cpu, w->token);
	if (!w->halts)
		g->ops->wake(g->ctx, w);
}

void apf_guest_wake_all(struct apf_guest *g, struct apf_guest_cpu *c)
{
	c->epoch++;
	for (uint32_t i = 0; i < APF_GUEST_BUCKETS; i++)
		while (c->bucket[i])
			wake(g, c->bucket[i]);
}

void apf_guest_forget_early(struct apf_guest_cpu *c)
{
	c->nr_early = 0;
}

static uint32_t find_early(const struct apf_guest_cpu *c, uint32_t token)
{
	uint32_t i = 0;

	while (i < c->nr_early && c->early[i] != token)
		i++;
	return i;
}

static bool remember_early(struct apf_guest *g, struct apf_guest_cpu *c, uint32_t token)
{
	if (find_early(c, token) < c->nr_early)
		return true;
	if (c->nr_early == APF_GUEST_EARLY)
		return false;
	c->early[c->nr_early++] = token;
	apf_guest_trace(g, APF_GUEST_EV_EARLY, c->id, token);
	return true;
}

bool apf_guest_take_ready(struct apf_guest *g, struct apf_guest_cpu *c, uint32_t token)
{
	struct apf_guest_waiter *w;

	if (token == APF_TOKEN_BROADCAST) {
		apf_guest_trace(g, APF_GUEST_EV_BROADCAST, c->id, token);
		apf_guest_wake_all(g, c);
		return true;
	}
	apf_guest_trace(g, APF_GUEST_EV_READY, c->id, token);
	w = find_waiter(c, token);
	if (!w)
		return remember_early(g, c, token);
	wake(g, w);
	return true;
}

/*
 * Not to sleep is always correct, only slower: the access faults again and the
 * host halts the CPU if the page is still missing.
 */
enum apf_guest_pf apf_guest_wait(struct apf_guest *g, const struct apf_guest_notice *n,
				 struct apf_guest_waiter *w)
{
	struct apf_guest_cpu *c = this_cpu(g);
	uint32_t i;

	if (n->cpu != c->id)
		return APF_GUEST_PF_RETRY;
	i = find_early(c, n->token);
	if (i < c->nr_early) {
		c->early[i] = c->early[--c->nr_early];
		apf_guest_trace(g, APF_GUEST_EV_EARLY_NP, c->id, n->token);
		return APF_GUEST_PF_RETRY;
	}
	if (n->epoch != c->epoch)
		return APF_GUEST_PF_RETRY;
	if (find_waiter(c, n->token)) {
		apf_guest_trace(g, APF_GUEST_EV_REJECTED, c->id, n->token);
		return APF_GUEST_PF_RETRY;
	}
	w->token = n->token;
	w->cpu = c->id;
	w->halts = !g->ops->can_sleep(g->ctx);
	queue(bucket_of(c, n->token), w);
	apf_guest_trace(g, w->halts ? APF_GUEST_EV_HALTED : APF_GUEST_EV_SLEPT, c->id, n->token);
	return APF_GUEST_PF_WAIT;
}

void apf_guest_sleep(struct apf_guest *g, struct apf_guest_waiter *w)
{
	if (!w->halts) {
		g->ops->sleep(g->ctx, w);
		return;
	}
	while (w->link)
		g->ops->halt(g->ctx);
}
