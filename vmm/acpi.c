/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables, hardware-reduced: processors (MADT), how to power off and reset
 * (FADT and \_S5), and the serial port's interrupt (DSDT). Debian's cloud kernel finds its
 * second processor in no other way.
 */
#include "acpi.h"

#include <string.h>

#include "machine_x86.h"
#include "snapshot.h"

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum;	/* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t checksum_all, reserved[3];
} __attribute__((packed));

struct address {		/* "generic address structure" */
	uint8_t space, bits, offset, access;
	uint64_t address;
} __attribute__((packed));

#define SPACE_IO	1
#define ACCESS_BYTE	1

struct fadt {
	struct header h;
	uint32_t facs, dsdt;
	uint8_t unused0[109 - 44];
	uint16_t boot_arch;
	uint8_t unused1;
	uint32_t flags;
	struct address reset;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	uint8_t unused2[244 - 148];
	struct address sleep_control, sleep_status;
	uint64_t hypervisor;
} __attribute__((packed));
_Static_assert(sizeof(struct fadt) == 276, "FADT of ACPI 6");

#define FADT_WBINVD		(1u << 0)
#define FADT_PWR_BUTTON		(1u << 4)	/* no fixed power button */
#define FADT_SLP_BUTTON		(1u << 5)
#define FADT_RESET_REG		(1u << 10)
#define FADT_HW_REDUCED		(1u << 20)
#define BOOT_ARCH_NO_VGA	(1u << 2)
#define BOOT_ARCH_NO_CMOS_RTC	(1u << 5)

struct madt {
	struct header h;
	uint32_t lapic, flags;
} __attribute__((packed));

#define MADT_PCAT_COMPAT	1u	/* there are two 8259s as well */

struct madt_lapic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} __attribute__((packed));

struct xsdt {
	struct header h;
	uint64_t tables[2];
} __attribute__((packed));

/* The byte code of:
 *	Name (\_S5, Package () { 5, 5, 0, 0 })
 *	Scope (\_SB) { Device (COM1) {
 *		Name (_HID, EisaId ("PNP0501"))
 *		Name (_UID, 1)
 *		Name (_CRS, ResourceTemplate () {
 *			IO (Decode16, 0x3f8, 0x3f8, 1, 8)
 *			Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 4 } })
 *	} }
 */
static const uint8_t aml[] = {
	0x08, '_', 'S', '5', '_',		/* Name */
	0x12, 0x08, 4,				/* Package, 8 bytes from here on, 4 elements */
	0x0a, SLEEP_TYPE_S5, 0x0a, SLEEP_TYPE_S5, 0x00, 0x00,
	0x10, 0x39, '\\', '_', 'S', 'B', '_',	/* Scope, 57 bytes from here on */
	0x5b, 0x82, 0x31, 'C', 'O', 'M', '1',	/* Device, 49 bytes */
	0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x05, 0x01,
	0x08, '_', 'U', 'I', 'D', 0x01,
	0x08, '_', 'C', 'R', 'S', 0x11, 0x16, 0x0a, 19,		/* Buffer of 19 bytes */
	0x47, 0x01, PORT_SERIAL & 0xff, PORT_SERIAL >> 8,	/* IO, from */
	PORT_SERIAL & 0xff, PORT_SERIAL >> 8, 1, PORTS_SERIAL, /* to, step, count */
	0x89, 0x06, 0x00, 0x03, 1, IRQ_SERIAL, 0, 0, 0,	/* Interrupt: consumer, edge; one */
	0x79, 0x00,				/* end of resources */
};

static uint8_t sum_to_zero(const void *table, size_t len)
{
	const uint8_t *p = table;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += p[i];
	return (uint8_t)-sum;
}

static void fill_header(struct header *h, const char *signature, uint8_t revision)
{
	memcpy(h->signature, signature, 4);
	h->revision = revision;
	memcpy(h->oem_id, "LIBAPF", 6);
	memcpy(h->oem_table, "APFVMM  ", 8);
	h->oem_revision = 1;
	memcpy(h->creator, "APF ", 4);
	h->creator_revision = 1;
}

