/* SPDX-License-Identifier: MIT */
/* What the explorer explores: guests, generations, tasks and events. */
#include "model.h"

#define LINUX .guest = &guest_linux, .abi = APF_ABI_X86_INT
#define LIB(a) .guest = &guest_lib, .abi = APF_ABI_X86_##a
#define ARM .guest = &guest_lib, .abi = APF_ABI_ARM64
#define EVENTS(n) .budget = { 1, 1, 1, 1, 1, 1, 1, 1, 1 }, .total = n
#define ANY_MODE .modes = USER | KERNEL | IRQS_OFF
#define THREE .tasks = 3, .cpu_of = { 0, 0, 1 }, .page_of = { 0, 1, 0 }, .set_size = 3
#define TWO .tasks = 2, .page_of = { 0, 1 }, .set_size = 2

const struct scenario scenarios[] = {
	{ "plain", LINUX, THREE, ANY_MODE, .tell_all = true },
	{ "boot", LINUX, THREE, .modes = USER, .from_boot = true },
	{ "four", LINUX, .tasks = 4, .cpu_of = { 0, 0, 0, 1 }, .page_of = { 0, 1, 0, 0 },
	  .set_size = 4, .modes = USER },
	{ "events", LINUX, THREE, ANY_MODE, EVENTS(1) },
	{ "irq-first", LINUX, THREE, .modes = USER, .irq_first = true, EVENTS(1) },
	{ "two-tokens", LINUX, .tasks = 3, .cpu_of = { 0, 0, 1 }, .set_size = 3,
	  .tokens_per_page = 2, .modes = USER, EVENTS(1) },
	{ "full-set", LINUX, .tasks = 3, .cpu_of = { 0, 0, 1 }, .page_of = { 0, 1, 0 },
	  .set_size = 1, .modes = USER, EVENTS(1) },
	{ "one-cpu", LINUX, .tasks = 3, .page_of = { 0, 1, 2 }, .set_size = 3, .modes = USER,
	  EVENTS(1) },
	{ "pairs", LINUX, TWO, ANY_MODE, EVENTS(2) },
	{ "pairs-2cpu", LINUX, TWO, .cpu_of = { 0, 1 }, .modes = USER, EVENTS(2) },
	{ "boot-events", LINUX, TWO, .modes = USER, .from_boot = true, EVENTS(1) },
	{ "all-pairs", LINUX, THREE, .modes = USER, .slow = true, EVENTS(2) },
	{ "all-boot", LINUX, TWO, ANY_MODE, .slow = true, .from_boot = true, EVENTS(2) },
	{ "int-lib", LIB(INT), THREE, .modes = USER, EVENTS(1) },
	{ "2010", LIB(2010), THREE, ANY_MODE, .tell_all = true },
	{ "2010-events", LIB(2010), THREE, .modes = USER, EVENTS(1) },
	{ "2010-always", LIB(2010), TWO, ANY_MODE, .always = true, EVENTS(1) },
	{ "2010-pairs", LIB(2010), TWO, .modes = USER, EVENTS(2) },
	{ "2010-boot", LIB(2010), TWO, .modes = USER, .from_boot = true, EVENTS(1) },
	{ "rfc", LIB(RFC), THREE, ANY_MODE, .tell_all = true },
	{ "rfc-events", LIB(RFC), THREE, .modes = USER, EVENTS(1) },
	{ "rfc-always", LIB(RFC), TWO, ANY_MODE, .always = true, EVENTS(1) },
	{ "rfc-pairs", LIB(RFC), TWO, .modes = USER, EVENTS(2) },
	{ "rfc-boot", LIB(RFC), TWO, .modes = USER, .from_boot = true, EVENTS(1) },
	{ "all-2010", LIB(2010), THREE, ANY_MODE, .slow = true, .always = true, EVENTS(1) },
	{ "all-rfc", LIB(RFC), THREE, ANY_MODE, .slow = true, .always = true, EVENTS(1) },
	{ "rfc-as-2010", LIB(RFC), .as_pf = true, THREE, .modes = USER, EVENTS(1) },
	{ "arm-int", ARM, THREE, ANY_MODE, .tell_all = true },
	{ "arm-int-events", ARM, THREE, .modes = USER, EVENTS(1) },
	{ "arm-int-always", ARM, TWO, ANY_MODE, .always = true, EVENTS(1) },
	{ "arm-int-pairs", ARM, TWO, .modes = USER, EVENTS(2) },
	{ "arm-int-boot", ARM, TWO, .modes = USER, .from_boot = true, EVENTS(1) },
	{ "arm-abort", ARM, .as_pf = true, THREE, ANY_MODE, .tell_all = true },
	{ "arm-abort-events", ARM, .as_pf = true, THREE, .modes = USER, EVENTS(1) },
	{ "arm-abort-always", ARM, .as_pf = true, TWO, ANY_MODE, .always = true, EVENTS(1) },
	{ "arm-abort-pairs", ARM, .as_pf = true, TWO, .modes = USER, EVENTS(2) },
	{ "arm-abort-boot", ARM, .as_pf = true, TWO, .modes = USER, .from_boot = true, EVENTS(1) },
};

const size_t nr_scenarios = sizeof(scenarios) / sizeof(scenarios[0]);
