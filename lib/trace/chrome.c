/* SPDX-License-Identifier: MIT */
/*
 * The ring as Chrome trace JSON (chrome://tracing, Perfetto), to be read without a manual:
 *
 *   one lane a vCPU, one for the pager	a short slice for what happened; halts and waits last
 *   an arrow				from "page missing" to "page is here", as the guest was told
 *   bars of their own			each request to the store, while it is on its way
 *   a curve				how many pages are on their way
 *
 * A slice's "cat" is the event's name in include/apf/trace.h, "name" is for people.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apf/engine.h>
#include <apf/error.h>

#include "trace_ring.h"

#define MAX_LANES 4096u		/* vCPU ids from here on, which only arm64 has, share the pager's */
#define PAGER_LANE 100000u

/* When something began that is not over; open addressing, never more keys than records. */
struct since {
	uint64_t key;		/* 0: free */
	uint64_t ns;		/* 0: over */
	uint64_t pages;
};

struct writer {
	FILE *f;
	uint64_t t0;
	uint8_t named[MAX_LANES + 1];	/* the lane's name has been written */
	uint8_t open[MAX_LANES];	/* a halt or wait slice is open */
	struct since *since;
	uint64_t mask;
	uint64_t on_their_way;		/* pages */
};

static const char *const names[APF_EV_COUNT] = {
	[APF_EV_FAULT] = "page missing",
	[APF_EV_NP] = "guest told: page missing",
	[APF_EV_READY] = "guest told: page is here",
	[APF_EV_REPEAT] = "touched again while on its way",
	[APF_EV_COMPLETED] = "page has come",
	[APF_EV_QUEUE_FULL] = "too many faults on their way",
	[APF_EV_BROADCAST] = "guest told: wake all tasks",
	[APF_EV_HALT_END] = "page has come",
	[APF_EV_FETCH] = "store asked",
	[APF_EV_CONTROL] = "guest writes a control register",
	[APF_EV_RESET] = "asynchronous page faults are off",
};

static const char *const why_words[APF_WHY_COUNT] = {
	[APF_WHY_ASYNC] = "it can be told",
	[APF_WHY_DISABLED] = "the guest has not enabled asynchronous page faults",
	[APF_WHY_KERNEL] = "the guest's kernel touched it, not a task",
	[APF_WHY_NOPAGING] = "the guest does not use paging",
	[APF_WHY_AREA] = "the area shared with the guest cannot be used now",
	[APF_WHY_BUSY] = "the guest has not consumed the last notification",
	[APF_WHY_REPEAT] = "the guest was told of this page already",
	[APF_WHY_FULL] = "too many faults on their way",
	[APF_WHY_IRQS_OFF] = "the guest has interrupts off",
	[APF_WHY_SHADOW] = "in an interrupt shadow",
	[APF_WHY_EVENT] = "an exception or interrupt is being delivered",
	[APF_WHY_SMM] = "in system management mode",
	[APF_WHY_NESTED] = "a nested guest runs",
	[APF_WHY_REGION] = "in code that the guest excepts",
	[APF_WHY_KVM] = "KVM needs it for an access that is half done",
};

static struct since *find(struct writer *w, uint64_t key)
{
	uint64_t i = key * 0x9e3779b97f4a7c15u >> 20;

	while (w->since[i & w->mask].key && w->since[i & w->mask].key != key)
		i++;
	return &w->since[i & w->mask];
}

/* A fault's token, or a request's first page. */
static struct since *find_of(struct writer *w, const struct apf_trace_record *r)
{
	const bool page = r->event == APF_EV_FETCH || r->event == APF_EV_COMPLETED;

	return find(w, page ? (r->gfn << 1 | 1) + 1 : ((uint64_t)r->token << 1) + 1);
}

static uint32_t lane_of(uint32_t vcpu)
{
	return vcpu < MAX_LANES ? vcpu : PAGER_LANE;
}

static void begin_event(struct writer *w, const struct apf_trace_record *r, const char *phase,
			const char *name)
{
	uint64_t ns = r->ns > w->t0 ? r->ns - w->t0 : 0;

	fprintf(w->f, ",\n{\"ph\":\"%s\",\"pid\":1,\"tid\":%u,\"ts\":%" PRIu64
		".%03u,\"name\":\"%s\"", phase, lane_of(r->vcpu), ns / 1000,
		(unsigned int)(ns % 1000), name);
}

