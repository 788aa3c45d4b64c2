/* SPDX-License-Identifier: MIT */
/*
 * All that runs in user mode: tasks that verify every byte of their pages, without
 * system calls, and the worker that never faults. Nothing here may refer to the
 * kernel's functions or data; user_job is the only thing they share.
 */
#include "layout.h"
#include "user.h"

#define PAGE_WORDS	(PAGE_SIZE / sizeof(uint64_t))
#define PIPE_DEPTH	4u
#define WORK_PER_PAGE	4096u

struct user_job user_job = { .pages = 1 };

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Wait until *word is not `old` any more. */
static uint32_t wait_change(uint32_t *word, uint32_t old)
{
	uint32_t value;

	while ((value = load(word)) == old)
		syscall2(SYS_WAIT, (uintptr_t)word, old);
	return value;
}

static void publish(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	syscall2(SYS_WAKE, (uintptr_t)word, 0);
}

/* --- data --- */

static inline uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return x ^ x >> 32;
}

/* No byte is zero, so that a page that came back empty is wrong in all of its bytes. */
static inline uint64_t expected_word(uint64_t base, uint64_t index)
{
	return mix(base + index) | 0x0101010101010101ull;
}

static uint64_t base_of(const struct user_task *task, uint64_t generation, uint64_t page)
{
	return mix(user_job.seed + generation) + (task->first_page + page) * PAGE_WORDS;
}

static void fill_page(struct user_task *task, uint64_t generation, uint64_t page)
{
	uint64_t *word = task->data + page * PAGE_WORDS;
	uint64_t base = base_of(task, generation, page);

	for (uint64_t i = 0; i < PAGE_WORDS; i++)
		word[i] = expected_word(base, i);
}

static uint64_t differing_bytes(uint64_t difference)
{
	uint64_t count = 0;

	for (; difference; difference >>= 8)
		count += (difference & 0xff) != 0;
	return count;
}

/* Verifies a page of `task`, on the account of `who`. */
static void verify_page(struct user_task *who, const struct user_task *task, uint64_t generation,
			uint64_t page)
{
	const volatile uint64_t *word = task->data + page * PAGE_WORDS;
	uint64_t base = base_of(task, generation, page);

	for (uint64_t i = 0; i < PAGE_WORDS; i++) {
		uint64_t difference = word[i] ^ expected_word(base, i);

		if (difference)
			who->wrong += differing_bytes(difference);
	}
	who->bytes += PAGE_SIZE;
}

/* --- what a task does --- */

static void fill(struct user_task *task)
{
	for (uint64_t page = 0; page < user_job.pages; page++)
		fill_page(task, task->generation, page);
}

static void verify_in_order(struct user_task *task)
{
	for (uint64_t page = 0; page < user_job.pages; page++)
		verify_page(task, task, task->generation, page);
}

/* A full-period generator over the next power of two, less the numbers too high: each page once. */
static void verify_shuffled(struct user_task *task)
{
	uint64_t mask = 1, page;

	while (mask < user_job.pages)
		mask <<= 1;
	mask--;
	page = mix(task->first_page) & mask;
	for (uint64_t i = 0; i <= mask; i++) {
		page = (page * 0xd1342543de82ef95ull + 0x9e3779b97f4a7c15ull) & mask;
		if (page < user_job.pages)
			verify_page(task, task, task->generation, page);
	}
}

static void touch_for_write(struct user_task *task, uint64_t page)
{
	__atomic_fetch_or(task->data + page * PAGE_WORDS, 0, __ATOMIC_SEQ_CST);
}

static void verify_written(struct user_task *task)
{
	for (uint64_t page = 0; page < user_job.pages; page++) {
		touch_for_write(task, page);
		verify_page(task, task, task->generation, page);
	}
	task->generation++;
	fill(task);
	verify_in_order(task);
}

static void sleep_per_page(struct user_task *task)
{
	for (uint64_t page = 0; page < user_job.pages; page++)
		syscall2(SYS_SLEEP, user_job.sleep_us, 0);
}

