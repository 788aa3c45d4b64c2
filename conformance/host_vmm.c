/* SPDX-License-Identifier: MIT */
/* The host that is in this process: libapf or KVM under our own VMM, and snapshots of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kvm.h>

#include <apf/error.h>
#include <apf/store.h>

#include "conformance.h"

#define MEM_SIZE	(8u << 20)

static int create(struct conf_vm *vm, const struct conf_setup *setup, enum apf_delivery delivery,
		  struct apf_store *store)
{
	const struct vmm_config cfg = {
		.mem_size = (uint64_t)vm->c->chunk * MEM_SIZE, .cpus = setup->cpus, .delivery = delivery,
		.abi = vm->c->gen->abi, .store = store, .console.out_fd = vm->out[1],
		.max_outstanding = setup->max_outstanding,
	};

	return vmm_create(&cfg, &vm->vm);
}

static int start(struct conf_vm *vm)
{
	int err = vmm_start(vm->vm);

	if (!err)
		vmm_resume(vm->vm);
	return err;
}

static int host_boot(struct conf_vm *vm, const struct conf_setup *setup, const char *words)
{
	const struct vmm_boot boot = { .kernel = vm->c->kernel, .cmdline = words };
	int err = create(vm, setup, vm->c->delivery, NULL);

	if (!err)
		err = vmm_boot(vm->vm, &boot);
	return err ? err : start(vm);
}

static void host_release(struct conf_vm *vm)
{
	if (vm->gate)
		conf_gate_release(vm->gate, vmm_mem(vm->vm));
}

static void host_end(struct conf_vm *vm)
{
	host_release(vm);	/* KVM's end waits for pages that it has asked for */
	vmm_destroy(vm->vm);
	vm->vm = NULL;
}

static int host_input(struct conf_vm *vm, const char *text, size_t len)
{
	return vmm_input(vm->vm, text, len);
}

static bool host_ended(struct conf_vm *vm, char *how, size_t size)
{
	snprintf(how, size, "%s: %s", vmm_end_name(vmm_ended(vm->vm)), vmm_end_text(vm->vm));
	return vmm_ended(vm->vm) != VMM_RUNNING;
}

static void host_interrupt(struct conf_vm *vm)
{
	vmm_pause(vm->vm);
	vmm_resume(vm->vm);
}

static struct conf_pages host_pages(struct conf_vm *vm)
{
	struct apf_mem_stats s;

	apf_mem_stats(vmm_mem(vm->vm), &s);
	return (struct conf_pages){
		.in_flight = s.in_flight / vm->c->chunk, .most = s.max_in_flight / vm->c->chunk,
		.fetched = (s.fetched - vm->preloaded) / vm->c->chunk,
	};
}

/* --- snapshots --- */

/* The snapshot points into *bytes. */
static int read_snapshot(const char *dir, struct vmm_snapshot *snap, void **bytes)
{
	char path[300];
	size_t len;
	int err;

	snprintf(path, sizeof(path), "%s/state", dir);
	err = vmm_read_file(path, VMM_SNAPSHOT_BYTES_MAX, bytes, &len);
	return err ? err : vmm_snapshot_parse(*bytes, len, snap);
}

static void get_mp_states(const char *dir, unsigned int cpus, uint32_t *mp_states)
{
	struct vmm_snapshot *snap = malloc(sizeof(*snap));
	void *bytes = NULL;

	if (snap && !read_snapshot(dir, snap, &bytes))
		for (unsigned int i = 0; i < cpus; i++)
			memcpy(&mp_states[i], snap->sec[VMM_SEC_MP_STATE][i].data, sizeof(*mp_states));
	free(bytes);
	free(snap);
}

void conf_save(struct conf_vm *vm, char dir[256], uint32_t *mp_states)
{
	int err;

	snprintf(dir, 256, "%s/%u", vm->c->dir, ++vm->c->nr_dirs);
	if (!*vm->c->trouble) {
		vmm_pause(vm->vm);
		apf_kvm_freeze(vmm_apf(vm->vm), true);
		host_release(vm);	/* what was asked for is saved, too */
		err = vmm_save(vm->vm, dir, NULL, NULL);
		if (err)
			conf_trouble(vm->c, "no snapshot: %s", apf_error());
		else if (mp_states)
			get_mp_states(dir, vm->at.cpus, mp_states);
	}
	conf_end(vm);
}

