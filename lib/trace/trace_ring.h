/* SPDX-License-Identifier: MIT */
/* Between the ring and its exporters. */
#ifndef TRACE_TRACE_RING_H
#define TRACE_TRACE_RING_H

#include <apf/trace.h>

/*
 * Stop recording and hand out the finished records, oldest first (*out: the
 * caller frees it). Returns how many; *lost: overwritten or torn ones.
 */
uint64_t apf_trace_take(struct apf_trace_record **out, uint64_t *lost);

#endif
