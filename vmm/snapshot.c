/* SPDX-License-Identifier: MIT */
/* The file format of snapshots; see snapshot.h. Nothing here knows a VM. */
#include "snapshot.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <linux/kvm.h>

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

#define CHIPS	3u	/* two PICs and the I/O APIC */

#define refuse(...) apf_error_set(-EINVAL, "snapshot: " __VA_ARGS__)

/* What may be in a file. Lengths are inclusive. */
static const struct {
	const char *name;
	enum per per;
	bool required;
	size_t min, max;
} kinds[VMM_SEC_COUNT] = {
	[VMM_SEC_VM] = { "vm", PER_VM, true, sizeof(struct vmm_snapshot_vm),
			 sizeof(struct vmm_snapshot_vm) },
	[VMM_SEC_CLOCK] = { "clock", PER_VM, true, sizeof(struct kvm_clock_data),
			    sizeof(struct kvm_clock_data) },
	[VMM_SEC_IRQCHIP] = { "irqchip", PER_CHIP, true, sizeof(struct kvm_irqchip),
			      sizeof(struct kvm_irqchip) },
	[VMM_SEC_PIT] = { "pit", PER_VM, true, sizeof(struct kvm_pit_state2),
			  sizeof(struct kvm_pit_state2) },
	[VMM_SEC_SERIAL] = { "serial", PER_VM, true, sizeof(struct vmm_serial_regs),
			     sizeof(struct vmm_serial_regs) + VMM_LINE_MAX },
	[VMM_SEC_CPUID] = { "cpuid", PER_VCPU, true, sizeof(struct kvm_cpuid2), 64 << 10 },
	[VMM_SEC_REGS] = { "regs", PER_VCPU, true, sizeof(struct kvm_regs),
			   sizeof(struct kvm_regs) },
	[VMM_SEC_SREGS] = { "sregs", PER_VCPU, true, sizeof(struct kvm_sregs),
			    sizeof(struct kvm_sregs) },
	[VMM_SEC_XSAVE] = { "xsave", PER_VCPU, true, sizeof(struct kvm_xsave), 1 << 20 },
	[VMM_SEC_XCRS] = { "xcrs", PER_VCPU, false, sizeof(struct kvm_xcrs),
			   sizeof(struct kvm_xcrs) },
	[VMM_SEC_DEBUGREGS] = { "debugregs", PER_VCPU, true, sizeof(struct kvm_debugregs),
				sizeof(struct kvm_debugregs) },
	[VMM_SEC_LAPIC] = { "lapic", PER_VCPU, true, sizeof(struct kvm_lapic_state),
			    sizeof(struct kvm_lapic_state) },
	[VMM_SEC_MSRS] = { "msrs", PER_VCPU, true, sizeof(struct kvm_msrs), 64 << 10 },
	[VMM_SEC_EVENTS] = { "events", PER_VCPU, true, sizeof(struct kvm_vcpu_events),
			     sizeof(struct kvm_vcpu_events) },
	[VMM_SEC_MP_STATE] = { "mp_state", PER_VCPU, true, sizeof(struct kvm_mp_state),
			       sizeof(struct kvm_mp_state) },
	[VMM_SEC_TSC_KHZ] = { "tsc_khz", PER_VCPU, false, 4, 4 },
	[VMM_SEC_APF] = { "apf", PER_VCPU, true, 1, 64 << 20 },
};

const char *vmm_section_name(enum vmm_section kind)
{
	return kinds[kind].name;
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
		return refuse("version %u, this program reads version %u", h->version,
			      VMM_SNAPSHOT_VERSION);
	if (h->crc != crc32c(0, bytes, CRC_AT))
		return refuse("header damaged (checksum, offset 28)");
	if (h->machine != EM_X86_64)
		return refuse("of machine %u, this program is for x86-64 (%u)", h->machine,
			      EM_X86_64);
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
	if (!apf_abi_name(s->vm.abi) || s->vm.zero)
		return refuse("section vm names generation %u (%u)", s->vm.abi, s->vm.zero);
	return 0;
}

static int check_complete(const struct vmm_snapshot *s)
{
	for (uint32_t kind = 0; kind < VMM_SEC_COUNT; kind++) {
		uint32_t n = places(kind, s->vm.cpus);

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

int vmm_snapshot_parse(const void *bytes, size_t len, struct vmm_snapshot *out)
{
	size_t pos = sizeof(struct file_header);
	struct file_header h;
	int err = check_header(bytes, len, &h);

	if (err)
		return err;
	memset(out, 0, sizeof(*out));
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
	return err ? err : check_complete(out);
}

static uint8_t *grow(struct vmm_snapshot_writer *w, size_t more)
{
	uint8_t *at;

	if (w->len + more > w->room) {
		size_t room = (w->len + more) * 2;
		uint8_t *data = realloc(w->data, room);

		if (!data) {
			w->err = -ENOMEM;
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
	struct file_header h = { .version = VMM_SNAPSHOT_VERSION, .machine = EM_X86_64,
				 .sections = w->sections };
	size_t pos = sizeof(h);

	if (w->err)
		return apf_error_set(w->err, "snapshot: out of memory");
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
