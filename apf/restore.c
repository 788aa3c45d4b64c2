/* SPDX-License-Identifier: MIT */
/* apf restore: run a VM from a snapshot, its memory fetched from a store on demand. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <apf/error.h>
#include <apf/store.h>
#include <apf/trace.h>

#include <vmm/pages.h>

#include "commands.h"

enum { OPT_STORE = OPT_OWN, OPT_LATENCY, OPT_TRACE, OPT_PRELOAD, OPT_RECORD };

#define TRACE_RECORDS (1u << 20)

static const struct option longs[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "store", required_argument, NULL, OPT_STORE },
	{ "latency", required_argument, NULL, OPT_LATENCY },
	{ "trace", required_argument, NULL, OPT_TRACE },
	{ "preload", required_argument, NULL, OPT_PRELOAD },
	{ "record", required_argument, NULL, OPT_RECORD },
	VM_LONG_OPTIONS,
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
"usage: apf restore DIR --delivery sync|kernel|user [OPTION]...\n"
"\n"
"Run the VM that `apf snapshot` saved in DIR. Its memory stays where it is: each page is\n"
"fetched when the guest touches it.\n"
"\n"
"  --delivery MODE    how the guest is told of a page that is on its way:\n"
"                     sync: not at all, the processor stands still;\n"
"                     kernel: by KVM's own asynchronous page faults (not on arm64);\n"
"                     user: by libapf\n"
"  --abi GENERATION   int, rfc or 2010; arm64: must be what the snapshot was saved with\n"
"                     (default)\n"
"  --store SPEC       where pages come from (default file:DIR/ram); filters stand in\n"
"                     front: latency:20ms,file:PATH  error:rate=0.01,file:PATH  stats,...\n"
"  --latency D        every fetch takes D longer: 20ms, 500us (a latency filter in front)\n"
"  --trace FILE       write the tracepoints as Chrome trace JSON (opens in Perfetto)\n"
"  --record FILE      at the end write the list of all pages that were fetched\n"
"  --preload FILE     before the start fetch the pages of such a list, all at once\n"
VM_OPTIONS_HELP
"\n"
"Examples:\n"
"  apf restore /tmp/snap --delivery user --latency 20ms --json -\n"
"  apf restore /tmp/snap --delivery kernel --input 'go touch\\n' --until '@apf done'\n"
"\n"
VM_EXIT_CODES_HELP;

struct restore {
	struct vm_options vm;
	const char *dir, *store, *latency, *trace, *preload, *record;
	bool has_delivery;
};

static int option(struct restore *r, int c, const char *arg)
{
	uint64_t ns;

	switch (c) {
	case OPT_STORE:
		r->store = arg;
		return 0;
	case OPT_LATENCY:
		if (apf_parse_duration(arg, &ns))
			return usage_error("restore", "--latency '%s': no duration like 20ms", arg);
		r->latency = arg;
		return 0;
	case OPT_TRACE:
		r->trace = arg;
		return 0;
	case OPT_PRELOAD:
		r->preload = arg;
		return 0;
	case OPT_RECORD:
		r->record = arg;
		return 0;
	case OPT_DELIVERY:
		r->has_delivery = true;
		break;
	}
	return vm_option(&r->vm, c, arg, "restore");
}

static int open_store(const struct restore *r, struct apf_store **store)
{
	char *spec;
	int err;

	if (asprintf(&spec, "%s%s%s%s%s%s", r->latency ? "latency:" : "",
		     r->latency ? r->latency : "", r->latency ? "," : "",
		     r->store ? r->store : "file:", r->store ? "" : r->dir,
		     r->store ? "" : "/ram") < 0)
		return -ENOMEM;
	err = apf_store_open(spec, store);
	free(spec);
	return err;
}

/* Fetch the pages of a list that an earlier restore has recorded. */
static int preload(const char *path, struct apf_mem *mem, struct session *s)
{
	struct apf_mem_range *ranges = NULL;
	void *text = NULL;
	size_t len, n = 0;
	int err = vmm_read_file(path, VMM_PAGES_BYTES_MAX, &text, &len);

	if (!err)
		err = vmm_pages_parse(text, len, apf_mem_size(mem) / APF_PAGE_SIZE, &ranges, &n);
	if (!err)
		err = apf_mem_preload(mem, ranges, n);
	for (size_t i = 0; i < n; i++)
		s->preloaded += ranges[i].n;
	free(ranges);
	free(text);
	return err;
}

