/* SPDX-License-Identifier: MIT */
/* apf: what its commands share. */
#ifndef APF_COMMANDS_H
#define APF_COMMANDS_H

#include <cli/cli.h>

struct session;

/* The subcommands. start_ns: CLOCK_MONOTONIC at the start of main. Return the exit code. */
int cmd_doctor(int argc, char **argv, uint64_t start_ns);
int cmd_run(int argc, char **argv, uint64_t start_ns);
int cmd_snapshot(int argc, char **argv, uint64_t start_ns);
int cmd_restore(int argc, char **argv, uint64_t start_ns);

/* --- vm_options.c --- */

#define MARKS_MAX 16u

/* Options that `run` and `restore` have in common. Texts point into argv but for input. */
struct vm_options {
	enum apf_delivery delivery;
	bool has_delivery;	/* it was given */
	enum apf_abi_id abi;	/* 0: not given */
	enum apf_halt halt;
	const char *control, *serial, *json, *until;
	const char *marks[MARKS_MAX];
	unsigned int nr_marks;
	char *input;		/* unescaped; free it */
	size_t input_len;
	uint64_t timeout_ns;
};

enum {
	OPT_DELIVERY = 256, OPT_CONTROL, OPT_SERIAL, OPT_INPUT, OPT_MARK, OPT_UNTIL, OPT_JSON,
	OPT_HALT, OPT_TIMEOUT, OPT_ABI, OPT_LATENCY, OPT_TRACE, OPT_PRELOAD, OPT_RECORD,
	OPT_OWN,		/* a command's own numbers start here */
};

#define VM_LONG_OPTIONS							\
	{ "delivery", required_argument, NULL, OPT_DELIVERY },		\
	{ "abi", required_argument, NULL, OPT_ABI },			\
	{ "control", required_argument, NULL, OPT_CONTROL },		\
	{ "serial", required_argument, NULL, OPT_SERIAL },		\
	{ "input", required_argument, NULL, OPT_INPUT },		\
	{ "mark", required_argument, NULL, OPT_MARK },			\
	{ "until", required_argument, NULL, OPT_UNTIL },		\
	{ "json", required_argument, NULL, OPT_JSON },			\
	{ "halt", required_argument, NULL, OPT_HALT },			\
	{ "timeout", required_argument, NULL, OPT_TIMEOUT }

#define VM_OPTIONS_HELP									\
	"  --control SOCKET   serve `apf snapshot` on this socket\n"			\
	"  --serial FILE|-    where the guest's serial output goes (default -: stdout,\n"	\
	"                     or stderr if the JSON goes to stdout)\n"			\
	"  --input TEXT       what the guest reads from its serial port; \\n, \\t, \\xHH\n"	\
	"  --mark PREFIX      time-stamp serial lines that start so (default \"@apf \";\n"	\
	"                     may be repeated)\n"					\
	"  --until TEXT       stop the VM when a serial line contains TEXT\n"		\
	"  --json FILE|-      write the numbers of the run as JSON\n"			\
	"  --halt auto|wait   how a vCPU waits for a page that the guest cannot be told of:\n"	\
	"                     halted, so that interrupts are served (auto), or outside the\n"	\
	"                     guest (wait; for several vCPUs on emulated hardware)\n"		\
	"  --timeout SECONDS  end the VM after this time (exit code 5)\n"

#define VM_EXIT_CODES_HELP								\
	"Exit codes: 0 powered off, stopped, or --until seen; 1 error; 2 usage; 3 the guest\n"	\
	"reset; 4 it crashed; 5 time was up; 6 a page was lost for good. A guest that writes V\n" \
	"to the debug-exit register (x86: port 0xf4, arm64: 0x9010000) ends with QEMU's code,\n" \
	"V * 2 + 1, from V = 3 on; 0, 1, 2 give 8, 10, 12. The JSON has V.\n"

/*
 * Take one of VM_LONG_OPTIONS. 0; 1: not one of them; EXIT_USAGE after a message that
 * names the option.
 */
int vm_option(struct vm_options *o, int c, const char *arg, const char *command);
/* What was not given gets its default. */
void vm_options_finish(struct vm_options *o);
/* When a command that began at start_ns must end, for ending_start. */
uint64_t vm_options_end(const struct vm_options *o, uint64_t start_ns);

/* "\n", "\t", "\r", "\\", "\0", "\xHH" to bytes. 0, -EINVAL or -ENOMEM; *out is to be freed. */
int unescape(const char *text, char **out, size_t *len);

/* --- paging.c --- */

/* Options of VMs whose memory is fetched: of `restore` and `run --lazy`. */
struct paging_options {
	const char *latency, *trace, *preload, *record;		/* NULL: not given */
};

