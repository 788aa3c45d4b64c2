/* SPDX-License-Identifier: MIT */
/* x86: the CPUID bits that announce APF, and what a vCPU's CPUID says. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <abi/apf_abi_x86.h>
#include <apf/error.h>

#include "kvm/arch.h"
#include "kvm/x86/x86.h"

#define MAX_ENTRIES	256u			/* KVM's own limit */
#define FIRST_BASE	0x40000000u		/* of hypervisors' leaves: one each 0x100 */
#define LAST_BASE	0x4000ff00u
#define BASE_STEP	0x100u

#define BIT_VMX		(1u << 5)		/* leaf 1, ECX */
#define BIT_SVM		(1u << 2)		/* leaf 0x80000001, ECX */
#define BIT_NX		(1u << 20)		/* the same, EDX */
#define BIT_FFXSR	(1u << 25)
#define BIT_LM		(1u << 29)
#define BIT_AUTOIBRS	(1u << 8)		/* leaf 0x80000021, EAX */

static struct kvm_cpuid_entry2 *leaf(struct kvm_cpuid2 *c, uint32_t function)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == function)
			return &c->entries[i];
	return NULL;
}

/* Other hypervisors' leaves (Hyper-V's) may come first and mean something else. */
static bool is_kvm_base(const struct kvm_cpuid_entry2 *e)
{
	static const char name[12] = "KVMKVMKVM";
	const uint32_t words[] = { e->ebx, e->ecx, e->edx };

	return e->function >= FIRST_BASE && e->function <= LAST_BASE &&
	       e->function % BASE_STEP == 0 && !memcmp(words, name, sizeof(name));
}

static void announce(const struct apf_kvm *k, struct kvm_cpuid_entry2 *features)
{
	features->eax &= ~(APF_CPUID_ASYNC_PF | APF_CPUID_VMEXIT | APF_CPUID_INT);
	if (k->cfg.delivery == APF_DELIVERY_SYNC)
		return;
	features->eax |= APF_CPUID_ASYNC_PF;
	if (k->cfg.abi == APF_ABI_X86_INT)
		features->eax |= APF_CPUID_INT;
}

static void forbid_nesting(struct kvm_cpuid2 *c)
{
	struct kvm_cpuid_entry2 *intel = leaf(c, 1), *amd = leaf(c, 0x80000001);

	if (intel)
		intel->ecx &= ~BIT_VMX;
	if (amd)
		amd->ecx &= ~BIT_SVM;
}

struct kvm_cpuid_entry2 *apf_x86_kvm_features(struct kvm_cpuid2 *c)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (is_kvm_base(&c->entries[i]))
			return leaf(c, c->entries[i].function + 1);
	return NULL;
}

void apf_kvm_cpuid(const struct apf_kvm *k, struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid_entry2 *features = apf_x86_kvm_features(cpuid);

	if (features)
		announce(k, features);
	if (k->cfg.delivery == APF_DELIVERY_USER && !k->tells_nested)
		forbid_nesting(cpuid);
}

int apf_x86_get_cpuid(const struct apf_kvm_vcpu *v, struct kvm_cpuid2 **out)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + MAX_ENTRIES * sizeof(*c->entries));

	if (!c)
		return apf_error_set(-ENOMEM, "vcpu %u: no memory for its CPUID", v->id);
	c->nent = MAX_ENTRIES;
	if (ioctl(v->fd, KVM_GET_CPUID2, c) < 0) {
		int err = apf_error_set(-errno, "vcpu %u: KVM_GET_CPUID2: %s", v->id, strerror(errno));

		free(c);
		return err;
	}
	*out = c;
	return 0;
}

int apf_x86_features(const struct apf_kvm_vcpu *v, struct x86_features *f)
{
	const struct kvm_cpuid_entry2 *intel, *amd, *more;
	struct kvm_cpuid2 *c;
	int err = apf_x86_get_cpuid(v, &c);

	if (err)
		return err;
	intel = leaf(c, 1);
	amd = leaf(c, 0x80000001);
	more = leaf(c, 0x80000021);
	*f = (struct x86_features){
		.vmx = intel && intel->ecx & BIT_VMX,
		.svm = amd && amd->ecx & BIT_SVM,
		.nx = amd && amd->edx & BIT_NX,
		.lm = amd && amd->edx & BIT_LM,
		.ffxsr = amd && amd->edx & BIT_FFXSR,
		.auto_ibrs = more && more->eax & BIT_AUTOIBRS,
	};
	free(c);
	return 0;
}
