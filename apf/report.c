/* SPDX-License-Identifier: MIT */
/* The numbers of a run, as JSON and for people. What this delivery mode or host cannot know is null. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include <apf/store.h>

#include "commands.h"

static void add(struct json_object *o, const char *key, struct json_object *value)
{
	json_object_object_add(o, key, value);
}

static struct json_object *number(int64_t n)
{
	return n < 0 ? NULL : json_object_new_int64(n);
}

/* Text of the guest's, which may be anything: JSON must stay valid. */
static struct json_object *guest_text(const char *s)
{
	char text[VMM_LINE_MAX + 1];
	size_t n = 0;

	for (; s[n] && n < VMM_LINE_MAX; n++)
		text[n] = (unsigned char)s[n] < 0x80 ? s[n] : '?';
	return json_object_new_string_len(text, (int)n);
}

/* Three digits behind the point. */
static struct json_object *milliseconds(uint64_t ns)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu.%03llu", (unsigned long long)(ns / 1000000u),
		 (unsigned long long)(ns / 1000u % 1000u));
	return json_object_new_double_s((double)ns / 1e6, text);
}

static struct json_object *marks(struct vmm *vm)
{
	struct json_object *list = json_object_new_array();

	for (const struct vmm_mark *m = vmm_console_marks(vmm_console(vm)); m; m = m->next) {
		struct json_object *o = json_object_new_object();

		add(o, "ms", milliseconds(m->ns));
		add(o, "text", guest_text(m->text));
		json_object_array_add(list, o);
	}
	return list;
}

/* What each number is, in the order in which people see them. */
static const struct {
	const char *key, *words;
} legend[] = {
	{ "delivery", "how the guest is told of missing pages: user, by libapf; kernel, by KVM; sync, not" },
	{ "abi", "generation of the protocol that the guest is offered" },
	{ "cpus", "virtual processors" },
	{ "mem", "bytes of guest memory" },
	{ "first_instruction_ms", "ms from the start of apf until the guest first wrote to a device" },
	{ "run_ms", "ms from the start of apf to the end of the VM" },
	{ "preloaded", "pages of 4 KiB that were fetched before the start" },
	{ "pages", "pages that were fetched in all" },
	{ "pages_zero", "of these, pages that the store knew to be zero: nothing was read" },
	{ "np", "faults of which the guest was told \"page not present\", so that it ran something else" },
	{ "ready", "times it was told that such a page has come" },
	{ "broadcasts", "times it was told to wake every task that waits for a page" },
	{ "halts", "faults at which a processor stood still instead, halted: interrupts were served" },
	{ "waits", "faults at which it stood still outside the guest: nothing was served" },
	{ "msi_blocked", "ready interrupts that could not be raised at once and were tried again" },
	{ "max_outstanding", "most faults that the guest was told of (user) or pages (else) on their way at once" },
	{ "host_threads", "most threads on the host for this VM: apf's and KVM's kernel workers" },
	{ "retries", "reads of the store that failed and were tried again" },
	{ "failed", "pages that are lost for good" },
	{ "debug_exit", "what the guest wrote to the debug-exit register" },
	{ "end", "why the VM ended" },
};

#define LEGEND_LENGTH (sizeof(legend) / sizeof(*legend))

static struct json_object *words_of_all(void)
{
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < LEGEND_LENGTH; i++)
		add(o, legend[i].key, json_object_new_string(legend[i].words));
	return o;
}

/* What cannot be known, and the debug exit of a guest that made none, is left out. */
void report_print(struct json_object *o, FILE *f)
{
	for (size_t i = 0; i < LEGEND_LENGTH; i++) {
		struct json_object *value = json_object_object_get(o, legend[i].key);

		if (value)
			fprintf(f, "  %-20s %12s  %s\n", legend[i].key, json_object_get_string(value),
				legend[i].words);
	}
	json_object_put(o);
}

/* Faults by what became of them: from the engine, or, in kernel mode, from KVM. */
static void add_faults(struct json_object *o, struct vmm *vm, const struct kvm_counts *kvm)
{
	const enum apf_delivery mode = vmm_get_config(vm)->delivery;
	const bool user = mode == APF_DELIVERY_USER, kernel = mode == APF_DELIVERY_KERNEL;
	struct apf_kvm_stats ks;
	struct apf_mem_stats m;

	apf_kvm_stats(vmm_apf(vm), &ks);
	apf_mem_stats(vmm_mem(vm), &m);
	add(o, "np", number(kernel ? kvm->np : (int64_t)ks.engine.np));
	add(o, "ready", number(kernel ? kvm->ready : (int64_t)ks.engine.ready));
	add(o, "halts", number(user ? (int64_t)ks.engine.halts : kvm->halts));
	add(o, "waits", number(user ? (int64_t)ks.engine.waits : -1));
	add(o, "broadcasts", number(kernel ? kvm->broadcasts : (int64_t)ks.engine.broadcasts));
	add(o, "msi_blocked", number(kernel ? -1 : (int64_t)ks.msi_blocked));
	add(o, "max_outstanding", number(user ? ks.engine.max_outstanding : m.max_in_flight));
}

