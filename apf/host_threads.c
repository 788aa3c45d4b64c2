/* SPDX-License-Identifier: MIT */
/*
 * How many threads page faults cost the host: this process's own (io_uring's workers are
 * among them) and the kernel's workers that wait for a page on behalf of KVM.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"

static bool is_number(const struct dirent *d)
{
	return isdigit((unsigned char)d->d_name[0]);
}

static int64_t own_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *d;
	int64_t n = 0;

	while (dir && (d = readdir(dir)))
		n += is_number(d);
	if (dir)
		closedir(dir);
	return n;
}

/* The start of a small file below /proc; "" if it cannot be read. */
static bool read_proc(const char *pid, const char *file, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.16s/%s", pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (fd >= 0)
		close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n >= 0;
}

int64_t host_threads(void)
{
	int64_t n = own_threads();
	char text[4096];
	const struct dirent *d;
	DIR *proc;

	if (!read_proc("self", "stack", text, sizeof(text)))
		return -1;
	proc = opendir("/proc");
	while (proc && (d = readdir(proc))) {
		if (!is_number(d) || !read_proc(d->d_name, "comm", text, sizeof(text)) ||
		    strncmp(text, "kworker", 7))
			continue;
		n += read_proc(d->d_name, "stack", text, sizeof(text)) &&
		     strstr(text, "async_pf_execute");
	}
	if (proc)
		closedir(proc);
	return n;
}