/* vCPUs from the top in their order, then the pager. */
static void name_lane(struct writer *w, const struct apf_trace_record *r)
{
	uint32_t slot = r->vcpu < MAX_LANES ? r->vcpu : MAX_LANES;
	char name[32] = "pager: fetches pages";

	if (w->named[slot])
		return;
	w->named[slot] = 1;
	if (slot < MAX_LANES)
		snprintf(name, sizeof(name), "vCPU %u", slot);
	begin_event(w, r, "M", "thread_name");
	fprintf(w->f, ",\"args\":{\"name\":\"%s\"}}", name);
	begin_event(w, r, "M", "thread_sort_index");
	fprintf(w->f, ",\"args\":{\"sort_index\":%u}}", slot);
}

static void write_latency(struct writer *w, const struct apf_trace_record *r)
{
	const struct since *s = find_of(w, r);

	if (s->ns)
		fprintf(w->f, ",\"latency_us\":%" PRIu64, (r->ns - s->ns) / 1000);
}

/* The event's details under names of their own, and the end of the event. */
static void write_args(struct writer *w, const struct apf_trace_record *r)
{
	const uint32_t why = r->arg & 0xff;

	fputs(",\"args\":{", w->f);
	switch (r->event) {
	case APF_EV_FAULT:
		fprintf(w->f, "\"gfn\":\"0x%" PRIx64 "\",\"why\":\"%s\"", r->gfn,
			why < APF_WHY_COUNT ? why_words[why] : "unknown");
		break;
	case APF_EV_NP:
	case APF_EV_READY:
	case APF_EV_REPEAT:
		fprintf(w->f, "\"gfn\":\"0x%" PRIx64 "\",\"token\":\"0x%" PRIx32 "\"", r->gfn, r->token);
		if (r->event == APF_EV_READY)
			write_latency(w, r);
		break;
	case APF_EV_COMPLETED:
		fprintf(w->f, "\"page\":\"0x%" PRIx64 "\"", r->gfn);
		if ((int64_t)r->arg < 0 && (int64_t)r->arg > -4096)
			fprintf(w->f, ",\"lost\":\"%s\"", strerror((int)-(int64_t)r->arg));
		write_latency(w, r);
		break;
	case APF_EV_QUEUE_FULL:
		fprintf(w->f, "\"gfn\":\"0x%" PRIx64 "\",\"limit\":%" PRIu64, r->gfn, r->arg);
		break;
	case APF_EV_FETCH:
		fprintf(w->f, "\"page\":\"0x%" PRIx64 "\",\"pages\":%" PRIu64, r->gfn, r->arg);
		break;
	case APF_EV_CONTROL:
		fprintf(w->f, "\"register\":\"0x%" PRIx32 "\",\"value\":\"0x%" PRIx64 "\"", r->token,
			r->arg);
		break;
	case APF_EV_RESET:
		fprintf(w->f, "\"dropped\":%" PRIu64, r->arg);
		break;
	}
	fputs("}}", w->f);
}

/* A slice of one microsecond: arrows can only start and end in slices. */
static void write_slice(struct writer *w, const struct apf_trace_record *r)
{
	begin_event(w, r, "X", names[r->event]);
	fprintf(w->f, ",\"cat\":\"%s\",\"dur\":1", apf_trace_name(r->event));
	write_args(w, r);
}

/* Tokens are unique while alive, so a token names one arrow at a time. */
static void write_arrow(struct writer *w, const struct apf_trace_record *r, const char *phase)
{
	begin_event(w, r, phase, "fault");
	fprintf(w->f, ",\"cat\":\"arrow\",\"id\":\"0x%" PRIx32 "\"%s}", r->token,
		*phase == 'f' ? ",\"bp\":\"e\"" : "");
}

static void write_curve(struct writer *w, const struct apf_trace_record *r)
{
	begin_event(w, r, "C", "pages on their way");
	fprintf(w->f, ",\"args\":{\"pages\":%" PRIu64 "}}", w->on_their_way);
}

static void write_bar(struct writer *w, const struct apf_trace_record *r, const char *phase)
{
	begin_event(w, r, phase, "store is read");
	fprintf(w->f, ",\"cat\":\"store\",\"id\":\"0x%" PRIx64 "\"", r->gfn);
	write_args(w, r);
}

/* A request that is tried again has begun already. */
static void begin_fetch(struct writer *w, const struct apf_trace_record *r)
{
	struct since *s = find_of(w, r);

	if (s->ns)
		return;
	*s = (struct since){ .key = (r->gfn << 1 | 1) + 1, .ns = r->ns, .pages = r->arg };
	w->on_their_way += r->arg;
	write_bar(w, r, "b");
	write_curve(w, r);
}

