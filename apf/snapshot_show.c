/* SPDX-License-Identifier: MIT */
/* apf snapshot --show and --verify: what a snapshot holds, and whether it is whole. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include <apf/engine.h>
#include <apf/error.h>
#include <apf/store.h>

#include <vmm/sums.h>

#include "commands.h"

static int no_guest_read(void *ctx, uint64_t gpa, uint32_t *value)
{
	return -EFAULT;
}

static int no_guest_write(void *ctx, uint64_t gpa, uint32_t value)
{
	return -EFAULT;
}

static bool is_ram(void *ctx, uint64_t gpa, uint64_t len, bool writable)
{
	return true;
}

static int no_interrupt(void *ctx, uint32_t vcpu_id, uint8_t vector)
{
	return 0;
}

static int no_exception(void *ctx, uint32_t token)
{
	return -EFAULT;
}

static void no_line(void *ctx, uint32_t vcpu_id, uint8_t irq)
{
}

/* An engine that has no guest: it only reads what was saved. */
static const struct apf_engine_ops reader_ops = {
	.read32 = no_guest_read,
	.write32 = no_guest_write,
	.is_ram = is_ram,
	.raise = no_interrupt,
	.inject = no_exception,
	.lower = no_line,
};

#define SHOW_ENTRIES	65536u
#define SHOW_READY_IRQ	22u	/* arm64: any, nothing is sent */

/* What a file says may be anything: it decides neither how long this takes nor how much it prints. */
#define SHOW_TOKENS	1024u

struct tokens {
	struct json_object *list;	/* the first SHOW_TOKENS */
	int64_t n;
};

static void add_token(void *arg, uint64_t gfn, uint32_t token)
{
	struct tokens *t = arg;
	struct json_object *o;

	if (t->n++ >= SHOW_TOKENS)
		return;
	o = json_object_new_object();
	json_object_object_add(o, "token", json_object_new_int64(token));
	json_object_object_add(o, "gfn", json_object_new_int64((int64_t)gfn));
	json_object_array_add(t->list, o);
}

static struct json_object *show_vcpu(const struct vmm_snapshot *snap, uint32_t id)
{
	const struct vmm_bytes *b = &snap->sec[VMM_SEC_APF][id];
	const struct apf_vcpu_config cfg = { .abi = snap->vm.abi, .vcpu_id = id,
					     .max_outstanding = SHOW_ENTRIES, .has_lapic = true,
					     .ready_irq = SHOW_READY_IRQ };
	const size_t size = (apf_vcpu_size(SHOW_ENTRIES) + 63) & ~63ull;
	struct json_object *o = json_object_new_object();
	struct tokens tokens = { .list = json_object_new_array() };
	void *mem = aligned_alloc(64, size);
	struct apf_vcpu_stats stats;
	struct apf_vcpu *v;
	int err = mem ? apf_vcpu_init(mem, size, &cfg, &reader_ops, NULL, &v)
		      : apf_error_set(-ENOMEM, "out of memory");

	if (!err)
		err = apf_vcpu_load(v, b->data, b->len);
	json_object_object_add(o, "id", json_object_new_int((int)id));
	json_object_object_add(o, "tokens", tokens.list);
	if (err) {
		json_object_object_add(o, "error", json_object_new_string(apf_error()));
	} else {
		apf_vcpu_stats(v, &stats);
		apf_vcpu_for_each(v, add_token, &tokens);
		json_object_object_add(o, "outstanding", json_object_new_int64(tokens.n));
		json_object_object_add(o, "enabled", json_object_new_boolean(apf_vcpu_enabled(v)));
		json_object_object_add(o, "queued", json_object_new_int64(stats.queued));
	}
	free(mem);
	return o;
}

static struct json_object *show_snapshot(const struct vmm_snapshot *snap)
{
	struct json_object *o = json_object_new_object(), *vcpus = json_object_new_array();
	int64_t outstanding = 0;

	for (uint32_t i = 0; i < snap->vm.cpus; i++) {
		struct json_object *v = show_vcpu(snap, i), *n;

		if (json_object_object_get_ex(v, "outstanding", &n))
			outstanding += json_object_get_int64(n);
		json_object_array_add(vcpus, v);
	}
	json_object_object_add(o, "version", json_object_new_int(VMM_SNAPSHOT_VERSION));
	json_object_object_add(o, "machine", json_object_new_string(
		vmm_snapshot_machine_name(snap->machine)));
	json_object_object_add(o, "delivery", json_object_new_string(
		vmm_delivery_name((enum apf_delivery)snap->vm.delivery)));
	json_object_object_add(o, "abi", json_object_new_string(apf_abi_name(snap->vm.abi)));
	json_object_object_add(o, "cpus", json_object_new_int64(snap->vm.cpus));
	json_object_object_add(o, "mem", json_object_new_int64((int64_t)snap->vm.mem_size));
	json_object_object_add(o, "outstanding", json_object_new_int64(outstanding));
	json_object_object_add(o, "vcpus", vcpus);
	return o;
}