/* Everything up to the start. *vm is to be destroyed in any case. 0 or negative errno. */
static int prepare(const struct restore *r, const struct vmm_snapshot *snap,
		   const struct vmm_config *cfg, struct session *s, struct vmm **vm)
{
	int err = r->trace ? apf_trace_start(TRACE_RECORDS) : 0;

	if (err) {
		apf_store_close(cfg->store);
		return err;
	}
	err = vmm_create(cfg, vm);
	if (!err && r->preload)
		err = preload(r->preload, vmm_mem(*vm), s);
	return err ? err : vmm_load(*vm, snap);
}

/* A page that is lost before the start is lost as much as one that is lost later. */
static int tell_failure(const struct session *s, struct vmm *vm, struct apf_store *store, int err)
{
	static const struct kvm_counts unknown = { -1, -1, -1, -1 };

	if (err != -EIO || !vm || !*apf_mem_lost_text(vmm_mem(vm)))
		return failed("restore", err);
	vmm_finish(vm, VMM_END_PAGE_LOST, "before the start: %s", apf_mem_lost_text(vmm_mem(vm)));
	return session_report(s, vm, store, &unknown, -1);
}

static int run(const struct restore *r, const struct vmm_snapshot *snap, struct session *s)
{
	struct vmm_config cfg = { .mem_size = snap->vm.mem_size, .cpus = snap->vm.cpus };
	struct apf_store *store;
	struct vmm *vm = NULL;
	int code, err;

	session_config(s, &cfg);
	if (!cfg.abi)
		cfg.abi = snap->vm.abi;
	err = open_store(r, &store);
	if (err)
		return failed("restore", err);
	cfg.store = store;
	err = prepare(r, snap, &cfg, s, &vm);
	code = err ? tell_failure(s, vm, store, err) : session_run(s, vm, store);
	if (vm && r->record && (err = vmm_pages_write(vmm_mem(vm), r->record)))
		code = failed("restore", err);
	vmm_destroy(vm);
	if (r->trace && (err = apf_trace_write(r->trace)))
		code = error("restore", "--trace %s: %s", r->trace, strerror(-err));
	return code;
}

static int restore(const struct restore *r, uint64_t start_ns)
{
	struct vmm_snapshot *snap = malloc(sizeof(*snap));
	char *path = NULL;
	void *bytes = NULL;
	struct session s;
	size_t len;
	int code, err;

	if (!snap || asprintf(&path, "%s/state", r->dir) < 0) {
		free(snap);
		return failed("restore", -ENOMEM);
	}
	err = vmm_read_file(path, VMM_SNAPSHOT_BYTES_MAX, &bytes, &len);
	if (!err)
		err = vmm_snapshot_parse(bytes, len, snap);
	if (!err)
		err = vmm_can_load(snap);
	if (err) {
		code = failed("restore", err);
	} else {
		code = session_open(&s, &r->vm, "restore", start_ns);
		if (!code) {
			code = run(r, snap, &s);
			session_close(&s);
		}
	}
	free(bytes);
	free(path);
	free(snap);
	return code;
}

int cmd_restore(int argc, char **argv, uint64_t start_ns)
{
	struct restore r = { .vm.delivery = APF_DELIVERY_USER };
	int c, code = 0;

	while (!code && (c = next_option(argc, argv, longs, "restore")) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		code = c == '?' ? EXIT_USAGE : option(&r, c, optarg);
	}
	if (!code && optind + 1 != argc)
		code = usage_error("restore", "expected one folder with a snapshot");
	if (!code && !r.has_delivery)
		code = usage_error("restore", "--delivery is missing: sync, kernel or user");
	if (!code) {
		r.dir = argv[optind];
		vm_options_finish(&r.vm);
		block_signals();
		code = restore(&r, start_ns);
	}
	free(r.vm.input);
	return code;
}
