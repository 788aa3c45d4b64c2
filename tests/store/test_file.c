/* SPDX-License-Identifier: MIT */
/*
 * The raw file: bytes, holes, short reads, a file that shrinks; on the build
 * folder's file system and on tmpfs, which take different ways.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <apf/error.h>

#include "drive.h"

#define PAGES	64u

static const char *const dirs[] = { ".", "/dev/shm" };
#define EACH_DIR(d) (unsigned int d = 0; d < 2; d++)

/* What the linker puts in place of these calls of the store. */
static unsigned int seeks;		/* counted */
static unsigned int reads;		/* that went through the ring, counted */
static size_t most_bytes;		/* per read, 0: as asked */

off_t __wrap_lseek64(int fd, off_t offset, int whence);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset);
int __wrap_apf_loop_read(struct apf_loop *l, struct apf_loop_op *op, int fd, void *buf,
			 uint32_t len, uint64_t offset);
int __real_apf_loop_read(struct apf_loop *l, struct apf_loop_op *op, int fd, void *buf,
			 uint32_t len, uint64_t offset);

static size_t cut(size_t len)
{
	return most_bytes && len > most_bytes ? most_bytes : len;
}

off_t __wrap_lseek64(int fd, off_t offset, int whence)
{
	seeks += whence == SEEK_DATA || whence == SEEK_HOLE;
	return syscall(SYS_lseek, fd, offset, whence);
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	return syscall(SYS_pread64, fd, buf, cut(len), offset);
}

int __wrap_apf_loop_read(struct apf_loop *l, struct apf_loop_op *op, int fd, void *buf,
			 uint32_t len, uint64_t offset)
{
	reads++;
	return __real_apf_loop_read(l, op, fd, buf, (uint32_t)cut(len), offset);
}

struct file {
	struct drive d;
	int fd;
	char path[64];
	char *bytes, *buf;
};

