/* SPDX-License-Identifier: MIT */
/*
 * x86: KVM's instruction emulator does not trap on a missing page. Where it reads
 * or writes one, KVM takes it for a device (KVM_EXIT_MMIO with an address in RAM);
 * where it cannot fetch an instruction, emulation fails. Both are undone here: the page is
 * waited for (apf_run_need), then the access is completed or the instruction runs again.
 */
#include "kvm/arch.h"
#include "kvm/x86/x86.h"

#define PTE_PRESENT	(1ull << 0)
#define PTE_LARGE	(1ull << 7)
#define PTE_ADDR	0x000ffffffffff000ull
#define MAX_INSN	15u

struct paging {
	unsigned int levels;
	unsigned int index_bits;	/* per level; the top level of PAE has fewer, which is harmless */
	unsigned int entry_size;
	uint64_t root;
};

static struct paging paging_of(const struct kvm_sregs *s)
{
	if (s->efer & EFER_LMA)
		return (struct paging){ s->cr4 & CR4_LA57 ? 5 : 4, 9, 8, s->cr3 & PTE_ADDR };
	if (s->cr4 & CR4_PAE)
		return (struct paging){ 3, 9, 8, s->cr3 & 0xffffffe0u };
	return (struct paging){ 2, 10, 4, s->cr3 & 0xfffff000u };
}

/*
 * Make resident what lies on the way from a linear address to its page, and the
 * page itself. Ends early where the guest has mapped nothing. As apf_run_need.
 */
static int need_linear(struct apf_kvm_vcpu *v, const struct kvm_sregs *s, uint64_t va)
{
	struct paging p = paging_of(s);
	uint64_t at = p.root, entry = PTE_PRESENT;
	bool large = false;
	int r;

	if (!(s->cr0 & CR0_PG))
		at = va;
	for (unsigned int level = s->cr0 & CR0_PG ? p.levels : 0;; level--) {
		unsigned int shift = 12 + p.index_bits * (level - 1);
		uint64_t gpa = at;

		if (level && !large)
			gpa += (va >> shift & ((1u << p.index_bits) - 1)) * p.entry_size;
		r = apf_run_need(v, gpa, 1);
		if (r || !level || large)
			return r;
		entry = 0;
		apf_gpa_read(v->k, gpa, &entry, p.entry_size);
		if (!(entry & PTE_PRESENT))
			return GO_ON;
		large = level > 1 && (entry & PTE_LARGE);
		at = entry & PTE_ADDR;
		if (large)
			at = (at & ~((1ull << shift) - 1)) + (va & ((1ull << shift) - 1));
	}
}

/*
 * What the instruction at hand may touch: itself, and what the string registers
 * and the stack point to. Anything else shows up as another exit.
 */
static int need_instruction(struct apf_kvm_vcpu *v)
{
	struct kvm_sregs s;
	struct kvm_regs r;
	int err = apf_x86_regs(v, &r, &s);
	const uint64_t va[] = { s.cs.base + r.rip, s.cs.base + r.rip + MAX_INSN - 1, s.ds.base + r.rsi,
				s.es.base + r.rdi, s.ss.base + r.rsp };

	for (size_t i = 0; i < sizeof(va) / sizeof(*va) && !err; i++)
		err = need_linear(v, &s, va[i]);
	return err;
}

int apf_x86_mmio(struct apf_kvm_vcpu *v)
{
	struct kvm_run *run = v->run;
	uint64_t gpa = run->mmio.phys_addr;
	int r;

	if (run->mmio.len > sizeof(run->mmio.data) ||
	    !(run->mmio.is_write ? apf_gpa_is_writable : apf_gpa_is_ram)(v->k, gpa, run->mmio.len))
		return TO_CALLER;
	r = apf_run_need(v, gpa, run->mmio.len);
	if (!r)
		r = need_instruction(v);
	if (r)
		return r;
	r = run->mmio.is_write ? apf_gpa_write(v->k, gpa, run->mmio.data, run->mmio.len)
			       : apf_gpa_read(v->k, gpa, run->mmio.data, run->mmio.len);
	if (r)
		return apf_run_lost(v, gpa, r);
	atomic_fetch_add(&v->emulated, 1);
	return GO_ON;
}

/* Run the instruction again as long as that makes pages come; then it is the VMM's. */
int apf_x86_emulation_failed(struct apf_kvm_vcpu *v)
{
	int r;

	if (v->run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
		return TO_CALLER;
	r = need_instruction(v);
	if (r)
		return r;
	atomic_fetch_add(&v->emulated, v->fetched != 0);
	return v->fetched ? GO_ON : TO_CALLER;
}
