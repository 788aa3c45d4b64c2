/* SPDX-License-Identifier: MIT */
/* The device tree that describes the arm64 machine to its guest. */
#ifndef VMM_DEVICE_TREE_H
#define VMM_DEVICE_TREE_H

#include <stddef.h>
#include <stdint.h>

struct vmm_machine_info {
	uint64_t ram, ram_size;
	unsigned int cpus;
	const char *cmdline;
	uint64_t initrd, initrd_size;	/* size 0: there is none */
};

/*
 * Write the tree into size bytes, 8-byte aligned. 0, or -ENOSPC + apf_error: it needs more. Pure.
 */
int vmm_device_tree_write(void *tree, size_t size, const struct vmm_machine_info *info);

#endif
