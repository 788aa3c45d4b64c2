/* SPDX-License-Identifier: MIT */
/*
 * x86: the guest's page tables, walked as a processor does it, to make pages resident that
 * KVM reads without a trap.
 *
 * With a second stage of translation in hardware a missing table page traps as any other. A KVM
 * that walks the tables itself fails there, and takes it for the guest's own fault: the
 * guest's kernel gets a #PF that it has no reason for, or dies of a triple fault. So tables are
 * fetched before the start, and again when a triple fault shows that others are in use since.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <apf/error.h>
#include <apf/store.h>

#include "kvm/arch.h"
#include "kvm/x86/x86.h"

#define PTE_PRESENT	(1ull << 0)
#define PTE_LARGE	(1ull << 7)
#define PTE_ADDR	0x000ffffffffff000ull
#define PAE_ROOT	4u			/* entries */
#define TABLES_MAX	65536u			/* of one guest at once: they map 128 GiB by 4 KiB */
#define FRAME_SIZE	48u
#define TSS_STACKS	11u			/* of three levels, a gap, and of seven ISTs */

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

/* For a vCPU's thread, which can be called away, or before the vCPU has one (NULL). */
static int need(struct apf_kvm *k, struct apf_kvm_vcpu *v, uint64_t gpa, uint64_t len)
{
	return v ? apf_run_need(v, gpa, len) : apf_gpa_need(k, gpa, len);
}

/* See apf_x86_need_linear. *out: where it is, or UINT64_MAX. */
static int need_linear(struct apf_kvm *k, struct apf_kvm_vcpu *v, const struct kvm_sregs *s, uint64_t va,
		       uint64_t *out)
{
	struct paging p = paging_of(s);
	uint64_t at = p.root, entry = PTE_PRESENT;
	bool large = false;
	int r;

	*out = UINT64_MAX;
	if (!(s->cr0 & CR0_PG))
		at = va;
	for (unsigned int level = s->cr0 & CR0_PG ? p.levels : 0;; level--) {
		unsigned int shift = 12 + p.index_bits * (level - 1);
		uint64_t gpa = at;

		if (level && !large)
			gpa += (va >> shift & ((1u << p.index_bits) - 1)) * p.entry_size;
		r = need(k, v, gpa, 1);
		if (!level || large)
			*out = (gpa & -(uint64_t)APF_PAGE_SIZE) + va % APF_PAGE_SIZE;
		if (r || !level || large)
			return r;
		entry = 0;
		apf_gpa_read(k, gpa, &entry, p.entry_size);
		if (!(entry & PTE_PRESENT))
			return GO_ON;
		large = level > 1 && (entry & PTE_LARGE);
		at = entry & PTE_ADDR;
		if (large)
			at = (at & ~((1ull << shift) - 1)) + (va & ((1ull << shift) - 1));
	}
}

int apf_x86_need_linear(struct apf_kvm_vcpu *v, const struct kvm_sregs *s, uint64_t va)
{
	uint64_t gpa;

	return need_linear(v->k, v, s, va, &gpa);
}

/* Going through all tables: each once per level, even if they refer to one another. */
struct tour {
	struct paging p;
	uint8_t *seen;			/* of every page of RAM the highest level it was seen at */
	unsigned int left;
};

/* The table that an entry refers to, which a level above the last has. */
static bool next_table(const struct tour *t, const uint8_t *entries, unsigned int i, uint64_t *at)
{
	uint64_t entry = 0;

	memcpy(&entry, entries + i * t->p.entry_size, t->p.entry_size);
	*at = entry & PTE_ADDR;
	return entry & PTE_PRESENT && !(entry & PTE_LARGE);
}

static int need_tables(struct apf_kvm *k, struct apf_kvm_vcpu *v, struct tour *t, uint64_t at,
		       unsigned int level)
{
	const bool pae_root = level == 3 && t->p.levels == 3;
	const unsigned int n = pae_root ? PAE_ROOT : 1u << t->p.index_bits;
	struct ram_page page = apf_page_at(k, at);
	uint8_t entries[4096];
	uint64_t next;
	int r;

	if (!is_page(page) || t->seen[page.nr] >= level || !t->left)
		return GO_ON;
	t->seen[page.nr] = (uint8_t)level;
	t->left--;
	r = need(k, v, at, 1);
	if (r == -EIO)			/* the guest may never need it */
		return GO_ON;
	if (r || level == 1 || apf_gpa_read(k, at, entries, n * t->p.entry_size))
		return r;
	for (unsigned int i = 0; i < n; i++)	/* all on their way before the first wait */
		if (next_table(t, entries, i, &next) && is_page(apf_page_at(k, next)))
			apf_page_want(k, apf_page_at(k, next));
	for (unsigned int i = 0; i < n && !r; i++)
		if (next_table(t, entries, i, &next))
			r = need_tables(k, v, t, next, level - 1);
	return r;
}

