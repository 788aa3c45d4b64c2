/* SPDX-License-Identifier: MIT */
/* Parsing of a command line, with messages that name the option and what it takes. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <apf/error.h>

#include "cli.h"

static void say(const char *command, const char *fmt, va_list args)
{
	fprintf(stderr, "%s%s%s: ", program_invocation_short_name, command ? " " : "",
		command ? command : "");
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
}

int usage_error(const char *command, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(command, fmt, args);
	va_end(args);
	fprintf(stderr, "Try `%s%s%s --help`.\n", program_invocation_short_name, command ? " " : "",
		command ? command : "");
	return EXIT_USAGE;
}

int error(const char *command, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(command, fmt, args);
	va_end(args);
	return EXIT_ERROR;
}

int failed(const char *command, int err)
{
	return error(command, "%s", *apf_error() ? apf_error() : strerror(-err));
}

int parse_number(const char *command, const char *option, const char *text, uint64_t min,
		 uint64_t max, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || *value < min || *value > max)
		return usage_error(command, "%s '%s': expected a number from %llu to %llu", option,
				   text, (unsigned long long)min, (unsigned long long)max);
	return 0;
}

int parse_seconds(const char *command, const char *option, const char *text, uint64_t *ns)
{
	char *end;
	double s = strtod(text, &end);

	if (!isdigit((unsigned char)*text) || *end || !(s > 0) || s > 1e9)
		return usage_error(command, "%s '%s': expected a number of seconds", option, text);
	*ns = (uint64_t)(s * 1e9);
	return 0;
}

int parse_delivery(const char *command, const char *arg, enum apf_delivery *delivery)
{
	if (vmm_delivery_parse(arg, delivery))
		return usage_error(command, "--delivery '%s': not sync, kernel or user", arg);
	if (*delivery == APF_DELIVERY_KERNEL && !vmm_machine.kernel_delivery)
		return usage_error(command, "--delivery kernel: on %s KVM has no asynchronous page faults "
				   "of its own; use sync or user",
				   vmm_snapshot_machine_name(vmm_machine.kind));
	return 0;
}

int next_option(int argc, char **argv, const struct option *longs, const char *command)
{
	int at = optind ? optind : 1, c;

	opterr = 0;
	c = getopt_long(argc, argv, ":h", longs, NULL);
	if (c == ':') {
		usage_error(command, "%s needs a value", argv[optind - 1]);
		return '?';
	}
	/* A short option that is unknown stays under optind while others are packed behind it. */
	if (c == '?')
		usage_error(command, "unknown option '%s'", argv[optind > at ? optind - 1 : at]);
	return c;
}
