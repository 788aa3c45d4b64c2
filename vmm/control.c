/* SPDX-License-Identifier: MIT */
/*
 * The control socket's commands: status, snapshot, stop. Clients are trusted with the VM
 * (the socket is only the owner's to open) but not with the host's memory or time.
 */
#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <json-c/json.h>

#include <apf/error.h>

#include "vmm.h"

#define PROGRESS_FIRST_NS	2000000000u
#define PROGRESS_NS		500000000u
#define ACCEPT_AGAIN_NS		200000000u

static int set_address(struct sockaddr_un *a, const char *path)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(a->sun_path))
		return apf_error_set(-ENAMETOOLONG, "control socket %s: too long a name", path);
	strcpy(a->sun_path, path);
	return 0;
}

/* A socket that nobody listens on is left over from a process that died. Nothing else is. */
static bool is_stale(const struct sockaddr_un *a)
{
	struct stat st;
	bool stale;
	int fd;

	if (lstat(a->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	stale = fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 &&
		errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return stale;
}

static int cannot_listen(const char *path)
{
	return apf_error_set(-errno, "control socket %s: %s", path,
			     errno == EEXIST ? "exists already, and is not a socket that nobody listens on"
					     : strerror(errno));
}

/*
 * Who sees the file can connect: it gets its name when it is listened on, until then it lies
 * in a folder that nobody else has. An existing file is never replaced.
 */
static int name_listener(struct control *c, const char *folder)
{
	struct sockaddr_un own;
	char name[sizeof(own.sun_path)];
	struct stat st;
	int err;

	if ((size_t)snprintf(name, sizeof(name), "%s/s", folder) >= sizeof(name))
		return apf_error_set(-ENAMETOOLONG, "control socket %s: too long a name", c->path);
	err = set_address(&own, name);
	if (err)
		return err;
	if (bind(c->listen_fd, (struct sockaddr *)&own, sizeof(own)) < 0)
		return cannot_listen(c->path);
	if (chmod(name, 0600) < 0 || listen(c->listen_fd, CONTROL_CLIENTS) < 0 || stat(name, &st) < 0 ||
	    link(name, c->path) < 0) {
		err = cannot_listen(c->path);
	} else {
		c->dev = st.st_dev;
		c->ino = st.st_ino;
	}
	unlink(name);
	return err;
}

static int listen_at(struct control *c)
{
	struct sockaddr_un a;
	int err = set_address(&a, c->path);
	char *folder;

	if (err)
		return err;
	if (is_stale(&a))
		unlink(c->path);
	c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->listen_fd < 0)
		return cannot_listen(c->path);
	if (asprintf(&folder, "%s.XXXXXX", c->path) < 0)
		return apf_error_set(-ENOMEM, "control socket: out of memory");
	if (mkdtemp(folder)) {
		err = name_listener(c, folder);
		rmdir(folder);
	} else {
		err = cannot_listen(c->path);
	}
	free(folder);
	return err;
}

/* What stands there now may be somebody else's. */
static bool is_ours(const struct control *c)
{
	struct stat st;

	return c->ino && !lstat(c->path, &st) && st.st_dev == c->dev && st.st_ino == c->ino;
}

int control_open(struct control *c, struct vmm *vm, const char *path, uint64_t start_ns)
{
	memset(c, 0, sizeof(*c));
	c->vm = vm;
	c->start_ns = start_ns;
	c->listen_fd = -1;
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		c->clients[i].fd = -1;
	if (!path)
		return 0;
	c->path = strdup(path);
	if (!c->path)
		return apf_error_set(-ENOMEM, "control socket: out of memory");
	return listen_at(c);
}

static void drop(struct control *c, struct control_client *cl)
{
	close(cl->fd);
	cl->fd = -1;
	cl->len = 0;
	if (c->job.client == cl)
		c->job.client = NULL;
}

/* A client that does not read its answers is dropped; the object is freed. */
static void answer(struct control *c, struct control_client *cl, struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	size_t len = strlen(text);

	if (cl && (send(cl->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len ||
		   send(cl->fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1))
		drop(c, cl);
	json_object_put(o);
}

static struct json_object *result(bool ok, const char *error)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "ok", json_object_new_boolean(ok));
	if (error)
		json_object_object_add(o, "error", json_object_new_string(error));
	return o;
}

static void refuse(struct control *c, struct control_client *cl, const char *error)
{
	answer(c, cl, result(false, error));
}

static void add_u64(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void do_status(struct control *c, struct control_client *cl)
{
	const struct vmm_config *cfg = vmm_get_config(c->vm);
	struct json_object *o = result(true, NULL);
	struct apf_kvm_stats ks;
	struct apf_mem_stats ms;

	apf_kvm_stats(vmm_apf(c->vm), &ks);
	apf_mem_stats(vmm_mem(c->vm), &ms);
	json_object_object_add(o, "delivery",
			       json_object_new_string(vmm_delivery_name(cfg->delivery)));
	add_u64(o, "cpus", cfg->cpus);
	add_u64(o, "mem", cfg->mem_size);
	add_u64(o, "ms", (vmm_now_ns() - c->start_ns) / 1000000u);
	add_u64(o, "outstanding", ks.engine.outstanding);
	add_u64(o, "queued", ks.engine.queued);
	add_u64(o, "max_outstanding", ks.engine.max_outstanding);
	add_u64(o, "faults", ks.engine.faults);
	add_u64(o, "np", ks.engine.np);
	add_u64(o, "ready", ks.engine.ready);
	add_u64(o, "broadcasts", ks.engine.broadcasts);
	add_u64(o, "halts", ks.engine.halts);
	add_u64(o, "waits", ks.engine.waits);
	add_u64(o, "traps", ks.traps);
	add_u64(o, "raced", ks.raced);
	add_u64(o, "emulated", ks.emulated);
	add_u64(o, "kicks", ks.kicks);
	add_u64(o, "msi_blocked", ks.msi_blocked);
	add_u64(o, "pages", ms.fetched);
	add_u64(o, "in_flight", ms.in_flight);
	add_u64(o, "max_in_flight", ms.max_in_flight);
	add_u64(o, "blocked", ms.blocked);
	add_u64(o, "retries", ms.retries);
	add_u64(o, "failed", ms.failed);
	answer(c, cl, o);
}

static const char *get_string(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string)
		       ? json_object_get_string(v) : NULL;
}

static uint64_t get_u64(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_get_int64(v) > 0
		       ? (uint64_t)json_object_get_int64(v) : 0;
}

static bool get_bool(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

static void end_job(struct control *c)
{
	free(c->job.to);
	free(c->job.wait_for);
	c->job = (struct control_job){ 0 };
}

static void do_snapshot(struct control *c, struct control_client *cl, struct json_object *o)
{
	const char *to = get_string(o, "to"), *wait_for = get_string(o, "wait_for");
	uint64_t timeout_ms = get_u64(o, "timeout_ms"), outstanding = get_u64(o, "min_outstanding");
	uint64_t now = vmm_now_ns();

	if (!to || !*to) {
		refuse(c, cl, "snapshot needs \"to\": a folder's name");
		return;
	}
	if (c->job.active) {
		refuse(c, cl, "another snapshot is being waited for");
		return;
	}
	c->job = (struct control_job){
		.active = true,
		.stop = get_bool(o, "stop"),
		.min_outstanding = outstanding < UINT32_MAX ? (uint32_t)outstanding : UINT32_MAX,
		.deadline_ns = timeout_ms && timeout_ms < (UINT64_MAX - now) / 1000000u
				       ? now + timeout_ms * 1000000u : UINT64_MAX,
		.to = strdup(to),
		.wait_for = wait_for ? strdup(wait_for) : NULL,
		.client = cl,
	};
	if (!c->job.to || (wait_for && !c->job.wait_for)) {
		refuse(c, cl, "out of memory");
		end_job(c);
	}
}

static void execute(struct control *c, struct control_client *cl)
{
	struct json_object *o = json_tokener_parse(cl->line);
	const char *cmd = o ? get_string(o, "cmd") : NULL;

	if (!cmd) {
		refuse(c, cl, "expected one JSON object a line, with \"cmd\"");
	} else if (!strcmp(cmd, "status")) {
		do_status(c, cl);
	} else if (!strcmp(cmd, "snapshot")) {
		do_snapshot(c, cl, o);
	} else if (!strcmp(cmd, "stop")) {
		vmm_finish(c->vm, VMM_END_STOP, "stopped through the control socket");
		answer(c, cl, result(true, NULL));
	} else {
		refuse(c, cl, "unknown cmd; there are status, snapshot and stop");
	}
	json_object_put(o);
}

static void read_client(struct control *c, struct control_client *cl)
{
	ssize_t n = recv(cl->fd, cl->line + cl->len, sizeof(cl->line) - 1 - cl->len, MSG_DONTWAIT);
	char *end;

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			drop(c, cl);
		return;
	}
	cl->len += (size_t)n;
	while (cl->fd >= 0 && (end = memchr(cl->line, '\n', cl->len))) {
		size_t used = (size_t)(end + 1 - cl->line);

		*end = '\0';
		execute(c, cl);
		if (cl->fd < 0)
			return;
		cl->len -= used;
		memmove(cl->line, cl->line + used, cl->len);
	}
	if (cl->len == sizeof(cl->line) - 1) {
		refuse(c, cl, "line too long");
		if (cl->fd >= 0)
			drop(c, cl);
	}
}

static void accept_client(struct control *c)
{
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	/* The client still waits in the queue, and poll would say so again and again. */
	if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		c->accept_ns = vmm_now_ns() + ACCEPT_AGAIN_NS;
	for (unsigned int i = 0; fd >= 0 && i < CONTROL_CLIENTS; i++) {
		if (c->clients[i].fd >= 0)
			continue;
		c->clients[i].fd = fd;
		c->clients[i].len = 0;
		return;
	}
	if (fd >= 0)
		close(fd);
}

unsigned int control_fds(const struct control *c, struct pollfd *fds)
{
	unsigned int n = 0;

	if (c->listen_fd >= 0 && vmm_now_ns() >= c->accept_ns)
		fds[n++] = (struct pollfd){ .fd = c->listen_fd, .events = POLLIN };
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		if (c->clients[i].fd >= 0)
			fds[n++] = (struct pollfd){ .fd = c->clients[i].fd, .events = POLLIN };
	return n;
}

void control_serve(struct control *c, const struct pollfd *fds, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		if (!fds[i].revents)
			continue;
		if (fds[i].fd == c->listen_fd)
			accept_client(c);
		for (unsigned int k = 0; k < CONTROL_CLIENTS; k++)
			if (c->clients[k].fd == fds[i].fd && fds[i].fd != c->listen_fd)
				read_client(c, &c->clients[k]);
	}
}

