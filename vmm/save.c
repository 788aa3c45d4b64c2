/* SPDX-License-Identifier: MIT */
/*
 * Saving a VM as a folder. It is written under a name of its own that nobody else has, and gets
 * its own name when everything in it is on disk, unless something of that name is there by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apf/error.h>
#include <apf/store.h>

#include "internal.h"
#include "sums.h"

struct vmm_folder {
	char *name;	/* what it will be called, without slashes at the end */
	char *tmp;	/* what it is called meanwhile */
	int fd;
};

static int failed(const struct vmm_folder *f, const char *what)
{
	int err = errno;

	return apf_error_set(-err, "snapshot %s: %s: %s", f->name, what, strerror(err));
}

static int exists(const struct vmm_folder *f)
{
	return apf_error_set(-EEXIST, "snapshot %s: exists already", f->name);
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_state(const struct vmm_folder *f, const struct vmm_snapshot_writer *w)
{
	int fd = openat(f->fd, "state", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), err = 0;

	if (fd < 0 || write_all(fd, w->data, w->len) || fsync(fd) < 0)
		err = failed(f, "state");
	if (fd >= 0)
		close(fd);
	return err;
}

static void note_sum(void *arg, uint64_t page, uint32_t sum)
{
	memcpy((uint8_t *)arg + page * sizeof(sum), &sum, sizeof(sum));
}

/* Of what has been written, so that nothing between here and the guest of a restore goes unseen. */
static int add_sums(struct vmm *vm, int fd, struct vmm_snapshot_writer *w)
{
	const uint64_t size = vm->cfg.mem_size;
	void *sums = vmm_snapshot_add(w, VMM_SEC_RAM_SUMS, 0, NULL, size / APF_PAGE_SIZE * sizeof(uint32_t));

	return sums ? vmm_sums_read(fd, size, note_sum, sums)
		    : apf_error_set(-ENOMEM, "snapshot: out of memory");
}

static int write_ram(struct vmm *vm, const struct vmm_folder *f, struct vmm_snapshot_writer *w,
		     void (*progress)(void *arg, uint64_t done), void *arg)
{
	int fd = openat(f->fd, "ram", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), err;

	if (fd < 0)
		return failed(f, "ram");
	err = apf_mem_save(vm->mem, fd, progress, arg);
	if (!err)
		err = add_sums(vm, fd, w);
	if (!err && fsync(fd) < 0)
		err = failed(f, "ram");
	close(fd);
	return err;
}

/* Sets the names; they are to be freed in any case. */
static int name_folder(struct vmm_folder *f, const char *dir)
{
	size_t len = strlen(dir);

	while (len > 1 && dir[len - 1] == '/')
		len--;
	f->name = strndup(dir, len);
	if (!f->name || asprintf(&f->tmp, "%s.tmp-XXXXXX", f->name) < 0) {
		f->tmp = NULL;
		return apf_error_set(-ENOMEM, "snapshot %s: out of memory", dir);
	}
	return 0;
}

/* The name that is reserved here is found out at the end to be still free; this look saves the time. */
static int make_folder(struct vmm_folder *f)
{
	if (access(f->name, F_OK) == 0)
		return exists(f);
	if (!mkdtemp(f->tmp))
		return failed(f, "cannot make a folder beside it");
	f->fd = open(f->tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (f->fd < 0) {
		int err = failed(f, f->tmp);

		rmdir(f->tmp);
		return err;
	}
	return 0;
}

static void remove_folder(const struct vmm_folder *f)
{
	unlinkat(f->fd, "state", 0);
	unlinkat(f->fd, "ram", 0);
	rmdir(f->tmp);
}

/* Where the file system cannot rename without replacing, mkdir finds out who was first. */
static int rename_new(const char *from, const char *to)
{
	if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL || mkdir(to, 0700))
		return -1;
	return rename(from, to);
}

/* The name itself is on disk when the folder that it stands in is. */
static int sync_parent(const struct vmm_folder *f)
{
	char *copy = strdup(f->name);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, err = 0;

	if (fd < 0 || fsync(fd) < 0)
		err = failed(f, "cannot make its name permanent");
	if (fd >= 0)
		close(fd);
	free(copy);
	return err;
}

/* Where a folder is to be removed if the process ends now. */
static void set_saving(struct vmm *vm, struct vmm_folder *f)
{
	pthread_mutex_lock(&vm->lock);
	vm->saving = f;
	pthread_mutex_unlock(&vm->lock);
}

void vmm_abandon(struct vmm *vm)
{
	vmm_cut_off(vm);	/* else a vCPU that waits keeps the process there after its end */
	pthread_mutex_lock(&vm->lock);
	if (vm->saving)
		remove_folder(vm->saving);
	pthread_mutex_unlock(&vm->lock);
}

static int publish(const struct vmm_folder *f)
{
	if (fsync(f->fd) < 0)
		return failed(f, f->tmp);
	if (rename_new(f->tmp, f->name))
		return errno == EEXIST ? exists(f) : failed(f, "rename");
	return 0;
}

static int write_files(struct vmm *vm, const struct vmm_folder *f,
		       void (*progress)(void *arg, uint64_t done), void *arg)
{
	struct vmm_snapshot_writer w = { 0 };
	int err = vmm_state_save(vm, &w);

	if (!err)
		err = write_ram(vm, f, &w, progress, arg);
	if (!err)
		err = vmm_snapshot_finish(&w);
	if (!err)
		err = write_state(f, &w);
	free(w.data);
	return err;
}

int vmm_save(struct vmm *vm, const char *dir, void (*progress)(void *arg, uint64_t done), void *arg)
{
	struct vmm_folder f = { .fd = -1 };
	int err = name_folder(&f, dir);

	if (!err)
		err = make_folder(&f);
	if (!err) {
		set_saving(vm, &f);
		err = write_files(vm, &f, progress, arg);
		set_saving(vm, NULL);
		if (!err)
			err = publish(&f);
		if (err)
			remove_folder(&f);
		close(f.fd);
		if (!err)
			err = sync_parent(&f);
	}
	free(f.tmp);
	free(f.name);
	return err;
}
