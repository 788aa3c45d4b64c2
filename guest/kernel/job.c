/* SPDX-License-Identifier: MIT */
/*
 * What the console says and is told, line by line as the Linux guest of the lab does
 * (lab/guest/workload.c), so that the same scripts drive both; docs/guest.md has
 * the list of commands. This file is the only task that uses the console.
 */
#include "kernel.h"

#define POLL_US 20000u

/* Of the tasks in user mode. */
static struct user_task **records;

static uint64_t job_began;	/* by the clock */
static bool helped;		/* APF was switched off because the job was stuck */

/* --- tasks --- */

/* The stack pointer is what a call to the entry would have left. */
static void enter_task(void *record)
{
	uintptr_t stack = (uintptr_t)record - sizeof(uint64_t);

	enter_user((uintptr_t)user_task_main, stack, (uintptr_t)record);
}

static void enter_worker(void *stack_end)
{
	enter_user((uintptr_t)user_worker_main, (uintptr_t)stack_end - sizeof(uint64_t), 0);
}

/* A task's record and its stack, below it, share a page that no other task touches. */
static struct user_task *new_record(void)
{
	char *page = memory_map_user(1);

	return memset(page + PAGE_SIZE - sizeof(struct user_task), 0, sizeof(struct user_task));
}

static void create_tasks(void)
{
	uint64_t number = 0;

	records = memory_take(option.tasks * sizeof(*records), sizeof(*records));
	user_job.seed = option.seed;
	user_job.pages = option.pages;
	for (; number < option.tasks; number++) {
		struct user_task *task = new_record();

		records[number] = task;
		task->data = memory_map_user(option.pages);
		task->first_page = number * option.pages;
		task->is_producer = !(number & 1);
		if (number & 1) {
			task->peer = records[number - 1];
			records[number - 1]->peer = task;
		}
	}
	for (number = 0; number < option.tasks; number++)
		task_create(TASK_NORMAL, enter_task, records[number]);
	if (option.worker)
		task_create(TASK_BACKGROUND, enter_worker,
			    (char *)memory_map_user(1) + PAGE_SIZE);
}

static void start_job(enum mode mode, uint64_t sleep_us)
{
	for (uint64_t i = 0; i < option.tasks; i++) {
		records[i]->filled = 0;
		records[i]->drained = 0;
	}
	user_job.mode = mode;
	user_job.sleep_us = sleep_us;
	user_job.worker_count = 0;
	user_job.started = 0;
	user_job.left = (uint32_t)option.tasks;
	__atomic_fetch_add(&user_job.number, 1, __ATOMIC_SEQ_CST);
	irq_off();
	sched_wake_word(&user_job.number);
	irq_on();
}

/* --- waiting for them --- */

static uint32_t tasks_left(void)
{
	return __atomic_load_n(&user_job.left, __ATOMIC_ACQUIRE);
}

static uint64_t progress(void)
{
	uint64_t bytes = 0;

	for (uint64_t i = 0; i < option.tasks; i++)
		bytes += records[i]->bytes;
	return bytes;
}

/* A guest that does not keep to the protocol loses wake-ups: switching APF off gives them back. */
static void help_if_stuck(uint64_t *seen, uint64_t *since)
{
	uint64_t now = clock_now(), bytes = progress();

	if (bytes != *seen) {
		*seen = bytes;
		*since = now;
	}
	if (!apf_misbehaves() || now - *since < clock_ticks(option.stuck_ms * 1000))
		return;
	put_number("@apf stuck left=", tasks_left());
	put("\n");
	apf_misbehave(false);
	apf_set_enabled(false);
	helped = true;
}

static void wait_for_tasks(void)
{
	uint64_t seen = 0, since = clock_now();
	uint32_t left;

	while ((left = tasks_left()) != 0) {
		uint64_t until = apf_misbehaves() ? clock_now() + clock_ticks(POLL_US) : 0;

		irq_off();
		sched_wait_word(&user_job.left, left, until);
		irq_on();
		help_if_stuck(&seen, &since);
	}
	apf_misbehave(false);
	if (helped)
		apf_set_enabled(true);
	helped = false;
}

