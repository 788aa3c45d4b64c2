/* SPDX-License-Identifier: MIT */
/*
 * The ring as Chrome trace JSON (chrome://tracing, Perfetto). One lane per vCPU
 * and one for the pager; every NP and ready is a short slice, and an arrow (flow)
 * leads from a fault's NP to its ready. Halts and waits are slices that last.
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

#define PAGER_LANE 100000u	/* behind every vCPU id (at most 4095) */
#define MAX_LANES 4096u

struct writer {
	FILE *f;
	uint64_t t0;
	bool first;
	uint8_t named[MAX_LANES + 1];	/* the lane's name has been written */
	uint8_t open[MAX_LANES];	/* a halt or wait slice is open */
};

static uint32_t lane_of(uint32_t vcpu)
{
	return vcpu < MAX_LANES ? vcpu : PAGER_LANE;
}

static void begin_event(struct writer *w, const struct apf_trace_record *r, const char *phase,
			const char *name)
{
	uint64_t ns = r->ns > w->t0 ? r->ns - w->t0 : 0;

	fprintf(w->f, "%s\n{\"ph\":\"%s\",\"pid\":1,\"tid\":%u,\"ts\":%" PRIu64 ".%03u,\"name\":\"%s\"",
		w->first ? "" : ",", phase, lane_of(r->vcpu), ns / 1000, (unsigned int)(ns % 1000),
		name);
	w->first = false;
}

static void name_lane(struct writer *w, const struct apf_trace_record *r)
{
	uint32_t slot = r->vcpu < MAX_LANES ? r->vcpu : MAX_LANES;
	char name[32] = "pager";

	if (w->named[slot])
		return;
	w->named[slot] = 1;
	if (slot < MAX_LANES)
		snprintf(name, sizeof(name), "vcpu %u", slot);
	begin_event(w, r, "M", "thread_name");
	fprintf(w->f, ",\"args\":{\"name\":\"%s\"}}", name);
}

static void write_args(struct writer *w, const struct apf_trace_record *r)
{
	fprintf(w->f,
		",\"args\":{\"gfn\":\"0x%" PRIx64 "\",\"token\":\"0x%" PRIx32 "\",\"arg\":\"0x%" PRIx64
		"\"}}",
		r->gfn, r->token, r->arg);
}

/* A slice of one microsecond: arrows can only start and end in slices. */
static void write_slice(struct writer *w, const struct apf_trace_record *r)
{
	begin_event(w, r, "X", apf_trace_name(r->event));
	fputs(",\"dur\":1", w->f);
	write_args(w, r);
}

/* Tokens are unique while alive, so a token names one arrow at a time. */
static void write_arrow(struct writer *w, const struct apf_trace_record *r, const char *phase)
{
	begin_event(w, r, phase, "fault");
	fprintf(w->f, ",\"cat\":\"apf\",\"id\":\"0x%" PRIx32 "\"%s}", r->token,
		*phase == 'f' ? ",\"bp\":\"e\"" : "");
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
	static const char *const verdict[] = { "inject", "halt", "wait" };
	uint64_t kind = r->arg >> 8;

	end_stand(w, r);
	if (r->vcpu >= MAX_LANES || kind == APF_INJECT || kind > APF_WAIT)
		return;
	w->open[r->vcpu] = 1;
	begin_event(w, r, "B", verdict[kind]);
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
		write_slice(w, r);
		write_arrow(w, r, "s");
		return;
	case APF_EV_READY:
		write_slice(w, r);
		write_arrow(w, r, "f");
		return;
	default:
		write_slice(w, r);
	}
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
	w->f = fopen(path, "w");
	w->first = true;
	if (!w->f) {
		err = apf_error_set(-errno, "trace: cannot create %s: %s", path, strerror(errno));
		goto out;
	}
	w->t0 = n ? rec[0].ns : 0;
	fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", w->f);
	for (uint64_t i = 0; i < n; i++)
		write_record(w, &rec[i]);
	fprintf(w->f, "\n],\"otherData\":{\"records\":%" PRIu64 ",\"lost\":%" PRIu64 "}}\n", n, lost);
	if (ferror(w->f))
		err = -EIO;
	if (fclose(w->f) && !err)
		err = -errno;
	if (err)
		apf_error_set(err, "trace: cannot write %s: %s", path, strerror(-err));
out:
	free(rec);
	free(w);
	return err;
}
