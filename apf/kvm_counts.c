/* SPDX-License-Identifier: MIT */
/*
 * What only KVM knows, from its tracepoints, counted per vCPU thread (perf_event_open).
 *
 * kvm_async_pf_not_present fires for an NP and for a halt alike; only an NP is followed by
 * an injected #PF, with error code 0, which a guest with nested paging sees from KVM in no
 * other case. A fault on a page that is on its way already halts, too. kvm_async_pf_ready fires
 * also where nothing was delivered; what was delivered is the interrupt the guest chose.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "commands.h"

enum { NOT_PRESENT, REPEATED, INJECTED, BROADCAST, INTERRUPT, COUNTERS };

static const struct {
	const char *names[2];	/* older kernels have the second */
	const char *filter;
} points[COUNTERS] = {
	[NOT_PRESENT] = { { "kvm_async_pf_not_present" }, NULL },
	[REPEATED] = { { "kvm_async_pf_repeated_fault", "kvm_async_pf_doublefault" }, NULL },
	[INJECTED] = { { "kvm_inj_exception" },
		       "exception == 14 && error_code == 0 && reinjected == 0" },
	[BROADCAST] = { { "kvm_async_pf_ready" }, "token == 0xffffffff" },
	[INTERRUPT] = { { "kvm_apic_accept_irq" }, "vec == 0xf3" },	/* Linux's vector */
};

struct kvm_counter {
	unsigned int cpus;
	int fds[];		/* COUNTERS per vCPU; -1: not there */
};

static int64_t tracepoint_id(const char *name)
{
	static const char *const roots[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	char path[128];
	long long id = -1;

	for (size_t i = 0; i < 2 && id < 0 && name; i++) {
		FILE *f;

		snprintf(path, sizeof(path), "%s/events/kvm/%s/id", roots[i], name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%lld", &id) != 1)
			id = -1;
		fclose(f);
	}
	return id;
}

static int open_point(unsigned int point, pid_t tid)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr) };
	int64_t id = tracepoint_id(points[point].names[0]);
	int fd;

	if (id < 0)
		id = tracepoint_id(points[point].names[1]);
	if (id < 0)
		return -1;
	attr.config = (uint64_t)id;
	fd = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd >= 0 && points[point].filter &&
	    ioctl(fd, PERF_EVENT_IOC_SET_FILTER, points[point].filter) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

struct kvm_counter *kvm_counter_open(struct vmm *vm)
{
	const unsigned int cpus = vmm_get_config(vm)->cpus;
	struct kvm_counter *k = malloc(sizeof(*k) + cpus * COUNTERS * sizeof(int));

	if (!k)
		return NULL;
	k->cpus = cpus;
	for (unsigned int i = 0; i < cpus * COUNTERS; i++)
		k->fds[i] = open_point(i % COUNTERS, vmm_vcpu_tid(vm, i / COUNTERS));
	return k;
}

/* Sum over the vCPUs; -1 if one of them could not be counted. */
static int64_t sum(const struct kvm_counter *k, unsigned int point)
{
	int64_t total = 0;

	for (unsigned int i = 0; i < k->cpus; i++) {
		uint64_t n;
		int fd = k->fds[i * COUNTERS + point];

		if (fd < 0 || read(fd, &n, sizeof(n)) != sizeof(n))
			return -1;
		total += (int64_t)n;
	}
	return total;
}

void kvm_counter_close(struct kvm_counter *k, struct kvm_counts *out)
{
	int64_t not_present, repeated, interrupts;

	*out = (struct kvm_counts){ -1, -1, -1, -1 };
	if (!k)
		return;
	not_present = sum(k, NOT_PRESENT);
	repeated = sum(k, REPEATED);
	interrupts = sum(k, INTERRUPT);
	out->np = not_present < 0 ? -1 : sum(k, INJECTED);
	out->broadcasts = sum(k, BROADCAST);
	if (out->np >= 0 && repeated >= 0)
		out->halts = not_present - out->np + repeated;
	if (interrupts >= 0 && out->broadcasts >= 0)
		out->ready = interrupts - out->broadcasts;
	for (unsigned int i = 0; i < k->cpus * COUNTERS; i++)
		if (k->fds[i] >= 0)
			close(k->fds[i]);
	free(k);
}
