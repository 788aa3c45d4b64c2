/* SPDX-License-Identifier: MIT */
/*
 * Hostile bytes as a snapshot's state file: twice, as they are and with the checksums
 * put right, since a mutation seldom gets past those by itself. A file of arm64 is
 * read register by register, as loading does.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apf/error.h>
#include <apf/store.h>
#include <vmm/crc32c.h>
#include <vmm/regs_arm64.h>
#include <vmm/snapshot.h>
#include <vmm/sums.h>

#define HEADER	32u
#define CRC_AT	28u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t read_regs(const struct vmm_snapshot *s, unsigned int cpu)
{
	struct vmm_gic_reg g;
	struct vmm_reg r;
	uint32_t crc = 0;
	size_t pos = 0;

	while (vmm_regs_next(&s->sec[VMM_SEC_ONE_REGS][cpu], &pos, &r) > 0)
		crc = crc32c(crc, r.value, r.size);
	for (pos = 0; vmm_gic_next(&s->sec[VMM_SEC_GIC_VCPU][cpu], &pos, true, &g) > 0;)
		crc += g.reg;
	for (pos = 0; vmm_gic_next(&s->sec[VMM_SEC_GIC][0], &pos, false, &g) > 0;)
		crc += g.reg;
	return crc;
}

static void parse(const uint8_t *data, size_t size)
{
	static struct vmm_snapshot snap;
	static volatile uint32_t seen;
	uint32_t crc = seen;
	int err = vmm_snapshot_parse(data, size, &snap);

	if (err && !*apf_error())
		abort();	/* every refusal says why */
	for (unsigned int kind = 0; !err && kind < VMM_SEC_COUNT; kind++)
		for (unsigned int i = 0; i < VMM_MAX_VCPUS; i++)
			crc = crc32c(crc, snap.sec[kind][i].data, snap.sec[kind][i].len);
	for (uint64_t page = 0; !err && page < snap.vm.mem_size / APF_PAGE_SIZE; page++)
		crc += vmm_sums_of(&snap, page);
	for (unsigned int i = 0; !err && snap.machine == VMM_ARM64 && i < snap.vm.cpus; i++)
		crc += read_regs(&snap, i);
	seen = crc;		/* so that the reads are made */
}

static void repair(uint8_t *data, size_t size)
{
	uint32_t crc;

	if (size < HEADER)
		return;
	crc = crc32c(0, data, CRC_AT);
	memcpy(data + CRC_AT, &crc, sizeof(crc));
	for (size_t pos = HEADER; size - pos >= HEADER;) {
		uint64_t len;

		memcpy(&len, data + pos + 8, sizeof(len));
		if (len > size - pos - HEADER)
			return;
		crc = crc32c(crc32c(0, data + pos, CRC_AT), data + pos + HEADER, len);
		memcpy(data + pos + CRC_AT, &crc, sizeof(crc));
		pos += HEADER + ((len + 7) & ~7ull);
		if (pos > size)
			return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	parse(copy, size);
	repair(copy, size);
	parse(copy, size);
	free(copy);
	return 0;
}
