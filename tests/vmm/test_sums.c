/* SPDX-License-Identifier: MIT */
/* Checksums of RAM: what is damaged, or was never written, does not get through. */
#include "../store/drive.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apf/error.h>
#include <apf/store.h>
#include <vmm/crc32c.h>
#include <vmm/snapshot.h>
#include <vmm/sums.h>

#define PAGES	8u
#define SIZE	(PAGES * APF_PAGE_SIZE)
#define HOLE	3u	/* a page of zeroes that is not in the file */

static struct vmm_snapshot snap;
static uint32_t table[PAGES];
static char path[64];
static int fd;

static void note(void *arg, uint64_t page, uint32_t sum)
{
	assert_true(page < PAGES);
	table[page] = sum;
}

/* RAM with one hole, and a snapshot that knows its checksums. */
static int set_up(void **state)
{
	static uint8_t page[APF_PAGE_SIZE];

	fd = make_file("/tmp", path, "", 0);
	if (fd < 0 || ftruncate(fd, SIZE))
		return -1;
	for (unsigned int i = 0; i < PAGES; i++) {
		memset(page, 'a' + (int)i, sizeof(page));
		if (i != HOLE && pwrite(fd, page, sizeof(page), i * APF_PAGE_SIZE) != sizeof(page))
			return -1;
	}
	snap = (struct vmm_snapshot){ .vm.mem_size = SIZE };
	snap.sec[VMM_SEC_RAM_SUMS][0] = (struct vmm_bytes){ (const uint8_t *)table, sizeof(table) };
	return vmm_sums_read(fd, SIZE, note, NULL);
}

static int tear_down(void **state)
{
	close(fd);
	return unlink(path);
}

static void write_byte(unsigned int page, char byte)
{
	assert_int_equal(pwrite(fd, &byte, 1, page * APF_PAGE_SIZE + 1234), 1);
}

/* Read the pages through the filter. */
static int read_checked(unsigned int page, unsigned int n, struct request *r)
{
	struct drive d;
	char spec[80];
	void *buf = aligned_alloc(APF_PAGE_SIZE, SIZE);
	int res;

	snprintf(spec, sizeof(spec), "file:%s", path);
	drive_open(&d, spec);
	assert_int_equal(vmm_sums_check(&snap, &d.store), 0);
	d.store->loop = d.loop;
	res = drive_read(&d, page, n, buf, r);
	drive_close(&d);
	free(buf);
	return res;
}

static void test_both_ways_to_a_checksum_agree(void **state)
{
	uint8_t bytes[300];

	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	if (!crc32c_has_instruction())
		skip();
	for (unsigned int from = 0; from < 9; from++)
		for (unsigned int len = 0; len < sizeof(bytes) - from; len++)
			assert_int_equal(crc32c_plain(~0u, bytes + from, len),
					 crc32c_instruction(~0u, bytes + from, len));
}

static void test_sums_are_of_each_page_holes_included(void **state)
{
	static uint8_t page[APF_PAGE_SIZE];

	assert_int_equal(table[HOLE], crc32c(0, page, sizeof(page)));
	memset(page, 'a' + 7, sizeof(page));
	assert_int_equal(table[7], crc32c(0, page, sizeof(page)));
}

static void test_what_is_as_it_was_saved_gets_through(void **state)
{
	struct request r;

	assert_int_equal(read_checked(0, PAGES, &r), 0);
	assert_int_equal(read_checked(HOLE, 1, &r), APF_IO_ZERO);
}

static void check_refused(unsigned int page)
{
	struct request r;
	char text[32];

	for (unsigned int i = 0; i < PAGES; i++)
		if (i != page)
			assert_in_range(read_checked(i, 1, &r), 0, APF_IO_ZERO);
	snprintf(text, sizeof(text), "page %u ", page);
	assert_int_equal(read_checked(page, 1, &r), -EIO);
	assert_non_null(strstr(r.error, text));
	assert_int_equal(read_checked(0, PAGES, &r), -EIO);
	assert_non_null(strstr(r.error, text));
}

static void test_a_damaged_byte_is_found(void **state)
{
	write_byte(5, 'x');
	check_refused(5);
}

static void test_data_where_there_was_none_is_found(void **state)
{
	write_byte(HOLE, 'x');
	check_refused(HOLE);
}

static void test_a_hole_where_there_was_data_is_found(void **state)
{
	assert_int_equal(ftruncate(fd, (PAGES - 1) * APF_PAGE_SIZE), 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	check_refused(PAGES - 1);
}

static void test_ram_of_another_size_is_refused(void **state)
{
	assert_int_equal(ftruncate(fd, SIZE - 1), 0);
	assert_int_equal(vmm_sums_read(fd, SIZE, note, NULL), -EINVAL);
	assert_non_null(strstr(apf_error(), "32767 bytes"));
}

static void test_a_chain_that_is_full_takes_no_filter_more(void **state)
{
	struct apf_store *s;
	char spec[160] = "";

	for (unsigned int i = 0; i < APF_STORE_MAX_DEPTH - 1; i++)
		strcat(spec, "stats,");
	strcat(strcat(spec, "file:"), path);
	assert_int_equal(apf_store_open(spec, &s), 0);
	assert_int_equal(vmm_sums_check(&snap, &s), -EINVAL);
	assert_non_null(strstr(apf_error(), "in a row"));
}

#define TEST(f)	cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_both_ways_to_a_checksum_agree),
		TEST(test_sums_are_of_each_page_holes_included),
		TEST(test_what_is_as_it_was_saved_gets_through),
		TEST(test_a_damaged_byte_is_found),
		TEST(test_data_where_there_was_none_is_found),
		TEST(test_a_hole_where_there_was_data_is_found),
		TEST(test_ram_of_another_size_is_refused),
		TEST(test_a_chain_that_is_full_takes_no_filter_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
