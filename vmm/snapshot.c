/* SPDX-License-Identifier: MIT */
/* The file format of snapshots; see snapshot.h. Nothing here knows a VM. */
#include "snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <apf/error.h>
#include <apf/kvm.h>
#include <apf/store.h>

#include "console.h"
#include "crc32c.h"
#include "serial.h"

static const char magic[8] = "APFSNAP";

struct file_header {
	char magic[8];
	uint32_t version, machine, sections, zero[2], crc;
};

struct section_header {
	uint32_t kind, index;
	uint64_t len;
	uint32_t zero[3], crc;
};

#define CRC_AT	28u	/* of both headers */
_Static_assert(sizeof(struct file_header) == 32 && sizeof(struct section_header) == 32,
	       "the layout is ABI");

enum per { PER_VM, PER_CHIP, PER_VCPU };
enum { X86 = 1, ARM64 = 2, BOTH = X86 | ARM64 };

#define CHIPS	3u	/* two PICs and the I/O APIC */

#define refuse(...) apf_error_set(-EINVAL, "snapshot: " __VA_ARGS__)

/* The machines that a file may be of, and the generations they have. */
static const struct machine {
	enum vmm_snapshot_machine number;
	const char *name;
	unsigned int bit;
	uint32_t abi_first, abi_last;
} machines[] = {
	{ VMM_X86, "x86-64", X86, APF_ABI_X86_INT, APF_ABI_X86_RFC },
	{ VMM_ARM64, "arm64", ARM64, APF_ABI_ARM64, APF_ABI_ARM64 },
};

/* What may be in a file. Lengths are inclusive. */
static const struct {
	const char *name;
	unsigned int machines;
	enum per per;
	bool required;
	size_t min, max;
} kinds[VMM_SEC_COUNT] = {
	[VMM_SEC_VM] = { "vm", BOTH, PER_VM, true, sizeof(struct vmm_snapshot_vm),
			 sizeof(struct vmm_snapshot_vm) },
	[VMM_SEC_CLOCK] = { "clock", X86, PER_VM, true, VMM_SIZE_CLOCK, VMM_SIZE_CLOCK },
	[VMM_SEC_IRQCHIP] = { "irqchip", X86, PER_CHIP, true, VMM_SIZE_IRQCHIP, VMM_SIZE_IRQCHIP },
	[VMM_SEC_PIT] = { "pit", X86, PER_VM, true, VMM_SIZE_PIT, VMM_SIZE_PIT },
	[VMM_SEC_SERIAL] = { "serial", BOTH, PER_VM, true, sizeof(struct vmm_serial_regs),
			     sizeof(struct vmm_serial_regs) + VMM_LINE_MAX },
	[VMM_SEC_CPUID] = { "cpuid", X86, PER_VCPU, true, VMM_SIZE_CPUID_MIN, 64 << 10 },
	[VMM_SEC_REGS] = { "regs", X86, PER_VCPU, true, VMM_SIZE_REGS, VMM_SIZE_REGS },
	[VMM_SEC_SREGS] = { "sregs", X86, PER_VCPU, true, VMM_SIZE_SREGS, VMM_SIZE_SREGS },
	[VMM_SEC_XSAVE] = { "xsave", X86, PER_VCPU, true, VMM_SIZE_XSAVE, 1 << 20 },
	[VMM_SEC_XCRS] = { "xcrs", X86, PER_VCPU, false, VMM_SIZE_XCRS, VMM_SIZE_XCRS },
	[VMM_SEC_DEBUGREGS] = { "debugregs", X86, PER_VCPU, true, VMM_SIZE_DEBUGREGS,
				VMM_SIZE_DEBUGREGS },
	[VMM_SEC_LAPIC] = { "lapic", X86, PER_VCPU, true, VMM_SIZE_LAPIC, VMM_SIZE_LAPIC },
	[VMM_SEC_MSRS] = { "msrs", X86, PER_VCPU, true, VMM_SIZE_MSRS_MIN, 64 << 10 },
	[VMM_SEC_EVENTS] = { "events", BOTH, PER_VCPU, true, VMM_SIZE_EVENTS, VMM_SIZE_EVENTS },
	[VMM_SEC_MP_STATE] = { "mp_state", BOTH, PER_VCPU, true, VMM_SIZE_MP_STATE,
			       VMM_SIZE_MP_STATE },
	[VMM_SEC_TSC_KHZ] = { "tsc_khz", X86, PER_VCPU, false, 4, 4 },
	[VMM_SEC_APF] = { "apf", BOTH, PER_VCPU, true, 1, 64 << 20 },
	[VMM_SEC_ONE_REGS] = { "one_regs", ARM64, PER_VCPU, true, 16, 1 << 20 },
	[VMM_SEC_GIC_VCPU] = { "gic_vcpu", ARM64, PER_VCPU, true, 16, 64 << 10 },
	[VMM_SEC_GIC] = { "gic", ARM64, PER_VM, true, 16, 64 << 10 },
	[VMM_SEC_RAM_SUMS] = { "ram_sums", BOTH, PER_VM, true, sizeof(uint32_t), VMM_RAM_SUMS_MAX },
};

