/* SPDX-License-Identifier: MIT */
/* The tests of the binding that an architecture adds: x86_tests.c, arm64_tests.c. */
#ifndef TESTS_KVM_BINDING_H
#define TESTS_KVM_BINDING_H

#include <tests/support/tiny_vm.h>

extern const struct CMUnitTest machine_tests[];
extern const unsigned int machine_test_count;

#endif
