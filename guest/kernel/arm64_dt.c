/* SPDX-License-Identifier: MIT */
/*
 * The device tree: a reader of what this kernel needs, that does not leave the tree's own
 * bounds. A node is looked at when it ends: all of its properties are known then.
 */
#include "kernel.h"

#define MAGIC		0xd00dfeedu
#define MOST_BYTES	0x200000u	/* as the boot protocol says */
#define DEPTH		8u

enum { BEGIN_NODE = 1, END_NODE = 2, PROP = 3, NOP = 4, END = 9 };

struct header {
	uint32_t magic, total_size, structs, strings, reserved, version, compatible_version;
	uint32_t boot_cpu, strings_size, structs_size;
};

struct property {
	const uint8_t *data;
	uint32_t size;
};

enum known { REG, COMPATIBLE, DEVICE_TYPE, METHOD, BOOTARGS, ADDRESS_CELLS, SIZE_CELLS, KNOWN };

struct node {
	struct property known[KNOWN];
	uint32_t address_cells, size_cells;	/* of its children */
};

static const char *const known_names[KNOWN] = {
	[REG] = "reg", [COMPATIBLE] = "compatible", [DEVICE_TYPE] = "device_type",
	[METHOD] = "method", [BOOTARGS] = "bootargs", [ADDRESS_CELLS] = "#address-cells",
	[SIZE_CELLS] = "#size-cells",
};

struct machine machine;

static uint32_t be32(const void *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return __builtin_bswap32(value);
}

/* --- properties --- */

/* Is one of the strings in it this one? */
static bool says(const struct property *p, const char *word)
{
	uint32_t start = 0;

	for (uint32_t i = 0; i < p->size; i++) {
		if (p->data[i])
			continue;
		if (str_equal((const char *)p->data + start, word))
			return true;
		start = i + 1;
	}
	return false;
}

/* A number of so many cells from the cell at *at on; false if there are not so many. */
static bool take_cells(const struct property *p, uint32_t *at, uint32_t cells, uint64_t *value)
{
	*value = 0;
	for (; cells; cells--, ++*at) {
		if (*at >= p->size / 4)
			return false;
		*value = *value << 32 | be32(p->data + *at * 4);
	}
	return true;
}

/* The number-th address and size of the node. */
static bool get_reg(const struct node *node, const struct node *parent, uint32_t number,
		    uint64_t *start, uint64_t *size)
{
	const struct property *reg = &node->known[REG];
	uint32_t at = number * (parent->address_cells + parent->size_cells);

	return parent->address_cells && take_cells(reg, &at, parent->address_cells, start) &&
	       take_cells(reg, &at, parent->size_cells, size);
}

/* --- nodes --- */

static void add_memory(const struct node *node, const struct node *parent)
{
	uint64_t start, size;

	for (uint32_t i = 0; get_reg(node, parent, i, &start, &size); i++)
		if (start + size >= start)
			memory_offer(start, start + size);
}

static void add_cpu(const struct node *node, const struct node *parent)
{
	uint64_t mpidr, none;

	if (machine.cpus < DT_CPUS && get_reg(node, parent, 0, &mpidr, &none))
		machine.mpidr[machine.cpus++] = mpidr;
}

static void add_gic(const struct node *node, const struct node *parent)
{
	uint64_t size;

	get_reg(node, parent, 0, &machine.distributor, &size);
	get_reg(node, parent, 1, &machine.redistributors, &machine.redistributors_size);
}

/* The first one is the console. */
static void add_serial(const struct node *node, const struct node *parent, bool is_pl011)
{
	uint64_t size;

	if (!machine.serial && get_reg(node, parent, 0, &machine.serial, &size))
		machine.serial_is_pl011 = is_pl011;
}

static void add_bootargs(const struct property *p)
{
	for (uint32_t i = 0; i < p->size && i + 1 < DT_BOOTARGS; i++)
		machine.bootargs[i] = (char)p->data[i];
}