#define PAGING_LONG_OPTIONS						\
	{ "latency", required_argument, NULL, OPT_LATENCY },		\
	{ "trace", required_argument, NULL, OPT_TRACE },		\
	{ "preload", required_argument, NULL, OPT_PRELOAD },		\
	{ "record", required_argument, NULL, OPT_RECORD }

#define PAGING_OPTIONS_HELP								\
	"  --latency D        every fetch takes D longer: 20ms, 500us (a latency filter in front)\n" \
	"  --trace FILE       write what happened as Chrome trace JSON: opens in ui.perfetto.dev\n" \
	"  --record FILE      at the end write the list of all pages that were fetched\n"	\
	"  --preload FILE     before the start fetch the pages of such a list, all at once\n"

#define PAGING_REPORT_HELP								\
	"At the end the numbers of the run are printed to stderr, each with what it is; with\n"	\
	"--json they are written as JSON instead.\n"

/* Take one of PAGING_LONG_OPTIONS; as vm_option. */
int paging_option(struct paging_options *p, int c, const char *arg, const char *command);

/*
 * Run a VM whose memory comes from the store of this specification, to its end: create it,
 * fetch what is to be there, have load(vm, what) fill in the rest (0 or negative errno), start.
 * The delivery is chosen if the options do not say it. Returns the exit code.
 */
int paging_run(const struct paging_options *p, struct session *s, struct vmm_config *cfg,
	       const char *spec, int (*load)(struct vmm *vm, const void *what), const void *what);

/* --- ending.c --- */

/*
 * From now on signals and the time (CLOCK_MONOTONIC; UINT64_MAX: none) end the process within a
 * second, whatever it does. Before any other thread is created. 0 or EXIT_ERROR after a message.
 */
int ending_start(const char *command, uint64_t end_ns);
/* This VM has been started: it is asked to end first. It must live until ending_stop. */
void ending_of(struct vmm *vm);
/* From now on signals do what they do to any process. May be called again. */
void ending_stop(void);

/* --- snapshot_show.c: return the exit code --- */

int snapshot_show(const char *dir, bool json);
int snapshot_verify(const char *dir);

/* --- session.c --- */

struct session {
	const struct vm_options *options;
	const char *command;
	uint64_t start_ns;
	bool lazy;		/* memory is fetched when it is touched: worth a report */
	const struct vmm_snapshot *snapshot;	/* that is restored, or NULL */
	uint64_t preloaded;	/* pages fetched before the start */
	int serial_fd;
};

/* Open the serial output. 0 or EXIT_ERROR. */
int session_open(struct session *s, const struct vm_options *o, const char *command,
		 uint64_t start_ns);
/*
 * Can the file be written that an option (NULL: not given) names? At the start, so that nobody
 * finds out at the end. 0 or EXIT_ERROR after a message.
 */
int session_output(const char *command, const char *option, const char *path);
/* The part of a VM's configuration that follows from the options. */
void session_config(const struct session *s, struct vmm_config *cfg);
/* Run a VM that is ready to start until it ends, and report. Returns the exit code. */
int session_run(struct session *s, struct vmm *vm, struct apf_store *store);
struct kvm_counts;
struct stalls;
/*
 * Say how a VM ended, and its numbers if they are wanted. threads: -1 if unknown; stalls: NULL if
 * it never ran. Returns the exit code.
 */
int session_report(const struct session *s, struct vmm *vm, struct apf_store *store,
		   const struct kvm_counts *counts, int64_t threads, const struct stalls *stalls);
void session_close(struct session *s);

/* --- report.c --- */

/* The JSON object of a run. */
struct json_object *report_run(struct vmm *vm, const struct session *s, uint64_t end_ns,
			       int64_t threads, const struct kvm_counts *counts,
			       struct json_object *stores);
/* Statistics of the store's layers that keep some, or NULL. The VM's pager must be alive. */
struct json_object *report_stores(struct vmm *vm, struct apf_store *store);
/* Print a run for people: one number a line, with what it is. Takes the object over. */
void report_print(struct json_object *o, FILE *f);
/* debug_exit: what the guest wrote, if it ended by that. */
int exit_code(enum vmm_end end, int64_t debug_exit);

/* --- kvm_counts.c --- */

/* What KVM's tracepoints say of all vCPUs of a VM; -1: cannot be known here. */
struct kvm_counts {
	int64_t np, ready, halts, broadcasts;
};
struct kvm_counter;
/* Start counting; NULL where the tracepoints cannot be used. The vCPUs stand still. */
struct kvm_counter *kvm_counter_open(struct vmm *vm);
/* Read and close; NULL gives all -1. */
void kvm_counter_close(struct kvm_counter *k, struct kvm_counts *out);

/* --- host_threads.c --- */

/*
 * Threads of this process plus kernel workers that fetch pages for KVM, now. -1 if
 * the kernel's part may not be looked at (it takes root).
 */
int64_t host_threads(void);

#endif
