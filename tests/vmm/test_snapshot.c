/* SPDX-License-Identifier: MIT */
/* The snapshot file's parser: what was written comes back, and nothing else is believed. */
#include "test_vmm.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <apf/engine.h>
#include <apf/error.h>
#include <vmm/console.h>
#include <vmm/crc32c.h>
#include <vmm/serial.h>
#include <vmm/snapshot.h>
#include <vmm/vmm.h>

#define CPUS		2u
#define HEADER		32u
#define CRC_AT		28u

/* Smallest possible payloads. */
static const size_t sizes[VMM_SEC_COUNT] = {
	[VMM_SEC_VM] = sizeof(struct vmm_snapshot_vm),
	[VMM_SEC_CLOCK] = 48, [VMM_SEC_IRQCHIP] = 520, [VMM_SEC_PIT] = 112,
	[VMM_SEC_SERIAL] = sizeof(struct vmm_serial_regs) + 3,
	[VMM_SEC_CPUID] = 8, [VMM_SEC_REGS] = 144, [VMM_SEC_SREGS] = 312, [VMM_SEC_XSAVE] = 4096,
	[VMM_SEC_XCRS] = 392, [VMM_SEC_DEBUGREGS] = 128, [VMM_SEC_LAPIC] = 1024, [VMM_SEC_MSRS] = 8,
	[VMM_SEC_EVENTS] = 64, [VMM_SEC_MP_STATE] = 4, [VMM_SEC_TSC_KHZ] = 4, [VMM_SEC_APF] = 13,
	[VMM_SEC_ONE_REGS] = 16, [VMM_SEC_GIC_VCPU] = 16, [VMM_SEC_GIC] = 16,
	[VMM_SEC_RAM_SUMS] = 1024,
};

static const enum vmm_snapshot_machine machines[] = { VMM_X86, VMM_ARM64 };

static bool has(enum vmm_snapshot_machine machine, unsigned int kind)
{
	const bool arm64 = kind >= VMM_SEC_ONE_REGS;

	return kind == VMM_SEC_VM || kind == VMM_SEC_RAM_SUMS || kind == VMM_SEC_SERIAL || kind == VMM_SEC_EVENTS ||
	       kind == VMM_SEC_MP_STATE || kind == VMM_SEC_APF || arm64 == (machine == VMM_ARM64);
}

static uint32_t places(unsigned int kind)
{
	if (kind == VMM_SEC_IRQCHIP)
		return 3;
	return kind < VMM_SEC_CPUID || kind >= VMM_SEC_GIC ? 1 : CPUS;
}

static void fill(uint8_t *at, size_t len, unsigned int kind, uint32_t index)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(kind * 31 + index * 7 + i);
}

/* A whole file; leave: a section to leave out, or VMM_SEC_COUNT. */
static struct vmm_snapshot_writer make_of(enum vmm_snapshot_machine machine,
					  const struct vmm_snapshot_vm *vm, unsigned int leave)
{
	struct vmm_snapshot_writer w = { .machine = machine };

	for (unsigned int kind = 0; kind < VMM_SEC_COUNT; kind++) {
		for (uint32_t i = 0; i < places(kind) && kind != leave && has(machine, kind); i++) {
			void *at = vmm_snapshot_add(&w, kind, i, NULL, sizes[kind]);

			assert_non_null(at);
			fill(at, sizes[kind], kind, i);
			if (kind == VMM_SEC_VM)
				memcpy(at, vm, sizeof(*vm));
		}
	}
	assert_int_equal(vmm_snapshot_finish(&w), 0);
	return w;
}

static struct vmm_snapshot_writer make(const struct vmm_snapshot_vm *vm, unsigned int leave)
{
	return make_of(VMM_X86, vm, leave);
}

static const struct vmm_snapshot_vm good = { .mem_size = 1 << 20, .cpus = CPUS, .delivery = 2, .abi = 2 };
static const struct vmm_snapshot_vm good_arm64 = { .mem_size = 1 << 20, .cpus = CPUS, .delivery = 2,
						   .abi = APF_ABI_ARM64 };

static const struct vmm_snapshot_vm *good_of(enum vmm_snapshot_machine machine)
{
	return machine == VMM_ARM64 ? &good_arm64 : &good;
}

static struct vmm_snapshot snap;

static void test_crc32c_of_the_check_string(void **state)
{
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void put_header_crc(uint8_t *file)
{
	uint32_t crc = crc32c(0, file, CRC_AT);

	memcpy(file + CRC_AT, &crc, sizeof(crc));
}

static void check_comes_back(enum vmm_snapshot_machine machine)
{
	struct vmm_snapshot_writer w = make_of(machine, good_of(machine), VMM_SEC_COUNT);
	uint8_t want[8192];

	assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), 0);
	assert_int_equal(snap.machine, machine);
	assert_memory_equal(&snap.vm, good_of(machine), sizeof(snap.vm));
	for (unsigned int kind = 0; kind < VMM_SEC_COUNT; kind++) {
		assert_int_equal(snap.sec[kind][0].data != NULL, has(machine, kind));
		for (uint32_t i = 0; i < places(kind) && kind != VMM_SEC_VM && has(machine, kind); i++) {
			fill(want, sizes[kind], kind, i);
			assert_int_equal(snap.sec[kind][i].len, sizes[kind]);
			assert_memory_equal(snap.sec[kind][i].data, want, sizes[kind]);
		}
	}
	free(w.data);
}