/* --- reports --- */

static void put_counts(void)
{
	static const char *const names[APF_GUEST_EV_COUNT] = {
		[APF_GUEST_EV_NP] = " np=", [APF_GUEST_EV_SLEPT] = " slept=",
		[APF_GUEST_EV_HALTED] = " halts=", [APF_GUEST_EV_READY] = " ready=",
		[APF_GUEST_EV_WOKEN] = " woken=", [APF_GUEST_EV_BROADCAST] = " broadcasts=",
		[APF_GUEST_EV_EARLY] = " early=", [APF_GUEST_EV_EARLY_NP] = " ready_before_np=",
		[APF_GUEST_EV_RESTART] = " restarts=", [APF_GUEST_EV_REJECTED] = " rejected=",
	};

	uint64_t served = 0;

	put("@apf counts");
	for (uint32_t ev = 0; ev < APF_GUEST_EV_COUNT; ev++) {
		uint64_t sum = 0;

		for (uint32_t i = 0; i < nr_cpus; i++)
			sum += cpus[i].counts[ev];
		put_number(names[ev], sum);
	}
	for (uint32_t i = 0; i < nr_cpus; i++)
		served += cpus[i].served;
	put_number(" served=", served);
	put("\n");
}

/* Returns the number of wrong bytes. */
static uint64_t report(enum mode mode, uint64_t elapsed_us)
{
	uint64_t worker = user_job.worker_count, wrong = 0;

	for (uint64_t i = 0; i < option.tasks; i++)
		wrong += records[i]->wrong;
	put_counts();
	put("@apf done mode=");
	put(mode_name(mode));
	put_number(" tasks=", option.tasks);
	put_number(" bytes=", progress());
	put_number(" wrong=", wrong);
	put_number(" worker=", worker);
	put_number(" elapsed_us=", elapsed_us);
	put("\n");
	return wrong;
}

static void begin_job(enum mode mode, uint64_t sleep_us)
{
	job_began = clock_now();
	apf_misbehave(true);
	start_job(mode, sleep_us);
}

static uint64_t end_job(void)
{
	wait_for_tasks();
	return report(user_job.mode, clock_us(clock_now() - job_began));
}

/* Every task has begun when the machine ends, so each has met its first missing page. */
static void start_and_end(void (*end)(void))
{
	start_job(MODE_TOUCH, 0);
	while (__atomic_load_n(&user_job.started, __ATOMIC_ACQUIRE) < option.tasks) {
		irq_off();
		sched_sleep_until(clock_now() + clock_ticks(1000));
		irq_on();
	}
	end();
}

/* --- commands --- */

/* False, and said so, if there is no such mode. */
static bool begin(const char *rest)
{
	enum mode mode = *rest ? mode_find(rest + 1) : option.mode;
	uint64_t sleep_us = option.sleep_us;
	const char *number = str_after(rest, " sleep ");

	if (mode == MODE_COUNT) {
		put("@apf error unknown mode\n");
		return false;
	}
	if (number)
		sleep_us = str_number(&number, 10);
	begin_job(mode, sleep_us);
	return true;
}

static void command_go(const char *rest)
{
	if (begin(rest))
		end_job();
}

/* So that other commands can be given while the tasks are at it. */
static void command_start(const char *rest)
{
	if (begin(rest))
		put("@apf started\n");
}

static void command_wait(const char *rest)
{
	end_job();
}

