/* SPDX-License-Identifier: MIT */
/* apf-conformance: the test kernel against a host implementation, row by row. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include <apf/store.h>

#include "conformance.h"

enum { OPT_ABI = 256, OPT_DELIVERY, OPT_KERNEL, OPT_ROWS, OPT_CPUS, OPT_JSON, OPT_TAP, OPT_TIMEOUT };

#define TRIES		6u
#define EMULATED_RATIO	100.0	/* of ring 0's speed to the processor's */

static const struct option longs[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "abi", required_argument, NULL, OPT_ABI },
	{ "delivery", required_argument, NULL, OPT_DELIVERY },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "rows", required_argument, NULL, OPT_ROWS },
	{ "cpus", required_argument, NULL, OPT_CPUS },
	{ "json", required_argument, NULL, OPT_JSON },
	{ "tap", no_argument, NULL, OPT_TAP },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
"usage: apf-conformance [OPTION]...\n"
"       apf-conformance [OPTION]... -- COMMAND...\n"
"\n"
"Run the test kernel against a host implementation of asynchronous page faults and say\n"
"for each row of the protocol whether it was seen to hold: PASS, FAIL, SKIP with the\n"
"reason, or DIFFERS where KVM's own is known to do otherwise. With a COMMAND that boots\n"
"it in another VMM, that host is judged from outside. In its words {kernel}, {cmdline} and\n"
"{cpus} are replaced; the guest's serial port is to be its standard input and output.\n"
"\n"
"  --delivery MODE    whose implementation: user (libapf, default) or kernel (KVM's own)\n"
"  --abi GENERATION   one generation, or all that the implementation has (default)\n"
"  --rows LIST        only these rows, and all of a letter: C,N4\n"
"  --kernel FILE      the test kernel (default: the one that came with this program)\n"
"  --cpus N           processors of VMs with several, 2 to 8 (default 2)\n"
"  --timeout SECONDS  for an answer of the guest (default 30)\n"
"  --json FILE|-      write the findings as JSON (-: the table goes to stderr)\n"
"  --tap              print them as TAP\n"
"\n"
"Exit code 0: no row failed.\n";

struct run {
	enum apf_delivery delivery;
	const char *generation;		/* NULL: all */
	const char *rows, *kernel, *json;
	char *const *command;		/* NULL: VMs are in this process */
	uint64_t cpus, timeout_ns;
	struct conf_report report;
};

/* --- running the checks --- */

static bool has_wanted(const struct conf *c, const char *rows)
{
	for (const struct conf_row *row = conf_rows; row->id; row++)
		if (conf_asks_for(c, row->id) && conf_listed(rows, row->id, ' '))
			return true;
	return false;
}

static void run_check(struct conf *c, const struct conf_check *check)
{
	if (check->inside && !c->host->inside) {
		conf_unseen(c, check->rows, "not visible from outside");
		return;
	}
	for (unsigned int i = 0; i < TRIES; i++) {
		c->trouble[0] = '\0';
		c->again = false;
		check->run(c);
		if (!c->again)
			break;
	}
	conf_take_trouble(c, check->rows);
}

static int is_emulated(bool *emulated)
{
	const int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct kvm_speed speed;

	if (fd < 0)
		return error(NULL, "/dev/kvm: %s; `apf doctor` says more", strerror(errno));
	*emulated = !kvm_speed(fd, &speed) && speed.ns_ring0 > speed.ns_native * EMULATED_RATIO;
	close(fd);
	return 0;
}

/* Does the test kernel boot here at all? */
static int try_boot(struct conf *c)
{
	const struct conf_setup setup = { .tasks = 8, .pages = 1, .cpus = 1 };
	struct conf_vm vm;

	conf_boot(c, &vm, &setup);
	conf_end(&vm);
	return *c->trouble ? error(NULL, "%s", c->trouble) : 0;
}

