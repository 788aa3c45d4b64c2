/* SPDX-License-Identifier: MIT */
/* What every test file of this folder includes; cmocka wants these headers before its own. */
#ifndef TEST_VMM_H
#define TEST_VMM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

#endif
