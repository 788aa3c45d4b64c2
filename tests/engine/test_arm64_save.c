/* SPDX-License-Identifier: MIT */
/* An arm64 vCPU as bytes and back, also from bytes that an enemy wrote. */
#include <errno.h>
#include <string.h>

#include <apf/error.h>

#include "fake.h"
#include "invariants.h"

/* Offsets of the saved layout (docs/engine.md). */
enum { COUNTER = 16, FLAGS = 20, WAITING = 24, EN = 32, REGION = 40, UNACKED = 104, ENTRIES = 112,
       ENTRY = 12, TOKEN = 8 };

#define EN_1	(AREA | APF_ARM64_ENABLED)
#define EN_2	(EN_1 | APF_ARM64_INT)

static struct fake g, h;
static uint8_t saved[4096], again[4096];

/* Two regions; pages 100 and 101 have come, 100's ready is out (second revision); 102 not. */
static size_t save_busy_guest(uint32_t tokens[3], uint64_t what)
{
	fake_init(&g, A_CONFIG());
	ask(&g, OP(REGION), 0x1000, 0x10);
	ask(&g, OP(REGION), 0x2000, 0x20);
	ask(&g, what, 0, 0);
	enter(&g);
	if (what & APF_ARM64_INT)
		arm_ack(&g);
	g.reason = g.token = 0;
	for (uint32_t i = 0; i < 3; i++)
		tokens[i] = inject(&g, 100 + i);
	apf_vcpu_page_done(g.v, 100);
	apf_vcpu_page_done(g.v, 101);
	apf_vcpu_freeze(g.v, true);
	return apf_vcpu_save(g.v, saved, sizeof(saved));
}

static void test_C12_A5_first_revision_every_token_gets_its_ready(void **state)
{
	uint32_t tokens[3];
	size_t size = save_busy_guest(tokens, A_ON);

	assert_int_equal(size, ENTRIES + 3 * ENTRY);
	fake_init(&h, A_CONFIG());
	assert_int_equal(apf_vcpu_load(h.v, saved, size), 0);
	assert_null(broken_invariant(h.v));
	assert_string_equal(h.log, "");
	assert_int_equal(apf_vcpu_poll(h.v), APF_OUT_KICK);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(enter(&h), i ? 0 : APF_OUT_LATER);
		assert_int_equal(handle(&h), tokens[i]);
	}
	assert_int_equal(apf_vcpu_page_done(h.v, 102), APF_OUT_KICK);
	enter(&h);
	assert_int_equal(handle(&h), tokens[2]);
	assert_int_equal(stats(&h).broadcasts, 0);
}

static void test_C12_A16_second_revision_every_token_gets_its_ready(void **state)
{
	uint32_t tokens[3];
	size_t size = save_busy_guest(tokens, A_ON_INT);

	assert_int_equal(size, ENTRIES + 2 * ENTRY);
	/* The guest cleared the word just before, and its ACK is still to come. */
	for (int cleared = 0; cleared < 2; cleared++) {
		fake_init(&h, A_CONFIG());
		h.token = cleared ? 0 : tokens[0];
		h.line = true;
		assert_int_equal(apf_vcpu_load(h.v, saved, size), 0);
		assert_int_equal(apf_vcpu_poll(h.v), 0);
		assert_string_equal(h.log, "");
		assert_true(h.line);
		assert_int_equal(arm_ack(&h), 0);
		assert_string_equal(h.log, "LTR");
		assert_int_equal(h.token, tokens[1]);
		arm_ack(&h);
		apf_vcpu_page_done(h.v, 102);
		assert_int_equal(h.token, tokens[2]);
		assert_int_equal(stats(&h).broadcasts, 0);
	}
}