/* Either machine's file can be read on either; only running it takes the right one. */
static void test_what_was_written_comes_back(void **state)
{
	for (size_t i = 0; i < COUNT(machines); i++)
		check_comes_back(machines[i]);
}

static void test_sections_of_another_machine_are_refused(void **state)
{
	struct vmm_snapshot_writer w = make_of(VMM_ARM64, &good_arm64, VMM_SEC_COUNT);
	uint32_t x86 = VMM_X86;

	memcpy(w.data + 12, &x86, sizeof(x86));
	put_header_crc(w.data);
	assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), -EINVAL);
	assert_non_null(strstr(apf_error(), "section one_regs"));
	assert_non_null(strstr(apf_error(), "x86-64 machine"));
	free(w.data);
}

static void test_only_snapshots_of_this_machine_can_be_restored(void **state)
{
	for (size_t i = 0; i < COUNT(machines); i++) {
		struct vmm_snapshot_writer w = make_of(machines[i], good_of(machines[i]), VMM_SEC_COUNT);
		const bool own = machines[i] == vmm_machine.kind;

		assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), 0);
		assert_int_equal(vmm_can_load(&snap), own ? 0 : -EINVAL);
		if (!own)
			assert_non_null(strstr(apf_error(), vmm_snapshot_machine_name(machines[i])));
		free(w.data);
	}
}

static void test_truncated_at_any_byte_is_refused(void **state)
{
	struct vmm_snapshot_writer w = make(&good, VMM_SEC_COUNT);

	for (size_t len = 0; len < w.len; len++) {
		uint8_t *copy = malloc(len + 1);	/* ASan sees an access behind the end */

		memcpy(copy, w.data, len);
		assert_int_equal(vmm_snapshot_parse(copy, len, &snap), -EINVAL);
		assert_string_not_equal(apf_error(), "");
		free(copy);
	}
	free(w.data);
}

static void test_bytes_behind_the_last_section_are_refused(void **state)
{
	struct vmm_snapshot_writer w = make(&good, VMM_SEC_COUNT);
	uint8_t *longer = calloc(1, w.len + 8);

	memcpy(longer, w.data, w.len);
	assert_int_equal(vmm_snapshot_parse(longer, w.len + 8, &snap), -EINVAL);
	free(longer);
	free(w.data);
}

/* Offsets of all sections of a file. */
static size_t next_section(const uint8_t *data, size_t pos)
{
	uint64_t len;

	memcpy(&len, data + pos + 8, sizeof(len));
	return pos + HEADER + ((len + 7) & ~7ull);
}

static void test_every_damaged_section_is_found_by_its_checksum(void **state)
{
	struct vmm_snapshot_writer w = make(&good, VMM_SEC_COUNT);

	for (size_t pos = HEADER; pos < w.len; pos = next_section(w.data, pos)) {
		const size_t places_to_flip[] = { pos + CRC_AT, pos + HEADER, pos + 16 };

		for (size_t i = 0; i < COUNT(places_to_flip); i++) {
			w.data[places_to_flip[i]] ^= 0x10;
			assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), -EINVAL);
			assert_non_null(strstr(apf_error(), "damaged"));
			w.data[places_to_flip[i]] ^= 0x10;
		}
	}
	assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), 0);
	free(w.data);
}

static void put_section_crc(uint8_t *section)
{
	uint64_t len;
	uint32_t crc;

	memcpy(&len, section + 8, sizeof(len));
	crc = crc32c(crc32c(0, section, CRC_AT), section + HEADER, len);
	memcpy(section + CRC_AT, &crc, sizeof(crc));
}

static void test_absurd_lengths_are_refused_whatever_the_checksum_says(void **state)
{
	static const uint64_t absurd[] = { 0, 1, 1ull << 32, 1ull << 63, UINT64_MAX,
					   UINT64_MAX - 31 };

	for (size_t i = 0; i < COUNT(absurd); i++) {
		struct vmm_snapshot_writer w = make(&good, VMM_SEC_COUNT);

		memcpy(w.data + HEADER + 8, &absurd[i], 8);
		assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), -EINVAL);
		assert_non_null(strstr(apf_error(), "section vm"));
		assert_non_null(strstr(apf_error(), "offset 32"));
		free(w.data);
	}
}

static void test_header_fields(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
		const char *text;
	} cases[] = {
		{ 0, 0x12345678, "magic" }, { 8, 2, "version 2" }, { 12, 40, "machine 40" },
		{ 16, 0, "sections end" }, { 16, UINT32_MAX, "ends" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct vmm_snapshot_writer w = make(&good, VMM_SEC_COUNT);

		memcpy(w.data + cases[i].at, &cases[i].value, 4);
		put_header_crc(w.data);
		assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), -EINVAL);
		assert_non_null(strstr(apf_error(), cases[i].text));
		free(w.data);
	}
}

