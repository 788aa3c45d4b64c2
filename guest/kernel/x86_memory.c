/* SPDX-License-Identifier: MIT */
/* Free memory, as the multiboot loader tells it, and what is x86's of the page tables. */
#include "kernel.h"

#define MULTIBOOT_HAS_MEMORY	(1u << 0)
#define MULTIBOOT_HAS_MAP	(1u << 6)
#define MAP_AVAILABLE		1u
#define HIGH_MEMORY		0x100000ull
#define BIG_PAGE_SIZE		0x200000ull
#define TABLE_ENTRIES		512u

struct multiboot_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4], mmap_length, mmap_addr;
};

struct multiboot_map {
	uint32_t size;		/* of the rest */
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

extern uint64_t boot_pd[4 * TABLE_ENTRIES];
extern char user_start[], user_end[];

void memory_init(const void *multiboot_info)
{
	const struct multiboot_info *info = multiboot_info;
	uint64_t at = info->mmap_addr, end = at + info->mmap_length;

	if (!(info->flags & MULTIBOOT_HAS_MAP)) {
		if (info->flags & MULTIBOOT_HAS_MEMORY)
			memory_offer(HIGH_MEMORY, HIGH_MEMORY + info->mem_upper * 1024ull);
		return;
	}
	while (at < end) {
		const struct multiboot_map *map = (const struct multiboot_map *)at;

		if (map->type == MAP_AVAILABLE)
			memory_offer(map->base, map->base + map->length);
		at += map->size + sizeof(map->size);
	}
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
	boot_pd[base / BIG_PAGE_SIZE] = (uintptr_t)pt | PTE_TABLE;
}

void memory_open_user_image(void)
{
	uint64_t base = (uintptr_t)user_start & ~(BIG_PAGE_SIZE - 1);

	for (; base < (uintptr_t)user_end; base += BIG_PAGE_SIZE)
		split_big_page(base);
	__asm__ volatile("mov %0, %%cr3" : : "r"(root_table) : "memory");
}

/* Entries that were not present are not remembered. */
void arch_flush_tables(void)
{
}