/* NULL: a number that none has. */
static const struct machine *find_machine(uint32_t number)
{
	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++)
		if (machines[i].number == number)
			return &machines[i];
	return NULL;
}

const char *vmm_snapshot_machine_name(enum vmm_snapshot_machine machine)
{
	return find_machine(machine)->name;
}

const char *vmm_section_name(enum vmm_section kind)
{
	return kinds[kind].name;
}

bool vmm_snapshot_machine_has_abi(enum vmm_snapshot_machine machine, uint32_t abi)
{
	const struct machine *m = find_machine(machine);

	return abi >= m->abi_first && abi <= m->abi_last;
}

static uint32_t places(uint32_t kind, uint32_t cpus)
{
	return kinds[kind].per == PER_VM ? 1 : kinds[kind].per == PER_CHIP ? CHIPS : cpus;
}

static uint32_t section_crc(const uint8_t *at, size_t payload_len)
{
	uint32_t crc = crc32c(0, at, CRC_AT);

	return crc32c(crc, at + sizeof(struct section_header), payload_len);
}

static int check_header(const uint8_t *bytes, size_t len, struct file_header *h)
{
	if (len < sizeof(*h))
		return refuse("%zu bytes are too few for a header", len);
	memcpy(h, bytes, sizeof(*h));
	if (memcmp(h->magic, magic, sizeof(magic)))
		return refuse("not a snapshot (offset 0: wrong magic)");
	if (h->version != VMM_SNAPSHOT_VERSION)
		return refuse("version %u, this program reads version %u only: take it again",
			      h->version, VMM_SNAPSHOT_VERSION);
	if (h->crc != crc32c(0, bytes, CRC_AT))
		return refuse("header damaged (checksum, offset 28)");
	if (!find_machine(h->machine))
		return refuse("of machine %u, neither x86-64 (%u) nor arm64 (%u)", h->machine,
			      VMM_X86, VMM_ARM64);
	return 0;
}

/* Check the section at *pos, enter it, and move *pos behind it. */
static int take_section(const uint8_t *bytes, size_t len, size_t *pos, struct vmm_snapshot *out)
{
	const uint8_t *at = bytes + *pos;
	struct section_header h;
	const char *name;

	if (len - *pos < sizeof(h))
		return refuse("file ends inside a section header at offset %zu", *pos);
	memcpy(&h, at, sizeof(h));
	if (h.kind >= VMM_SEC_COUNT)
		return refuse("unknown section %u at offset %zu", h.kind, *pos);
	name = kinds[h.kind].name;
	if (!(kinds[h.kind].machines & find_machine(out->machine)->bit))
		return refuse("section %s at offset %zu is not one of an %s machine", name, *pos,
			      vmm_snapshot_machine_name(out->machine));
	if (h.index >= places(h.kind, VMM_MAX_VCPUS))
		return refuse("section %s at offset %zu has index %u", name, *pos, h.index);
	if (h.len < kinds[h.kind].min || h.len > kinds[h.kind].max)
		return refuse("section %s[%u] at offset %zu has %llu bytes", name, h.index, *pos,
			      (unsigned long long)h.len);
	if (h.len > len - *pos - sizeof(h))
		return refuse("file ends inside section %s[%u] at offset %zu", name, h.index, *pos);
	if (h.crc != section_crc(at, h.len))
		return refuse("section %s[%u] at offset %zu is damaged (checksum)", name, h.index,
			      *pos);
	if (out->sec[h.kind][h.index].data)
		return refuse("section %s[%u] twice, again at offset %zu", name, h.index, *pos);
	out->sec[h.kind][h.index] = (struct vmm_bytes){ at + sizeof(h), h.len };
	*pos += sizeof(h) + h.len;
	*pos += -*pos & 7;
	return 0;
}