static void command_area(const char *rest)
{
	const struct apf_guest_cpu *c = apf_this_cpu();
	uint32_t pad = 0;

	for (size_t i = 0; i < sizeof(c->area.pad); i++)
		pad |= c->area.pad[i];
	put_number("@apf area cpu=", c->id);
	put_hex(" phys=0x", c->phys);
	put_hex(" reason=0x", __atomic_load_n(&c->area.reason, __ATOMIC_ACQUIRE));
	put_hex(" token=0x", __atomic_load_n(&c->area.token, __ATOMIC_ACQUIRE));
	put_number(" enabled=", c->area.enabled);
	put_hex(" pad=0x", pad);
	put_hex(" busy=0x", __atomic_load_n(&c->area_arm64.busy, __ATOMIC_ACQUIRE));
	put("\n");
}

/* Writes a word of this CPU's area behind the library's back. */
static void command_poke(const char *rest)
{
	uint32_t offset = (uint32_t)str_number(&rest, 16) & (APF_AREA_SIZE - 4);
	uint32_t *word = (uint32_t *)(apf_this_cpu()->phys + offset);

	__atomic_store_n(word, (uint32_t)str_number(&rest, 16), __ATOMIC_RELEASE);
	command_area(rest);
}

static void command_counts(const char *rest)
{
	put_counts();
}

static void command_events(const char *rest)
{
	events_put();
}

static void command_apf(const char *rest)
{
	if (apf_abi() != APF_GUEST_OFF)
		apf_set_enabled(str_equal(rest, " on"));
	command_area(rest);
}

/* Without a word to the host meanwhile: no device, no register, no halt. */
static void command_delay(const char *rest)
{
	clock_delay(str_number(&rest, 10));
	put("@apf delayed\n");
}

static void command_exit(const char *rest)
{
	debug_exit((uint32_t)str_number(&rest, 10));
	power_off();
}

static void command_off(const char *rest)
{
	power_off();
}

static void command_reset(const char *rest)
{
	reset();
}

static void command_fault_and_off(const char *rest)
{
	start_and_end(power_off);
}

static void command_fault_and_reset(const char *rest)
{
	start_and_end(reset);
}

static const struct command commands[] = {
	{ "go", command_go },
	{ "start", command_start },
	{ "wait", command_wait },
	{ "counts", command_counts },
	{ "events", command_events },
	{ "area", command_area },
	{ "poke", command_poke },
	{ "apf", command_apf },
	{ "delay", command_delay },
	{ "exit", command_exit },
	{ "off", command_off },
	{ "reset", command_reset },
	{ "fault-and-off", command_fault_and_off },
	{ "fault-and-reset", command_fault_and_reset },
};

static bool obey_one_of(const struct command *command, size_t count, const char *line)
{
	for (; count; count--, command++) {
		const char *rest = str_after(line, command->name);

		if (rest && (!*rest || *rest == ' ')) {
			command->run(rest);
			return true;
		}
	}
	return false;
}

static void obey(const char *line)
{
	if (!obey_one_of(commands, sizeof(commands) / sizeof(commands[0]), line) &&
	    !obey_one_of(arch_commands, nr_arch_commands, line))
		put("@apf error unknown command\n");
}

static void say_hello(void)
{
	put_number("@apf kernel cpus=", nr_cpus);
	put(" abi=");
	put(abi_name(apf_abi()));
	put(" refused=");
	put(abi_name(apf_refused()));
	put_number(" always=", option.always);
	put_number(" vector=", option.vector);
	put_number(" tsc_khz=", clock_khz());
	put_hex(" kernel_end=0x", memory_kernel_end());
	put_hex(" user_start=0x", memory_user_start());
	put("\n");
	put_number("@apf ready tasks=", option.tasks);
	put_number(" pages=", option.pages);
	put("\n");
}

void job_main(void *unused)
{
	static char line[96];

	create_tasks();
	start_job(MODE_FILL, 0);
	wait_for_tasks();
	say_hello();
	if (option.automatic) {
		begin_job((enum mode)option.mode, option.sleep_us);
		debug_exit(end_job() ? EXIT_WRONG : EXIT_OK);
		power_off();
	}
	for (;;) {
		read_line(line, sizeof(line));
		obey(line);
	}
}
