/* SPDX-License-Identifier: MIT */
/* apf snapshot: have a running VM saved through its control socket. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <json-c/json.h>

#include "commands.h"

enum { OPT_TO = OPT_OWN, OPT_WAIT_FOR, OPT_MIN_OUTSTANDING, OPT_STOP, OPT_SHOW, OPT_VERIFY, OPT_SHOW_JSON };

static const struct option longs[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "control", required_argument, NULL, OPT_CONTROL },
	{ "to", required_argument, NULL, OPT_TO },
	{ "wait-for", required_argument, NULL, OPT_WAIT_FOR },
	{ "min-outstanding", required_argument, NULL, OPT_MIN_OUTSTANDING },
	{ "stop", no_argument, NULL, OPT_STOP },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "show", required_argument, NULL, OPT_SHOW },
	{ "verify", required_argument, NULL, OPT_VERIFY },
	{ "json", no_argument, NULL, OPT_SHOW_JSON },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
"usage: apf snapshot --control SOCKET --to DIR [OPTION]...\n"
"       apf snapshot --show DIR [--json]\n"
"       apf snapshot --verify DIR\n"
"\n"
"Save a VM that `apf run` or `apf restore` runs with --control as the folder DIR, show what a\n"
"snapshot holds, or see whether all of it is as it was saved.\n"
"\n"
"  --control SOCKET       where the VM listens\n"
"  --to DIR               the folder to make; it must not exist\n"
"  --wait-for TEXT        first wait for a line of serial output that contains TEXT\n"
"  --min-outstanding N    wait until at least N page faults are outstanding\n"
"  --stop                 end the VM after the snapshot\n"
"  --timeout SECONDS      give up waiting after this time (exit code 5)\n"
"  --show DIR             print what is in the snapshot DIR\n"
"  --json                 print it as JSON\n"
"  --verify DIR           compare all of the snapshot DIR with its checksums\n"
"\n"
"Examples:\n"
"  apf snapshot --control /tmp/vm --wait-for '@apf ready' --to /tmp/snap --stop\n"
"  apf snapshot --show /tmp/snap\n";

#define ANSWER_NS	500000000u	/* time for the VM to say itself that the time is up */

struct snapshot {
	const char *control, *to, *wait_for, *show, *verify;
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
	case OPT_VERIFY:
		s->verify = arg;
		return 0;
	default:
		s->json = true;
		return 0;
	}
}

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

/* One line of the VM. -1: more is to come; else the exit code. */
static int take_answer(const char *line)
{
	struct json_object *o = json_tokener_parse(line);
	int code = -1;

	if (!o)
		return error("snapshot", "the VM's answer is not JSON: %s", line);
	if (json_object_object_get_ex(o, "progress", NULL)) {
		fprintf(stderr, "apf snapshot: %s of %s bytes\n", member_text(o, "progress"),
			member_text(o, "of"));
	} else if (member_is_true(o, "ok")) {
		code = EXIT_OK;
	} else {
		code = member_is_true(o, "timeout") ? EXIT_TIMEOUT : EXIT_ERROR;
		error("snapshot", "%s", member_text(o, "error"));
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
		return snapshot_show(s.show, s.json);
	if (s.verify)
		return snapshot_verify(s.verify);
	if (!s.control || !s.to)
		return usage_error("snapshot", "expected --control and --to, --show, or --verify");
	code = ending_start("snapshot", s.timeout_ns ? start_ns + s.timeout_ns + ANSWER_NS : UINT64_MAX);
	if (!code)
		code = ask(&s);
	ending_stop();
	return code;
}