static void compute(struct user_task *task)
{
	for (uint64_t i = 0; i < user_job.pages * WORK_PER_PAGE; i++)
		__asm__ volatile("" : : "r"(mix(i)));
}

static void produce(struct user_task *task)
{
	for (uint32_t page = 0; page < user_job.pages; page++) {
		uint32_t drained = load(&task->drained);

		while (page - drained >= PIPE_DEPTH)
			drained = wait_change(&task->drained, drained);
		touch_for_write(task, page);
		verify_page(task, task, task->generation, page);
		fill_page(task, task->generation + 1, page);
		publish(&task->filled, page + 1);
	}
	/* Until the last page is drained, the consumer knows the new data by the old number. */
	for (uint32_t drained = load(&task->drained); drained < user_job.pages;)
		drained = wait_change(&task->drained, drained);
	task->generation++;
}

static void consume(struct user_task *task)
{
	struct user_task *producer = task->peer;
	uint64_t generation = producer->generation + 1;

	for (uint32_t page = 0; page < user_job.pages; page++) {
		uint32_t filled = load(&producer->filled);

		while (filled <= page)
			filled = wait_change(&producer->filled, filled);
		verify_page(task, producer, generation, page);
		publish(&producer->drained, page + 1);
	}
}

static void pipe(struct user_task *task)
{
	if (!task->peer)
		verify_in_order(task);
	else if (task->is_producer)
		produce(task);
	else
		consume(task);
}

static void verify_shared(struct user_task *task)
{
	const struct user_task *owner = task->peer && !task->is_producer ? task->peer : task;

	for (uint64_t page = 0; page < user_job.pages; page++)
		verify_page(task, owner, owner->generation, page);
}

static void verify_after(struct user_task *task, enum touch how)
{
	for (uint64_t page = 0; page < user_job.pages; page++) {
		uint64_t *word = task->data + page * PAGE_WORDS;

		if (syscall2(SYS_TOUCH, (uintptr_t)word, how) != *word)
			task->wrong++;
		verify_page(task, task, task->generation, page);
	}
}

static void work(struct user_task *task)
{
	switch ((enum mode)user_job.mode) {
	case MODE_FILL:
		fill(task);
		break;
	case MODE_TOUCH:
		verify_in_order(task);
		break;
	case MODE_RANDOM:
		verify_shuffled(task);
		break;
	case MODE_WRITE:
		verify_written(task);
		break;
	case MODE_SLEEP:
		sleep_per_page(task);
		break;
	case MODE_WORK:
		compute(task);
		break;
	case MODE_PIPE:
		pipe(task);
		break;
	case MODE_SHARED:
		verify_shared(task);
		break;
	case MODE_KERNEL:
		verify_after(task, TOUCH_PLAIN);
		break;
	case MODE_ATOMIC:
		verify_after(task, TOUCH_ATOMIC);
		break;
	case MODE_SHADOW:
		verify_after(task, TOUCH_SHADOW);
		break;
	case MODE_IRQ_OFF:
		verify_after(task, TOUCH_IRQ_OFF);
		break;
	case MODE_BUSY:
		verify_after(task, TOUCH_BUSY);
		break;
	case MODE_REGION:
		verify_after(task, TOUCH_REGION);
		break;
	case MODE_COUNT:
		break;
	}
}

void user_task_main(struct user_task *task)
{
	for (uint32_t number = 0;;) {
		number = wait_change(&user_job.number, number);
		task->bytes = 0;
		task->wrong = 0;
		__atomic_fetch_add(&user_job.started, 1, __ATOMIC_SEQ_CST);
		work(task);
		if (__atomic_fetch_sub(&user_job.left, 1, __ATOMIC_SEQ_CST) == 1)
			syscall2(SYS_WAKE, (uintptr_t)&user_job.left, 0);
	}
}

void user_worker_main(void)
{
	for (uint32_t number = 0;;) {
		number = wait_change(&user_job.number, number);
		while (load(&user_job.left))
			__atomic_store_n(&user_job.worker_count, user_job.worker_count + 1,
					 __ATOMIC_RELAXED);
	}
}
