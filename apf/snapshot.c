/* SPDX-License-Identifier: MIT */
/* apf snapshot: have a running VM saved through its control socket, or show a snapshot. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <json-c/json.h>

#include <apf/engine.h>
#include <apf/error.h>

#include "commands.h"

enum { OPT_TO = OPT_OWN, OPT_WAIT_FOR, OPT_MIN_OUTSTANDING, OPT_STOP, OPT_SHOW, OPT_SHOW_JSON };

static const struct option longs[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "control", required_argument, NULL, OPT_CONTROL },
	{ "to", required_argument, NULL, OPT_TO },
	{ "wait-for", required_argument, NULL, OPT_WAIT_FOR },
	{ "min-outstanding", required_argument, NULL, OPT_MIN_OUTSTANDING },
	{ "stop", no_argument, NULL, OPT_STOP },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "show", required_argument, NULL, OPT_SHOW },
	{ "json", no_argument, NULL, OPT_SHOW_JSON },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
"usage: apf snapshot --control SOCKET --to DIR [OPTION]...\n"
"       apf snapshot --show DIR [--json]\n"
"\n"
"Save a VM that `apf run` or `apf restore` runs with --control as the folder DIR, or show\n"
"what a snapshot holds.\n"
"\n"
"  --control SOCKET       where the VM listens\n"
"  --to DIR               the folder to make; it must not exist\n"
"  --wait-for TEXT        first wait for a line of serial output that contains TEXT\n"
"  --min-outstanding N    wait until at least N page faults are outstanding\n"
"  --stop                 end the VM after the snapshot\n"
"  --timeout SECONDS      give up waiting after this time (exit code 5)\n"
"  --show DIR             print what is in the snapshot DIR\n"
"  --json                 print it as JSON\n"
"\n"
"Examples:\n"
"  apf snapshot --control /tmp/vm --wait-for '@apf ready' --to /tmp/snap --stop\n"
"  apf snapshot --show /tmp/snap\n";

#define ANSWER_NS	500000000u	/* time for the VM to say itself that the time is up */

struct snapshot {
	const char *control, *to, *wait_for, *show;
	uint64_t min_outstanding, timeout_ns;
	bool stop, json;
};

static int option(struct snapshot *s, int c, const char *arg)
{
	switch (c) {
	case OPT_CONTROL:
		s->control = arg;
		return 0;
	case OPT_TO:
		s->to = arg;
		return 0;
	case OPT_WAIT_FOR:
		s->wait_for = arg;
		return 0;
	case OPT_MIN_OUTSTANDING:
		return parse_number("snapshot", "--min-outstanding", arg, 0, UINT32_MAX,
				    &s->min_outstanding);
	case OPT_STOP:
		s->stop = true;
		return 0;
	case OPT_TIMEOUT:
		return parse_seconds("snapshot", "--timeout", arg, &s->timeout_ns);
	case OPT_SHOW:
		s->show = arg;
		return 0;
	default:
		s->json = true;
		return 0;
	}
}

/* --- asking a VM --- */

static int connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(a.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A relative name means the same folder to the VM's process only if it is made absolute. */
static char *absolute(const char *path)
{
	char *cwd, *out = NULL;

	if (*path == '/')
		return strdup(path);
	cwd = getcwd(NULL, 0);
	if (cwd && asprintf(&out, "%s/%s", cwd, path) < 0)
		out = NULL;
	free(cwd);
	return out;
}

static bool send_request(const struct snapshot *s, FILE *f)
{
	struct json_object *o = json_object_new_object();
	char *to = absolute(s->to);
	bool ok;

	json_object_object_add(o, "cmd", json_object_new_string("snapshot"));
	json_object_object_add(o, "to", json_object_new_string(to ? to : s->to));
	if (s->wait_for)
		json_object_object_add(o, "wait_for", json_object_new_string(s->wait_for));
	json_object_object_add(o, "min_outstanding", json_object_new_uint64(s->min_outstanding));
	json_object_object_add(o, "stop", json_object_new_boolean(s->stop));
	if (s->timeout_ns)
		json_object_object_add(o, "timeout_ms",
				       json_object_new_uint64(s->timeout_ns / 1000000u + 1));
	ok = fprintf(f, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN)) > 0 &&
	     !fflush(f);
	json_object_put(o);
	free(to);
	return ok;
}

static bool get_bool(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

static const char *get_text(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "?";
}

/* One line of the VM. -1: more is to come; else the exit code. */
static int take_answer(const char *line)
{
	struct json_object *o = json_tokener_parse(line);
	int code = -1;

	if (!o)
		return error("snapshot", "the VM's answer is not JSON: %s", line);
	if (json_object_object_get_ex(o, "progress", NULL)) {
		fprintf(stderr, "apf snapshot: %s of %s bytes\n", get_text(o, "progress"),
			get_text(o, "of"));
	} else if (get_bool(o, "ok")) {
		code = EXIT_OK;
	} else {
		code = get_bool(o, "timeout") ? EXIT_TIMEOUT : EXIT_ERROR;
		error("snapshot", "%s", get_text(o, "error"));
	}
	json_object_put(o);
	return code;
}

static int ask(const struct snapshot *s)
{
	int fd = connect_to(s->control), code = -1;
	char *line = NULL;
	size_t room = 0;
	FILE *f;

	if (fd < 0)
		return error("snapshot", "--control %s: %s", s->control, strerror(errno));
	f = fdopen(fd, "r+");
	if (!f) {
		close(fd);
		return error("snapshot", "%s", strerror(errno));
	}
	if (!send_request(s, f))
		code = error("snapshot", "--control %s: %s", s->control, strerror(errno));
	while (code < 0 && getline(&line, &room, f) > 0)
		code = take_answer(line);
	if (code < 0)
		code = error("snapshot", "the VM went away without an answer");
	free(line);
	fclose(f);
	return code;
}

/* --- showing a file --- */

static int no_guest_read(void *ctx, uint64_t gpa, uint32_t *value)
{
	return -EFAULT;
}

static int no_guest_write(void *ctx, uint64_t gpa, uint32_t value)
{
	return -EFAULT;
}

static bool is_ram(void *ctx, uint64_t gpa, uint64_t len)
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

static void add_token(void *arg, uint64_t gfn, uint32_t token)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "token", json_object_new_int64(token));
	json_object_object_add(o, "gfn", json_object_new_int64((int64_t)gfn));
	json_object_array_add(arg, o);
}