static int need_all_tables(struct apf_kvm *k, struct apf_kvm_vcpu *v, const struct kvm_sregs *s)
{
	struct tour t = { .p = paging_of(s), .left = TABLES_MAX };
	int r;

	t.seen = calloc(apf_mem_size(k->cfg.mem) >> APF_PAGE_SHIFT, 1);
	if (!t.seen)
		return apf_error_set(-ENOMEM, "kvm: no memory for a walk of the guest's page tables");
	r = need_tables(k, v, &t, t.p.root, t.p.levels);
	free(t.seen);
	return r;
}

/* So many bytes from a linear address on. */
static int need_span(struct apf_kvm *k, struct apf_kvm_vcpu *v, const struct kvm_sregs *s, uint64_t va,
		     uint64_t len)
{
	uint64_t gpa;
	int r = GO_ON;

	for (uint64_t n = 0; n < va % APF_PAGE_SIZE + len && !r; n += APF_PAGE_SIZE)
		r = need_linear(k, v, s, va + n, &gpa);
	return r;
}

/* The stacks that the TSS names: the kernel's, and in long mode those of the IST. */
static int need_stacks(struct apf_kvm *k, struct apf_kvm_vcpu *v, const struct kvm_sregs *s)
{
	const bool wide = s->efer & EFER_LMA;
	const unsigned int n = wide ? TSS_STACKS : 1;
	int r = GO_ON;

	for (unsigned int i = 0; i < n && !r; i++) {
		uint64_t at = s->tr.base + 4 + 8 * i, gpa, sp = 0;

		for (unsigned int half = 0; half <= wide && !r; half++) {
			r = need_linear(k, v, s, at + 4 * half, &gpa);
			apf_gpa_read(k, gpa, (uint8_t *)&sp + 4 * half, 4);
		}
		if (sp && !r)
			r = need_linear(k, v, s, sp - 1, &gpa);
	}
	return r;
}

/* User space delivers, so that what is missing is marked, and KVM looks at it by itself. */
static bool walks_fail(const struct apf_kvm *k, const struct kvm_sregs *s)
{
	return k->software_walks && k->cfg.delivery == APF_DELIVERY_USER && s->cr0 & CR0_PG;
}

int apf_x86_need_system(struct apf_kvm *k, struct apf_kvm_vcpu *v, const struct kvm_sregs *s)
{
	int r;

	if (!walks_fail(k, s))
		return GO_ON;
	r = need_all_tables(k, v, s);
	if (!r)
		r = need_span(k, v, s, s->idt.base, s->idt.limit + 1u);
	if (!r)
		r = need_span(k, v, s, s->gdt.base, s->gdt.limit + 1u);
	return r ? r : need_stacks(k, v, s);
}

/* For an interrupt that waits for the first run: what it is pushed on. */
int apf_x86_need_stack(struct apf_kvm_vcpu *v, const struct kvm_sregs *s)
{
	struct kvm_regs r;

	if (!walks_fail(v->k, s))
		return GO_ON;
	if (ioctl(v->fd, KVM_GET_REGS, &r) < 0)
		return apf_error_set(-errno, "vcpu %u: KVM_GET_REGS: %s", v->id, strerror(errno));
	return need_span(v->k, v, s, s->ss.base + r.rsp - FRAME_SIZE, FRAME_SIZE);
}

/*
 * Fetch what is missing of what this vCPU's KVM has read by itself and run the instruction
 * again; a triple fault for which nothing was missing is the guest's. With paging off it is, too,
 * or there is no telling any more: SVM leaves a vCPU as after INIT.
 */
int apf_x86_triple_fault(struct apf_kvm_vcpu *v)
{
	struct kvm_sregs s;
	struct kvm_regs regs;
	int r = apf_x86_regs(v, &regs, &s);

	if (r)
		return r;
	if (!walks_fail(v->k, &s))
		return TO_CALLER;
	r = apf_x86_need_system(v->k, v, &s);
	if (!r)
		r = apf_x86_need_linear(v, &s, s.cr2);
	if (!r)
		r = apf_x86_need_instruction(v);
	if (r)
		return r;
	return apf_x86_may_run_again(v, regs.rip) ? apf_x86_run_again(v) : TO_CALLER;
}

static bool is_on(const char *parameter)
{
	FILE *f = fopen(parameter, "re");
	int c = f ? fgetc(f) : EOF;

	if (f)
		fclose(f);
	return c == 'Y' || c == '1';
}

/* No capability tells. Where the parameters cannot be seen it costs some pages at the start. */
bool apf_x86_software_walks(void)
{
	return !is_on("/sys/module/kvm_intel/parameters/ept") &&
	       !is_on("/sys/module/kvm_amd/parameters/npt");
}
