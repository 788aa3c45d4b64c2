/* SPDX-License-Identifier: MIT */
/* apf restore: run a VM from a snapshot, its memory fetched from a store on demand. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

enum { OPT_STORE = OPT_OWN };

static const struct option longs[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "store", required_argument, NULL, OPT_STORE },
	PAGING_LONG_OPTIONS,
	VM_LONG_OPTIONS,
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
"usage: apf restore DIR [OPTION]...\n"
"\n"
"Run the VM that `apf snapshot` saved in DIR. Its memory stays where it is: each page is\n"
"fetched when the guest touches it.\n"
"\n"
"  --delivery MODE    how the guest is told of a page that is on its way:\n"
"                     sync: not at all, the processor stands still;\n"
"                     kernel: by KVM's own asynchronous page faults (not on arm64);\n"
"                     user: by libapf\n"
"                     (default: user, else kernel, else sync: what works on this host)\n"
"  --abi GENERATION   int, rfc or 2010; arm64: must be what the snapshot was saved with\n"
"                     (default)\n"
"  --store SPEC       where pages come from (default file:DIR/ram); filters stand in\n"
"                     front: latency:20ms,file:PATH  error:rate=0.01,file:PATH  stats,...\n"
PAGING_OPTIONS_HELP
VM_OPTIONS_HELP
"\n"
PAGING_REPORT_HELP
"\n"
"Examples:\n"
"  apf restore /tmp/snap --latency 20ms --trace /tmp/trace.json\n"
"  apf restore /tmp/snap --delivery user --latency 20ms --json -\n"
"  apf restore /tmp/snap --delivery kernel --input 'go touch\\n' --until '@apf done'\n"
"\n"
VM_EXIT_CODES_HELP;

struct restore {
	struct vm_options vm;
	struct paging_options paging;
	const char *dir, *store;
};

static int option(struct restore *r, int c, const char *arg)
{
	int code;

	if (c == OPT_STORE) {
		r->store = arg;
		return 0;
	}
	code = paging_option(&r->paging, c, arg, "restore");
	return code == 1 ? vm_option(&r->vm, c, arg, "restore") : code;
}

static int load(struct vmm *vm, const void *snapshot)
{
	return vmm_load(vm, snapshot);
}

static int run(const struct restore *r, const struct vmm_snapshot *snap, struct session *s)
{
	struct vmm_config cfg = { .mem_size = snap->vm.mem_size, .cpus = snap->vm.cpus };
	char *spec = NULL;
	int code;

	session_config(s, &cfg);
	s->snapshot = snap;
	if (!cfg.abi)
		cfg.abi = snap->vm.abi;
	if (!r->store && asprintf(&spec, "file:%s/ram", r->dir) < 0)
		return error("restore", "out of memory");
	code = paging_run(&r->paging, s, &cfg, r->store ? r->store : spec, load, snap);
	free(spec);
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
		return error("restore", "out of memory");
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
	struct restore r = { 0 };
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
	if (!code) {
		r.dir = argv[optind];
		vm_options_finish(&r.vm);
		code = ending_start("restore", vm_options_end(&r.vm, start_ns));
		if (!code)
			code = restore(&r, start_ns);
		ending_stop();
	}
	free(r.vm.input);
	return code;
}
