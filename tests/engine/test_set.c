/* SPDX-License-Identifier: MIT */
/* The outstanding set against a plain array that does the same slowly. */
#include <stdlib.h>
#include <string.h>

#include <engine/set.h>

#include "fake.h"

#define CAPACITY 37
#define SHIFT	12

struct entry {
	uint64_t gfn;
	uint32_t token;
	bool ready;
};

static _Alignas(64) char mem[1 << 14];
static struct entry model[CAPACITY];	/* in order of arrival; ready ones in order of that */
static uint32_t live;

static void model_remove(uint32_t i)
{
	memmove(&model[i], &model[i + 1], (--live - i) * sizeof(model[0]));
}

static uint32_t model_waiting(uint64_t gfn)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < live; i++)
		n += model[i].gfn == gfn && !model[i].ready;
	return n;
}

static void compare(const struct apf_set *s)
{
	uint32_t token, counts[2] = { 0 };

	for (uint32_t i = 0; i < live; i++) {
		const struct apf_node *n = apf_set_find(s, model[i].token);

		assert_non_null(n);
		assert_int_equal(n->gfn, model[i].gfn);
		assert_int_equal(n->state, model[i].ready ? APF_NODE_READY : APF_NODE_WAITING);
		assert_int_equal(apf_set_waiting(s, n->gfn, &token), model_waiting(n->gfn));
		counts[model[i].ready]++;
	}
	assert_int_equal(s->list[APF_NODE_WAITING].count, counts[0]);
	assert_int_equal(s->list[APF_NODE_READY].count, counts[1]);
}

static void random_step(struct apf_set *s, uint32_t counter)
{
	uint32_t token = counter << SHIFT, pick = live ? (uint32_t)rand() % live : 0;
	uint64_t gfn = 1ull << rand() % 50;	/* some share a hash head */
	struct apf_node *n;

	switch (rand() % 4) {
	case 0:
	case 1:
		n = apf_set_add(s, gfn, token, APF_NODE_WAITING);
		assert_int_equal(!n, live == CAPACITY);
		if (n)
			model[live++] = (struct entry) { gfn, token, false };
		break;
	case 2:
		apf_set_page_done(s, gfn);
		for (uint32_t i = 0; i < live; i++)
			model[i].ready |= model[i].gfn == gfn;
		break;
	case 3:
		if (!live)
			break;
		apf_set_remove(s, apf_set_find(s, model[pick].token));
		assert_null(apf_set_find(s, model[pick].token));
		model_remove(pick);
		break;
	}
}

static void test_C2_C3_C8_random_walk_agrees_with_a_plain_array(void **state)
{
	struct apf_set *s = (struct apf_set *)mem;

	assert_true(apf_set_size(CAPACITY) <= sizeof(mem));
	apf_set_init(s, CAPACITY, SHIFT);
	srand(1);
	live = 0;
	for (uint32_t i = 1; i < 20000; i++) {
		random_step(s, i);
		compare(s);
		if (i % 1000)
			continue;
		apf_set_clear(s);
		live = 0;
		compare(s);
	}
}

static void test_readies_leave_in_the_order_their_pages_came(void **state)
{
	static const uint64_t order[] = { 3, 0, 4, 1, 2 };
	struct apf_set *s = (struct apf_set *)mem;
	struct apf_node *n;

	apf_set_init(s, 5, SHIFT);
	for (uint32_t i = 0; i < 5; i++)
		apf_set_add(s, i, (i + 1) << SHIFT, APF_NODE_WAITING);
	for (uint32_t i = 0; i < 5; i++)
		apf_set_page_done(s, order[i]);
	for (uint32_t i = 0; i < 5; i++) {
		n = apf_set_first(s, APF_NODE_READY);
		assert_int_equal(n->gfn, order[i]);
		apf_set_remove(s, n);
	}
	assert_null(apf_set_first(s, APF_NODE_READY));
}

static void test_copied_bytes_are_a_working_copy(void **state)
{
	static _Alignas(64) char copy[sizeof(mem)];
	struct apf_set *s = (struct apf_set *)mem, *c = (struct apf_set *)copy;

	apf_set_init(s, 3, SHIFT);
	apf_set_add(s, 1, 1 << SHIFT, APF_NODE_WAITING);
	memcpy(copy, mem, sizeof(mem));
	apf_set_page_done(c, 1);
	assert_int_equal(apf_set_find(c, 1 << SHIFT)->state, APF_NODE_READY);
	assert_int_equal(apf_set_find(s, 1 << SHIFT)->state, APF_NODE_WAITING);
}

static void test_largest_set_holds_every_node_it_promises(void **state)
{
	struct apf_set *s = aligned_alloc(64, (apf_set_size(APF_SET_MAX) + 63) & ~63ul);

	assert_non_null(s);
	apf_set_init(s, APF_SET_MAX, SHIFT);
	for (uint32_t i = 0; i < APF_SET_MAX; i++)
		assert_non_null(apf_set_add(s, i, i << SHIFT | 1, APF_NODE_WAITING));
	assert_null(apf_set_add(s, 1, 2, APF_NODE_WAITING));
	assert_int_equal(apf_set_find(s, 12345 << SHIFT | 1)->gfn, 12345);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C2_C3_C8_random_walk_agrees_with_a_plain_array),
		cmocka_unit_test(test_readies_leave_in_the_order_their_pages_came),
		cmocka_unit_test(test_copied_bytes_are_a_working_copy),
		cmocka_unit_test(test_largest_set_holds_every_node_it_promises),
	};

	return cmocka_run_group_tests_name("engine/set", tests, NULL, NULL);
}
