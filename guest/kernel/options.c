/* SPDX-License-Identifier: MIT */
/* The command line: words of the form name=value; those of others are skipped. */
#include "kernel.h"

struct options option = {
	.tasks = 16, .pages = 64, .seed = 1, .vector = 0xf3, .slice_us = 10000, .tick_us = 1000,
	.stuck_ms = 500, .sleep_us = 1000, .chunk = 1, .busy = 1, .region = 1,
	.abi = ABI_AUTO, .mode = MODE_TOUCH,
};

static const char *const abi_names[] = {
	[APF_GUEST_OFF] = "off",
	[APF_GUEST_X86_2010] = "2010",
	[APF_GUEST_X86_RFC] = "rfc",
	[APF_GUEST_X86_INT] = "int",
	[APF_GUEST_ARM64_ABORT] = "arm1",
	[APF_GUEST_ARM64_INT] = "arm2",
	[ABI_AUTO] = "auto",
};

static const char *const mode_names[MODE_COUNT] = {
	[MODE_FILL] = "fill",
	[MODE_TOUCH] = "touch",
	[MODE_RANDOM] = "random",
	[MODE_WRITE] = "write",
	[MODE_SLEEP] = "sleep",
	[MODE_WORK] = "work",
	[MODE_PIPE] = "pipe",
	[MODE_SHARED] = "shared",
	[MODE_KERNEL] = "kernel",
	[MODE_ATOMIC] = "atomic",
	[MODE_SHADOW] = "shadow",
	[MODE_IRQ_OFF] = "irqoff",
	[MODE_BUSY] = "busy",
	[MODE_REGION] = "region",
};

static const char *const bad_names[] = {
	[BAD_NONE] = "none",
	[BAD_NOACK] = "noack",
	[BAD_STORM] = "storm",
	[BAD_GARBAGE] = "garbage",
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* A number has a least and a most; a word is one of those in names. */
static const struct {
	const char *name;
	uint64_t *value;
	uint64_t least, most;
	const char *const *names;
} known[] = {
	{ "tasks=", &option.tasks, 1, MAX_TASKS, NULL },
	{ "pages=", &option.pages, 1, 1 << 20, NULL },
	{ "chunk=", &option.chunk, 1, 512, NULL },
	{ "worker=", &option.worker, 0, 1, NULL },
	{ "seed=", &option.seed, 0, UINT64_MAX, NULL },
	{ "cpus=", &option.cpus, 0, MAX_CPUS, NULL },
	{ "vector=", &option.vector, 0x50, 0xfe, NULL },
	{ "slice_us=", &option.slice_us, 100, 10000000, NULL },
	{ "tick_us=", &option.tick_us, 100, 10000000, NULL },
	{ "stuck_ms=", &option.stuck_ms, 10, 1000000, NULL },
	{ "sleep_us=", &option.sleep_us, 0, 1000000000, NULL },
	{ "always=", &option.always, 0, 1, NULL },
	{ "xapic=", &option.xapic, 0, 1, NULL },
	{ "busy=", &option.busy, 0, 1, NULL },
	{ "region=", &option.region, 0, 1, NULL },
	{ "auto=", &option.automatic, 0, 1, NULL },
	{ "abi=", &option.abi, 0, LENGTH(abi_names) - 1, abi_names },
	{ "mode=", &option.mode, 0, LENGTH(mode_names) - 1, mode_names },
	{ "bad=", &option.bad, 0, LENGTH(bad_names) - 1, bad_names },
};

const char *abi_name(uint64_t abi)
{
	return abi_names[abi];
}

const char *mode_name(uint64_t mode)
{
	return mode_names[mode];
}

/* Does the word at text (up to a space or the end) say this? */
static bool word_is(const char *text, const char *name)
{
	const char *rest = str_after(text, name);

	return rest && (!*rest || *rest == ' ');
}

enum mode mode_find(const char *name)
{
	uint32_t mode = 0;

	while (mode < MODE_COUNT && !word_is(name, mode_names[mode]))
		mode++;
	return mode;
}

static void read_value(const char *at, size_t i)
{
	uint64_t value = 0;

	if (!known[i].names)
		value = str_number(&at, 10);
	else
		while (value <= known[i].most &&
		       (!known[i].names[value] || !word_is(at, known[i].names[value])))
			value++;
	if (value < known[i].least || value > known[i].most)
		die(known[i].name);
	*known[i].value = value;
}

void options_read(const char *cmdline)
{
	for (const char *at = cmdline; *at; at++) {
		if (at != cmdline && at[-1] != ' ')
			continue;
		for (size_t i = 0; i < LENGTH(known); i++)
			if (str_after(at, known[i].name))
				read_value(str_after(at, known[i].name), i);
	}
}