static struct json_object *show_vcpu(const struct vmm_snapshot *snap, uint32_t id)
{
	const struct vmm_bytes *b = &snap->sec[VMM_SEC_APF][id];
	const struct apf_vcpu_config cfg = { .abi = snap->vm.abi, .vcpu_id = id,
					     .max_outstanding = SHOW_ENTRIES, .has_lapic = true,
					     .ready_irq = SHOW_READY_IRQ };
	const size_t size = (apf_vcpu_size(SHOW_ENTRIES) + 63) & ~63ull;
	struct json_object *o = json_object_new_object(), *tokens = json_object_new_array();
	void *mem = aligned_alloc(64, size);
	struct apf_vcpu_stats stats;
	struct apf_vcpu *v;
	int err = mem ? apf_vcpu_init(mem, size, &cfg, &reader_ops, NULL, &v) : -ENOMEM;

	if (!err)
		err = apf_vcpu_load(v, b->data, b->len);
	json_object_object_add(o, "id", json_object_new_int((int)id));
	json_object_object_add(o, "tokens", tokens);
	if (err) {
		json_object_object_add(o, "error", json_object_new_string(apf_error()));
	} else {
		apf_vcpu_stats(v, &stats);
		apf_vcpu_for_each(v, add_token, tokens);
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
		struct json_object *v = show_vcpu(snap, i), *tokens;

		json_object_object_get_ex(v, "tokens", &tokens);
		outstanding += (int64_t)json_object_array_length(tokens);
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
	printf("vcpu %s: ", get_text(v, "id"));
	if (json_object_object_get_ex(v, "error", NULL)) {
		printf("unreadable: %s\n", get_text(v, "error"));
		return;
	}
	printf("APF %s, %zu outstanding, %s ready but not told\n",
	       get_bool(v, "enabled") ? "enabled" : "off", json_object_array_length(tokens),
	       get_text(v, "queued"));
	for (size_t i = 0; i < json_object_array_length(tokens); i++) {
		token = json_object_array_get_idx(tokens, i);
		printf("  token %s, page %s\n", get_text(token, "token"), get_text(token, "gfn"));
	}
}

static void print_text(struct json_object *o)
{
	struct json_object *vcpus;

	json_object_object_get_ex(o, "vcpus", &vcpus);
	printf("snapshot version %s of an %s machine, saved in mode %s, generation %s\n%s vCPUs, "
	       "%s bytes of memory, %s faults outstanding\n", get_text(o, "version"),
	       get_text(o, "machine"), get_text(o, "delivery"), get_text(o, "abi"),
	       get_text(o, "cpus"), get_text(o, "mem"), get_text(o, "outstanding"));
	for (size_t i = 0; i < json_object_array_length(vcpus); i++)
		print_vcpu(json_object_array_get_idx(vcpus, i));
}

static int show(const struct snapshot *s)
{
	struct vmm_snapshot *snap = malloc(sizeof(*snap));
	void *bytes = NULL;
	char *path = NULL;
	int code = EXIT_OK;
	size_t len;

	if (!snap || asprintf(&path, "%s/state", s->show) < 0) {
		free(snap);
		return error("snapshot", "out of memory");
	}
	if (vmm_read_file(path, VMM_SNAPSHOT_BYTES_MAX, &bytes, &len) ||
	    vmm_snapshot_parse(bytes, len, snap)) {
		code = error("snapshot", "%s: %s", s->show, apf_error());
	} else {
		struct json_object *o = show_snapshot(snap);

		if (s->json) {
			json_write(o, "-");
		} else {
			print_text(o);
			json_object_put(o);
		}
	}
	free(bytes);
	free(path);
	free(snap);
	return code;
}

int cmd_snapshot(int argc, char **argv, uint64_t start_ns)
{
	struct snapshot s = { 0 };
	int c, code;

	while ((c = next_option(argc, argv, longs, "snapshot")) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		code = c == '?' ? EXIT_USAGE : option(&s, c, optarg);
		if (code)
			return code;
	}
	if (optind < argc)
		return usage_error("snapshot", "'%s' is no option", argv[optind]);
	if (s.show)
		return show(&s);
	if (!s.control || !s.to)
		return usage_error("snapshot", "expected --control and --to, or --show");
	code = ending_start("snapshot", s.timeout_ns ? start_ns + s.timeout_ns + ANSWER_NS : UINT64_MAX);
	if (!code)
		code = ask(&s);
	ending_stop();
	return code;
}
