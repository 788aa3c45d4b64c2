/* SPDX-License-Identifier: MIT */
/* The host of the explorer's machine: the VM paused, saved and restored. */
#include "model.h"

void host_freeze(bool frozen)
{
	now->frozen = frozen;
	for (unsigned int c = 0; c < VCPUS; c++) {
		apf_vcpu_freeze(engine(c), frozen);
		if (!frozen)
			act_on(c, apf_vcpu_poll(engine(c)));
	}
}

static void want_again(void *arg, uint64_t gfn, uint32_t token)
{
	uint8_t *pages = arg;

	*pages |= (uint8_t)(1u << gfn);
}

/* As from a file of KVM's own APF: only the registers are known. */
static void restore_without_set(unsigned int c)
{
	if (now->cpu[c].enabled)
		write_controls(c);
}

static void restore_vcpu(unsigned int c, unsigned int how)
{
	uint8_t bytes[512], pages = 0;
	size_t size = apf_vcpu_save(engine(c), bytes, sizeof(bytes));
	int ret;

	make_engine(c, how == 2 ? 1 : scenario->set_size);
	apf_vcpu_freeze(engine(c), true);
	if (how == 1) {
		restore_without_set(c);
		return;
	}
	ret = apf_vcpu_load(engine(c), bytes, size);
	if (ret && how != 2)
		violate("C12: a saved vCPU was refused");
	if (ret)
		act_on(c, apf_vcpu_broadcast(engine(c)));
	apf_vcpu_for_each(engine(c), want_again, &pages);
	for (unsigned int p = 0; p < PAGES; p++)
		if (pages & 1u << p)
			host_want(c, p);
}

/* Fetches in flight are gone with the old process, pages that had come are kept. */
void host_restore(unsigned int how)
{
	for (unsigned int p = 0; p < PAGES; p++)
		if (now->page[p] == FETCHING)
			now->page[p] = ABSENT;
	for (unsigned int c = 0; c < VCPUS; c++) {
		now->cpu[c].untold = 0;
		now->cpu[c].later = now->cpu[c].due = false;
		now->cpu[c].host = RUNNING;	/* C16 */
		restore_vcpu(c, how);
	}
}
