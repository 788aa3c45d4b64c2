/* SPDX-License-Identifier: MIT */
/* Every change of state leaves its event (V1), with what the row says is in it. */
#include <stdlib.h>
#include <string.h>

#include <apf/trace.h>
#include <trace/trace_ring.h>

#include "fake.h"

static struct fake g;
static struct apf_trace_record *rec;
static uint64_t count;

static int start(void **state)
{
	fake_on(&g, CONFIG(.max_outstanding = 2));
	return apf_trace_start(1024);
}

static int stop(void **state)
{
	free(rec);
	return 0;
}

/* What was recorded since the test began must be exactly these events. */
static void expect(size_t n, const struct apf_trace_record *want)
{
	uint64_t lost;

	count = apf_trace_take(&rec, &lost);
	for (size_t i = 0; i < n && i < count; i++) {
		if (rec[i].event != want[i].event)
			fail_msg("event %zu is %s, not %s", i, apf_trace_name(rec[i].event),
				 apf_trace_name(want[i].event));
		assert_int_equal(rec[i].vcpu, 5);
		assert_int_equal(rec[i].gfn, want[i].gfn);
		assert_int_equal(rec[i].token, want[i].token);
		assert_int_equal(rec[i].arg, want[i].arg);
	}
	assert_int_equal(count, n);
}

#define EXPECT(...) do { \
	const struct apf_trace_record want[] = { __VA_ARGS__ }; \
	expect(sizeof(want) / sizeof(want[0]), want); \
} while (0)
#define EV(ev, g_, t_, a_) { .event = APF_EV_##ev, .gfn = g_, .token = t_, .arg = a_ }
#define VERDICT(v, w) (APF_##v << 8 | APF_WHY_##w)

static void test_V1_np_and_ready(void **state)
{
	uint32_t a = inject(&g, 7);

	apf_vcpu_page_done(g.v, 7);
	EXPECT(EV(NP, 7, a, AREA), EV(FAULT, 7, a, VERDICT(INJECT, ASYNC)),
	       EV(READY, 7, a, AREA));
}

static void test_V1_repeat_and_end_of_halt(void **state)
{
	uint32_t a = inject(&g, 7);

	take(&g, user_fault(7));
	g.token = 0x77;
	apf_vcpu_page_done(g.v, 7);
	EXPECT(EV(NP, 7, a, AREA), EV(FAULT, 7, a, VERDICT(INJECT, ASYNC)), EV(REPEAT, 7, a, 1),
	       EV(FAULT, 7, 0, VERDICT(HALT, REPEAT)), EV(HALT_END, 7, 0, 0));
}

static void test_V1_queue_full(void **state)
{
	uint32_t a = inject(&g, 1), b = inject(&g, 2);

	take(&g, user_fault(3));
	EXPECT(EV(NP, 1, a, AREA), EV(FAULT, 1, a, VERDICT(INJECT, ASYNC)), EV(NP, 2, b, AREA),
	       EV(FAULT, 2, b, VERDICT(INJECT, ASYNC)), EV(QUEUE_FULL, 3, 0, 2),
	       EV(FAULT, 3, 0, VERDICT(HALT, FULL)));
}

static void test_V1_broadcast_control_and_reset(void **state)
{
	uint32_t a = inject(&g, 1);

	write_reg(&g, APF_MSR_EN, EN_ON);
	ack(&g);
	uint32_t b = inject(&g, 2);
	write_reg(&g, APF_MSR_EN, 0);
	apf_vcpu_reset(g.v);
	EXPECT(EV(NP, 1, a, AREA), EV(FAULT, 1, a, VERDICT(INJECT, ASYNC)),
	       EV(CONTROL, 0, APF_MSR_EN, EN_ON), EV(BROADCAST, 0, APF_TOKEN_BROADCAST, AREA),
	       EV(CONTROL, 0, APF_MSR_ACK, 1), EV(NP, 2, b, AREA),
	       EV(FAULT, 2, b, VERDICT(INJECT, ASYNC)), EV(CONTROL, 0, APF_MSR_EN, 0),
	       EV(RESET, 0, 0, 1), EV(RESET, 0, 0, 0));
}

static void test_V1_halts_and_waits_say_why(void **state)
{
	struct apf_fault f = user_fault(7);

	f.user = false;
	take(&g, f);
	f.irqs_on = false;
	take(&g, f);
	EXPECT(EV(FAULT, 7, 0, VERDICT(HALT, KERNEL)), EV(FAULT, 7, 0, VERDICT(WAIT, IRQS_OFF)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_V1_np_and_ready, start, stop),
		cmocka_unit_test_setup_teardown(test_V1_repeat_and_end_of_halt, start, stop),
		cmocka_unit_test_setup_teardown(test_V1_queue_full, start, stop),
		cmocka_unit_test_setup_teardown(test_V1_broadcast_control_and_reset, start, stop),
		cmocka_unit_test_setup_teardown(test_V1_halts_and_waits_say_why, start, stop),
	};

	return cmocka_run_group_tests_name("engine/trace", tests, NULL, NULL);
}