static void test_C12_what_was_loaded_gives_the_same_bytes_and_the_same_gate(void **state)
{
	static const uint64_t what[] = { A_ON, A_ON_INT, A_ON | APF_ARM64_BUSY, A_ON_INT | 0xf };
	uint32_t tokens[3];

	for (size_t i = 0; i < 4; i++) {
		size_t size = save_busy_guest(tokens, what[i]);

		fake_init(&h, A_CONFIG());
		assert_int_equal(apf_vcpu_load(h.v, saved, size), 0);
		assert_int_equal(apf_vcpu_save(h.v, again, sizeof(again)), size);
		assert_memory_equal(saved, again, size);

		struct apf_fault f = user_fault(7);

		f.pc = 0x201f;
		assert_int_equal(take(&h, f).why, APF_WHY_REGION);
		f.pc = 0x2020;
		h.busy = 1;
		assert_int_equal(take(&h, f).why,
				 what[i] & APF_ARM64_BUSY ? APF_WHY_REGION : APF_WHY_ASYNC);
		h.busy = h.reason = 0;
		f.gfn = 8;
		f.user = false;
		assert_int_equal(take(&h, f).why,
				 what[i] & APF_ARM64_SEND_ALWAYS ? APF_WHY_ASYNC : APF_WHY_KERNEL);
	}
}

static void test_C12_A10_regions_of_a_vcpu_that_is_off_are_saved(void **state)
{
	fake_init(&g, A_CONFIG());
	ask(&g, OP(REGION), 0x1000, 0x10);
	size_t size = apf_vcpu_save(g.v, saved, sizeof(saved));

	fake_init(&h, A_CONFIG());
	assert_int_equal(apf_vcpu_load(h.v, saved, size), 0);
	assert_int_equal(ask(&h, A_ON | APF_ARM64_SEND_ALWAYS, 0, 0), APF_OUT_KICK);
}

static void test_C12_A13_hostile_bytes_are_refused_and_leave_a_reset_vcpu(void **state)
{
	static const struct {
		const char *name;
		size_t offset, len;
		uint64_t value;
		int ret;
	} t[] = {
		{ "nothing", 0, 0, 0, 0 },
		{ "largest counter", COUNTER, 4, 0xffff, 0 },
		{ "counter", COUNTER, 4, 0x10000, -EINVAL },
		{ "EN first revision, unacked", EN, 8, EN_1, -EINVAL },
		{ "EN operation left in", EN, 8, EN_2 | 1ull << 63, -EINVAL },
		{ "EN bit 56", EN, 8, EN_2 | 1ull << 56, -EINVAL },
		{ "EN flag 4", EN, 8, EN_2 | 16, -EINVAL },
		{ "EN flag 5", EN, 8, EN_2 | 32, -EINVAL },
		{ "EN not RAM", EN, 8, RAM_BYTES | 5, -EINVAL },
		{ "EN highest address", EN, 8, APF_ARM64_ADDR_MASK | 5, -EINVAL },
		{ "EN off with flags", EN, 8, EN_2 & ~1ull, -EINVAL },
		{ "EN off with a set", EN, 8, 0, -EINVAL },
		{ "send always", EN, 8, EN_2 | APF_ARM64_SEND_ALWAYS, 0 },
		{ "unacked 2", UNACKED, 8, 2, -EINVAL },
		{ "unacked high", UNACKED, 8, 1ull << 63, -EINVAL },
		{ "acked", UNACKED, 8, 0, 0 },
		{ "region empty, one behind", REGION + 8, 8, 0, -EINVAL },
		{ "region gone, one behind", REGION, 16, 0, -EINVAL },
		{ "second region empty", REGION + 24, 8, 0, -EINVAL },
		{ "region wraps", REGION, 8, ~0xfull, -EINVAL },
		{ "region of all", REGION + 8, 8, ~0ull - 0x1000, 0 },
		{ "third region, size only", REGION + 40, 8, 1, 0 },
		{ "third region, start only", REGION + 32, 8, 1, -EINVAL },
		{ "fourth region, no third", REGION + 56, 8, 1, -EINVAL },
		{ "token of another", ENTRIES + TOKEN, 4, 0x30006, -EINVAL },
		{ "token of x86's width", ENTRIES + TOKEN, 4, 0x3005, -EINVAL },
		{ "another token", ENTRIES + TOKEN, 4, 0xabcd0005, 0 },
		{ "token 0", ENTRIES + TOKEN, 4, 0, -EINVAL },
		{ "token ~0", ENTRIES + TOKEN, 4, ~0u, -EINVAL },
	};
	static const uint64_t zero[2];
	uint32_t tokens[3];
	size_t size = save_busy_guest(tokens, A_ON_INT);

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		memcpy(again, saved, size);
		if (t[i].len > 8)
			memcpy(again + t[i].offset, zero, t[i].len);
		else
			memcpy(again + t[i].offset, &t[i].value, t[i].len);
		fake_arm_on(&h, A_CONFIG(), A_ON_INT);
		inject(&h, 77);
		int ret = apf_vcpu_load(h.v, again, size);

		if (ret != t[i].ret)
			fail_msg("%s: %d (%s)", t[i].name, ret, apf_error());
		assert_null(broken_invariant(h.v));
		assert_int_equal(apf_vcpu_enabled(h.v), !ret);
		assert_int_equal(stats(&h).outstanding + stats(&h).queued, ret ? 0 : 2);
		assert_string_equal(h.log, ret && t[i].offset == ENTRIES + TOKEN ? "NL" : "N");
	}
}