static void print_vcpu(struct json_object *v)
{
	struct json_object *tokens, *token;

	json_object_object_get_ex(v, "tokens", &tokens);
	printf("vcpu %s: ", member_text(v, "id"));
	if (json_object_object_get_ex(v, "error", NULL)) {
		printf("unreadable: %s\n", member_text(v, "error"));
		return;
	}
	printf("APF %s, %s outstanding, %s ready but not told\n",
	       member_is_true(v, "enabled") ? "enabled" : "off", member_text(v, "outstanding"),
	       member_text(v, "queued"));
	for (size_t i = 0; i < json_object_array_length(tokens); i++) {
		token = json_object_array_get_idx(tokens, i);
		printf("  token %s, page %s\n", member_text(token, "token"), member_text(token, "gfn"));
	}
	if (json_object_array_length(tokens) == SHOW_TOKENS)
		printf("  ... the first %u\n", SHOW_TOKENS);
}

static void print_text(struct json_object *o)
{
	struct json_object *vcpus;

	json_object_object_get_ex(o, "vcpus", &vcpus);
	printf("snapshot version %s of an %s machine, saved in mode %s, generation %s\n%s vCPUs, "
	       "%s bytes of memory, %s faults outstanding\n", member_text(o, "version"),
	       member_text(o, "machine"), member_text(o, "delivery"), member_text(o, "abi"),
	       member_text(o, "cpus"), member_text(o, "mem"), member_text(o, "outstanding"));
	for (size_t i = 0; i < json_object_array_length(vcpus); i++)
		print_vcpu(json_object_array_get_idx(vcpus, i));
}

/* Read and parse DIR/state: *bytes is to be freed in any case. 0 or negative errno. */
static int load(const char *dir, struct vmm_snapshot *snap, void **bytes)
{
	char *path;
	size_t len;
	int err;

	if (asprintf(&path, "%s/state", dir) < 0)
		return apf_error_set(-ENOMEM, "out of memory");
	err = vmm_read_file(path, VMM_SNAPSHOT_BYTES_MAX, bytes, &len);
	free(path);
	return err ? err : vmm_snapshot_parse(*bytes, len, snap);
}

int snapshot_show(const char *dir, bool json)
{
	static struct vmm_snapshot snap;
	void *bytes = NULL;
	int code = load(dir, &snap, &bytes) ? error("snapshot", "%s: %s", dir, apf_error()) : EXIT_OK;
	struct json_object *o = code ? NULL : show_snapshot(&snap);

	if (o && json) {
		json_write(o, "-");
	} else if (o) {
		print_text(o);
		json_object_put(o);
	}
	free(bytes);
	return code;
}

#define DAMAGES_NAMED	10u

struct check {
	const struct vmm_snapshot *snap;
	uint64_t wrong;
};

static void check_page(void *arg, uint64_t page, uint32_t sum)
{
	struct check *c = arg;

	if (sum == vmm_sums_of(c->snap, page))
		return;
	if (c->wrong++ < DAMAGES_NAMED)
		error("snapshot", "page %" PRIu64 " (byte 0x%" PRIx64 " of ram) is not as it was saved", page,
		      page * APF_PAGE_SIZE);
}

static int verify_ram(const char *dir, struct check *c)
{
	char *path;
	int fd, err;

	if (asprintf(&path, "%s/ram", dir) < 0)
		return apf_error_set(-ENOMEM, "out of memory");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	err = fd < 0 ? apf_error_set(-errno, "ram: %s", strerror(errno))
		     : vmm_sums_read(fd, c->snap->vm.mem_size, check_page, c);
	if (fd >= 0)
		close(fd);
	free(path);
	return err;
}

int snapshot_verify(const char *dir)
{
	static struct vmm_snapshot snap;
	struct check c = { .snap = &snap };
	void *bytes = NULL;
	int code = EXIT_OK;

	if (load(dir, &snap, &bytes) || verify_ram(dir, &c))
		code = error("snapshot", "%s: %s", dir, apf_error());
	else if (c.wrong)
		code = error("snapshot", "%s: %" PRIu64 " pages are not as they were saved", dir, c.wrong);
	else
		printf("%s: state and %" PRIu64 " bytes of RAM are as they were saved\n", dir,
		       snap.vm.mem_size);
	free(bytes);
	return code;
}
