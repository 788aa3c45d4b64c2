/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apf/error.h>

#include "drive.h"

static bool no_turn(void *ctx)
{
	return false;
}

void drive_open(struct drive *d, const char *spec)
{
	const struct apf_loop_hooks hooks = { .turn = no_turn, .pending = no_turn };

	d->running = 0;
	if (apf_loop_create(&hooks, &d->loop))
		fail_msg("loop: %s", apf_error());
	if (apf_store_open(spec, &d->store))
		fail_msg("%s: %s", spec, apf_error());
	assert_int_equal(apf_store_start(d->store, d->loop), 0);
}

void drive_close(struct drive *d)
{
	apf_store_close(d->store);
	apf_loop_destroy(d->loop);
}

static void ended(struct apf_io *io, int res)
{
	struct request *r = apf_container_of(io, struct request, io);

	r->res = res;
	r->ended_ns = apf_clock_ns();
	snprintf(r->error, sizeof(r->error), "%s", io->error ? io->error : "");
	if (!--r->drive->running)
		apf_loop_stop(r->drive->loop);
}

void drive_run(struct drive *d, struct request *r, unsigned int n)
{
	d->running = n;
	for (unsigned int i = 0; i < n; i++) {
		r[i].drive = d;
		r[i].io.done = ended;
		r[i].began_ns = apf_loop_now(d->loop);
		d->store->ops->submit(d->store, &r[i].io);
		r[i].timer_ns = r[i].io.timer.deadline_ns - r[i].began_ns;
	}
	assert_int_equal(d->running, n);	/* nothing ends inside submit */
	apf_loop_run(d->loop);
	assert_int_equal(d->running, 0);
}

int drive_read(struct drive *d, uint64_t page, uint32_t pages, void *buf, struct request *r)
{
	memset(r, 0, sizeof(*r));
	r->io.offset = page * APF_PAGE_SIZE;
	r->io.len = pages * APF_PAGE_SIZE;
	r->io.buf = buf;
	drive_run(d, r, 1);
	return r->res;
}

int make_file(const char *dir, char *path, const void *bytes, size_t len)
{
	int fd;

	snprintf(path, 64, "%s/apf-store-XXXXXX", dir);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	return fd;
}
