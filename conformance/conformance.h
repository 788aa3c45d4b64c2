/* SPDX-License-Identifier: MIT */
/*
 * apf-conformance: what its files share. A check is a short play: it runs the test
 * kernel in VMs of one host implementation, talks to it through its console, and says
 * of rows of docs/protocol.md what it has seen. A row passes if a check has seen
 * it hold and none has seen it broken.
 */
#ifndef CONFORMANCE_CONFORMANCE_H
#define CONFORMANCE_CONFORMANCE_H

#include <cli/cli.h>

struct conf;
struct conf_vm;
struct conf_setup;
struct apf_store;
struct apf_mem;

/* A generation of the protocol as a host offers it to a guest that chose it. */
struct conf_generation {
	const char *name;	/* of --abi */
	enum apf_abi_id abi;
	char letter;		/* of its own rows */
	bool in_kernel;		/* KVM has an implementation, too */
	const char *words;	/* for the test kernel's command line */
	uint32_t (*cpu_of)(uint32_t token);
};

struct conf_check {
	const char *rows;	/* that it looks at, blanks between */
	unsigned int generations;	/* bit n: conf_generations[n] */
	void (*run)(struct conf *c);
	bool inside;		/* it takes the place of the VMM: saves, reads the VM's state */
};

/* Of the processor; both end with a zeroed element. */
extern const struct conf_generation conf_generations[];
extern const struct conf_check conf_checks[];
extern const uint64_t conf_ram_start;	/* guest-physical address of RAM */
extern const char conf_kernel_file[];
extern const uint32_t conf_idle_state;	/* KVM's mp_state of a vCPU that waits for interrupts */
/* Make the guest, whose APF is enabled, enable it once more, and let pages come. */
void conf_enable_again(struct conf_vm *vm);
/* Where ready is an interrupt: ask the host to look for another one. */
void conf_acknowledge(struct conf_vm *vm);

/* --- rows.c --- */

struct conf_row {
	const char *id;
	const char *what;	/* is seen when it passes */
	const char *unseen;	/* why it cannot be seen from here, and what shows it instead */
	const char *differs;	/* what KVM's own does otherwise, and why that is no failure here */
};

extern const struct conf_row conf_rows[];	/* ends with a zeroed element */
#define CONF_ROWS_MAX 64u

/* --- findings.c --- */

enum conf_verdict { CONF_UNSEEN, CONF_PASS, CONF_FAIL, CONF_DIFFERS };

/* The kernel at rest, from which VMs are restored. */
struct conf_saved {
	const char *words;
	unsigned int cpus, tasks, pages;
	uint64_t kernel_end, user_start;	/* guest-physical */
	char dir[256];
};
#define CONF_SAVED_MAX 12u

/* Of the tasks, in the host's pages. */
struct conf_pages {
	uint32_t in_flight, most;	/* on their way now, and the most at once */
	uint64_t fetched;		/* since the start */
};

/*
 * How one has VMs with the test kernel: in this process, or another VMM's. What fails
 * returns a negative errno, with apf_error where there is more to say.
 */
struct conf_host {
	bool inside;		/* VMs are in this process */
	/* Start one with all memory there. words: the kernel's command line. */
	int (*boot)(struct conf_vm *vm, const struct conf_setup *setup, const char *words);
	/* conf_restore; makes trouble itself. */
	void (*restore)(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup);
	/* From now on pages come, if setup->held has kept them away. */
	void (*release)(struct conf_vm *vm);
	int (*input)(struct conf_vm *vm, const char *text, size_t len);
	/* Has it ended, and how? False: it runs. */
	bool (*ended)(struct conf_vm *vm, char *how, size_t size);
	struct conf_pages (*pages)(struct conf_vm *vm);
	/* Take all vCPUs out of the guest, and let them go on. */
	void (*interrupt)(struct conf_vm *vm);
	void (*end)(struct conf_vm *vm);
};

extern const struct conf_host conf_host_vmm, conf_host_command;

/* A host implementation under test. */
struct conf {
	const struct conf_host *host;
	char *const *command;		/* of conf_host_command: the VMM's */
	const struct conf_generation *gen;
	enum apf_delivery delivery;
	const char *kernel;
	const char *rows;		/* wanted, as of --rows; NULL: all */
	unsigned int chunk;		/* the guest's pages in one of the host's, which come together */
	unsigned int cpus;		/* of VMs with several */
	uint64_t timeout_ns;		/* for an answer of the guest */
	bool emulated;			/* privileged code does not run on the processor */
	bool again;			/* the state that the check is about did not come about */
	char dir[200];			/* for snapshots */
	struct conf_saved saved[CONF_SAVED_MAX];
	unsigned int nr_saved, nr_dirs;
	char trouble[256];		/* why the check cannot go on; "": it can */
	struct {
		enum conf_verdict verdict;
		char why[256];
	} found[CONF_ROWS_MAX];
};

