/* SPDX-License-Identifier: MIT */
/*
 * Tracepoints (row V1; docs/tracing.md): every change of state is one event. An event is a
 * USDT probe (provider "apf", usable by perf, bpftrace, gdb) and, while
 * recording is on, a record in a ring that can be written out as Chrome trace
 * JSON (opens in Perfetto): one lane per vCPU, one arrow per fault, names for people.
 */
#ifndef APF_TRACE_H
#define APF_TRACE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum apf_event {
	APF_EV_FAULT,		/* fault taken: gfn, arg = verdict << 8 | why */
	APF_EV_NP,		/* NP delivered: gfn, token, arg = area gpa */
	APF_EV_READY,		/* ready delivered: gfn, token, arg = area gpa */
	APF_EV_REPEAT,		/* fault on a page already outstanding for this vCPU: gfn, token */
	APF_EV_COMPLETED,	/* page has come: gfn = its number in RAM, arg = host address, or
				   negative errno */
	APF_EV_QUEUE_FULL,	/* no room: the fault falls back to a halt or wait: gfn */
	APF_EV_BROADCAST,	/* wake-all delivered: token ~0, arg = area gpa */
	APF_EV_HALT_END,	/* page of a halted or waiting vCPU has come: gfn */
	APF_EV_FETCH,		/* the store is asked: gfn = the first page's number in RAM, arg = how
				   many */
	APF_EV_CONTROL,		/* control write: token = register, arg = value */
	APF_EV_RESET,		/* vCPU reset, INIT or disable dropped its state: arg = entries dropped */
	APF_EV_COUNT
};

/* vcpu of an event that belongs to no vCPU (pager). */
#define APF_TRACE_NO_VCPU 0xffffffffu

struct apf_trace_record {
	uint64_t ns;		/* CLOCK_MONOTONIC */
	uint64_t gfn;
	uint64_t arg;
	uint32_t vcpu;
	uint32_t token;
	uint32_t event;		/* enum apf_event */
	uint32_t seq;		/* number of the record, to find overwritten ones */
};

/*
 * Start recording into a ring of at least `records` entries (rounded up to a
 * power of two; the oldest are overwritten). Not on the fault path; one thread at a time.
 * Returns 0, -ENOMEM, -EBUSY if recording already.
 */
int apf_trace_start(uint32_t records);

/*
 * Stop recording and write what the ring holds to path as Chrome trace JSON.
 * No vCPU may be running, no page on its way. Returns 0 or a negative errno + apf_error.
 * Frees the ring.
 */
int apf_trace_write(const char *path);

/* Record one event; lock-free, any thread. Use the APF_TRACE macro of lib/trace/trace.h. */
void apf_trace_record(enum apf_event ev, uint32_t vcpu, uint64_t gfn, uint32_t token,
		      uint64_t arg);

/* The event's name as in the USDT probe and, as category, in the JSON, e.g. "np". */
const char *apf_trace_name(enum apf_event ev);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
