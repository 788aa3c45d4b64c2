/* SPDX-License-Identifier: MIT */
/* apf: the command line of libapf. */
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "version.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv, uint64_t start_ns);
	const char *what;
} commands[] = {
	{ "doctor", cmd_doctor, "find out what this host can do, and what to do about the rest" },
	{ "run", cmd_run, "boot a kernel in a VM" },
	{ "snapshot", cmd_snapshot, "save a running VM, show or verify a snapshot" },
	{ "restore", cmd_restore, "run a VM from a snapshot, its memory fetched lazily" },
};

static void help(void)
{
	printf("usage: apf COMMAND [OPTION]...\n\n"
	       "Asynchronous page faults for virtual machines.\n\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		printf("  %-12s %s\n", commands[i].name, commands[i].what);
	printf("\n`apf COMMAND --help` says more. Also: apf --version\n"
	       "Exit codes: 0 fine, 1 error, 2 wrong usage, 3 the guest reset, 4 it crashed,\n"
	       "5 time was up, 6 a page was lost for good.\n");
}

int main(int argc, char **argv)
{
	const uint64_t start_ns = vmm_now_ns();

	umask(0077);	/* what a guest says and has in its memory is for the owner only */
	if (argc < 2)
		return usage_error(NULL, "which command?");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		help();
		return EXIT_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("apf %s\n", APF_VERSION);
		return EXIT_OK;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1, start_ns);
	return usage_error(NULL, "unknown command '%s'", argv[1]);
}
