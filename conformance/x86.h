/* SPDX-License-Identifier: MIT */
/* What the x86 checks of apf-conformance share. */
#ifndef CONFORMANCE_X86_H
#define CONFORMANCE_X86_H

#include "conformance.h"

/* --- x86.c --- */

/* *gp, if given: it raised #GP. */
uint64_t read_msr(struct conf_vm *vm, uint32_t msr, bool *gp);
/* True: it was taken; false: #GP. */
bool write_msr(struct conf_vm *vm, uint32_t msr, uint64_t value);
void expect_taken(struct conf_vm *vm, const char *rows, uint32_t msr, uint64_t value);

/* --- x86_gate.c --- */

void conf_check_pf2_off(struct conf *c);
void conf_check_as_2010(struct conf *c);
void conf_check_without_bit3(struct conf *c);
void conf_check_words_taken(struct conf *c);
void conf_check_apic_off(struct conf *c);
void conf_check_low_vector(struct conf *c);

#endif