static int check_vm(struct vmm_snapshot *s)
{
	if (!s->sec[VMM_SEC_VM][0].data)
		return refuse("section vm is missing");
	memcpy(&s->vm, s->sec[VMM_SEC_VM][0].data, sizeof(s->vm));
	if (!s->vm.cpus || s->vm.cpus > VMM_MAX_VCPUS)
		return refuse("section vm names %u vCPUs", s->vm.cpus);
	if (!s->vm.mem_size || s->vm.mem_size % APF_PAGE_SIZE)
		return refuse("section vm names %llu bytes of memory",
			      (unsigned long long)s->vm.mem_size);
	if (s->vm.delivery > APF_DELIVERY_USER)
		return refuse("section vm names delivery mode %u", s->vm.delivery);
	if (!vmm_snapshot_machine_has_abi(s->machine, s->vm.abi) || s->vm.zero)
		return refuse("section vm names generation %u (%u)", s->vm.abi, s->vm.zero);
	return 0;
}

static int check_complete(const struct vmm_snapshot *s)
{
	const unsigned int machine = find_machine(s->machine)->bit;

	for (uint32_t kind = 0; kind < VMM_SEC_COUNT; kind++) {
		uint32_t n = kinds[kind].machines & machine ? places(kind, s->vm.cpus) : 0;

		for (uint32_t i = 0; i < VMM_MAX_VCPUS; i++) {
			bool there = s->sec[kind][i].data;

			if (i < n && !there && kinds[kind].required)
				return refuse("section %s[%u] is missing", kinds[kind].name, i);
			if (i >= n && there)
				return refuse("section %s[%u] is of no vCPU", kinds[kind].name, i);
		}
	}
	return 0;
}

static int check_sums(const struct vmm_snapshot *s)
{
	const size_t len = s->sec[VMM_SEC_RAM_SUMS][0].len;

	if (len / sizeof(uint32_t) != s->vm.mem_size / APF_PAGE_SIZE || len % sizeof(uint32_t))
		return refuse("section ram_sums has %zu bytes for %llu bytes of memory", len,
			      (unsigned long long)s->vm.mem_size);
	return 0;
}

int vmm_snapshot_parse(const void *bytes, size_t len, struct vmm_snapshot *out)
{
	size_t pos = sizeof(struct file_header);
	struct file_header h;
	int err = check_header(bytes, len, &h);

	if (err)
		return err;
	memset(out, 0, sizeof(*out));
	out->machine = (enum vmm_snapshot_machine)h.machine;
	for (uint32_t i = 0; i < h.sections; i++) {
		if (pos > len)
			return refuse("file ends at offset %zu, in the padding of a section", len);
		err = take_section(bytes, len, &pos, out);
		if (err)
			return err;
	}
	if (pos != len)
		return refuse("file has %zu bytes, its sections end at %zu", len, pos);
	err = check_vm(out);
	if (!err)
		err = check_complete(out);
	return err ? err : check_sums(out);
}

static uint8_t *grow(struct vmm_snapshot_writer *w, size_t more)
{
	uint8_t *at;

	if (w->len + more > w->room) {
		size_t room = (w->len + more) * 2;
		uint8_t *data = realloc(w->data, room);

		if (!data) {
			w->err = apf_error_set(-ENOMEM, "snapshot: out of memory");
			return NULL;
		}
		w->data = data;
		w->room = room;
	}
	at = w->data + w->len;
	memset(at, 0, more);
	w->len += more;
	return at;
}

void *vmm_snapshot_add(struct vmm_snapshot_writer *w, enum vmm_section kind, uint32_t index,
		       const void *payload, size_t len)
{
	struct section_header h = { .kind = kind, .index = index, .len = len };
	uint8_t *at;

	if (w->err || (!w->len && !grow(w, sizeof(struct file_header))))
		return NULL;
	at = grow(w, sizeof(h) + len + (-len & 7));
	if (!at)
		return NULL;
	memcpy(at, &h, sizeof(h));
	at += sizeof(h);
	if (payload)
		memcpy(at, payload, len);
	w->sections++;
	return at;
}

int vmm_snapshot_finish(struct vmm_snapshot_writer *w)
{
	struct file_header h = { .version = VMM_SNAPSHOT_VERSION, .machine = w->machine,
				 .sections = w->sections };
	size_t pos = sizeof(h);

	if (w->err)
		return w->err;
	for (uint32_t i = 0; i < w->sections; i++) {
		uint8_t *at = w->data + pos;
		struct section_header *s = (struct section_header *)at;

		s->crc = section_crc(at, s->len);
		pos += sizeof(*s) + s->len + (-s->len & 7);
	}
	memcpy(h.magic, magic, sizeof(magic));
	h.crc = crc32c(0, &h, CRC_AT);
	memcpy(w->data, &h, sizeof(h));
	return 0;
}
