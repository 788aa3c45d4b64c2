/* SPDX-License-Identifier: MIT */
/* The sentence beside the error code, one per thread. */
#include <stdarg.h>
#include <stdio.h>

#include <apf/error.h>

static _Thread_local char text[512];

const char *apf_error(void)
{
	return text;
}

int apf_error_set(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err;
}