struct save_progress {
	struct control *c;
	uint64_t next_ns;
};

static void tell_progress(void *arg, uint64_t done)
{
	struct save_progress *p = arg;
	struct json_object *o;

	if (vmm_now_ns() < p->next_ns || !p->c->job.client)
		return;
	p->next_ns = vmm_now_ns() + PROGRESS_NS;
	o = json_object_new_object();
	add_u64(o, "progress", done);
	add_u64(o, "of", vmm_get_config(p->c->vm)->mem_size);
	answer(p->c, p->c->job.client, o);
}

/*
 * Pause, and save unless too few faults are outstanding by now. True: done, one way or
 * the other; false: try again later.
 */
static bool try_save(struct control *c)
{
	const bool user = vmm_get_config(c->vm)->delivery == APF_DELIVERY_USER;
	struct save_progress p = { c, vmm_now_ns() + PROGRESS_FIRST_NS };
	uint32_t outstanding = vmm_outstanding(c->vm);
	struct json_object *o;
	bool enough;
	int err = 0;

	if (outstanding < c->job.min_outstanding)
		return false;
	vmm_pause(c->vm);
	apf_kvm_freeze(vmm_apf(c->vm), true);
	if (user)	/* some pages may have come since; the guest makes no new faults now */
		outstanding = vmm_outstanding(c->vm);
	enough = outstanding >= c->job.min_outstanding;
	if (enough)
		err = vmm_save(c->vm, c->job.to, tell_progress, &p);
	if (!enough || err || !c->job.stop) {
		apf_kvm_freeze(vmm_apf(c->vm), false);
		vmm_resume(c->vm);
	}
	if (!enough)
		return false;
	o = result(!err, err ? apf_error() : NULL);
	add_u64(o, "outstanding", outstanding);
	answer(c, c->job.client, o);
	if (!err && c->job.stop)
		vmm_finish(c->vm, VMM_END_STOP, "stopped after the snapshot");
	return true;
}

static void time_is_up(struct control *c)
{
	struct json_object *o = result(false, "time is up: the awaited line or number of "
				       "outstanding faults did not come");

	json_object_object_add(o, "timeout", json_object_new_boolean(true));
	answer(c, c->job.client, o);
	end_job(c);
}

void control_work(struct control *c)
{
	if (!c->job.active || vmm_ended(c->vm) != VMM_RUNNING)
		return;
	if (!c->job.client) {		/* who asked has gone away */
		end_job(c);
		return;
	}
	if ((!c->job.wait_for || vmm_console_seen(vmm_console(c->vm), c->job.wait_for)) &&
	    try_save(c)) {
		end_job(c);
	} else if (vmm_now_ns() > c->job.deadline_ns) {
		time_is_up(c);
	}
}

void control_close(struct control *c)
{
	if (c->job.active)
		refuse(c, c->job.client, "the VM ended before the snapshot");
	end_job(c);
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		if (c->clients[i].fd >= 0)
			drop(c, &c->clients[i]);
	if (c->path && is_ours(c))
		unlink(c->path);
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	free(c->path);
}
