/* SPDX-License-Identifier: MIT */
/* The store of a machine that has just been switched on: every page is zero, as many as wanted. */
#include <errno.h>
#include <stdint.h>

#include <apf/error.h>

#include "store/builtin.h"

static int zero_open(struct apf_store *s, const char *arg)
{
	if (arg && *arg)
		return apf_error_set(-EINVAL, "store zero takes no argument, not \"%s\"", arg);
	s->size = (uint64_t)INT64_MAX & ~(uint64_t)(APF_PAGE_SIZE - 1);
	return 0;
}

static void zero_submit(struct apf_store *s, struct apf_io *io)
{
	apf_io_complete_later(s->loop, io, APF_IO_ZERO);
}

static void zero_close(struct apf_store *s)
{
}

const struct apf_store_ops apf_store_zero = {
	.version = APF_STORE_VERSION,
	.name = "zero",
	.open = zero_open,
	.submit = zero_submit,
	.close = zero_close,
};
