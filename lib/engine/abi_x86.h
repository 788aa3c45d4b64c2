/* SPDX-License-Identifier: MIT */
/* What only the x86 generations share: the place of INT, the gate of NP, ready as #PF. */
#ifndef ENGINE_ABI_X86_H
#define ENGINE_ABI_X86_H

#include <abi/apf_abi_x86.h>

#include "area.h"

/* Place in apf_vcpu.ctl of MSR 0x4b564d06: INT or PF2; 2010 has none. */
#define CTL_INT 1

/* Privilege and paging (L4, C14); a generation's own gate comes on top. */
enum apf_why apf_x86_np_gate(const struct apf_vcpu *v, const struct apf_fault *f);

/* The gate of NP (C11, C14), but at any privilege: the guest must only be able to take a #PF. */
bool apf_x86_takes_exceptions(const struct apf_fault *at);

/* A ready that is a #PF (L5). */
enum apf_sent apf_x86_ready_pf(struct apf_vcpu *v, uint32_t token, const struct apf_fault *at);

#endif