/* The pages of a request come together: its first one stands for all. */
static void end_fetch(struct writer *w, const struct apf_trace_record *r)
{
	struct since *s = find_of(w, r);

	if (!s->ns)
		return;
	write_bar(w, r, "e");
	s->ns = 0;
	w->on_their_way -= s->pages;
	write_curve(w, r);
}

static void end_stand(struct writer *w, const struct apf_trace_record *r)
{
	if (r->vcpu >= MAX_LANES || !w->open[r->vcpu])
		return;
	w->open[r->vcpu] = 0;
	begin_event(w, r, "E", "stand");
	fputs("}", w->f);
}

/* A vCPU that halts or waits stands until its page comes or it faults elsewhere. */
static void begin_stand(struct writer *w, const struct apf_trace_record *r)
{
	static const char *const verdict[] = {
		[APF_INJECT] = "",
		[APF_HALT] = "stands still, serves interrupts",
		[APF_WAIT] = "stands still outside the guest",
	};
	uint64_t kind = r->arg >> 8;

	end_stand(w, r);
	if (r->vcpu >= MAX_LANES || kind == APF_INJECT || kind > APF_WAIT)
		return;
	w->open[r->vcpu] = 1;
	begin_event(w, r, "B", verdict[kind]);
	fprintf(w->f, ",\"cat\":\"%s\"", apf_trace_name(r->event));
	write_args(w, r);
}

static void write_record(struct writer *w, const struct apf_trace_record *r)
{
	name_lane(w, r);
	switch (r->event) {
	case APF_EV_FAULT:
		begin_stand(w, r);
		return;
	case APF_EV_HALT_END:
		end_stand(w, r);
		return;
	case APF_EV_NP:
		*find_of(w, r) = (struct since){ .key = ((uint64_t)r->token << 1) + 1, .ns = r->ns };
		write_slice(w, r);
		write_arrow(w, r, "s");
		return;
	case APF_EV_READY:
		write_slice(w, r);
		write_arrow(w, r, "f");
		return;
	case APF_EV_FETCH:
		write_slice(w, r);
		begin_fetch(w, r);
		return;
	case APF_EV_COMPLETED:
		write_slice(w, r);
		end_fetch(w, r);
		return;
	default:
		write_slice(w, r);
	}
}

static int write_all(struct writer *w, const struct apf_trace_record *rec, uint64_t n, uint64_t lost)
{
	fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":["
	      "\n{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{\"name\":\"virtual machine\"}}",
	      w->f);
	for (uint64_t i = 0; i < n; i++)
		write_record(w, &rec[i]);
	fprintf(w->f, "\n],\"otherData\":{\"records\":%" PRIu64 ",\"lost\":%" PRIu64
		",\"gfn\":\"guest-physical address / 4096\",\"page\":\"offset in guest memory / 4096\"}}\n",
		n, lost);
	return ferror(w->f) ? -EIO : 0;
}

/* Twice as many places as keys. */
static int make_room(struct writer *w, uint64_t records)
{
	uint64_t places = 1024;

	while (places < 2 * records)
		places <<= 1;
	w->mask = places - 1;
	w->since = calloc(places, sizeof(*w->since));
	return w->since ? 0 : -ENOMEM;
}

int apf_trace_write(const char *path)
{
	struct apf_trace_record *rec = NULL;
	struct writer *w = calloc(1, sizeof(*w));
	uint64_t lost = 0, n;
	int err = 0;

	if (!w)
		return apf_error_set(-ENOMEM, "trace: no memory to write %s", path);
	n = apf_trace_take(&rec, &lost);
	if (make_room(w, n)) {
		err = apf_error_set(-ENOMEM, "trace: no memory to write %s", path);
		goto out;
	}
	w->f = fopen(path, "w");
	if (!w->f) {
		err = apf_error_set(-errno, "trace: cannot create %s: %s", path, strerror(errno));
		goto out;
	}
	w->t0 = n ? rec[0].ns : 0;
	err = write_all(w, rec, n, lost);
	if (fclose(w->f) && !err)
		err = -errno;
	if (err)
		apf_error_set(err, "trace: cannot write %s: %s", path, strerror(-err));
out:
	free(w->since);
	free(rec);
	free(w);
	return err;
}
