/* SPDX-License-Identifier: MIT */
/* Creation: what is refused, that its time does not grow with RAM, the probe. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fake.h"
#include "touch.h"

static void test_refused_with_a_reason(void **state)
{
	const uint32_t host = (uint32_t)sysconf(_SC_PAGESIZE), size = page_size;
	const struct {
		struct apf_mem_config cfg;
		bool store;
		const char *says;
	} rows[] = {
		{ { .size = 0, .trap = APF_TRAP_NONE }, false, "not a multiple" },
		{ { .size = 5000, .trap = APF_TRAP_NONE }, false, "not a multiple" },
		{ { .size = host / 2, .trap = APF_TRAP_NONE }, false, "not a multiple" },
		{ { .size = 3 * host, .page_size = 2 * host, .trap = APF_TRAP_NONE }, false,
		  "not a multiple" },
		{ { .size = UINT64_MAX - 65535, .trap = APF_TRAP_NONE }, false, "not a multiple" },
		{ { .size = 1 << 30, .page_size = host / 2, .trap = APF_TRAP_NONE }, false,
		  "not a power of two from the host's page" },
		{ { .size = 3 * host, .page_size = 3 * host, .trap = APF_TRAP_NONE }, false,
		  "not a power of two" },
		{ { .size = 1 << 30, .page_size = 4 << 20, .trap = APF_TRAP_NONE }, false,
		  "to 2097152" },
		{ { .size = size, .trap = APF_TRAP_NONE }, true, "a store goes with a trap" },
		{ { .size = size, .trap = APF_TRAP_POISON }, false, "a store goes with a trap" },
		{ { .size = size, .trap = 7 }, true, "a store goes with a trap" },
		{ { .size = 8192ull * size, .trap = APF_TRAP_BLOCK }, true, "store fake holds " },
		{ { .size = size, .trap = APF_TRAP_BLOCK, .batch_pages = 4096 }, true,
		  "batch_pages" },
		{ { .size = size, .trap = APF_TRAP_BLOCK, .max_fetches = 1u << 20 }, true,
		  "max_fetches" },
		{ { .size = size, .trap = APF_TRAP_BLOCK, .retry_ns = UINT64_MAX }, true,
		  "retry_ns" },
	};

	fake.pages = 4096;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct apf_mem_config cfg = rows[i].cfg;
		struct apf_mem *m = NULL;
		int r;

		if (rows[i].store)
			assert_int_equal(apf_store_open("fake", &cfg.store), 0);
		r = apf_mem_create(&cfg, &m);
		if (r != -EINVAL || m || !strstr(apf_error(), rows[i].says))
			fail_msg("row %zu: %d, %s", i, r, apf_error());
		apf_store_close(cfg.store);	/* a store that was refused is still ours */
	}
}

static int start_fails(struct apf_store *s)
{
	return apf_error_set(-ENOTCONN, "nobody is there");
}

static int open_any(struct apf_store *s, const char *arg)
{
	s->size = page_size;
	return 0;
}

static void close_any(struct apf_store *s)
{
}

static void test_a_store_that_does_not_start_is_reported_by_create(void **state)
{
	static const struct apf_store_ops ops = {
		.version = APF_STORE_VERSION, .name = "nobody", .open = open_any,
		.start = start_fails, .close = close_any,
	};
	struct apf_mem_config cfg = { .size = page_size, .trap = APF_TRAP_BLOCK };
	struct apf_mem *m;

	assert_int_equal(apf_store_register(&ops), 0);
	assert_int_equal(apf_store_open("nobody", &cfg.store), 0);
	assert_int_equal(apf_mem_create(&cfg, &m), -ENOTCONN);
	assert_string_equal(apf_error(), "nobody is there");
	apf_store_close(cfg.store);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * Time to create RAM, and to have one page trapped, fetched and read: the best of
 * nine, since other load on the machine only ever adds to it.
 */
static void first_page(uint64_t size, const char *spec, uint64_t *create_ns, uint64_t *page_ns)
{
	*create_ns = *page_ns = UINT64_MAX;
	for (int i = 0; i < 9; i++) {
		struct results r;
		uint64_t t0 = now_ns(), n = size / page_size - 3;
		struct apf_mem *m = ram_on(spec, size / page_size, APF_TRAP_POISON, &r);
		char *at = (char *)apf_mem_view_a(m) + n * page_size;

		*create_ns = least(*create_ns, now_ns() - t0);
		assert_int_equal(touch_page(at, n, NULL), TOUCH_TRAPPED);
		assert_int_equal(need(m, n, 1), 0);
		assert_int_equal(touch_page(at, n, NULL), TOUCH_ZERO);
		*page_ns = least(*page_ns, now_ns() - t0);
		apf_mem_destroy(m);
	}
}

static void test_creation_does_not_grow_with_RAM(void **state)
{
	uint64_t create[2], page[2];
	char path[64], spec[100];
	int fd = fake_file(".", path, 1);

	assert_int_equal(ftruncate(fd, 8ll << 30), 0);
	snprintf(spec, sizeof(spec), "file:%s", path);
	first_page(256ull << 20, spec, &create[0], &page[0]);
	first_page(8ull << 30, spec, &create[1], &page[1]);
	print_message("# created in %lu us (256 MiB), %lu us (8 GiB)\n", create[0] / 1000,
		      create[1] / 1000);
	print_message("# first page after %lu us, %lu us\n", page[0] / 1000, page[1] / 1000);
	/* 32 times the RAM; arming all of 8 GiB would take 0.3 s. */
	assert_true(create[1] < 3 * create[0] + 2 * MS);
	assert_true(page[1] < 3 * page[0] + 2 * MS);
	close(fd);
	unlink(path);
}

static void test_the_probe_knows_what_this_kernel_has(void **state)
{
	struct apf_mem_probe p;
	int r = apf_mem_probe(&p);

	print_message("# userfaultfd %d, minor_shmem %d, poison %d, io_uring %d\n", p.userfaultfd,
		      p.minor_shmem, p.poison, p.io_uring);
	assert_int_equal(r, 0);		/* main has seen that RAM can be made */
	assert_true(p.userfaultfd && p.minor_shmem && p.poison && p.io_uring);
}

#define TEST(f) cmocka_unit_test_setup(f, fake_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_refused_with_a_reason),
		TEST(test_a_store_that_does_not_start_is_reported_by_create),
		TEST(test_creation_does_not_grow_with_RAM),
		TEST(test_the_probe_knows_what_this_kernel_has),
	};

	if (kernel_lacks_something())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