static int run_checks(struct conf *c)
{
	const char *tmp = getenv("TMPDIR");
	int code;

	snprintf(c->dir, sizeof(c->dir), "%s/apf-conformance-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(c->dir))
		return error(NULL, "%s: %s", c->dir, strerror(errno));
	code = is_emulated(&c->emulated);
	if (!code)
		code = try_boot(c);
	for (const struct conf_check *check = conf_checks; !code && check->rows; check++)
		if (check->generations & 1u << (c->gen - conf_generations) &&
		    has_wanted(c, check->rows))
			run_check(c, check);
	conf_remove_saved(c);
	return code;
}

/* --- the command --- */

static bool chosen(const struct run *r, const struct conf_generation *gen)
{
	return (!r->generation || !strcmp(r->generation, gen->name)) &&
	       (r->delivery == APF_DELIVERY_USER || gen->in_kernel || (r->command && r->generation));
}

static void prepare(const struct run *r, const struct conf_generation *gen, struct conf *c)
{
	*c = (struct conf){
		.host = r->command ? &conf_host_command : &conf_host_vmm, .command = r->command,
		.chunk = (unsigned int)(sysconf(_SC_PAGESIZE) / APF_PAGE_SIZE), .gen = gen,
		.delivery = r->delivery, .kernel = r->kernel, .rows = r->rows,
		.cpus = (unsigned int)r->cpus, .timeout_ns = r->timeout_ns,
	};
}

static unsigned int count_rows(const struct run *r, struct conf *c)
{
	unsigned int n = 0;

	for (const struct conf_generation *gen = conf_generations; gen->name; gen++) {
		prepare(r, gen, c);
		for (const struct conf_row *row = conf_rows; row->id && chosen(r, gen); row++)
			n += conf_asks_for(c, row->id);
	}
	return n;
}

static int run_generations(struct run *r, struct conf *c)
{
	int code = 0;

	for (const struct conf_generation *gen = conf_generations; gen->name && !code; gen++) {
		if (!chosen(r, gen))
			continue;
		prepare(r, gen, c);
		code = run_checks(c);
		if (!code)
			conf_report(&r->report, c);
	}
	return code;
}

static int conformance(struct run *r, struct conf *c)
{
	const unsigned int rows = count_rows(r, c);
	int code, err;

	if (!rows)
		return usage_error(NULL, "nothing to look at: no such row, or KVM's own has "
				   "no such generation");
	r->report.out = r->json && !strcmp(r->json, "-") ? stderr : stdout;
	if (r->report.tap)
		fprintf(r->report.out, "1..%u\n", rows);
	r->report.variants = json_object_new_array();
	code = run_generations(r, c);
	if (code || !r->json) {
		json_object_put(r->report.variants);
	} else {
		err = json_write(r->report.variants, r->json);
		if (err)
			code = error(NULL, "--json %s: %s", r->json, strerror(-err));
	}
	return code ? code : r->report.failed ? EXIT_ERROR : EXIT_OK;
}

const char *conf_find(char *path, size_t size, const char *built, const char *installed, const char *name)
{
	const char *const places[] = { built, installed };
	char self[256];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[len > 0 ? len : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		slash[1] = '\0';
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, size, "%s%s%s", self, places[i], name);
		if (!access(path, R_OK))
			return path;
	}
	return NULL;
}

static int option_abi(struct run *r, const char *arg)
{
	const struct conf_generation *gen = conf_generations;

	if (!strcmp(arg, "all"))
		return 0;
	while (gen->name && strcmp(gen->name, arg))
		gen++;
	r->generation = gen->name;
	return gen->name ? 0 : usage_error(NULL, "--abi '%s': no generation of this "
					   "processor, and not all", arg);
}

static int option(struct run *r, int c, const char *arg)
{
	switch (c) {
	case OPT_ABI:
		return option_abi(r, arg);
	case OPT_DELIVERY:
		return parse_delivery(NULL, arg, &r->delivery);
	case OPT_TIMEOUT:
		return parse_seconds(NULL, "--timeout", arg, &r->timeout_ns);
	case OPT_KERNEL:
		r->kernel = arg;
		return 0;
	case OPT_ROWS:
		r->rows = arg;
		return 0;
	case OPT_CPUS:
		return parse_number(NULL, "--cpus", arg, 2, 8, &r->cpus);
	case OPT_JSON:
		r->json = arg;
		return 0;
	case OPT_TAP:
		r->report.tap = true;
		return 0;
	}
	return 1;
}

int main(int argc, char **argv)
{
	struct run r = { .delivery = APF_DELIVERY_USER, .timeout_ns = 30000000000u, .cpus = 2 };
	struct conf *conf;
	char path[320];
	int c, code = 0;

	while (!code && (c = next_option(argc, argv, longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		code = c == '?' ? EXIT_USAGE : option(&r, c, optarg);
	}
	if (code)
		return code;
	if (optind < argc && strcmp(argv[optind - 1], "--"))
		return usage_error(NULL, "'%s' is no option", argv[optind]);
	if (optind < argc) {
		r.command = argv + optind;
		r.delivery = APF_DELIVERY_KERNEL;	/* what differs there differs here */
	}
	if (r.delivery == APF_DELIVERY_SYNC)
		return usage_error(NULL, "--delivery sync: that is no implementation");
	if (!r.kernel)
		r.kernel = conf_find(path, sizeof(path), "../guest/", "../share/libapf/", conf_kernel_file);
	if (!r.kernel)
		return usage_error(NULL, "--kernel is missing: there is no test kernel beside "
				   "this program");
	block_signals();
	code = conf_gate_register();
	if (code)
		return failed(NULL, code);
	conf = malloc(sizeof(*conf));
	code = conf ? conformance(&r, conf) : failed(NULL, -ENOMEM);
	free(conf);
	return code;
}