/* What was seen of these rows; the first thing that does not hold is kept. */
void conf_expect(struct conf *c, const char *rows, bool holds, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* They cannot be seen here. */
void conf_unseen(struct conf *c, const char *rows, const char *why);
/* The check cannot go on: its rows fail with this text. The first one counts. */
void conf_trouble(struct conf *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool conf_is_user(const struct conf *c);
/* At a check's end: fail its rows if there was trouble. */
void conf_take_trouble(struct conf *c, const char *rows);
/* Is id one of the words of a list? */
bool conf_listed(const char *list, const char *id, char separator);
/* Is this row one of its generation, and wanted? */
bool conf_asks_for(const struct conf *c, const char *id);

/* --- main.c --- */

/*
 * A file that belongs to this program, in one of these folders, which are relative to its own. NULL: in
 * neither.
 */
const char *conf_find(char *path, size_t size, const char *built, const char *installed, const char *name);

/* --- report.c --- */

struct conf_report {
	FILE *out;
	bool tap;
	unsigned int number;		/* of the last TAP line */
	unsigned int failed;		/* rows */
	struct json_object *variants;	/* an array that grows */
};

void conf_report(struct conf_report *r, const struct conf *c);

/* --- vm.c and console.c: one VM at a time, with the test kernel in it --- */

struct conf_setup {
	unsigned int tasks, pages;	/* pages of each task, as the host's */
	const char *words;		/* more of its command line; NULL: none */
	unsigned int cpus;
	uint64_t latency_ns;		/* of every page */
	bool held;			/* none comes before conf_release */
	bool last_is_lost;		/* the last task's first page never comes */
	uint32_t max_outstanding;
};

struct conf_vm {
	struct conf *c;
	struct vmm *vm;			/* host_vmm.c's */
	struct apf_store *gate;
	struct conf_command *command;	/* host_command.c's */
	bool held;			/* pages are, so that the guest may stand still */
	int out[2];			/* a pipe: the console's lines */
	char text[8192], line[4200];
	size_t len;			/* of text */
	struct conf_saved at;		/* what its kernel said of itself */
	uint64_t preloaded;		/* pages */
	uint32_t open_at_answer;	/* faults outstanding when conf_ask_and_release heard it (mode user) */
};

/*
 * Boot the kernel with all of its memory there, or run it from a snapshot of that, with
 * only the kernel's own memory there. From here on a call that fails makes conf_trouble,
 * after which all are without effect. vm is to be ended in any case.
 */
void conf_boot(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup);
void conf_restore(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup);
void conf_end(struct conf_vm *vm);
/* For a host's restore: begin with an empty vm; make trouble of an error. Return the error. */
int conf_begin(struct conf *c, struct conf_vm *vm);
int conf_take_error(struct conf_vm *vm, int err);
/* Let pages come that setup->held keeps away. */
void conf_release(struct conf_vm *vm);
/*
 * For going round while the guest gets somewhere: false after the timeout, with trouble about `what`. While
 * pages are held that is short and sets c->again: a vCPU that could not be told of its page waits for it
 * outside of the guest, and so do we.
 */
bool conf_still(struct conf_vm *vm, uint64_t since, const char *what);

/* Give a line to the guest; wait for one that starts with `answer`, "" if there is none. */
void conf_say(struct conf_vm *vm, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *conf_hear(struct conf_vm *vm, const char *answer);
const char *conf_ask(struct conf_vm *vm, const char *answer, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * The same of what wakes tasks: they may meet their pages again and keep the only CPU there, so that
 * pages come as soon as there is an answer, or has been none for a while.
 */
const char *conf_ask_and_release(struct conf_vm *vm, const char *answer, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The number behind " name=" in a line, decimal or 0x; 0 if it is not there. */
uint64_t conf_number(const char *line, const char *name);
void conf_sleep(uint64_t ns);
/* Wait until the VM has ended by itself. */
void conf_wait_end(struct conf_vm *vm);

/* --- host_vmm.c: where c->host->inside --- */

/* conf_restore from another snapshot, of a VM restored with these words, in another mode. */
void conf_restore_from(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup,
		       const char *dir, enum apf_delivery delivery);
/* Save the VM in a new folder and end it; mp_states gets KVM's for each vCPU, room for 8. */
void conf_save(struct conf_vm *vm, char dir[256], uint32_t *mp_states);
/* Remove all snapshots and c->dir. */
void conf_remove_saved(struct conf *c);

/* --- gate.c: the filter "gate", which keeps pages away --- */

int conf_gate_register(void);
/* While nothing is on its way. */
void conf_gate_hold(struct apf_store *gate);
void conf_gate_release(struct apf_store *gate, struct apf_mem *mem);

/* --- counts.c --- */

struct conf_counts {
	uint64_t np, slept, ready, woken, broadcasts, rejected;
};
/* The guest's counts. */
struct conf_counts conf_counts(struct conf_vm *vm);
/* The host's; zeroes where it is KVM. */
struct apf_vcpu_stats conf_host(struct conf_vm *vm);
uint64_t conf_blocked(struct conf_vm *vm);	/* interrupts that the APIC did not take */
/* The host's pages on their way, or the most at once; those that came since the start. */
uint32_t conf_in_flight(struct conf_vm *vm, bool most);
uint64_t conf_fetched(struct conf_vm *vm);

/* What the tokens of all notifications since the last call say. */
struct conf_tokens {
	unsigned int np, ready, all;	/* notifications */
	unsigned int stray;		/* readies that answer no NP */
	unsigned int open;		/* NPs without an answer, a wake-all being one */
	unsigned int twice;		/* NPs with a token that was in use */
	unsigned int odd;		/* tokens that are none, or another CPU's */
	unsigned int most;		/* NPs open at once */
};
struct conf_tokens conf_tokens(struct conf_vm *vm);

/* --- common.c and saved.c --- */

/* Run a job in this mode to its end. Expects right data of these rows. */
struct conf_counts conf_job(struct conf_vm *vm, const char *rows, const char *mode);
/* Let pages come, and the job that was started to its end. */
struct conf_counts conf_finish(struct conf_vm *vm, const char *rows);
/* The same of tasks that were seen asleep: each has had one ready since. */
void conf_finish_told(struct conf_vm *vm, const char *rows, const struct conf_counts *asleep);
/* Start a job whose pages are held and wait until every task sleeps for its own. */
struct conf_counts conf_start(struct conf_vm *vm);
/* Start a job whose pages are held, in which the console may be dead, and wait for so many fetches. */
void conf_start_blind(struct conf_vm *vm, const char *mode, uint32_t pages);
/* Let pages come, wait until all that were asked for are here, and give the guest time to be told. */
void conf_pages_came(struct conf_vm *vm);
/*
 * The token word was made CONF_OLD_TOKEN, as by a ready that the guest has not taken: wait until
 * all pages have come, acknowledge, and see that no ready came and the word stays.
 */
#define CONF_OLD_TOKEN	0x7f0000u
void conf_expect_token_stays(struct conf_vm *vm, const char *rows,
			     const struct conf_counts *asleep);
/* Wait for one more wake-all than `before`, if one comes. */
struct conf_counts conf_broadcast(struct conf_vm *vm, const struct conf_counts *before);

/*
 * What holds in every job of a guest that keeps to the protocol, by the notifications since
 * the last call of conf_tokens; `more` rows hold if there were some, and all were right.
 */
struct conf_tokens conf_answers(struct conf_vm *vm, const struct conf_counts *n, const char *more);
/* A job in which the guest must not hear anything. */
void conf_silence(struct conf_vm *vm, const char *rows, const char *when);
/*
 * The kernel touches the tasks' pages in this mode and, by these rows, gets no NP. served:
 * interrupts are, so that the timer takes the CPU to other tasks meanwhile.
 */
void conf_touch_privileged(struct conf *c, const char *rows, const char *mode, const char *words,
			   bool served);

void conf_check_touch(struct conf *c);
void conf_check_cpus(struct conf *c);
void conf_check_shared(struct conf *c);
void conf_check_privileged(struct conf *c);
void conf_check_full(struct conf *c);
void conf_check_off(struct conf *c);
void conf_check_area_taken(struct conf *c);
void conf_check_ready_held(struct conf *c);
void conf_check_wake_all(struct conf *c);
void conf_check_saved(struct conf *c);
void conf_check_halt_saved(struct conf *c);
void conf_check_paused(struct conf *c);
void conf_check_lost(struct conf *c);

#endif