static void test_A16_second_revision_is_refused_where_there_is_no_ppi_for_it(void **state)
{
	uint32_t tokens[3];
	size_t size = save_busy_guest(tokens, A_ON_INT);

	fake_init(&h, A_CONFIG(.ready_irq = 0));
	assert_int_equal(apf_vcpu_load(h.v, saved, size), -EINVAL);
	assert_false(apf_vcpu_enabled(h.v));
	size = save_busy_guest(tokens, A_ON);
	assert_int_equal(apf_vcpu_load(h.v, saved, size), 0);
}

static void test_A6_send_always_needs_its_regions_in_the_file_too(void **state)
{
	uint32_t tokens[3];
	size_t size = save_busy_guest(tokens, A_ON | APF_ARM64_SEND_ALWAYS);

	memset(saved + REGION, 0, 2 * 16);
	fake_init(&h, A_CONFIG());
	assert_int_equal(apf_vcpu_load(h.v, saved, size), -EINVAL);
}

static void test_C12_set_that_does_not_fit_becomes_one_wake_all(void **state)
{
	uint32_t tokens[3];
	size_t size = save_busy_guest(tokens, A_ON_INT);

	fake_init(&h, A_CONFIG(.max_outstanding = 1));
	h.token = tokens[0];
	assert_int_equal(apf_vcpu_load(h.v, saved, size), -ENOSPC);
	assert_int_equal(apf_vcpu_broadcast(h.v), 0);	/* behind the ACK of the one that is out */
	assert_int_equal(arm_ack(&h), 0);
	assert_int_equal(h.token, APF_TOKEN_BROADCAST);
	arm_ack(&h);
	assert_int_equal(apf_vcpu_poll(h.v), 0);
	assert_int_equal(h.raises, 1);
}

static void test_C12_x86_and_arm64_do_not_take_each_others(void **state)
{
	uint32_t tokens[3];
	size_t size = save_busy_guest(tokens, A_ON_INT);

	fake_init(&h, CONFIG());
	assert_int_equal(apf_vcpu_load(h.v, saved, size), -EINVAL);
	assert_non_null(strstr(apf_error(), "generation arm64 (4)"));
	fake_on(&g, CONFIG());
	size = apf_vcpu_save(g.v, saved, sizeof(saved));
	assert_int_equal(size, 48);	/* x86's layout did not grow */
	fake_init(&h, A_CONFIG());
	assert_int_equal(apf_vcpu_load(h.v, saved, size), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C12_A5_first_revision_every_token_gets_its_ready),
		cmocka_unit_test(test_C12_A16_second_revision_every_token_gets_its_ready),
		cmocka_unit_test(test_C12_what_was_loaded_gives_the_same_bytes_and_the_same_gate),
		cmocka_unit_test(test_C12_A10_regions_of_a_vcpu_that_is_off_are_saved),
		cmocka_unit_test(test_C12_A13_hostile_bytes_are_refused_and_leave_a_reset_vcpu),
		cmocka_unit_test(test_A16_second_revision_is_refused_where_there_is_no_ppi_for_it),
		cmocka_unit_test(test_A6_send_always_needs_its_regions_in_the_file_too),
		cmocka_unit_test(test_C12_set_that_does_not_fit_becomes_one_wake_all),
		cmocka_unit_test(test_C12_x86_and_arm64_do_not_take_each_others),
	};

	return cmocka_run_group_tests_name("engine/arm64-save", tests, NULL, NULL);
}
