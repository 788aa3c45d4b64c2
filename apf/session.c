/* SPDX-License-Identifier: MIT */
/* What `run` and `restore` do alike once they have a VM: start it, watch it, report. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "commands.h"
#include "stall.h"

int session_open(struct session *s, const struct vm_options *o, const char *command,
		 uint64_t start_ns)
{
	*s = (struct session){ .options = o, .command = command, .start_ns = start_ns,
			       .serial_fd = STDOUT_FILENO };
	if (o->json && !strcmp(o->json, "-"))
		s->serial_fd = STDERR_FILENO;	/* as it is: it may be a file that others write to */
	if (strcmp(o->serial, "-"))
		s->serial_fd = open(o->serial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (s->serial_fd < 0)
		return error(command, "--serial %s: %s", o->serial, strerror(errno));
	return session_output(command, "--json", o->json);
}

int session_output(const char *command, const char *option, const char *path)
{
	int fd;

	if (!path || !strcmp(path, "-"))
		return 0;
	/* A FIFO without a reader is no error yet. */
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
	if (fd < 0 && errno != ENXIO)
		return error(command, "%s %s: %s", option, path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return 0;
}

void session_config(const struct session *s, struct vmm_config *cfg)
{
	const struct vm_options *o = s->options;

	cfg->delivery = o->delivery;
	cfg->abi = o->abi;
	cfg->halt = o->halt;
	cfg->input = o->input;
	cfg->input_len = o->input_len;
	cfg->console = (struct vmm_console_config){
		.out_fd = s->serial_fd,
		.marks = o->marks,
		.nr_marks = o->nr_marks,
		.until = o->until,
		.start_ns = s->start_ns,
	};
}

static bool is_reported(const struct session *s)
{
	return s->lazy || s->options->json;
}

struct watch {
	struct vmm *vm;
	int64_t most;		/* threads on the host */
	bool unknown;		/* or not wanted */
	struct stalls stalls;
};

static void sample(void *arg)
{
	struct watch *w = arg;
	int64_t n = w->unknown ? -1 : host_threads();

	stalls_look(&w->stalls, w->vm);
	if (n < 0)
		w->unknown = true;
	else if (n > w->most)
		w->most = n;
}

/* The loop's own finish texts are for people; a plain success without a report needs none. */
static void tell_end(const struct session *s, struct vmm *vm, int code)
{
	if (code != EXIT_OK || (s->lazy && !s->options->json))
		fprintf(stderr, "apf %s: %s: %s\n", s->command, vmm_end_name(vmm_ended(vm)),
			vmm_end_text(vm));
}

/* Who ended a VM from outside may want to know what it was waiting for. */
static bool is_told(struct vmm *vm)
{
	return vmm_ended(vm) == VMM_END_TIMEOUT || vmm_ended(vm) == VMM_END_SIGNAL;
}

int session_report(const struct session *s, struct vmm *vm, struct apf_store *store,
		   const struct kvm_counts *counts, int64_t threads, const struct stalls *stalls)
{
	const uint64_t end_ns = vmm_now_ns();
	const int code = exit_code(vmm_ended(vm), vmm_debug_exit(vm));
	struct json_object *run = NULL, *stall = NULL;
	int err;

	if (stalls && is_told(vm))
		stall = stall_describe(vm, stalls);
	if (is_reported(s))
		run = report_run(vm, s, end_ns, threads, counts, report_stores(vm, store));
	if (run && !s->options->json)
		report_print(run, stderr);
	tell_end(s, vm, code);
	if (stall)
		stall_print(stall, s->command, stderr);
	if (stall && s->options->json)
		json_object_object_add(run, "stall", json_object_get(stall));
	json_object_put(stall);
	if (!s->options->json)
		return code;
	err = json_write(run, s->options->json);
	return err ? error(s->command, "--json %s: %s", s->options->json, strerror(-err)) : code;
}

int session_run(struct session *s, struct vmm *vm, struct apf_store *store)
{
	struct vmm_loop_config loop = { .control = s->options->control, .start_ns = s->start_ns };
	struct kvm_counter *counter = NULL;
	struct kvm_counts counts;
	struct watch w = { .vm = vm, .unknown = !is_reported(s) };
	int code = vmm_start(vm);

	if (code)
		return failed(s->command, code);
	loop.tick = sample;
	loop.arg = &w;
	if (is_reported(s) && vmm_get_config(vm)->delivery != APF_DELIVERY_USER)
		counter = kvm_counter_open(vm);
	vmm_resume(vm);
	ending_of(vm);
	vmm_loop(vm, &loop);
	kvm_counter_close(counter, &counts);
	code = session_report(s, vm, store, &counts, w.unknown ? -1 : w.most, &w.stalls);
	free(w.stalls.late);
	ending_stop();	/* whoever waits for files that are still to be written can be ended by any signal */
	return code;
}

void session_close(struct session *s)
{
	if (s->serial_fd > STDERR_FILENO)
		close(s->serial_fd);
}
