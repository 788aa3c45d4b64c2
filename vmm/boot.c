/* SPDX-License-Identifier: MIT */
/* Booting a VM from files. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apf/error.h>

#include "boot.h"
#include "internal.h"

#define KERNEL_MAX	(1ull << 30)

/* Read exactly len bytes from where fd stands. A file that shrank meanwhile is an error. */
static int read_all(int fd, void *buf, size_t len, const char *path)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return apf_error_set(-errno, "%s: %s", path, strerror(errno));
		if (!n)
			return apf_error_set(-EIO, "%s: ends after %zu of %zu bytes", path, done,
					     len);
		done += (size_t)n;
	}
	return 0;
}

static int open_file(const char *path, uint64_t max, int *fd, size_t *len)
{
	struct stat st;
	int err = 0;

	/* O_NONBLOCK: a FIFO is refused, not waited for. */
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return apf_error_set(-errno, "%s: %s", path, strerror(errno));
	if (fstat(*fd, &st) < 0)
		err = apf_error_set(-errno, "%s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		err = apf_error_set(-EINVAL, "%s: not a regular file", path);
	else if ((uint64_t)st.st_size > max)
		err = apf_error_set(-EFBIG, "%s: %llu bytes, at most %llu make sense", path,
				    (unsigned long long)st.st_size, (unsigned long long)max);
	if (err)
		close(*fd);
	*len = (size_t)st.st_size;
	return err;
}

int vmm_read_file(const char *path, size_t max, void **bytes, size_t *len)
{
	int fd, err = open_file(path, max, &fd, len);

	if (err)
		return err;
	*bytes = malloc(*len + 1);
	err = *bytes ? read_all(fd, *bytes, *len, path)
		      : apf_error_set(-ENOMEM, "%s: no memory for its %zu bytes", path, *len);
	if (err) {
		free(*bytes);
		*bytes = NULL;
	}
	close(fd);
	return err;
}

static int load_files(struct vmm *vm, const struct vmm_boot *boot, struct vmm_boot_args *args,
		      const int *fds)
{
	struct vmm_boot_entry entry;
	struct vmm_ram ram = vm->ram;
	void *kernel;
	int err = vmm_read_file(boot->kernel, KERNEL_MAX, &kernel, &args->kernel_len);

	if (err)
		return err;
	args->kernel = kernel;
	ram.mem = vm->mem;
	err = vmm_machine_load_kernel(&ram, args, &entry);
	free(kernel);
	for (unsigned int i = 0; !err && i < args->nr_files; i++)
		err = read_all(fds[i], args->files[i].where, args->files[i].len, boot->files[i].path);
	return err ? err : vmm_machine_boot_vcpu(&vm->vcpus[0], &entry);
}

int vmm_boot(struct vmm *vm, const struct vmm_boot *boot)
{
	struct vmm_boot_file files[VMM_BOOT_FILES_MAX] = { 0 };
	struct vmm_boot_args args = { .cpus = vm->cfg.cpus, .files = files,
				      .cmdline = boot->cmdline };
	int fds[VMM_BOOT_FILES_MAX], err = 0;

	while (!err && args.nr_files < boot->nr_files) {
		const unsigned int i = args.nr_files;

		files[i].text = boot->files[i].text;
		err = open_file(boot->files[i].path, UINT32_MAX, &fds[i], &files[i].len);
		args.nr_files += !err;
	}
	if (!err)
		err = load_files(vm, boot, &args, fds);
	while (args.nr_files)
		close(fds[--args.nr_files]);
	return err;
}