struct json_object *report_run(struct vmm *vm, const struct session *s, uint64_t end_ns,
			       int64_t threads, const struct kvm_counts *counts,
			       struct json_object *stores)
{
	const struct vmm_config *cfg = vmm_get_config(vm);
	struct json_object *o = json_object_new_object();
	const uint64_t first = vmm_first_output_ns(vm);
	struct apf_mem_stats m;

	apf_mem_stats(vmm_mem(vm), &m);
	add(o, "delivery", json_object_new_string(vmm_delivery_name(cfg->delivery)));
	add(o, "abi", json_object_new_string(apf_abi_name(cfg->abi)));
	add(o, "cpus", number(cfg->cpus));
	add(o, "mem", number((int64_t)cfg->mem_size));
	add(o, "first_instruction_ms", first ? milliseconds(first - s->start_ns) : NULL);
	add(o, "run_ms", milliseconds(end_ns - s->start_ns));
	add(o, "pages", number((int64_t)m.fetched));
	add(o, "pages_zero", number((int64_t)m.zero));
	add(o, "preloaded", number((int64_t)s->preloaded));
	add_faults(o, vm, counts);
	add(o, "host_threads", number(threads));
	add(o, "retries", number((int64_t)m.retries));
	add(o, "failed", number((int64_t)m.failed));
	add(o, "marks", marks(vm));
	if (stores)
		add(o, "stores", stores);
	add(o, "end", json_object_new_string(vmm_end_name(vmm_ended(vm))));
	add(o, "debug_exit", number(vmm_debug_exit(vm)));
	add(o, "end_text", guest_text(vmm_end_text(vm)));
	add(o, "legend", words_of_all());
	return o;
}

/* A store's functions run on the pager's thread only: have it asked there. */
struct store_question {
	struct apf_store *store;
	struct json_object *list;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void ask_store(void *arg)
{
	struct store_question *q = arg;
	char text[4096];

	for (struct apf_store *s = q->store; s; s = s->below) {
		struct json_object *stats;

		if (!s->ops->stats || s->ops->stats(s, text, sizeof(text)) < 0)
			continue;
		stats = json_tokener_parse(text);
		if (!stats)
			continue;
		if (!q->list)
			q->list = json_object_new_array();
		add(stats, "store", json_object_new_string(s->ops->name));
		json_object_array_add(q->list, stats);
	}
	pthread_mutex_lock(&q->lock);
	q->done = true;
	pthread_cond_signal(&q->cond);
	pthread_mutex_unlock(&q->lock);
}

struct json_object *report_stores(struct vmm *vm, struct apf_store *store)
{
	struct store_question q = { .store = store, .lock = PTHREAD_MUTEX_INITIALIZER,
				    .cond = PTHREAD_COND_INITIALIZER };

	if (!store || apf_mem_after(vmm_mem(vm), 0, ask_store, &q))
		return NULL;
	pthread_mutex_lock(&q.lock);
	while (!q.done)
		pthread_cond_wait(&q.cond, &q.lock);
	pthread_mutex_unlock(&q.lock);
	return q.list;
}

/*
 * QEMU ends with (value << 1) | 1, of which the parent sees 8 bits. 1, 3 and 5 have a
 * meaning here; even numbers above ours never come from QEMU.
 */
static int debug_exit_code(int64_t value)
{
	const int code = (int)(value << 1 & 0xff) | 1;

	return code <= EXIT_PAGE_LOST ? code + 7 : code;
}

int exit_code(enum vmm_end end, int64_t debug_exit)
{
	switch (end) {
	case VMM_END_UNTIL:
	case VMM_END_POWEROFF:
	case VMM_END_STOP:
		return EXIT_OK;
	case VMM_END_DEBUG_EXIT:
		return debug_exit_code(debug_exit);
	case VMM_END_RESET:
		return EXIT_RESET;
	case VMM_END_CRASH:
		return EXIT_CRASH;
	case VMM_END_TIMEOUT:
		return EXIT_TIMEOUT;
	case VMM_END_PAGE_LOST:
		return EXIT_PAGE_LOST;
	default:
		return EXIT_ERROR;
	}
}