static void test_section_kind_and_index_must_exist(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
		const char *text;
	} cases[] = {
		{ 0, VMM_SEC_COUNT, "unknown section" }, { 0, UINT32_MAX, "unknown section" },
		{ 4, 1, "index 1" }, { 4, UINT32_MAX, "index" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct vmm_snapshot_writer w = make(&good, VMM_SEC_COUNT);

		memcpy(w.data + HEADER + cases[i].at, &cases[i].value, 4);
		put_section_crc(w.data + HEADER);
		assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), -EINVAL);
		assert_non_null(strstr(apf_error(), cases[i].text));
		free(w.data);
	}
}

static void check_required(enum vmm_snapshot_machine machine, unsigned int kind)
{
	struct vmm_snapshot_writer w = make_of(machine, good_of(machine), kind);
	const bool optional = kind == VMM_SEC_XCRS || kind == VMM_SEC_TSC_KHZ;

	assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), optional ? 0 : -EINVAL);
	if (!optional)
		assert_non_null(strstr(apf_error(), vmm_section_name(kind)));
	free(w.data);
}

static void test_every_section_but_two_is_required(void **state)
{
	for (size_t i = 0; i < COUNT(machines); i++)
		for (unsigned int kind = 0; kind < VMM_SEC_COUNT; kind++)
			if (has(machines[i], kind))
				check_required(machines[i], kind);
}

static void test_a_section_twice_is_refused(void **state)
{
	struct vmm_snapshot_writer w = make(&good, VMM_SEC_COUNT);
	uint32_t khz = 1;

	vmm_snapshot_add(&w, VMM_SEC_TSC_KHZ, 1, &khz, sizeof(khz));
	assert_int_equal(vmm_snapshot_finish(&w), 0);
	assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), -EINVAL);
	assert_non_null(strstr(apf_error(), "tsc_khz[1]"));
	free(w.data);
}

static void test_what_the_vm_section_says_must_make_sense(void **state)
{
	static const struct vmm_snapshot_vm bad[] = {
		{ .mem_size = 1 << 20, .cpus = 0, .delivery = 0, .abi = 1 },
		{ .mem_size = 1 << 20, .cpus = VMM_MAX_VCPUS + 1, .delivery = 0, .abi = 1 },
		{ .mem_size = 1 << 20, .cpus = 1, .delivery = 0, .abi = 1 },	/* but sections of two */
		{ .mem_size = 1 << 20, .cpus = 3, .delivery = 0, .abi = 1 },
		{ .mem_size = 0, .cpus = 2, .delivery = 0, .abi = 1 },
		{ .mem_size = 4097, .cpus = 2, .delivery = 0, .abi = 1 },
		{ .mem_size = 1 << 20, .cpus = 2, .delivery = 3, .abi = 1 },
		{ .mem_size = 1 << 20, .cpus = 2, .abi = 0 },
		{ .mem_size = 1 << 20, .cpus = 2, .abi = 4 },
		{ .mem_size = 1 << 20, .cpus = 2, .abi = 1, .zero = 1 },
	};

	for (size_t i = 0; i < COUNT(bad); i++) {
		struct vmm_snapshot_writer w = make(&bad[i], VMM_SEC_COUNT);

		assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), -EINVAL);
		free(w.data);
	}
}

static void test_there_is_a_checksum_for_every_page_of_memory(void **state)
{
	static const uint64_t bad[] = { (1 << 20) - 4096, (1 << 20) + 4096, 1ull << 40, -4096ull };

	for (size_t i = 0; i < COUNT(bad); i++) {
		struct vmm_snapshot_vm vm = good;
		struct vmm_snapshot_writer w;

		vm.mem_size = bad[i];
		w = make(&vm, VMM_SEC_COUNT);
		assert_int_equal(vmm_snapshot_parse(w.data, w.len, &snap), -EINVAL);
		assert_non_null(strstr(apf_error(), "ram_sums"));
		free(w.data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c_of_the_check_string),
		cmocka_unit_test(test_what_was_written_comes_back),
		cmocka_unit_test(test_sections_of_another_machine_are_refused),
		cmocka_unit_test(test_only_snapshots_of_this_machine_can_be_restored),
		cmocka_unit_test(test_truncated_at_any_byte_is_refused),
		cmocka_unit_test(test_bytes_behind_the_last_section_are_refused),
		cmocka_unit_test(test_every_damaged_section_is_found_by_its_checksum),
		cmocka_unit_test(test_absurd_lengths_are_refused_whatever_the_checksum_says),
		cmocka_unit_test(test_header_fields),
		cmocka_unit_test(test_section_kind_and_index_must_exist),
		cmocka_unit_test(test_every_section_but_two_is_required),
		cmocka_unit_test(test_a_section_twice_is_refused),
		cmocka_unit_test(test_what_the_vm_section_says_must_make_sense),
		cmocka_unit_test(test_there_is_a_checksum_for_every_page_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
