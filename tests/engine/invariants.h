/* SPDX-License-Identifier: MIT */
/* What must be true of a vCPU between any two calls. */
#ifndef TESTS_ENGINE_INVARIANTS_H
#define TESTS_ENGINE_INVARIANTS_H

#include <apf/engine.h>

/* NULL, or a sentence that says what is broken. */
const char *broken_invariant(const struct apf_vcpu *v);

#endif