void conf_remove_saved(struct conf *c)
{
	char path[300];

	for (; c->nr_dirs; c->nr_dirs--) {
		snprintf(path, sizeof(path), "%s/%u/state", c->dir, c->nr_dirs);
		unlink(path);
		snprintf(path, sizeof(path), "%s/%u/ram", c->dir, c->nr_dirs);
		unlink(path);
		snprintf(path, sizeof(path), "%s/%u", c->dir, c->nr_dirs);
		rmdir(path);
	}
	rmdir(c->dir);
}

static const struct conf_saved *saved(struct conf *c, const struct conf_setup *setup)
{
	struct conf_saved *s;
	struct conf_vm vm;
	char dir[256];

	for (s = c->saved; s < c->saved + c->nr_saved; s++)
		if (s->cpus == setup->cpus && s->tasks == setup->tasks &&
		    s->pages == setup->pages && !strcmp(s->words, setup->words ? setup->words : ""))
			return s;
	conf_boot(c, &vm, setup);
	conf_save(&vm, dir, NULL);
	if (*c->trouble || c->nr_saved == CONF_SAVED_MAX)
		return NULL;
	c->nr_saved++;
	*s = vm.at;
	strcpy(s->dir, dir);
	return s;
}

/*
 * What must be there from the start: the kernel's memory, since a KVM that emulates
 * privileged code does not trap there, and the tasks' records, which the kernel writes at
 * the start of a job. Each lies above its task's data.
 */
static int preload(struct conf_vm *vm)
{
	const struct conf *c = vm->c;
	const struct conf_saved *at = &vm->at;
	const uint64_t unit = c->chunk * APF_PAGE_SIZE;
	struct apf_mem_range *r = calloc(at->tasks + 1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r[0].n = (at->kernel_end + unit - 1) / unit * c->chunk;
	for (unsigned int i = 0; i < at->tasks; i++)
		r[i + 1] = (struct apf_mem_range){
			at->user_start / APF_PAGE_SIZE +
			(at->pages + i * (at->pages + 1)) * c->chunk, c->chunk };
	vm->preloaded = r[0].n + at->tasks * c->chunk;
	err = apf_mem_preload(vmm_mem(vm->vm), r, at->tasks + 1);
	free(r);
	return err;
}

static int open_store(const struct conf_vm *vm, const struct conf_setup *setup, const char *dir,
		      struct apf_store **store)
{
	const uint64_t first = vm->at.user_start / APF_PAGE_SIZE;
	char spec[512], lost[96] = "";

	if (setup->last_is_lost)
		snprintf(lost, sizeof(lost), "error:rate=1:pages=%llu-%llu,",
			 (unsigned long long)first,
			 (unsigned long long)(first + vm->c->chunk - 1));
	snprintf(spec, sizeof(spec), "%slatency:%llu,%sfile:%s/ram", setup->held ? "gate," : "",
		 (unsigned long long)setup->latency_ns, lost, dir);
	return apf_store_open(spec, store);
}

static int load(struct conf_vm *vm, const struct conf_setup *setup, const char *dir,
		enum apf_delivery delivery)
{
	struct vmm_snapshot *snap = malloc(sizeof(*snap));
	struct apf_store *store;
	void *bytes = NULL;
	int err = snap ? read_snapshot(dir, snap, &bytes) : -ENOMEM;

	if (!err)
		err = open_store(vm, setup, dir, &store);
	if (!err)
		err = create(vm, setup, delivery, store);
	if (!err)
		err = preload(vm);
	if (!err)
		err = vmm_load(vm->vm, snap);
	if (!err && setup->held) {
		vm->gate = store;
		conf_gate_hold(store);
	}
	free(bytes);
	free(snap);
	return err;
}

void conf_restore_from(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup,
		       const char *dir, enum apf_delivery delivery)
{
	const struct conf_saved *s = saved(c, setup);
	int err = conf_begin(c, vm);

	if (!err) {
		vm->at = *s;
		err = load(vm, setup, dir ? dir : s->dir, delivery);
	}
	conf_take_error(vm, err ? err : start(vm));
}

static void host_restore(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup)
{
	conf_restore_from(c, vm, setup, NULL, c->delivery);
}

const struct conf_host conf_host_vmm = {
	.inside = true, .boot = host_boot, .restore = host_restore, .release = host_release,
	.input = host_input, .ended = host_ended, .pages = host_pages, .interrupt = host_interrupt,
	.end = host_end,
};
