/* SPDX-License-Identifier: MIT */
/*
 * Registers of one vCPU, from and to a snapshot. The order of loading matters:
 * CPUID decides what the rest may hold; the local APIC needs its base from sregs,
 * TSC_DEADLINE needs the APIC's timer mode and the TSC.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>

#include "boot.h"
#include "machine_x86.h"
#include "state_x86.h"

#define MSR_TSC			0x10u
#define MSR_TSC_DEADLINE	0x6e0u
#define MSRS_AT_ONCE		64u	/* KVM takes fewer than 256 in one call */
#define MSRS_MAX		4000u

#define CR0_PE_MP_ET_NE_WP_AM_PG 0x80050033u
#define CR0_PE_ET		0x11u
#define MULTIBOOT_LOADED	0x2badb002u	/* in EAX: a multiboot loader was here */
#define CR4_PAE			0x20u
#define EFER_LME_LMA		0x500u
#define TSS_AVAILABLE		9
#define TSS_BUSY		11

union msrs {
	struct kvm_msrs head;
	uint8_t bytes[sizeof(struct kvm_msrs) + MSRS_AT_ONCE * sizeof(struct kvm_msr_entry)];
};

_Static_assert(sizeof(struct kvm_regs) == VMM_SIZE_REGS &&
	       sizeof(struct kvm_sregs) == VMM_SIZE_SREGS &&
	       sizeof(struct kvm_xsave) == VMM_SIZE_XSAVE &&
	       sizeof(struct kvm_xcrs) == VMM_SIZE_XCRS &&
	       sizeof(struct kvm_debugregs) == VMM_SIZE_DEBUGREGS &&
	       sizeof(struct kvm_lapic_state) == VMM_SIZE_LAPIC &&
	       sizeof(struct kvm_msrs) == VMM_SIZE_MSRS_MIN &&
	       sizeof(struct kvm_cpuid2) == VMM_SIZE_CPUID_MIN, "the layout of files is ABI");

/* As the Linux boot protocol's 64-bit entry wants it. */
static void enter_long_mode(struct kvm_sregs *sregs)
{
	const struct kvm_segment data = { .limit = 0xffffffff, .selector = SELECTOR_DATA,
					  .present = 1,
					  .type = 3, .s = 1, .db = 1, .g = 1 };

	sregs->cr0 = CR0_PE_MP_ET_NE_WP_AM_PG;
	sregs->cr3 = GPA_PAGE_TABLES;
	sregs->cr4 = CR4_PAE;
	sregs->efer = EFER_LME_LMA;
	sregs->gdt.limit = 4 * 8 - 1;
	sregs->cs = (struct kvm_segment){ .limit = 0xffffffff, .selector = SELECTOR_CODE,
					  .present = 1,
					  .type = 11, .s = 1, .l = 1, .g = 1 };
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
}

/* As multiboot wants it: flat segments, no paging. */
static void enter_protected_mode(struct kvm_sregs *sregs)
{
	const struct kvm_segment data = { .limit = 0xffffffff, .selector = SELECTOR_DATA_32,
					  .present = 1, .type = 3, .s = 1, .db = 1, .g = 1 };

	sregs->cr0 = CR0_PE_ET;
	sregs->cr4 = 0;
	sregs->efer = 0;
	sregs->gdt.limit = 3 * 8 - 1;
	sregs->cs = (struct kvm_segment){ .limit = 0xffffffff, .selector = SELECTOR_CODE_32,
					  .present = 1, .type = 11, .s = 1, .db = 1, .g = 1 };
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
}