/* Out of the page cache with it, so that pages are read as from a cold file. */
static void cool(struct file *f)
{
	fsync(f->fd);
	assert_int_equal(posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

static void open_store(struct file *f, const char *option)
{
	char spec[100];

	snprintf(spec, sizeof(spec), "file:%s%s", option, f->path);
	drive_open(&f->d, spec);
}

/* Size and holes are looked up when a store is opened. */
static void open_again(struct file *f, const char *option)
{
	drive_close(&f->d);
	open_store(f, option);
}

static void open_file(struct file *f, const char *dir, size_t len)
{
	f->bytes = malloc(PAGES * APF_PAGE_SIZE);
	f->buf = aligned_alloc(APF_PAGE_SIZE, PAGES * APF_PAGE_SIZE);
	for (unsigned int i = 0; i < PAGES * APF_PAGE_SIZE; i++)
		f->bytes[i] = (char)(i / APF_PAGE_SIZE + i * 31 + 1);
	memset(f->buf, 0x55, PAGES * APF_PAGE_SIZE);
	f->fd = make_file(dir, f->path, f->bytes, len);
	cool(f);
	open_store(f, "");
}

static void close_file(struct file *f)
{
	most_bytes = 0;
	drive_close(&f->d);
	close(f->fd);
	unlink(f->path);
	free(f->bytes);
	free(f->buf);
}

static void test_pages_are_read_byte_by_byte(void **state)
{
	for EACH_DIR(d) {
		struct request r[PAGES] = { 0 };
		struct file f;

		open_file(&f, dirs[d], PAGES * APF_PAGE_SIZE);
		for (unsigned int i = 0; i < PAGES; i++) {
			r[i].io.offset = i * APF_PAGE_SIZE;
			r[i].io.len = APF_PAGE_SIZE;
			r[i].io.buf = f.buf + i * APF_PAGE_SIZE;
		}
		drive_run(&f.d, r, PAGES);
		for (unsigned int i = 0; i < PAGES; i++)
			assert_int_equal(r[i].res, 0);
		assert_memory_equal(f.buf, f.bytes, PAGES * APF_PAGE_SIZE);
		close_file(&f);
	}
}

static void test_reads_go_straight_into_a_memfd_O_DIRECT_where_it_can(void **state)
{
	char json[256];
	struct request r;
	struct file f;
	int m = memfd_create("test", 0);
	char *view;

	assert_int_equal(ftruncate(m, PAGES * APF_PAGE_SIZE), 0);
	view = mmap(NULL, PAGES * APF_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, m, 0);
	open_file(&f, ".", PAGES * APF_PAGE_SIZE);
	fsync(f.fd);
	f.d.store->ops->stats(f.d.store, json, sizeof(json));
	assert_int_equal(drive_read(&f.d, 0, PAGES, view, &r), 0);
	assert_memory_equal(view, f.bytes, PAGES * APF_PAGE_SIZE);
	close_file(&f);
	munmap(view, PAGES * APF_PAGE_SIZE);
	close(m);
	if (!strstr(json, "\"direct\": true"))	/* then the bytes came through the page cache */
		assert_true(strstr(json, "does not take O_DIRECT") || strstr(json, "tmpfs"));
}

static void test_without_O_DIRECT_it_says_why(void **state)
{
	char json[256];
	struct file f;

	open_file(&f, "/dev/shm", APF_PAGE_SIZE);
	f.d.store->ops->stats(f.d.store, json, sizeof(json));
	assert_non_null(strstr(json, "\"direct\": false"));
	assert_non_null(strstr(json, "tmpfs"));
	close_file(&f);
}

static void test_short_reads_are_continued(void **state)
{
	static const size_t limits[] = {
		APF_PAGE_SIZE, 3 * APF_PAGE_SIZE, 5 * APF_PAGE_SIZE + 512,
	};

	for EACH_DIR(d) {
		for (unsigned int i = 0; i < 3; i++) {
			struct request r;
			struct file f;

			open_file(&f, dirs[d], PAGES * APF_PAGE_SIZE);
			most_bytes = limits[i];
			assert_int_equal(drive_read(&f.d, 1, PAGES - 1, f.buf, &r), 0);
			assert_memory_equal(f.buf, f.bytes + APF_PAGE_SIZE,
					    (PAGES - 1) * APF_PAGE_SIZE);
			close_file(&f);
		}
	}
}

static void test_a_read_that_makes_no_progress_is_an_error(void **state)
{
	char json[256];
	struct request r;
	struct file f;

	open_file(&f, ".", PAGES * APF_PAGE_SIZE);
	f.d.store->ops->stats(f.d.store, json, sizeof(json));
	most_bytes = 512;		/* O_DIRECT cannot go on from there */
	assert_int_equal(drive_read(&f.d, 0, 2, f.buf, &r),
			 strstr(json, "\"direct\": true") ? -EIO : 0);
	close_file(&f);
}

/* Holes are as big as the host's pages at least: here they and their neighbours are 64 KiB. */
static void test_a_hole_is_zero_and_not_read(void **state)
{
	for EACH_DIR(d) {
		struct request r;
		struct file f;

		open_file(&f, dirs[d], APF_PAGE_SIZE);
		assert_int_equal(pwrite(f.fd, f.bytes, APF_PAGE_SIZE, 32 * APF_PAGE_SIZE),
				 APF_PAGE_SIZE);
		assert_int_equal(ftruncate(f.fd, PAGES * APF_PAGE_SIZE), 0);
		open_again(&f, "");
		assert_int_equal(f.d.store->size, PAGES * APF_PAGE_SIZE);
		assert_int_equal(drive_read(&f.d, 48, 16, f.buf, &r), APF_IO_ZERO);
		assert_int_equal(drive_read(&f.d, 21, 4, f.buf, &r), APF_IO_ZERO);
		assert_int_equal(f.buf[0], 0x55);
		assert_int_equal(drive_read(&f.d, 0, 1, f.buf, &r), 0);
		assert_memory_equal(f.buf, f.bytes, APF_PAGE_SIZE);
		close_file(&f);
	}
}

static void test_a_range_that_is_only_partly_a_hole_is_read(void **state)
{
	for EACH_DIR(d) {
		static const char zero[APF_PAGE_SIZE];
		struct request r;
		struct file f;

		open_file(&f, dirs[d], PAGES * APF_PAGE_SIZE);
		assert_int_equal(fallocate(f.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   8 * APF_PAGE_SIZE, 8 * APF_PAGE_SIZE), 0);
		open_again(&f, "");
		assert_int_equal(drive_read(&f.d, 14, 4, f.buf, &r), 0);
		assert_memory_equal(f.buf, zero, APF_PAGE_SIZE);
		assert_memory_equal(f.buf + APF_PAGE_SIZE, zero, APF_PAGE_SIZE);
		assert_memory_equal(f.buf + 2 * APF_PAGE_SIZE, f.bytes + 16 * APF_PAGE_SIZE,
				    2 * APF_PAGE_SIZE);
		assert_int_equal(drive_read(&f.d, 8, 8, f.buf, &r), APF_IO_ZERO);
		close_file(&f);
	}
}

static void test_looking_for_holes_is_over_when_reads_begin(void **state)
{
	for EACH_DIR(d) {
		struct request r;
		struct file f;

		open_file(&f, dirs[d], APF_PAGE_SIZE);
		for (off_t page = 0; page < 6400; page += 32)
			assert_int_equal(pwrite(f.fd, f.bytes, APF_PAGE_SIZE,
						page * APF_PAGE_SIZE), APF_PAGE_SIZE);
		assert_int_equal(ftruncate(f.fd, 8ll << 30), 0);
		seeks = 0;
		open_again(&f, "");
		assert_true(seeks <= 402);		/* two for each piece of data */
		seeks = 0;
		for (unsigned int i = 0; i < 400; i++)
			assert_int_equal(drive_read(&f.d, i * 16, 1, f.buf, &r),
					 i % 2 ? APF_IO_ZERO : 0);
		for (unsigned int i = 0; i < 1000; i++)
			assert_int_equal(drive_read(&f.d, 6400 + i * 2000, 16, f.buf, &r),
					 APF_IO_ZERO);
		assert_int_equal(seeks, 0);
		close_file(&f);
	}
}

/* What lies in memory is read in place: how else it would be read cannot be seen there. */
static bool lies_in_memory(struct file *f)
{
	struct statfs fs;

	if (fstatfs(f->fd, &fs) || fs.f_type != TMPFS_MAGIC)
		return false;
	close_file(f);
	return true;
}

/* The store's word for it in its statistics. */
static bool says(struct file *f, const char *text)
{
	char json[256];

	f->d.store->ops->stats(f->d.store, json, sizeof(json));
	return strstr(json, text) != NULL;
}

static bool cache_is_known(void)
{
	errno = 0;
	syscall(451, -1, NULL, NULL, 0);	/* cachestat */
	return errno != ENOSYS;
}

static void test_auto_takes_what_the_page_cache_has_and_reads_the_rest_past_it(void **state)
{
	bool direct, cache = cache_is_known();
	struct request r;
	struct file f;

	open_file(&f, ".", PAGES * APF_PAGE_SIZE);
	if (lies_in_memory(&f))
		return;
	direct = says(&f, "\"direct\": true");
	reads = 0;
	assert_int_equal(drive_read(&f.d, 0, 8, f.buf, &r), 0);	/* it is cold */
	assert_int_equal(reads, 1);
	assert_true(says(&f, "\"from_page_cache\": 0}"));
	for (off_t at = 32 * APF_PAGE_SIZE; at < PAGES * APF_PAGE_SIZE; at += APF_PAGE_SIZE)
		assert_int_equal(pread(f.fd, f.buf, APF_PAGE_SIZE, at), APF_PAGE_SIZE);
	memset(f.buf, 0x55, PAGES * APF_PAGE_SIZE);
	reads = 0;
	assert_int_equal(drive_read(&f.d, 40, 8, f.buf, &r), 0);
	assert_memory_equal(f.buf, f.bytes + 40 * APF_PAGE_SIZE, 8 * APF_PAGE_SIZE);
	assert_int_equal(reads, direct && cache ? 0 : 1);
	assert_true(!direct || !cache || says(&f, "\"from_page_cache\": 1}"));
	close_file(&f);
}

static void test_direct_on_and_off_are_kept_to(void **state)
{
	struct request r;
	bool direct;
	struct file f;

	open_file(&f, ".", PAGES * APF_PAGE_SIZE);
	if (lies_in_memory(&f))
		return;
	direct = says(&f, "\"direct\": true");
	assert_int_equal(pread(f.fd, f.buf, 8 * APF_PAGE_SIZE, 0), 8 * APF_PAGE_SIZE);
	if (direct) {
		open_again(&f, "direct=on:");
		reads = 0;
		assert_int_equal(drive_read(&f.d, 0, 8, f.buf, &r), 0);
		assert_memory_equal(f.buf, f.bytes, 8 * APF_PAGE_SIZE);
		assert_int_equal(reads, 1);
	}
	open_again(&f, "direct=off:");
	assert_true(says(&f, "\"direct\": false"));
	assert_true(says(&f, "switched off"));
	reads = 0;
	assert_int_equal(drive_read(&f.d, 8, 8, f.buf, &r), 0);
	assert_memory_equal(f.buf, f.bytes + 8 * APF_PAGE_SIZE, 8 * APF_PAGE_SIZE);
	assert_int_equal(reads, 1);
	close_file(&f);
}

static void test_a_direct_that_cannot_be_is_refused_with_a_reason(void **state)
{
	struct apf_store *s;
	char spec[100];
	struct file f;

	open_file(&f, "/dev/shm", APF_PAGE_SIZE);
	snprintf(spec, sizeof(spec), "file:direct=on:%s", f.path);
	assert_int_equal(apf_store_open(spec, &s), -EINVAL);
	assert_non_null(strstr(apf_error(), "tmpfs"));
	snprintf(spec, sizeof(spec), "file:direct=maybe:%s", f.path);
	assert_int_equal(apf_store_open(spec, &s), -EINVAL);
	assert_non_null(strstr(apf_error(), "auto, on or off"));
	close_file(&f);
}

static void test_a_file_that_shrinks_gives_an_error_not_junk(void **state)
{
	static const struct {
		uint64_t size, page;
		uint32_t pages;
		int res;
		const char *says;
	} rows[] = {
		{ 16 * 4096, 12, 4, 0, "" },
		{ 16 * 4096, 12, 8, -EIO, "ends at byte 65536, page 16 needs 69632" },
		{ 16 * 4096, 40, 4, -EIO, "page 40 needs 167936" },
		{ 16 * 4096 + 1000, 16, 1, -EIO, "page 16 needs 69632" },
		{ 0, 0, 1, -EIO, "ends at byte 0, page 0 needs 4096" },
	};

	for EACH_DIR(d) {
		for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			struct request r;
			struct file f;

			open_file(&f, dirs[d], PAGES * APF_PAGE_SIZE);
			assert_int_equal(drive_read(&f.d, 0, 1, f.buf, &r), 0);
			assert_int_equal(ftruncate(f.fd, (off_t)rows[i].size), 0);
			drive_read(&f.d, rows[i].page, rows[i].pages, f.buf, &r);
			if (r.res != rows[i].res || !strstr(r.error, rows[i].says) ||
			    (r.res && !strstr(r.error, f.path)))
				fail_msg("%s row %u: %d, %s", dirs[d], i, r.res, r.error);
			close_file(&f);
		}
	}
}

static void test_a_known_hole_of_a_file_that_shrinks_is_an_error_too(void **state)
{
	for EACH_DIR(d) {
		struct request r;
		struct file f;

		open_file(&f, dirs[d], APF_PAGE_SIZE);
		assert_int_equal(ftruncate(f.fd, PAGES * APF_PAGE_SIZE), 0);
		open_again(&f, "");
		assert_int_equal(drive_read(&f.d, 5, 1, f.buf, &r), APF_IO_ZERO);
		assert_int_equal(ftruncate(f.fd, 8 * APF_PAGE_SIZE), 0);
		assert_int_equal(drive_read(&f.d, 4, 1, f.buf, &r), APF_IO_ZERO);
		assert_int_equal(drive_read(&f.d, 6, 4, f.buf, &r), -EIO);
		assert_non_null(strstr(r.error, "ends at byte 32768, page 8 needs 36864"));
		close_file(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages_are_read_byte_by_byte),
		cmocka_unit_test(test_reads_go_straight_into_a_memfd_O_DIRECT_where_it_can),
		cmocka_unit_test(test_without_O_DIRECT_it_says_why),
		cmocka_unit_test(test_short_reads_are_continued),
		cmocka_unit_test(test_a_read_that_makes_no_progress_is_an_error),
		cmocka_unit_test(test_a_hole_is_zero_and_not_read),
		cmocka_unit_test(test_a_range_that_is_only_partly_a_hole_is_read),
		cmocka_unit_test(test_looking_for_holes_is_over_when_reads_begin),
		cmocka_unit_test(test_auto_takes_what_the_page_cache_has_and_reads_the_rest_past_it),
		cmocka_unit_test(test_direct_on_and_off_are_kept_to),
		cmocka_unit_test(test_a_direct_that_cannot_be_is_refused_with_a_reason),
		cmocka_unit_test(test_a_file_that_shrinks_gives_an_error_not_junk),
		cmocka_unit_test(test_a_known_hole_of_a_file_that_shrinks_is_an_error_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
