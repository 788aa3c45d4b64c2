/* SPDX-License-Identifier: MIT */
/* The test's virtual machine on x86: long mode at once, flat, user and kernel share one map. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tiny_vm.h"

#define TABLES	0x1000u
#define GDT	0x6000u
#define IDT	0x7000u
#define TSS	0x8000u

extern const uint8_t guest_start[], guest_end[], guest_entry[], guest_pf[], guest_ready[],
	guest_tick[], guest_gp[];

const uint64_t machine_ram;
const uint32_t machine_halted = KVM_MP_STATE_HALTED;

static void gate(uint8_t *image, unsigned int vector, const uint8_t *handler)
{
	uint64_t at = CODE + (uint64_t)(handler - guest_start);
	uint64_t *d = (uint64_t *)(image + IDT + vector * 16);

	d[0] = (at & 0xffff) | 8u << 16 | 0x8e00ull << 32 | (at >> 16 & 0xffff) << 48;
	d[1] = at >> 32;
}

/* Identity map in 2 MiB pages, flat segments, one task state segment, the code. */
void machine_image(uint8_t *image)
{
	uint64_t *table = (uint64_t *)(image + TABLES), *gdt = (uint64_t *)(image + GDT);
	const uint64_t rsp0 = STACK_TOP;

	table[0] = (TABLES + 0x1000) | 7;
	table[512] = (TABLES + 0x2000) | 7;
	for (uint64_t i = 0; i < 512; i++)
		table[1024 + i] = i << 21 | 0x87;
	gdt[1] = 0x00af9b000000ffff;		/* 0x08 kernel code */
	gdt[2] = 0x00cf93000000ffff;		/* 0x10 kernel data */
	gdt[3] = 0x00008b0080000067;		/* 0x18 TSS at 0x8000 */
	gdt[5] = 0x00cff3000000ffff;		/* 0x28 user data */
	gdt[6] = 0x00affb000000ffff;		/* 0x30 user code */
	memcpy(image + TSS + 4, &rsp0, 8);
	gate(image, 13, guest_gp);
	gate(image, 14, guest_pf);
	gate(image, 0xf1, guest_tick);
	gate(image, 0xf3, guest_ready);
	memcpy(image + CODE, guest_start, (size_t)(guest_end - guest_start));
}

void machine_create(struct vm *vm)
{
	struct kvm_enable_cap no_exits = { .cap = KVM_CAP_X86_DISABLE_EXITS,
					   .args = { KVM_X86_DISABLE_EXITS_HLT } };

	if (vm->o.no_hlt_exits)
		assert_int_equal(ioctl(vm->fd, KVM_ENABLE_CAP, &no_exits), 0);
	ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000);
	assert_int_equal(ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0), 0);
}

static void set_cpuid(struct vm *vm)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	c->nent = 256;
	assert_int_equal(ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, c), 0);
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == 1)
			c->entries[i].ecx |= 1u << 21;	/* x2APIC */
	apf_kvm_cpuid(vm->k, c);
	assert_int_equal(ioctl(vm->vcpu_fd, KVM_SET_CPUID2, c), 0);
	free(c);
}

static void set_segments(struct vm *vm)
{
	struct kvm_segment cs = { .limit = 0xffffffff, .selector = 8, .present = 1, .type = 11,
				  .s = 1, .l = 1, .g = 1 };
	struct kvm_segment ds = cs, tr = { .base = TSS, .limit = 0x67, .selector = 0x18,
					   .present = 1, .type = 11 };
	struct kvm_sregs sr;

	assert_int_equal(ioctl(vm->vcpu_fd, KVM_GET_SREGS, &sr), 0);
	ds.type = 3;
	ds.l = 0;
	ds.db = 1;
	ds.selector = 0x10;
	sr.cs = cs;
	sr.ds = sr.es = sr.fs = sr.gs = sr.ss = ds;
	sr.tr = tr;
	sr.gdt = (struct kvm_dtable){ .base = GDT, .limit = 7 * 8 - 1 };
	sr.idt = (struct kvm_dtable){ .base = IDT, .limit = 0xfff };
	sr.cr3 = TABLES;
	sr.cr4 = 0x20;
	sr.cr0 = 0x80050033;
	sr.efer = 0x500;
	assert_int_equal(ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sr), 0);
}

void machine_start(struct vm *vm)
{
}

void machine_vcpu(struct vm *vm)
{
	struct kvm_regs r = {
		.rip = CODE + (uint64_t)(guest_entry - guest_start),
		.rflags = 2,
		.rsp = STACK_TOP,
		.rdi = vm->o.scenario,
		.rsi = vm->o.first,
		.rdx = vm->o.pages,
		.rcx = vm->o.abi ? vm->o.abi : APF_ABI_X86_INT,
	};

	set_cpuid(vm);
	set_segments(vm);
	assert_int_equal(ioctl(vm->vcpu_fd, KVM_SET_REGS, &r), 0);
}

unsigned int machine_events(const struct vm *vm, struct event *e)
{
	const struct kvm_run *run = vm->run;

	if (run->exit_reason != KVM_EXIT_IO || run->io.count > 8)
		fail_msg("exit reason %u", run->exit_reason);
	for (uint32_t i = 0; i < run->io.count; i++, e++) {
		e->what = run->io.port;
		memcpy(&e->value, (const uint8_t *)run + run->io.data_offset + 4 * i, 4);
	}
	return run->io.count;
}

/*
 * A para-virtual KVM walks the guest's page tables in software and does not trap
 * there, and this guest starts with its tables missing.
 */
static bool on_hardware(void)
{
	return !access("/sys/module/kvm_amd", F_OK) || !access("/sys/module/kvm_intel", F_OK);
}

bool machine_usable(const struct apf_kvm_probe *p)
{
	return on_hardware() && p->user_msr && p->exception_payload;
}
