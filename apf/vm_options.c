/* SPDX-License-Identifier: MIT */
/* The options that `run` and `restore` have in common. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

/* One escape sequence behind the backslash at *p; moves *p behind it. -1: unknown. */
static int escape(const char **p)
{
	static const char from[] = "ntr0\\", to[] = "\n\t\r\0\\";
	char hex[3] = "";
	const char *at;
	char c = *(*p)++;

	if (c == 'x' && isxdigit((unsigned char)(*p)[0]) && isxdigit((unsigned char)(*p)[1])) {
		memcpy(hex, *p, 2);
		*p += 2;
		return (int)strtol(hex, NULL, 16);
	}
	at = c ? strchr(from, c) : NULL;
	return at ? to[at - from] : -1;
}

int unescape(const char *text, char **out, size_t *len)
{
	char *to = malloc(strlen(text) + 1);

	if (!to)
		return -ENOMEM;
	*out = to;
	while (*text) {
		int c = (unsigned char)*text++;

		if (c == '\\')
			c = escape(&text);
		if (c < 0) {
			free(*out);
			*out = NULL;
			return -EINVAL;
		}
		*to++ = (char)c;
	}
	*len = (size_t)(to - *out);
	return 0;
}

static int option_input(struct vm_options *o, const char *arg, const char *command)
{
	free(o->input);
	o->input = NULL;
	if (unescape(arg, &o->input, &o->input_len))
		return usage_error(command, "--input '%s': escapes are \\n \\t \\r \\0 \\\\ \\xHH",
				   arg);
	return 0;
}

static int option_mark(struct vm_options *o, const char *arg, const char *command)
{
	if (o->nr_marks == MARKS_MAX)
		return usage_error(command, "--mark: at most %u", MARKS_MAX);
	o->marks[o->nr_marks++] = arg;
	return 0;
}

static int option_halt(struct vm_options *o, const char *arg, const char *command)
{
	if (strcmp(arg, "auto") && strcmp(arg, "wait"))
		return usage_error(command, "--halt '%s': expected auto or wait", arg);
	o->halt = strcmp(arg, "auto") ? APF_HALT_WAIT : APF_HALT_AUTO;
	return 0;
}

static int option_abi(struct vm_options *o, const char *arg, const char *command)
{
	char names[64] = "";
	const char *name;

	for (o->abi = 1; (name = apf_abi_name(o->abi)); o->abi++) {
		if (!vmm_snapshot_machine_has_abi(vmm_machine.kind, o->abi))
			continue;
		if (!strcmp(arg, name))
			return 0;
		strcat(strcat(names, " "), name);
	}
	return usage_error(command, "--abi '%s': guests of an %s machine are offered one of:%s", arg,
			   vmm_snapshot_machine_name(vmm_machine.kind), names);
}

int vm_option(struct vm_options *o, int c, const char *arg, const char *command)
{
	switch (c) {
	case OPT_DELIVERY:
		o->has_delivery = true;
		return parse_delivery(command, arg, &o->delivery);
	case OPT_ABI:
		return option_abi(o, arg, command);
	case OPT_CONTROL:
		o->control = arg;
		return 0;
	case OPT_SERIAL:
		o->serial = arg;
		return 0;
	case OPT_INPUT:
		return option_input(o, arg, command);
	case OPT_MARK:
		return option_mark(o, arg, command);
	case OPT_UNTIL:
		if (!*arg)
			return usage_error(command, "--until: expected a text");
		o->until = arg;
		return 0;
	case OPT_JSON:
		o->json = arg;
		return 0;
	case OPT_HALT:
		return option_halt(o, arg, command);
	case OPT_TIMEOUT:
		return parse_seconds(command, "--timeout", arg, &o->timeout_ns);
	}
	return 1;
}

void vm_options_finish(struct vm_options *o)
{
	if (!o->nr_marks)
		o->marks[o->nr_marks++] = "@apf ";
	if (!o->serial)
		o->serial = "-";
}

uint64_t vm_options_end(const struct vm_options *o, uint64_t start_ns)
{
	return o->timeout_ns ? start_ns + o->timeout_ns : UINT64_MAX;
}