/* Put a finished table at *pos, which moves on. Returns where it lies. */
static uint64_t put(const struct vmm_ram *ram, uint64_t *pos, void *table, size_t len)
{
	struct header *h = table;
	uint64_t at = *pos;

	h->length = (uint32_t)len;
	h->checksum = 0;
	h->checksum = sum_to_zero(table, len);
	memcpy(vmm_ram_at(ram, at, len), table, len);
	*pos = (at + len + 15) & ~15ull;
	return at;
}

static uint64_t put_dsdt(const struct vmm_ram *ram, uint64_t *pos)
{
	uint8_t bytes[sizeof(struct header) + sizeof(aml)] = { 0 };

	fill_header((struct header *)bytes, "DSDT", 2);
	memcpy(bytes + sizeof(struct header), aml, sizeof(aml));
	return put(ram, pos, bytes, sizeof(bytes));
}

static struct address io_byte(uint32_t port)
{
	return (struct address){ .space = SPACE_IO, .bits = 8, .access = ACCESS_BYTE,
				 .address = port };
}

static uint64_t put_fadt(const struct vmm_ram *ram, uint64_t *pos, uint64_t dsdt)
{
	struct fadt f = {
		.dsdt = (uint32_t)dsdt,
		.x_dsdt = dsdt,
		.boot_arch = BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_CMOS_RTC,
		.flags = FADT_WBINVD | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_RESET_REG |
			 FADT_HW_REDUCED,
		.reset = io_byte(PORT_RESET),
		.reset_value = RESET_VALUE,
		.minor = 5,
		.sleep_control = io_byte(PORT_SLEEP_CONTROL),
		.sleep_status = io_byte(PORT_SLEEP_STATUS),
	};

	fill_header(&f.h, "FACP", 6);
	return put(ram, pos, &f, sizeof(f));
}

static uint64_t put_madt(const struct vmm_ram *ram, uint64_t *pos, unsigned int cpus)
{
	uint8_t bytes[sizeof(struct madt) + VMM_MAX_VCPUS * sizeof(struct madt_lapic) +
		      sizeof(struct madt_ioapic)] = { 0 };
	struct madt *m = (struct madt *)bytes;
	uint8_t *at = bytes + sizeof(*m);
	const struct madt_ioapic ioapic = { 1, sizeof(ioapic), (uint8_t)cpus, 0, GPA_IOAPIC, 0 };

	fill_header(&m->h, "APIC", 3);
	m->lapic = GPA_LAPIC;
	m->flags = MADT_PCAT_COMPAT;
	for (unsigned int i = 0; i < cpus; i++, at += sizeof(struct madt_lapic)) {
		const struct madt_lapic l = { 0, sizeof(l), (uint8_t)i, (uint8_t)i, 1 };

		memcpy(at, &l, sizeof(l));
	}
	memcpy(at, &ioapic, sizeof(ioapic));
	return put(ram, pos, bytes, (size_t)(at + sizeof(ioapic) - bytes));
}

uint64_t vmm_acpi_write(const struct vmm_ram *ram, unsigned int cpus)
{
	struct rsdp r = { .signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' }, .revision = 2,
			  .length = sizeof(r) };
	uint64_t pos = GPA_ACPI + 64;	/* the RSDP comes first */
	struct xsdt x = { 0 };

	if (!vmm_ram_at(ram, GPA_ACPI, GPA_ACPI_END - GPA_ACPI))
		return 0;
	fill_header(&x.h, "XSDT", 1);
	x.tables[0] = put_fadt(ram, &pos, put_dsdt(ram, &pos));
	x.tables[1] = put_madt(ram, &pos, cpus);
	memcpy(r.oem_id, "LIBAPF", 6);
	r.xsdt = put(ram, &pos, &x, sizeof(x));
	r.checksum = sum_to_zero(&r, 20);
	r.checksum_all = sum_to_zero(&r, sizeof(r));
	memcpy(vmm_ram_at(ram, GPA_ACPI, sizeof(r)), &r, sizeof(r));
	return GPA_ACPI;
}
