/* SPDX-License-Identifier: MIT */
/* Filter: every read takes longer, by a fixed or uniformly distributed time. */
#include <errno.h>
#include <string.h>

#include <apf/error.h>

#include "store/builtin.h"

struct latency {
	uint64_t min_ns, max_ns;
	uint64_t random;
};

static void delay_over(struct apf_timer *t)
{
	struct apf_io *io = apf_container_of(t, struct apf_io, timer);
	struct apf_store *s = io->frame[io->depth].ctx;

	s->below->ops->submit(s->below, io);
}

static void latency_submit(struct apf_store *s, struct apf_io *io)
{
	struct latency *p = s->state;
	uint64_t ns = p->min_ns;

	if (p->max_ns > p->min_ns)
		ns += apf_random(&p->random) % (p->max_ns - p->min_ns + 1);
	io->frame[io->depth].ctx = s;	/* only until the timer fires: no frame of its own */
	io->timer.fn = delay_over;
	apf_loop_timer_arm(s->loop, &io->timer, apf_loop_now(s->loop) + ns);
}

static int parse_range(struct latency *p, char *word)
{
	char *dash = strchr(word, '-');

	if (dash)
		*dash = '\0';
	if (apf_parse_duration(word, &p->min_ns))
		return -EINVAL;
	p->max_ns = p->min_ns;
	if (dash && (apf_parse_duration(dash + 1, &p->max_ns) || p->max_ns < p->min_ns))
		return -EINVAL;
	return 0;
}

static int latency_open(struct apf_store *s, const char *arg)
{
	struct latency *p = s->state;
	char word[64];
	const char *value, *rest = arg;
	int r = apf_arg_word(&rest, word, sizeof(word));

	if (r != 1 || parse_range(p, word))
		goto wrong;
	while ((r = apf_arg_word(&rest, word, sizeof(word))) == 1) {
		value = apf_arg_value(word, "seed");
		if (!value || apf_parse_number(value, &p->random))
			goto wrong;
	}
	if (!r)
		return 0;
wrong:
	return apf_error_set(-EINVAL, "filter latency: \"%s\" is not D or MIN-MAX[:seed=N], "
			     "durations like 500us or 20ms", arg ? arg : "");
}

static void latency_close(struct apf_store *s)
{
}

const struct apf_store_ops apf_store_latency = {
	.version = APF_STORE_VERSION,
	.name = "latency",
	.filter = true,
	.state_size = sizeof(struct latency),
	.open = latency_open,
	.submit = latency_submit,
	.close = latency_close,
};
