/* SPDX-License-Identifier: MIT */
/* x86: where the ready interrupt stands. */
#include <string.h>
#include <sys/ioctl.h>

#include <abi/apf_abi_x86.h>

#include "kvm/arch.h"

/* Registers of the local APIC: 256 bits each, 32 in the first 4 of 16 bytes. */
#define LAPIC_ISR	0x100u
#define LAPIC_IRR	0x200u

static int bit(const struct kvm_lapic_state *lapic, unsigned int reg, uint8_t vector)
{
	uint32_t word;

	memcpy(&word, lapic->regs + reg + vector / 32 * 16, sizeof(word));
	return word >> vector % 32 & 1;
}

void apf_arch_inspect(struct apf_kvm_vcpu *v, struct apf_kvm_vcpu_view *out)
{
	struct kvm_lapic_state lapic;
	uint64_t vector;
	int err;

	pthread_mutex_lock(&v->lock);
	err = apf_vcpu_control_read(v->engine, APF_MSR_INT, &vector);
	pthread_mutex_unlock(&v->lock);
	if (err || !(uint8_t)vector || ioctl(v->fd, KVM_GET_LAPIC, &lapic) < 0)
		return;
	out->vector = (uint8_t)vector;
	out->irr = bit(&lapic, LAPIC_IRR, out->vector);
	out->isr = bit(&lapic, LAPIC_ISR, out->vector);
}
