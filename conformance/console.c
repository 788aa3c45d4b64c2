/* SPDX-License-Identifier: MIT */
/* Talking to the test kernel, and waiting for it; see conformance.h. */
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conformance.h"

#define TICK_MS		50
#define STUCK_NS	3000000000ull
#define HELD_NS		5000000000ull

static bool told_to_end(void)
{
	const sigset_t ending = signals_that_end();
	sigset_t set;

	sigpending(&set);
	sigandset(&set, &set, &ending);
	return !sigisemptyset(&set);
}

void conf_sleep(uint64_t ns)
{
	const struct timespec t = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	nanosleep(&t, NULL);
}

bool conf_still(struct conf_vm *vm, uint64_t since, const char *what)
{
	struct conf *c = vm->c;
	const uint64_t limit = vm->held && HELD_NS < c->timeout_ns ? HELD_NS : c->timeout_ns;
	char how[160];

	if (*c->trouble)
		return false;
	if (c->host->ended(vm, how, sizeof(how)))
		conf_trouble(c, "the VM ended (%s) before %s", how, what);
	else if (told_to_end())
		conf_trouble(c, "interrupted");
	else if (vmm_now_ns() - since > limit) {
		c->again = vm->held;
		conf_trouble(c, "after %llu s there was no %s",
			     (unsigned long long)(limit / 1000000000u), what);
	}
	return !*c->trouble;
}

void conf_say(struct conf_vm *vm, const char *fmt, ...)
{
	char line[128];
	va_list args;
	int len;

	if (*vm->c->trouble)
		return;
	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line) - 1, fmt, args);
	va_end(args);
	line[len++] = '\n';
	if (vm->c->host->input(vm, line, (size_t)len))
		conf_trouble(vm->c, "the console takes no input");
}

/* Take the next complete line out of what has come. */
static bool next_line(struct conf_vm *vm)
{
	char *end = memchr(vm->text, '\n', vm->len);
	size_t len;

	if (!end)
		return false;
	len = (size_t)(end - vm->text);
	if (len >= sizeof(vm->line))
		len = sizeof(vm->line) - 1;
	memcpy(vm->line, vm->text, len);
	vm->line[len] = '\0';
	vm->len -= (size_t)(end + 1 - vm->text);
	memmove(vm->text, end + 1, vm->len);
	return true;
}

static void read_more(struct conf_vm *vm)
{
	struct pollfd out = { .fd = vm->out[0], .events = POLLIN };
	ssize_t n;

	if (vm->len == sizeof(vm->text))
		vm->len = 0;	/* the guest does not know lines */
	if (poll(&out, 1, TICK_MS) <= 0)
		return;
	n = read(vm->out[0], vm->text + vm->len, sizeof(vm->text) - vm->len);
	vm->len += n > 0 ? (size_t)n : 0;
}

/* A line that starts with `answer`, or "" when the time is up. */
static const char *hear(struct conf_vm *vm, const char *answer, uint64_t until)
{
	const uint64_t since = vmm_now_ns();

	while (!*vm->c->trouble && vmm_now_ns() < until) {
		while (next_line(vm)) {
			if (!strncmp(vm->line, answer, strlen(answer)))
				return vm->line;
			if (!strncmp(vm->line, "@apf panic", 10) || !strncmp(vm->line, "@apf error", 10))
				conf_trouble(vm->c, "the guest said \"%s\"", vm->line);
		}
		if (conf_still(vm, since, answer))
			read_more(vm);
	}
	return "";
}

const char *conf_hear(struct conf_vm *vm, const char *answer)
{
	return hear(vm, answer, UINT64_MAX);
}

const char *conf_ask(struct conf_vm *vm, const char *answer, const char *fmt, ...)
{
	char line[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	conf_say(vm, "%s", line);
	return conf_hear(vm, answer);
}

const char *conf_ask_and_release(struct conf_vm *vm, const char *answer, const char *fmt, ...)
{
	char line[128];
	va_list args;
	bool heard;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	conf_say(vm, "%s", line);
	heard = *hear(vm, answer, vmm_now_ns() + STUCK_NS);
	vm->open_at_answer = heard && conf_is_user(vm->c) ? conf_host(vm).outstanding : 0;
	conf_release(vm);
	return heard ? vm->line : conf_hear(vm, answer);
}

uint64_t conf_number(const char *line, const char *name)
{
	char key[32];
	const char *at;

	snprintf(key, sizeof(key), " %s=", name);
	at = strstr(line, key);
	return at ? strtoull(at + strlen(key), NULL, 0) : 0;
}

void conf_wait_end(struct conf_vm *vm)
{
	const uint64_t since = vmm_now_ns();

	while (vm->vm && vmm_ended(vm->vm) == VMM_RUNNING && conf_still(vm, since, "end of the VM"))
		read_more(vm);
}