static void look_at(const struct node *node, const struct node *parent)
{
	const struct property *compatible = &node->known[COMPATIBLE];
	uint64_t size;

	if (says(&node->known[DEVICE_TYPE], "memory"))
		add_memory(node, parent);
	if (says(&node->known[DEVICE_TYPE], "cpu"))
		add_cpu(node, parent);
	if (says(compatible, "arm,gic-v3"))
		add_gic(node, parent);
	if (says(compatible, "arm,pl011"))
		add_serial(node, parent, true);
	if (says(compatible, "ns16550a"))
		add_serial(node, parent, false);
	if (says(compatible, "libapf,debug-exit"))
		get_reg(node, parent, 0, &machine.debug_exit, &size);
	if (says(compatible, "arm,psci-1.0") || says(compatible, "arm,psci-0.2"))
		machine.psci_by_hvc = says(&node->known[METHOD], "hvc");
	add_bootargs(&node->known[BOOTARGS]);
}

/* --- the walk --- */

struct walk {
	const uint8_t *at, *end;		/* structs */
	const uint8_t *strings, *strings_end;
	struct node node[DEPTH];
	uint32_t depth;				/* of open nodes */
};

/* Moves on by so many bytes, rounded up to cells, and returns where it was; NULL: too far. */
static const uint8_t *take(struct walk *w, uint32_t size)
{
	const uint8_t *was = w->at;

	if (size > (size_t)(w->end - was) || ((size + 3) & ~3u) > (size_t)(w->end - was))
		return NULL;
	w->at += (size + 3) & ~3u;
	return was;
}

static bool begin_node(struct walk *w)
{
	const uint8_t *name_end = w->at;

	while (name_end < w->end && *name_end)
		name_end++;
	if (name_end == w->end || w->depth == DEPTH)
		return false;
	memset(&w->node[w->depth], 0, sizeof(w->node[0]));
	w->node[w->depth].address_cells = 2;
	w->node[w->depth++].size_cells = 1;
	return take(w, (uint32_t)(name_end - w->at) + 1) != NULL;
}

static bool end_node(struct walk *w)
{
	if (!w->depth)
		return false;
	if (--w->depth)
		look_at(&w->node[w->depth], &w->node[w->depth - 1]);
	return true;
}

/* The name must end before the strings do. */
static const char *name_at(const struct walk *w, uint32_t offset)
{
	if (offset >= (size_t)(w->strings_end - w->strings) || w->strings_end[-1])
		return "";
	return (const char *)w->strings + offset;
}

static bool property(struct walk *w)
{
	const uint8_t *head = take(w, 8);
	struct property p;
	struct node *node;

	if (!head || !w->depth)
		return false;
	p.size = be32(head);
	p.data = take(w, p.size);
	if (!p.data)
		return false;
	node = &w->node[w->depth - 1];
	for (uint32_t i = 0; i < KNOWN; i++)
		if (str_equal(name_at(w, be32(head + 4)), known_names[i]))
			node->known[i] = p;
	if (node->known[ADDRESS_CELLS].size == 4)
		node->address_cells = be32(node->known[ADDRESS_CELLS].data) & 3;
	if (node->known[SIZE_CELLS].size == 4)
		node->size_cells = be32(node->known[SIZE_CELLS].data) & 3;
	return true;
}

static bool walk(struct walk *w)
{
	for (;;) {
		const uint8_t *token = take(w, 4);
		bool sound = true;

		switch (token ? be32(token) : 0) {
		case BEGIN_NODE:
			sound = begin_node(w);
			break;
		case END_NODE:
			sound = end_node(w);
			break;
		case PROP:
			sound = property(w);
			break;
		case NOP:
			break;
		case END:
			return true;
		default:
			sound = false;
		}
		if (!sound)
			return false;
	}
}

bool dt_read(const void *tree)
{
	static struct walk w;
	const struct header *h = tree;
	uint32_t total, structs, structs_size, strings, strings_size;

	if (!tree || be32(&h->magic) != MAGIC)
		return false;
	total = be32(&h->total_size);
	structs = be32(&h->structs);
	structs_size = be32(&h->structs_size);
	strings = be32(&h->strings);
	strings_size = be32(&h->strings_size);
	if (total > MOST_BYTES || structs > total || structs_size > total - structs ||
	    strings > total || strings_size > total - strings || !strings_size)
		return false;
	w.at = (const uint8_t *)tree + structs;
	w.end = w.at + structs_size;
	w.strings = (const uint8_t *)tree + strings;
	w.strings_end = w.strings + strings_size;
	return walk(&w);
}
