/* SPDX-License-Identifier: MIT */
/* The command lines: what the programs share. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <apf/kvm.h>

#include <vmm/vmm.h>

struct json_object;

/* Exit codes; part of the interface. A guest's own (exit_code) are none of these. */
enum {
	EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_RESET, EXIT_CRASH, EXIT_TIMEOUT, EXIT_PAGE_LOST,
};

/* --- options.c: command is the subcommand, NULL where the program has none --- */

/* Numbers with messages: 0 or EXIT_USAGE. */
int parse_number(const char *command, const char *option, const char *text, uint64_t min,
		 uint64_t max, uint64_t *value);
int parse_seconds(const char *command, const char *option, const char *text, uint64_t *ns);
/* One that this machine has. 0 or EXIT_USAGE after a message. */
int parse_delivery(const char *command, const char *text, enum apf_delivery *delivery);

/*
 * The next option of `command`, as getopt_long would return it, -1 at the end, or '?'
 * after a message and a hint.
 */
int next_option(int argc, char **argv, const struct option *longs, const char *command);

/* Print "PROGRAM COMMAND: ..." and where help is. Returns EXIT_USAGE. */
int usage_error(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Print "PROGRAM COMMAND: ..." to stderr. Returns EXIT_ERROR. */
int error(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same with apf_error(), or what this negative errno means if there is none. */
int failed(const char *command, int err);

/* --- signals.c --- */

/* SIGINT, SIGTERM, SIGHUP. */
sigset_t signals_that_end(void);
/* Call before anything creates a thread: they are taken where the program looks for them. */
void block_signals(void);

/* --- json.c --- */

/* Write an object to a file or, for "-", stdout. 0 or -errno. Takes the object over. */
int json_write(struct json_object *o, const char *path);
/* A member of an object; false and "?" if there is none. */
bool member_is_true(struct json_object *o, const char *key);
const char *member_text(struct json_object *o, const char *key);

/* --- kvm_speed.c --- */

struct kvm_speed {
	double ns_native, ns_ring0, ns_ring3;	/* of one turn of the same loop */
};
/* Time a loop in a tiny VM and natively. 0 or negative errno + apf_error. Takes some 50 ms. */
int kvm_speed(int kvm_fd, struct kvm_speed *s);

#endif