int vmm_machine_boot_vcpu(struct vmm_vcpu *v, const struct vmm_boot_entry *entry)
{
	struct kvm_regs regs = { .rip = entry->pc, .rsp = GPA_STACK_TOP, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(v->fd, KVM_GET_SREGS, &sregs) < 0)
		return apf_error_set(-errno, "vmm: KVM_GET_SREGS: %s", strerror(errno));
	if (entry->long_mode) {
		enter_long_mode(&sregs);
		regs.rsi = entry->info;
	} else {
		enter_protected_mode(&sregs);
		regs.rax = MULTIBOOT_LOADED;
		regs.rbx = entry->info;
	}
	sregs.gdt.base = GPA_GDT;
	sregs.idt.limit = 0;
	sregs.tr.present = 1;
	sregs.tr.type = TSS_BUSY;
	if (ioctl(v->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(v->fd, KVM_SET_REGS, &regs) < 0)
		return apf_error_set(-errno, "vmm: cannot set vCPU %u to its entry: %s", v->id,
				     strerror(errno));
	return 0;
}

void vmm_machine_resume_vcpu(struct vmm_vcpu *v)
{
	ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);	/* fails where the guest has no such clock */
}

/* Bytes of the extended state: more than 4096 where the processor has AMX. */
static size_t xsave_size(const struct vmm *vm)
{
	int n = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);

	return n > (int)sizeof(struct kvm_xsave) ? (size_t)n : sizeof(struct kvm_xsave);
}

static const struct vmm_piece sregs_piece = { VMM_SEC_SREGS, KVM_GET_SREGS, 0,
					  sizeof(struct kvm_sregs) };
static const struct vmm_piece lapic_piece = { VMM_SEC_LAPIC, KVM_GET_LAPIC, KVM_SET_LAPIC,
					  sizeof(struct kvm_lapic_state) };
static const struct vmm_piece xcrs_piece = { VMM_SEC_XCRS, KVM_GET_XCRS, KVM_SET_XCRS,
					 sizeof(struct kvm_xcrs) };
static const struct vmm_piece regs_piece = { VMM_SEC_REGS, KVM_GET_REGS, KVM_SET_REGS,
					 sizeof(struct kvm_regs) };
static const struct vmm_piece debug_piece = { VMM_SEC_DEBUGREGS, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS,
					  sizeof(struct kvm_debugregs) };

/*
 * KVM on AMD shows the task register busy because AMD's own state does not (KVM's
 * comment calls it a bug of the processor). What the processor gave is what it gets
 * back: QEMU's emulation denies all ports to user code if the type says busy.
 */
static int load_sregs(struct vmm_vcpu *v, const struct vmm_snapshot *s)
{
	uint32_t max, ebx = 0, ecx, edx;
	struct kvm_sregs sregs;
	int err;

	memcpy(&sregs, s->sec[VMM_SEC_SREGS][v->id].data, sizeof(sregs));
	err = apf_kvm_need_sregs(v->vm->apf, &sregs);
	if (err)
		return err;
	if (__get_cpuid(0, &max, &ebx, &ecx, &edx) && ebx == signature_AMD_ebx &&
	    sregs.tr.type == TSS_BUSY)
		sregs.tr.type = TSS_AVAILABLE;
	return ioctl(v->fd, KVM_SET_SREGS, &sregs) < 0 ? vmm_state_failed(v, "take", VMM_SEC_SREGS) : 0;
}

static int save_xsave(struct vmm_vcpu *v, struct vmm_snapshot_writer *w)
{
	size_t size = xsave_size(v->vm);
	const struct vmm_piece p = { VMM_SEC_XSAVE, size > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2
				 : KVM_GET_XSAVE, 0, size };

	return vmm_piece_save(v, w, &p);
}

/* KVM reads as many bytes as this processor's state has, so the section must have them. */
static int load_xsave(struct vmm_vcpu *v, const struct vmm_snapshot *s)
{
	const struct vmm_piece p = { VMM_SEC_XSAVE, 0, KVM_SET_XSAVE, 0 };
	size_t size = xsave_size(v->vm), have = s->sec[VMM_SEC_XSAVE][v->id].len;

	if (have != size)
		return apf_error_set(-EINVAL, "snapshot: section xsave[%u] has %zu bytes, this "
				     "processor's state has %zu", v->id, have, size);
	return vmm_piece_load(v, s, &p);
}

