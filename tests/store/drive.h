/* SPDX-License-Identifier: MIT */
/* Drives a store on a loop in the test's own thread: submit some reads, run until all ended. */
#ifndef TESTS_STORE_DRIVE_H
#define TESTS_STORE_DRIVE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/loop.h"

struct drive {
	struct apf_loop *loop;
	struct apf_store *store;
	unsigned int running;
};

struct request {
	struct apf_io io;
	struct drive *drive;
	int res;
	uint64_t began_ns, ended_ns;
	uint64_t timer_ns;		/* what its timer was set to by submit, from began_ns on */
	char error[320];
};

/* Fails the test if the specification does not open. */
void drive_open(struct drive *d, const char *spec);
void drive_close(struct drive *d);

/* n reads of r[i].io.{offset,len,buf}, all submitted before the first can end. */
void drive_run(struct drive *d, struct request *r, unsigned int n);

/* One read; returns its result. */
int drive_read(struct drive *d, uint64_t page, uint32_t pages, void *buf, struct request *r);

/* A new file in dir with these bytes; path is filled in (at least 64 bytes). Returns its fd. */
int make_file(const char *dir, char *path, const void *bytes, size_t len);

#endif
