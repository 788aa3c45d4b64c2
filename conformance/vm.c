/* SPDX-License-Identifier: MIT */
/* The VM of a conformance check and the console of its test kernel; see conformance.h. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/kvm.h>

#include <apf/error.h>
#include <apf/store.h>

#include "conformance.h"

#define MEM_SIZE	(8u << 20)
#define TICK_MS		50

/* --- the console --- */

static bool told_to_end(void)
{
	const sigset_t ending = signals_that_end();
	sigset_t set;

	sigpending(&set);
	sigandset(&set, &set, &ending);
	return !sigisemptyset(&set);
}

void conf_sleep(uint64_t ns)
{
	const struct timespec t = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	nanosleep(&t, NULL);
}

static bool going_on(struct conf_vm *vm, uint64_t until, const char *what)
{
	struct conf *c = vm->c;

	if (*c->trouble)
		return false;
	if (vmm_ended(vm->vm) != VMM_RUNNING)
		conf_trouble(c, "the VM ended (%s: %s) before %s", vmm_end_name(vmm_ended(vm->vm)),
			     vmm_end_text(vm->vm), what);
	else if (told_to_end())
		conf_trouble(c, "interrupted");
	else if (vmm_now_ns() > until)
		conf_trouble(c, "after %llu s there was no %s",
			     (unsigned long long)(c->timeout_ns / 1000000000u), what);
	return !*c->trouble;
}

void conf_say(struct conf_vm *vm, const char *fmt, ...)
{
	char line[128];
	va_list args;
	int len;

	if (*vm->c->trouble)
		return;
	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line) - 1, fmt, args);
	va_end(args);
	line[len++] = '\n';
	if (vmm_input(vm->vm, line, (size_t)len))
		conf_trouble(vm->c, "out of memory");
}

/* Take the next complete line out of what has come. */
static bool next_line(struct conf_vm *vm)
{
	char *end = memchr(vm->text, '\n', vm->len);
	size_t len;

	if (!end)
		return false;
	len = (size_t)(end - vm->text);
	if (len >= sizeof(vm->line))
		len = sizeof(vm->line) - 1;
	memcpy(vm->line, vm->text, len);
	vm->line[len] = '\0';
	vm->len -= (size_t)(end + 1 - vm->text);
	memmove(vm->text, end + 1, vm->len);
	return true;
}

static void read_more(struct conf_vm *vm)
{
	struct pollfd fds[] = { { .fd = vm->out[0], .events = POLLIN },
				{ .fd = vmm_event_fd(vm->vm), .events = POLLIN } };
	ssize_t n;

	if (vm->len == sizeof(vm->text))
		vm->len = 0;	/* the guest does not know lines */
	if (poll(fds, 2, TICK_MS) <= 0 || !fds[0].revents)
		return;
	n = read(vm->out[0], vm->text + vm->len, sizeof(vm->text) - vm->len);
	vm->len += n > 0 ? (size_t)n : 0;
}

const char *conf_hear(struct conf_vm *vm, const char *answer)
{
	const uint64_t until = vmm_now_ns() + vm->c->timeout_ns;

	while (!*vm->c->trouble) {
		while (next_line(vm)) {
			if (!strncmp(vm->line, answer, strlen(answer)))
				return vm->line;
			if (!strncmp(vm->line, "@apf panic", 10) || !strncmp(vm->line, "@apf error", 10))
				conf_trouble(vm->c, "the guest said \"%s\"", vm->line);
		}
		if (going_on(vm, until, answer))
			read_more(vm);
	}
	return "";
}

const char *conf_ask(struct conf_vm *vm, const char *answer, const char *fmt, ...)
{
	char line[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	conf_say(vm, "%s", line);
	return conf_hear(vm, answer);
}

uint64_t conf_number(const char *line, const char *name)
{
	char key[32];
	const char *at;

	snprintf(key, sizeof(key), " %s=", name);
	at = strstr(line, key);
	return at ? strtoull(at + strlen(key), NULL, 0) : 0;
}

void conf_wait_end(struct conf_vm *vm)
{
	const uint64_t until = vmm_now_ns() + vm->c->timeout_ns;

	while (!*vm->c->trouble && vmm_ended(vm->vm) == VMM_RUNNING)
		if (going_on(vm, until, "end of the VM"))
			read_more(vm);
}

/* --- start and end --- */

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

static int begin(struct conf *c, struct conf_vm *vm)
{
	*vm = (struct conf_vm){ .c = c, .out = { -1, -1 } };
	if (*c->trouble)
		return -ECANCELED;
	return pipe(vm->out) < 0 ? -errno : 0;
}

static int start(struct conf_vm *vm, int err)
{
	if (!err)
		err = vmm_start(vm->vm);
	if (!err)
		vmm_resume(vm->vm);
	if (err)
		conf_trouble(vm->c, "no VM: %s", *apf_error() ? apf_error() : strerror(-err));
	return err;
}

static const char *more_words(const struct conf_setup *setup)
{
	return setup->words ? setup->words : "";
}

void conf_boot(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup)
{
	char words[256];
	const struct vmm_boot boot = { .kernel = c->kernel, .cmdline = words };
	int err = begin(c, vm);

	snprintf(words, sizeof(words), "tasks=%u pages=%u chunk=%u %s %s", setup->tasks,
		 setup->pages * c->chunk, c->chunk, more_words(setup), c->gen->words);
	if (!err)
		err = create(vm, setup, c->delivery, NULL);
	if (!err)
		err = vmm_boot(vm->vm, &boot);
	if (start(vm, err))
		return;
	vm->at = (struct conf_saved){ .words = more_words(setup), .cpus = setup->cpus,
				      .tasks = setup->tasks, .pages = setup->pages };
	conf_hear(vm, "@apf kernel");
	vm->at.kernel_end = conf_number(vm->line, "kernel_end") - conf_ram_start;
	vm->at.user_start = conf_number(vm->line, "user_start") - conf_ram_start;
	conf_hear(vm, "@apf ready");
}

void conf_end(struct conf_vm *vm)
{
	vmm_destroy(vm->vm);
	for (int i = 0; i < 2; i++)
		if (vm->out[i] >= 0)
			close(vm->out[i]);
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
		    s->pages == setup->pages && !strcmp(s->words, more_words(setup)))
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
	snprintf(spec, sizeof(spec), "latency:%llu,%sfile:%s/ram",
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
	free(bytes);
	free(snap);
	return err;
}

void conf_restore_from(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup,
		       const char *dir, enum apf_delivery delivery)
{
	const struct conf_saved *s = saved(c, setup);
	int err = begin(c, vm);

	if (!err) {
		vm->at = *s;
		err = load(vm, setup, dir ? dir : s->dir, delivery);
	}
	start(vm, err);
}

void conf_restore(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup)
{
	conf_restore_from(c, vm, setup, NULL, c->delivery);
	conf_tokens(vm);	/* those of the boot are nobody's */
}