static void swap_to(struct kvm_msr_list *l, uint32_t index, uint32_t to)
{
	for (uint32_t i = 0; i < l->nmsrs; i++) {
		if (l->indices[i] != index)
			continue;
		l->indices[i] = l->indices[to];
		l->indices[to] = index;
		return;
	}
}

/* The registers that KVM can save, less libapf's; TSC first, TSC_DEADLINE last. */
static struct kvm_msr_list *msr_list(struct vmm *vm)
{
	struct kvm_msr_list probe = { 0 }, *l;
	uint32_t n = 0;

	ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &probe);	/* E2BIG, and says how many */
	if (probe.nmsrs > MSRS_MAX)
		return NULL;
	l = calloc(1, sizeof(*l) + probe.nmsrs * sizeof(l->indices[0]));
	if (!l)
		return NULL;
	l->nmsrs = probe.nmsrs;
	if (ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, l) < 0) {
		free(l);
		return NULL;
	}
	for (uint32_t i = 0; i < l->nmsrs; i++)
		if (!apf_kvm_owns_msr(l->indices[i]))
			l->indices[n++] = l->indices[i];
	l->nmsrs = n;
	swap_to(l, MSR_TSC, 0);
	swap_to(l, MSR_TSC_DEADLINE, n - 1);
	return l;
}

/* Read the listed registers; those that this vCPU does not have are left out. Returns how many. */
static uint32_t read_msrs(const struct vmm_vcpu *v, const struct kvm_msr_list *l,
			  struct kvm_msr_entry *out)
{
	uint32_t got = 0;

	for (uint32_t pos = 0; pos < l->nmsrs;) {
		uint32_t n = l->nmsrs - pos < MSRS_AT_ONCE ? l->nmsrs - pos : MSRS_AT_ONCE;
		union msrs m = { .head.nmsrs = n };
		int r;

		for (uint32_t i = 0; i < n; i++)
			m.head.entries[i].index = l->indices[pos + i];
		r = ioctl(v->fd, KVM_GET_MSRS, &m);
		r = r < 0 ? 0 : r;
		memcpy(out + got, m.head.entries, (size_t)r * sizeof(*out));
		got += (uint32_t)r;
		pos += (uint32_t)r + ((uint32_t)r < n);
	}
	return got;
}

static int save_msrs(struct vmm_vcpu *v, struct vmm_snapshot_writer *w)
{
	struct kvm_msr_list *l = msr_list(v->vm);
	struct kvm_msrs *m = l ? calloc(1, sizeof(*m) + l->nmsrs * sizeof(m->entries[0])) : NULL;

	if (m) {
		m->nmsrs = read_msrs(v, l, m->entries);
		vmm_snapshot_add(w, VMM_SEC_MSRS, v->id, m,
				 sizeof(*m) + m->nmsrs * sizeof(m->entries[0]));
	}
	free(l);
	free(m);
	return m ? 0 : apf_error_set(-ENOMEM, "vmm: vCPU %u: cannot list its MSRs", v->id);
}

/* A register that KVM does not take is no loss if it has that value already. */
static int check_refused(const struct vmm_vcpu *v, const struct kvm_msr_entry *e)
{
	union msrs m = { .head.nmsrs = 1 };

	m.head.entries[0].index = e->index;
	if (ioctl(v->fd, KVM_GET_MSRS, &m) == 1 && m.head.entries[0].data == e->data)
		return 0;
	return apf_error_set(-EINVAL, "snapshot: vCPU %u: KVM does not take 0x%llx for MSR 0x%x",
			     v->id, (unsigned long long)e->data, e->index);
}

