/* SPDX-License-Identifier: MIT */
/*
 * What binds a snapshot's RAM to its state: the state holds the CRC-32C of every 4 KiB page of
 * RAM (section ram_sums, one little-endian number a page, holes included). A page that is fetched
 * is checked against it, so that the guest never gets one that was damaged, or not written.
 */
#ifndef VMM_SUMS_H
#define VMM_SUMS_H

#include <stdint.h>

struct apf_store;
struct vmm_snapshot;

/*
 * Call page(arg, number, checksum) for every page of RAM, size bytes, in the file fd, in order. 0;
 * -EINVAL: the file has another size; or another negative errno. apf_error is set.
 */
int vmm_sums_read(int fd, uint64_t size, void (*page)(void *arg, uint64_t number, uint32_t sum), void *arg);

/* The checksum that a page was saved with. */
uint32_t vmm_sums_of(const struct vmm_snapshot *s, uint64_t page);

/*
 * Put a filter in front of *store that fails reads of pages which are not as they were saved. The
 * snapshot must live as long as the store. 0 or negative errno + apf_error; *store is closed then.
 */
int vmm_sums_check(const struct vmm_snapshot *s, struct apf_store **store);

#endif
