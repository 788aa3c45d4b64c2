/* SPDX-License-Identifier: MIT */
/* The macro every room emits tracepoints with; see include/apf/trace.h. */
#ifndef TRACE_TRACE_H
#define TRACE_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>

#include <sys/sdt.h>

#include <apf/trace.h>

extern atomic_bool apf_trace_on;

/* One event: a USDT probe named after it, and a ring record while recording. */
#define APF_TRACE(probe, ev, vcpu, gfn, token, arg)                                               \
	do {                                                                                      \
		DTRACE_PROBE4(apf, probe, vcpu, gfn, token, arg);                                 \
		if (atomic_load_explicit(&apf_trace_on, memory_order_relaxed))                    \
			apf_trace_record(ev, vcpu, gfn, token, arg);                              \
	} while (0)

#endif
