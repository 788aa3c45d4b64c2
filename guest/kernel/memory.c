/* SPDX-License-Identifier: MIT */
/*
 * Physical memory, taken once and never given back, from the largest free piece below
 * USABLE_END; and the mappings for user mode. The kernel's own view of memory is
 * the identity map that boot.S made. The kernel takes from the low end and user mode
 * from the high end, so that a monitor can tell the two apart and have the kernel's
 * pages there before it runs.
 */
#include "kernel.h"

#define TABLE_ENTRIES	512u
#define USER_BASE	0x4000000000ull	/* 256 GiB: above all of the identity map */

extern char kernel_end[];

static uint64_t free_start, free_end;
static uint64_t user_next = USER_BASE;

/* Keeps the piece if it is the largest so far, less what the image takes of it. */
void memory_offer(uint64_t start, uint64_t end)
{
	if (start < (uintptr_t)kernel_end)
		start = (uintptr_t)kernel_end;
	if (end > USABLE_END)
		end = USABLE_END;
	end &= ~(uint64_t)(PAGE_SIZE - 1);
	if (end <= start || end - start <= free_end - free_start)
		return;
	free_start = start;
	free_end = end;
}

void *memory_take(uint64_t size, uint64_t align)
{
	uint64_t start = (free_start + align - 1) & ~(align - 1);

	if (start > free_end || size > free_end - start)
		die("no memory");
	free_start = start + size;
	return memset((void *)start, 0, size);
}

/* Whole chunks, so that on a host with bigger pages nothing else comes with them. */
static uint64_t take_high(uint64_t size)
{
	const uint64_t chunk = option.chunk * PAGE_SIZE;
	const uint64_t end = free_end / chunk * chunk;

	size = (size + chunk - 1) / chunk * chunk;
	if (end < free_start || size > end - free_start)
		die("no memory");
	free_end = end - size;
	return free_end;
}

uint64_t memory_kernel_end(void)
{
	return free_start;
}

uint64_t memory_user_start(void)
{
	return free_end;
}

/* The entry for address in `table`, made to point to a lower table if it does not yet. */
static uint64_t *descend(uint64_t *table, uint64_t address, uint32_t shift)
{
	uint64_t *entry = &table[address >> shift & (TABLE_ENTRIES - 1)];

	if (!*entry)
		*entry = (uintptr_t)memory_take(PAGE_SIZE, PAGE_SIZE) | PTE_TABLE;
	return (uint64_t *)(*entry & PTE_ADDRESS);
}

static void map_page(uint64_t address, uint64_t physical)
{
	uint64_t *second = descend(root_table, address, 39);
	uint64_t *third = descend(second, address, 30);
	uint64_t *last = descend(third, address, 21);

	last[address >> 12 & (TABLE_ENTRIES - 1)] = physical | PTE_USER_PAGE;
}

void *memory_map_user(uint64_t pages)
{
	void *start = (void *)user_next;
	uint64_t physical = take_high(pages * PAGE_SIZE);

	for (; pages; pages--, user_next += PAGE_SIZE, physical += PAGE_SIZE)
		map_page(user_next, physical);
	arch_flush_tables();
	return start;
}
