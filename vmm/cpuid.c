/* SPDX-License-Identifier: MIT */
/*
 * What the guest sees of the processor: all that KVM supports, less what the VMM
 * cannot save (nested virtualization) and 5-level paging, plus the topology: one
 * package, one thread a core, APIC id = vCPU id.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>

#include "state_x86.h"

#define ENTRIES_MAX	256u

#define LEAF1_VMX		(1u << 5)	/* ECX */
#define LEAF1_X2APIC		(1u << 21)
#define LEAF1_TSC_DEADLINE	(1u << 24)
#define LEAF1_HYPERVISOR	(1u << 31)
#define LEAF1_HTT		(1u << 28)	/* EDX */
#define LEAF7_LA57		(1u << 16)	/* ECX */
#define EXT1_CMP_LEGACY		(1u << 1)	/* 0x80000001 ECX */
#define EXT1_SVM		(1u << 2)
#define TOPOLOGY_SMT		(1u << 8)	/* leaf 0xb ECX */
#define TOPOLOGY_CORE		(2u << 8)

static size_t table_size(uint32_t entries)
{
	return sizeof(struct kvm_cpuid2) + entries * sizeof(struct kvm_cpuid_entry2);
}

/* Bits of an APIC id that number the vCPUs. */
static unsigned int id_bits(unsigned int cpus)
{
	return cpus > 1 ? 32u - (unsigned int)__builtin_clz(cpus - 1) : 0;
}

static void edit(struct kvm_cpuid_entry2 *e, uint32_t id, unsigned int cpus)
{
	switch (e->function) {
	case 1:
		e->ebx = (e->ebx & 0xffff) | id << 24 | cpus << 16;
		e->ecx |= LEAF1_X2APIC | LEAF1_TSC_DEADLINE | LEAF1_HYPERVISOR;
		e->ecx &= ~LEAF1_VMX;
		e->edx = cpus > 1 ? e->edx | LEAF1_HTT : e->edx & ~LEAF1_HTT;
		break;
	case 4:		/* Intel: caches; no core shares one, all are in one package */
		e->eax = (e->eax & 0x3fff) | ((1u << id_bits(cpus)) - 1) << 26;
		break;
	case 7:
		if (e->index == 0)
			e->ecx &= ~LEAF7_LA57;
		break;
	case 0x80000001:
		e->ecx &= ~(EXT1_SVM | EXT1_CMP_LEGACY);
		if (cpus > 1)
			e->ecx |= EXT1_CMP_LEGACY;
		break;
	case 0x80000008:
		e->ecx = (e->ecx & ~0xffffu) | id_bits(cpus) << 12 | (cpus - 1);
		break;
	case 0x8000000a:
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x8000001e:
		e->eax = e->ebx = id;
		e->ecx = 0;
		break;
	}
}

/* Leaves whose sub-leaves are the topology: written anew. */
static bool is_topology(uint32_t function)
{
	return function == 0xb || function == 0x1f || function == 0x80000026;
}

static void add_topology(struct kvm_cpuid2 *t, uint32_t id, unsigned int cpus)
{
	const struct kvm_cpuid_entry2 levels[] = {
		{ .function = 0xb, .index = 0, .eax = 0, .ebx = 1, .ecx = 0 | TOPOLOGY_SMT },
		{ .function = 0xb, .index = 1, .eax = id_bits(cpus), .ebx = cpus,
		  .ecx = 1 | TOPOLOGY_CORE },
		{ .function = 0xb, .index = 2, .ecx = 2 },
	};

	for (unsigned int i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
		struct kvm_cpuid_entry2 *e = &t->entries[t->nent++];

		*e = levels[i];
		e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		e->edx = id;
	}
}

static struct kvm_cpuid2 *supported(int kvm_fd)
{
	struct kvm_cpuid2 *t = calloc(1, table_size(ENTRIES_MAX));

	if (!t)
		return NULL;
	t->nent = ENTRIES_MAX - 3;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, t) < 0) {
		apf_error_set(-errno, "vmm: KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
		free(t);
		return NULL;
	}
	return t;
}

static int set(struct vmm_vcpu *v, struct kvm_cpuid2 *t)
{
	apf_kvm_cpuid(v->vm->apf, t);
	if (ioctl(v->fd, KVM_SET_CPUID2, t) < 0)
		return apf_error_set(-errno, "vmm: KVM_SET_CPUID2: %s", strerror(errno));
	return 0;
}

int vmm_cpuid_init(struct vmm_vcpu *v)
{
	struct kvm_cpuid2 *t = supported(v->vm->kvm_fd);
	bool topology = false;
	uint32_t n = 0;
	int err;

	if (!t)
		return apf_error_set(-EIO, "vmm: KVM does not say which CPUID it supports");
	for (uint32_t i = 0; i < t->nent; i++) {
		topology |= is_topology(t->entries[i].function);
		if (is_topology(t->entries[i].function))
			continue;
		t->entries[n] = t->entries[i];
		edit(&t->entries[n++], v->id, v->vm->cfg.cpus);
	}
	t->nent = n;
	if (topology)
		add_topology(t, v->id, v->vm->cfg.cpus);
	err = set(v, t);
	free(t);
	return err;
}

int vmm_cpuid_load(struct vmm_vcpu *v, const struct vmm_bytes *bytes)
{
	struct kvm_cpuid2 *t = calloc(1, table_size(ENTRIES_MAX));
	int err;

	if (!t)
		return apf_error_set(-ENOMEM, "vmm: out of memory");
	memcpy(t, bytes->data, bytes->len <= table_size(ENTRIES_MAX) ? bytes->len : sizeof(*t));
	if (t->nent > ENTRIES_MAX || bytes->len != table_size(t->nent))
		err = apf_error_set(-EINVAL, "snapshot: section cpuid[%u]: %u entries in %zu bytes",
				    v->id, t->nent, bytes->len);
	else
		err = set(v, t);
	free(t);
	return err;
}

/* How many entries KVM has filled: before Linux 6.3 it leaves the number as it was given. */
static uint32_t filled(const struct kvm_cpuid2 *t)
{
	static const struct kvm_cpuid_entry2 none;
	uint32_t n = t->nent;

	while (n && !memcmp(&t->entries[n - 1], &none, sizeof(none)))
		n--;
	return n;
}

int vmm_cpuid_save(struct vmm_vcpu *v, struct vmm_snapshot_writer *w)
{
	struct kvm_cpuid2 *t = calloc(1, table_size(ENTRIES_MAX));
	int err = 0;

	if (!t)
		return apf_error_set(-ENOMEM, "vmm: out of memory");
	t->nent = ENTRIES_MAX;
	if (ioctl(v->fd, KVM_GET_CPUID2, t) < 0) {
		err = apf_error_set(-errno, "vmm: KVM_GET_CPUID2: %s", strerror(errno));
	} else {
		t->nent = filled(t);
		vmm_snapshot_add(w, VMM_SEC_CPUID, v->id, t, table_size(t->nent));
	}
	free(t);
	return err;
}
