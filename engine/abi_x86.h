/* SPDX-License-Identifier: MIT */
/* What the x86 generations share: the place of EN, the area, NP, ready as #PF. */
#ifndef ENGINE_ABI_X86_H
#define ENGINE_ABI_X86_H

#include <abi/apf_abi_x86.h>

#include "abi.h"

/* Places in apf_vcpu.ctl. CTL_INT is MSR 0x4b564d06: INT or PF2; 2010 has none. */
enum { CTL_EN, CTL_INT };

/* Vectors below this are reserved for exceptions: the local APIC drops them (N1). */
#define FIRST_VECTOR 16

uint64_t apf_x86_area(const struct apf_vcpu *v);

/* Does this value of EN name an area in RAM (L1, N7)? */
bool apf_x86_area_valid(const struct apf_vcpu *v, uint64_t en);

/* Privilege and paging (L4, C14); a generation's own gate comes on top. */
enum apf_why apf_x86_np_gate(const struct apf_vcpu *v, const struct apf_fault *f);

/* The reason word of an NP. */
int apf_x86_np_write(struct apf_vcpu *v);
void apf_x86_np_undo(struct apf_vcpu *v);

/* A ready that is a #PF (L5, I6). */
enum apf_sent apf_x86_ready_pf(struct apf_vcpu *v, uint32_t token, const struct apf_fault *at);

#endif
