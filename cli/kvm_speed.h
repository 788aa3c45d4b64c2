/* SPDX-License-Identifier: MIT */
/* Between kvm_speed.c and its part for an architecture. */
#ifndef APF_KVM_SPEED_H
#define APF_KVM_SPEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvm_run;

#define TINY_MEM	0x10000u
#define TINY_CODE	0x8000u		/* where the loop is in it, and in guest-physical space */

struct tiny_vm {
	int kvm_fd, vm_fd, vcpu_fd;
	size_t run_size;
	struct kvm_run *run;
	uint8_t *mem;
};

/* Set apf_error to "a test VM could not run: WHAT: errno's text"; -errno. */
int tiny_failed(const char *what);

/* A new VM, whose memory is there: fill it. */
void tiny_prepare(struct tiny_vm *vm);
/* Make its vCPU one that can run. 0 or negative errno + apf_error. */
int tiny_init_vcpu(struct tiny_vm *vm);
/* Privileged or user code from now on. The same. */
int tiny_set_level(struct tiny_vm *vm, bool privileged);
/* Set the vCPU to the start of the loop and its counter. */
int tiny_start(struct tiny_vm *vm, uint32_t turns);
/* Is this exit the loop's end? */
bool tiny_is_end(const struct kvm_run *run);
/* The same loop here. */
void tiny_native(uint32_t turns);

#endif
