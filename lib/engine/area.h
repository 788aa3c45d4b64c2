/* SPDX-License-Identifier: MIT */
/*
 * The area in guest memory, in so far as generations use it alike (A14): all have
 * its words at the same places and its address in the same control word.
 */
#ifndef ENGINE_AREA_H
#define ENGINE_AREA_H

#include "abi.h"

/* Place in apf_vcpu.ctl of the word that enables APF: address and flags. */
#define CTL_EN 0

/* Vectors below this are reserved for exceptions: the local APIC drops them (N1). */
#define FIRST_VECTOR 16

uint64_t apf_area_of(const struct apf_vcpu *v);

/* Does this value of CTL_EN name an area in RAM (L1, N7, A3)? */
bool apf_area_is_ram(const struct apf_vcpu *v, uint64_t en);

/* The reason word of an NP; its token is in the exception alone. */
int apf_area_np_write(struct apf_vcpu *v, uint32_t token);
void apf_area_np_undo(struct apf_vcpu *v);

/* Holds the token word a wake-all that the guest has not handled, or is it out of reach? */
bool apf_area_holds_wake_all(const struct apf_vcpu *v);

/* A ready that is an exception (L5, A5), to a vCPU that can take it now. */
enum apf_sent apf_area_ready_exception(struct apf_vcpu *v, uint32_t token);

/* A ready that is a token word and an interrupt (N4, A16). */
enum apf_sent apf_area_ready_interrupt(struct apf_vcpu *v, uint32_t token, uint8_t vector);

#endif
