/* SPDX-License-Identifier: MIT */
/* apf run: boot a kernel in a VM whose memory is all there, or all missing (--lazy). */
#include <stdlib.h>
#include <string.h>

#include <apf/store.h>

#include "commands.h"

enum { OPT_KERNEL = OPT_OWN, OPT_INITRD, OPT_MODULE, OPT_CMDLINE, OPT_MEM, OPT_CPUS, OPT_LAZY };

static const struct option longs[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "initrd", required_argument, NULL, OPT_INITRD },
	{ "module", required_argument, NULL, OPT_MODULE },
	{ "cmdline", required_argument, NULL, OPT_CMDLINE },
	{ "mem", required_argument, NULL, OPT_MEM },
	{ "cpus", required_argument, NULL, OPT_CPUS },
	{ "lazy", no_argument, NULL, OPT_LAZY },
	PAGING_LONG_OPTIONS,
	VM_LONG_OPTIONS,
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
"usage: apf run --kernel FILE [OPTION]...\n"
"\n"
"Boot a kernel in a VM. Its memory is all there, unless you say --lazy: then every page but\n"
"those of the boot image is missing until the guest touches it.\n"
"\n"
"  --kernel FILE      x86: bzImage, 64-bit ELF, or a multiboot (version 1) image;\n"
"                     arm64: Image (not a compressed one) or ELF\n"
"  --initrd FILE      initial RAM file system\n"
"  --module FILE[=TEXT]  a module for a multiboot kernel, and the string with it\n"
"                     (default: FILE); may be repeated\n"
"  --cmdline TEXT     kernel command line (default \"console=ttyS0\"; multiboot: empty)\n"
"  --mem SIZE         memory, like 512K, 256M, 8G (default 256M)\n"
"  --cpus N           virtual processors (default 1)\n"
"  --delivery MODE    how the guest is told of a page that is on its way: user, by libapf;\n"
"                     kernel, by KVM (not on arm64); sync, not at all. Default: user;\n"
"                     with --lazy the first of these that works on this host\n"
"  --abi GENERATION   of the protocol: x86: int (default, what today's Linux speaks), rfc,\n"
"                     2010; arm64: arm64\n"
"  --lazy             memory is fetched page by page when it is touched, and a fetched page is\n"
"                     zero; what follows goes with it:\n"
PAGING_OPTIONS_HELP
VM_OPTIONS_HELP
"\n"
"With --lazy: "
PAGING_REPORT_HELP
"\n"
"Examples:\n"
"  apf run --lazy --kernel vmlinuz --initrd initrd.img --latency 1ms\n"
"  apf run --kernel vmlinuz --initrd initrd.img --mem 512M --cpus 2 --control /tmp/vm\n"
"  apf run --kernel test.elf --until 'all done' --timeout 10\n"
"\n"
VM_EXIT_CODES_HELP;

struct run {
	struct vm_options vm;
	struct paging_options paging;
	struct vmm_boot boot;
	uint64_t mem, cpus;
	bool lazy;
};

static int add_file(struct vmm_boot *b, const char *path, const char *text)
{
	if (b->nr_files == VMM_BOOT_FILES_MAX)
		return usage_error("run", "at most %u files beside the kernel", VMM_BOOT_FILES_MAX);
	b->files[b->nr_files].path = path;
	b->files[b->nr_files++].text = text;
	return 0;
}

/* argv is ours to cut. */
static int option_module(struct vmm_boot *b, char *arg)
{
	char *text = strchr(arg, '=');

	if (text)
		*text++ = '\0';
	return add_file(b, arg, text ? text : arg);
}

static int option(struct run *r, int c, char *arg)
{
	int code;

	switch (c) {
	case OPT_LAZY:
		r->lazy = true;
		return 0;
	case OPT_KERNEL:
		r->boot.kernel = arg;
		return 0;
	case OPT_INITRD:
		return add_file(&r->boot, arg, arg);
	case OPT_MODULE:
		return option_module(&r->boot, arg);
	case OPT_CMDLINE:
		r->boot.cmdline = arg;
		return 0;
	case OPT_MEM:
		if (apf_parse_size(arg, &r->mem) || r->mem % APF_PAGE_SIZE || r->mem < 2u << 20)
			return usage_error("run", "--mem '%s': no size from 2M on, like 256M", arg);
		return 0;
	case OPT_CPUS:
		return parse_number("run", "--cpus", arg, 1, vmm_machine.cpus_max, &r->cpus);
	}
	code = paging_option(&r->paging, c, arg, "run");
	return code == 1 ? vm_option(&r->vm, c, arg, "run") : code;
}

static int load(struct vmm *vm, const void *what)
{
	return vmm_boot(vm, what);
}

/* A VM whose memory is all there. Returns the exit code. */
static int run_filled(struct session *s, const struct vmm_config *cfg, const struct vmm_boot *what)
{
	struct vmm *vm = NULL;
	int code, err = vmm_create(cfg, &vm);

	if (!err)
		err = vmm_boot(vm, what);
	code = err ? failed("run", err) : session_run(s, vm, NULL);
	vmm_destroy(vm);
	return code;
}

static int boot(const struct run *r, uint64_t start_ns)
{
	struct vmm_config cfg = { .mem_size = r->mem, .cpus = (unsigned int)r->cpus };
	struct session s;
	int code = session_open(&s, &r->vm, "run", start_ns);

	if (code)
		return code;
	session_config(&s, &cfg);
	if (r->lazy)
		code = paging_run(&r->paging, &s, &cfg, "zero:", load, &r->boot);
	else
		code = run_filled(&s, &cfg, &r->boot);
	session_close(&s);
	return code;
}

int cmd_run(int argc, char **argv, uint64_t start_ns)
{
	struct run r = { .vm.delivery = APF_DELIVERY_USER, .mem = 256u << 20, .cpus = 1 };
	int c, code = 0;

	while (!code && (c = next_option(argc, argv, longs, "run")) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		code = c == '?' ? EXIT_USAGE : option(&r, c, optarg);
	}
	if (!code && optind < argc)
		code = usage_error("run", "'%s' is no option", argv[optind]);
	if (!code && !r.boot.kernel)
		code = usage_error("run", "--kernel is missing");
	if (!code && !r.lazy && (r.paging.latency || r.paging.trace || r.paging.preload ||
				 r.paging.record))
		code = usage_error("run", "--latency, --trace, --preload and --record go with --lazy");
	if (!code) {
		vm_options_finish(&r.vm);
		code = ending_start("run", vm_options_end(&r.vm, start_ns));
		if (!code)
			code = boot(&r, start_ns);
		ending_stop();
	}
	free(r.vm.input);
	return code;
}
