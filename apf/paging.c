/* SPDX-License-Identifier: MIT */
/* What `restore` and `run --lazy` do alike: run a VM whose memory is fetched when it is touched. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <apf/error.h>
#include <apf/store.h>
#include <apf/trace.h>

#include <vmm/pages.h>
#include <vmm/sums.h>

#include "commands.h"
#include "doctor.h"

#define TRACE_RECORDS (1u << 20)

int paging_option(struct paging_options *p, int c, const char *arg, const char *command)
{
	uint64_t ns;

	switch (c) {
	case OPT_LATENCY:
		if (apf_parse_duration(arg, &ns))
			return usage_error(command, "--latency '%s': no duration like 20ms", arg);
		p->latency = arg;
		break;
	case OPT_TRACE:
		p->trace = arg;
		break;
	case OPT_PRELOAD:
		p->preload = arg;
		break;
	case OPT_RECORD:
		p->record = arg;
		break;
	default:
		return 1;
	}
	return 0;
}

static int open_store(const struct paging_options *p, const char *spec, struct apf_store **store)
{
	char *all;
	int err;

	if (!p->latency)
		return apf_store_open(spec, store);
	if (asprintf(&all, "latency:%s,%s", p->latency, spec) < 0)
		return apf_error_set(-ENOMEM, "--store: out of memory");
	err = apf_store_open(all, store);
	free(all);
	return err;
}

/* Fetch the pages of a list that an earlier VM has recorded. */
static int preload(const char *path, struct apf_mem *mem)
{
	struct apf_mem_range *ranges = NULL;
	void *text = NULL;
	size_t len, n = 0;
	int err = vmm_read_file(path, VMM_PAGES_BYTES_MAX, &text, &len);

	if (!err)
		err = vmm_pages_parse(text, len, apf_mem_size(mem) / APF_PAGE_SIZE, &ranges, &n);
	if (!err)
		err = apf_mem_preload(mem, ranges, n);
	free(ranges);
	free(text);
	return err;
}

/* Everything up to the start. *vm is to be destroyed in any case. 0 or negative errno. */
static int prepare(const struct paging_options *p, const struct vmm_config *cfg, struct session *s,
		   int (*load)(struct vmm *vm, const void *what), const void *what, struct vmm **vm)
{
	int err = p->trace ? apf_trace_start(TRACE_RECORDS) : 0;
	struct apf_mem_stats m;

	if (err) {
		apf_store_close(cfg->store);
		return err;
	}
	err = vmm_create(cfg, vm);
	if (!err && p->preload)
		err = preload(p->preload, vmm_mem(*vm));
	if (!err)
		err = load(*vm, what);
	if (*vm) {
		apf_mem_stats(vmm_mem(*vm), &m);
		s->preloaded = m.fetched;
	}
	return err;
}

/* A page that is lost before the start is lost as much as one that is lost later. */
static int tell_failure(const struct session *s, struct vmm *vm, struct apf_store *store, int err)
{
	static const struct kvm_counts unknown = { -1, -1, -1, -1 };

	if (err != -EIO || !vm || !*apf_mem_lost_text(vmm_mem(vm)))
		return failed(s->command, err);
	vmm_finish(vm, VMM_END_PAGE_LOST, "before the start: %s", apf_mem_lost_text(vmm_mem(vm)));
	return session_report(s, vm, store, &unknown, -1, NULL);
}

static void choose_delivery(const struct session *s, struct vmm_config *cfg)
{
	char why[512];

	if (s->options->has_delivery)
		return;
	cfg->delivery = doctor_choose(cfg->abi ? cfg->abi : vmm_machine.abi, why, sizeof(why));
	fprintf(stderr, "apf %s: --delivery %s: %s\n", s->command, vmm_delivery_name(cfg->delivery),
		why);
}

int paging_run(const struct paging_options *p, struct session *s, struct vmm_config *cfg,
	       const char *spec, int (*load)(struct vmm *vm, const void *what), const void *what)
{
	struct vmm *vm = NULL;
	int code = session_output(s->command, "--record", p->record), err;

	if (!code)
		code = session_output(s->command, "--trace", p->trace);
	if (code)
		return code;
	err = open_store(p, spec, &cfg->store);
	if (!err && s->snapshot)
		err = vmm_sums_check(s->snapshot, &cfg->store);
	if (err)
		return failed(s->command, err);
	s->lazy = true;
	choose_delivery(s, cfg);
	err = prepare(p, cfg, s, load, what, &vm);
	code = err ? tell_failure(s, vm, cfg->store, err) : session_run(s, vm, cfg->store);
	if (vm && p->record && (err = vmm_pages_write(vmm_mem(vm), p->record)))
		code = failed(s->command, err);
	vmm_destroy(vm);
	if (p->trace && (err = apf_trace_write(p->trace)))
		code = error(s->command, "--trace %s: %s", p->trace, strerror(-err));
	return code;
}
