/* SPDX-License-Identifier: MIT */
/*
 * The little that is needed of ACPI: the processors (MADT), and how to power off
 * (FADT, and \_S5 in the DSDT). The tables are the loader's or the monitor's.
 */
#include "kernel.h"

#define EBDA_SEGMENT	0x40eul
#define BIOS_START	0xe0000ul
#define BIOS_END	0x100000ul
#define EBDA_SEARCH	1024u

#define MADT_LAPIC	0
#define MADT_X2APIC	9
#define CPU_ENABLED	1u

#define FADT_REDUCED	(1u << 20)
#define SLEEP_ENABLE	0x20u
#define PM1_ENABLE	0x2000u
#define AML_PACKAGE	0x12
#define AML_BYTE	0x0a

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
} __attribute__((packed));

struct table {
	char signature[4];
	uint32_t length;
	uint8_t rest[28];
} __attribute__((packed));

struct madt {
	struct table header;
	uint32_t lapic, flags;
	uint8_t entries[];
} __attribute__((packed));

struct madt_lapic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} __attribute__((packed));

struct madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t apic_id, flags, uid;
} __attribute__((packed));

struct fadt {
	struct table header;
	uint32_t facs, dsdt;
	uint8_t before_pm1a[20];
	uint32_t pm1a_control;
	uint8_t before_flags[44];
	uint32_t flags;
	uint8_t before_sleep[128];
	uint8_t sleep_type[4];
	uint64_t sleep_control;
} __attribute__((packed));

_Static_assert(offsetof(struct fadt, pm1a_control) == 64, "FADT");
_Static_assert(offsetof(struct fadt, flags) == 112, "FADT");
_Static_assert(offsetof(struct fadt, sleep_control) == 248, "FADT");

static const struct rsdp *search(uintptr_t from, uintptr_t to)
{
	for (uintptr_t at = from; at < to; at += 16)
		if (!memcmp((const void *)at, "RSD PTR ", 8))
			return (const struct rsdp *)at;
	return NULL;
}

static const struct rsdp *find_rsdp(void)
{
	uintptr_t at = EBDA_SEGMENT, ebda;
	const struct rsdp *found;

	/* The compiler is not to know that this is so near to NULL. */
	__asm__("" : "+r"(at));
	ebda = (uintptr_t)*(const uint16_t *)at << 4;
	found = ebda ? search(ebda, ebda + EBDA_SEARCH) : NULL;
	return found ? found : search(BIOS_START, BIOS_END);
}

static const void *find_table(const char *signature)
{
	const struct rsdp *rsdp = find_rsdp();
	bool wide = rsdp && rsdp->revision >= 2 && rsdp->xsdt;
	uint32_t size = wide ? 8 : 4;
	const struct table *root;

	if (!rsdp)
		return NULL;
	root = (const struct table *)(wide ? rsdp->xsdt : rsdp->rsdt);
	for (uint32_t at = sizeof(*root); at + size <= root->length; at += size) {
		uint64_t address = 0;
		const struct table *table;

		memcpy(&address, (const char *)root + at, size);
		table = (const struct table *)address;
		if (!memcmp(table->signature, signature, 4))
			return table;
	}
	return NULL;
}

/* 1 if the entry is a usable processor, whose id goes to *id. */
static uint32_t usable_cpu(const uint8_t *entry, uint32_t *id)
{
	const struct madt_lapic *lapic = (const struct madt_lapic *)entry;
	const struct madt_x2apic *x2apic = (const struct madt_x2apic *)entry;

	if (lapic->type == MADT_LAPIC) {
		*id = lapic->apic_id;
		return lapic->flags & CPU_ENABLED;
	}
	if (x2apic->type == MADT_X2APIC) {
		*id = x2apic->apic_id;
		return x2apic->flags & CPU_ENABLED;
	}
	return 0;
}

uint32_t acpi_cpus(uint32_t *id, uint32_t most)
{
	const struct madt *madt = find_table("APIC");
	const uint8_t *at, *end;
	uint32_t count = 0;

	if (!madt)
		return 0;
	end = (const uint8_t *)madt + madt->header.length;
	for (at = madt->entries; at + 2 <= end && at[1] && count < most; at += at[1])
		count += usable_cpu(at, &id[count]);
	return count;
}

/* The first number of the package \_S5: Name(_S5_, Package() { number, ... }). */
static bool find_s5(const struct table *dsdt, uint8_t *type)
{
	const uint8_t *aml = (const uint8_t *)dsdt;

	for (uint32_t i = sizeof(*dsdt); i + 10 < dsdt->length; i++) {
		const uint8_t *at = aml + i + 4;

		if (memcmp(aml + i, "_S5_", 4) || *at != AML_PACKAGE)
			continue;
		at += 1 + 1 + (at[1] >> 6) + 1;		/* operator, length, number of elements */
		*type = *at == AML_BYTE ? at[1] : *at;	/* else the constants 0 and 1 */
		return true;
	}
	return false;
}

void acpi_power_off(void)
{
	const struct fadt *fadt = find_table("FACP");
	uint8_t type;

	if (!fadt || !find_s5((const struct table *)(uintptr_t)fadt->dsdt, &type))
		return;
	if (fadt->flags & FADT_REDUCED)
		outb((uint16_t)fadt->sleep_control, (uint8_t)(type << 2 | SLEEP_ENABLE));
	else
		__asm__ volatile("outw %0, %1" : : "a"((uint16_t)(type << 10 | PM1_ENABLE)),
				 "Nd"((uint16_t)fadt->pm1a_control));
}
