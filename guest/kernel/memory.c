/* SPDX-License-Identifier: MIT */
/*
 * Physical memory, taken once and never given back, from the largest free piece of
 * the first 3 GiB; and the mappings for ring 3. The kernel's own view of memory is
 * the identity map that boot.S made. The kernel takes from the low end and ring 3
 * from the high end, so that a monitor can tell the two apart and have the kernel's
 * pages there before it runs.
 */
#include "kernel.h"

#define MULTIBOOT_HAS_MEMORY	(1u << 0)
#define MULTIBOOT_HAS_MAP	(1u << 6)
#define MAP_AVAILABLE		1u
#define USABLE_END		0xc0000000ull	/* devices from here on */
#define HIGH_MEMORY		0x100000ull
#define BIG_PAGE_SIZE		0x200000ull
#define TABLE_ENTRIES		512u
#define ADDRESS_MASK		0x000ffffffffff000ull
#define PTE_PRESENT		0x01u
#define PTE_WRITE		0x02u
#define PTE_USER		0x04u
#define PTE_LINK		(PTE_PRESENT | PTE_WRITE | PTE_USER)
#define USER_BASE		0x4000000000ull	/* 256 GiB: above all of the identity map */

struct multiboot_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4], mmap_length, mmap_addr;
};

struct multiboot_map {
	uint32_t size;		/* of the rest */
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

extern uint64_t boot_pml4[TABLE_ENTRIES], boot_pd[4 * TABLE_ENTRIES];
extern char user_start[], user_end[], kernel_end[];

static uint64_t free_start, free_end;
static uint64_t user_next = USER_BASE;

/* Keeps the piece if it is the largest so far, less what the image takes of it. */
static void offer(uint64_t start, uint64_t end)
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

void memory_init(const void *multiboot_info)
{
	const struct multiboot_info *info = multiboot_info;
	uint64_t at = info->mmap_addr, end = at + info->mmap_length;

	if (!(info->flags & MULTIBOOT_HAS_MAP)) {
		if (info->flags & MULTIBOOT_HAS_MEMORY)
			offer(HIGH_MEMORY, HIGH_MEMORY + info->mem_upper * 1024ull);
		return;
	}
	while (at < end) {
		const struct multiboot_map *map = (const struct multiboot_map *)at;

		if (map->type == MAP_AVAILABLE)
			offer(map->base, map->base + map->length);
		at += map->size + sizeof(map->size);
	}
}

void *memory_take(uint64_t size, uint64_t align)
{
	uint64_t start = (free_start + align - 1) & ~(align - 1);

	if (start > free_end || size > free_end - start)
		die("no memory");
	free_start = start + size;
	return memset((void *)start, 0, size);
}

/* Whole pages. */
static uint64_t take_high(uint64_t size)
{
	if (size > free_end - free_start)
		die("no memory");
	free_end -= size;
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
		*entry = (uintptr_t)memory_take(PAGE_SIZE, PAGE_SIZE) | PTE_LINK;
	return (uint64_t *)(*entry & ADDRESS_MASK);
}

static void map_page(uint64_t address, uint64_t physical)
{
	uint64_t *pdpt = descend(boot_pml4, address, 39);
	uint64_t *pd = descend(pdpt, address, 30);
	uint64_t *pt = descend(pd, address, 21);

	pt[address >> 12 & (TABLE_ENTRIES - 1)] = physical | PTE_LINK;
}

/* The big pages that hold user.c are split, so that ring 3 gets only its part of them. */
static void split_big_page(uint64_t base)
{
	uint64_t *pt = memory_take(PAGE_SIZE, PAGE_SIZE);

	for (uint64_t i = 0; i < TABLE_ENTRIES; i++) {
		uint64_t page = base + i * PAGE_SIZE;
		bool user = page >= (uintptr_t)user_start && page < (uintptr_t)user_end;

		pt[i] = page | PTE_PRESENT | PTE_WRITE | (user ? PTE_USER : 0);
	}
	boot_pd[base / BIG_PAGE_SIZE] = (uintptr_t)pt | PTE_LINK;
}

void memory_open_user_image(void)
{
	uint64_t base = (uintptr_t)user_start & ~(BIG_PAGE_SIZE - 1);

	for (; base < (uintptr_t)user_end; base += BIG_PAGE_SIZE)
		split_big_page(base);
	__asm__ volatile("mov %0, %%cr3" : : "r"(boot_pml4) : "memory");
}

void *memory_map_user(uint64_t pages)
{
	void *start = (void *)user_next;
	uint64_t physical = take_high(pages * PAGE_SIZE);

	for (; pages; pages--, user_next += PAGE_SIZE, physical += PAGE_SIZE)
		map_page(user_next, physical);
	return start;
}