static int write_msrs(const struct vmm_vcpu *v, const struct kvm_msr_entry *e, uint32_t count)
{
	for (uint32_t pos = 0; pos < count;) {
		uint32_t n = count - pos < MSRS_AT_ONCE ? count - pos : MSRS_AT_ONCE;
		union msrs m = { .head.nmsrs = n };
		int r, err;

		memcpy(m.head.entries, e + pos, n * sizeof(*e));
		r = ioctl(v->fd, KVM_SET_MSRS, &m);
		if (r < 0)
			return vmm_state_failed(v, "take", VMM_SEC_MSRS);
		pos += (uint32_t)r;
		if ((uint32_t)r == n)
			continue;
		err = check_refused(v, &e[pos++]);
		if (err)
			return err;
	}
	return 0;
}

static int load_msrs(struct vmm_vcpu *v, const struct vmm_snapshot *s)
{
	const struct vmm_bytes *b = &s->sec[VMM_SEC_MSRS][v->id];
	const struct kvm_msrs *m = (const struct kvm_msrs *)b->data;
	int err;

	if (m->nmsrs > MSRS_MAX || b->len != sizeof(*m) + m->nmsrs * sizeof(m->entries[0]))
		return apf_error_set(-EINVAL, "snapshot: section msrs[%u]: %u entries in %zu bytes",
				     v->id, m->nmsrs, b->len);
	for (uint32_t i = 0; i < m->nmsrs; i++)
		if (apf_kvm_owns_msr(m->entries[i].index))
			return apf_error_set(-EINVAL, "snapshot: section msrs[%u] holds MSR 0x%x, "
					     "which belongs into section apf", v->id,
					     m->entries[i].index);
	err = apf_kvm_need_msrs(v->vm->apf, m);
	return err ? err : write_msrs(v, m->entries, m->nmsrs);
}

static int save_tsc_khz(struct vmm_vcpu *v, struct vmm_snapshot_writer *w)
{
	int khz = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);

	if (khz > 0)
		vmm_snapshot_add(w, VMM_SEC_TSC_KHZ, v->id, &khz, sizeof(khz));
	return 0;
}

static int load_tsc_khz(struct vmm_vcpu *v, const struct vmm_snapshot *s)
{
	const struct vmm_bytes *b = &s->sec[VMM_SEC_TSC_KHZ][v->id];
	uint32_t khz;

	if (!b->data)
		return 0;
	memcpy(&khz, b->data, sizeof(khz));
	if (ioctl(v->fd, KVM_GET_TSC_KHZ, 0) == (int)khz)
		return 0;
	return ioctl(v->fd, KVM_SET_TSC_KHZ, khz) < 0 ? vmm_state_failed(v, "take", VMM_SEC_TSC_KHZ) : 0;
}

int vmm_machine_save_vcpu(struct vmm_vcpu *v, struct vmm_snapshot_writer *w)
{
	int err = vmm_cpuid_save(v, w);

	if (!err)
		err = save_tsc_khz(v, w);
	if (!err)
		err = vmm_piece_save(v, w, &sregs_piece);
	if (!err)
		err = vmm_piece_save(v, w, &lapic_piece);
	if (!err && ioctl(v->vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XCRS) > 0)
		err = vmm_piece_save(v, w, &xcrs_piece);
	if (!err)
		err = save_xsave(v, w);
	if (!err)
		err = save_msrs(v, w);
	if (!err)
		err = vmm_piece_save(v, w, &regs_piece);
	return err ? err : vmm_piece_save(v, w, &debug_piece);
}

int vmm_machine_load_vcpu(struct vmm_vcpu *v, const struct vmm_snapshot *s)
{
	int err = vmm_cpuid_load(v, &s->sec[VMM_SEC_CPUID][v->id]);

	if (!err)
		err = load_tsc_khz(v, s);
	if (!err)
		err = load_sregs(v, s);
	if (!err)
		err = vmm_piece_load(v, s, &lapic_piece);
	if (!err)
		err = vmm_piece_load(v, s, &xcrs_piece);
	if (!err)
		err = load_xsave(v, s);
	if (!err)
		err = load_msrs(v, s);
	if (!err)
		err = vmm_piece_load(v, s, &regs_piece);
	return err ? err : vmm_piece_load(v, s, &debug_piece);
}
