/* SPDX-License-Identifier: MIT */
/* The arm64 machine's device tree; see device_tree.h. The bindings are those of Linux. */
#include "device_tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <libfdt.h>

#include <apf/error.h>

#include "machine_arm64.h"

#define PHANDLE_GIC		1u
#define INTERRUPT_SPI		0u
#define INTERRUPT_PPI		1u
#define LEVEL_HIGH		4u

/* A tree being written; after an error nothing more is. */
struct tree {
	void *bytes;
	int err;
};

static void begin(struct tree *t, const char *name)
{
	if (!t->err)
		t->err = fdt_begin_node(t->bytes, name);
}

static void end(struct tree *t)
{
	if (!t->err)
		t->err = fdt_end_node(t->bytes);
}

static void put(struct tree *t, const char *name, const void *value, size_t len)
{
	if (!t->err)
		t->err = fdt_property(t->bytes, name, value, (int)len);
}

static void put_text(struct tree *t, const char *name, const char *text)
{
	put(t, name, text, strlen(text) + 1);
}

#define CELLS_MAX 16u

static void put_cells(struct tree *t, const char *name, const uint32_t *cells, size_t n)
{
	fdt32_t big_endian[CELLS_MAX];

	for (size_t i = 0; i < n; i++)
		big_endian[i] = cpu_to_fdt32(cells[i]);
	put(t, name, big_endian, n * sizeof(big_endian[0]));
}

#define PUT_CELLS(t, name, ...)								\
	put_cells(t, name, (const uint32_t[]){ __VA_ARGS__ },				\
		  sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t))
/* An address or a size, as the root's #address-cells and #size-cells say. */
#define TWO(value) (uint32_t)((uint64_t)(value) >> 32), (uint32_t)(value)

static void put_chosen(struct tree *t, const struct vmm_machine_info *info)
{
	begin(t, "chosen");
	put_text(t, "bootargs", info->cmdline);
	put_text(t, "stdout-path", "/serial@9000000");
	if (info->initrd_size) {
		PUT_CELLS(t, "linux,initrd-start", TWO(info->initrd));
		PUT_CELLS(t, "linux,initrd-end", TWO(info->initrd + info->initrd_size));
	}
	end(t);
}

static void put_memory(struct tree *t, const struct vmm_machine_info *info)
{
	begin(t, "memory@40000000");
	put_text(t, "device_type", "memory");
	PUT_CELLS(t, "reg", TWO(info->ram), TWO(info->ram_size));
	end(t);
}

static void put_cpus(struct tree *t, unsigned int cpus)
{
	char name[16];

	begin(t, "cpus");
	PUT_CELLS(t, "#address-cells", 1);
	PUT_CELLS(t, "#size-cells", 0);
	for (unsigned int i = 0; i < cpus; i++) {
		const uint32_t affinity = (uint32_t)vmm_arm64_affinity(i);

		snprintf(name, sizeof(name), "cpu@%x", affinity);
		begin(t, name);
		put_text(t, "device_type", "cpu");
		put_text(t, "compatible", "arm,armv8");
		put_text(t, "enable-method", "psci");
		PUT_CELLS(t, "reg", affinity);
		end(t);
	}
	end(t);
}

static void put_psci(struct tree *t)
{
	static const char compatible[] = "arm,psci-1.0\0arm,psci-0.2";

	begin(t, "psci");
	put(t, "compatible", compatible, sizeof(compatible));
	put_text(t, "method", "hvc");
	end(t);
}

static void put_gic(struct tree *t, unsigned int cpus)
{
	begin(t, "interrupt-controller@8000000");
	put_text(t, "compatible", "arm,gic-v3");
	PUT_CELLS(t, "#interrupt-cells", 3);
	put(t, "interrupt-controller", "", 0);
	PUT_CELLS(t, "reg", TWO(GPA_GIC), TWO(GIC_SIZE), TWO(GPA_REDIST), TWO(cpus * REDIST_SIZE));
	PUT_CELLS(t, "phandle", PHANDLE_GIC);
	end(t);
}

/* Secure and non-secure physical, virtual, hypervisor: the binding's order. */
static void put_timer(struct tree *t)
{
	begin(t, "timer");
	put_text(t, "compatible", "arm,armv8-timer");
	PUT_CELLS(t, "interrupts", INTERRUPT_PPI, 13, LEVEL_HIGH, INTERRUPT_PPI, 14, LEVEL_HIGH,
		  INTERRUPT_PPI, 11, LEVEL_HIGH, INTERRUPT_PPI, 10, LEVEL_HIGH);
	put(t, "always-on", "", 0);
	end(t);
}

static void put_devices(struct tree *t)
{
	begin(t, "serial@9000000");
	put_text(t, "compatible", "ns16550a");
	PUT_CELLS(t, "reg", TWO(GPA_SERIAL), TWO(DEVICE_SIZE));
	PUT_CELLS(t, "reg-shift", 0);
	PUT_CELLS(t, "reg-io-width", 1);
	PUT_CELLS(t, "clock-frequency", SERIAL_CLOCK);
	PUT_CELLS(t, "interrupts", INTERRUPT_SPI, SERIAL_SPI, LEVEL_HIGH);
	end(t);
	begin(t, "debug-exit@9010000");
	put_text(t, "compatible", "libapf,debug-exit");
	PUT_CELLS(t, "reg", TWO(GPA_DEBUG_EXIT), TWO(DEVICE_SIZE));
	end(t);
}

int vmm_device_tree_write(void *tree, size_t size, const struct vmm_machine_info *info)
{
	struct tree t = { .bytes = tree };

	t.err = fdt_create(tree, (int)size);
	if (!t.err)
		t.err = fdt_finish_reservemap(tree);
	begin(&t, "");
	put_text(&t, "compatible", "linux,dummy-virt");
	put_text(&t, "model", "libapf");
	PUT_CELLS(&t, "#address-cells", 2);
	PUT_CELLS(&t, "#size-cells", 2);
	PUT_CELLS(&t, "interrupt-parent", PHANDLE_GIC);
	put_chosen(&t, info);
	put_memory(&t, info);
	put_cpus(&t, info->cpus);
	put_psci(&t);
	put_gic(&t, info->cpus);
	put_timer(&t);
	put_devices(&t);
	end(&t);
	if (!t.err)
		t.err = fdt_finish(tree);
	if (t.err)
		return apf_error_set(-ENOSPC, "device tree does not fit into %zu bytes (%s): is the command "
				     "line too long?", size, fdt_strerror(t.err));
	return 0;
}
