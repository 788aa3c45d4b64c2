/* SPDX-License-Identifier: MIT */
/*
 * Saving a VM as a folder and loading it again. The folder appears under its name
 * only when everything in it is on disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apf/error.h>

#include "internal.h"

static int failed(const char *dir, const char *what)
{
	int err = errno;

	return apf_error_set(-err, "snapshot %s: %s: %s", dir, what, strerror(err));
}

static int save_state(struct vmm *vm, struct vmm_snapshot_writer *w)
{
	const struct vmm_snapshot_vm info = {
		.mem_size = vm->cfg.mem_size,
		.cpus = vm->cfg.cpus,
		.delivery = vm->cfg.delivery,
		.abi = vm->cfg.abi,
	};
	int err;

	w->machine = vmm_machine.kind;
	vmm_snapshot_add(w, VMM_SEC_VM, 0, &info, sizeof(info));
	vmm_devices_save(vm, w);
	err = vmm_machine_save(vm, w);
	for (unsigned int i = 0; i < vm->cfg.cpus && !err; i++)
		err = vmm_vcpu_save(&vm->vcpus[i], w);
	return err ? err : vmm_snapshot_finish(w);
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

static int write_state(struct vmm *vm, int dir_fd, const char *dir)
{
	struct vmm_snapshot_writer w = { 0 };
	int fd = -1, err = save_state(vm, &w);

	if (!err) {
		fd = openat(dir_fd, "state", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || write_all(fd, w.data, w.len) || fsync(fd) < 0)
			err = failed(dir, "state");
	}
	if (fd >= 0)
		close(fd);
	free(w.data);
	return err;
}

static int write_ram(struct vmm *vm, int dir_fd, const char *dir,
		     void (*progress)(void *arg, uint64_t done), void *arg)
{
	int fd = openat(dir_fd, "ram", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), err;

	if (fd < 0)
		return failed(dir, "ram");
	err = apf_mem_save(vm->mem, fd, progress, arg);
	if (!err && fsync(fd) < 0)
		err = failed(dir, "ram");
	close(fd);
	return err;
}

/* An older DIR.tmp is what a save that died has left. */
static int make_dir(const char *tmp, const char *dir, int *dir_fd)
{
	if (access(dir, F_OK) == 0)
		return apf_error_set(-EEXIST, "snapshot %s: exists already", dir);
	if (mkdir(tmp, 0700) < 0 && errno != EEXIST)
		return failed(tmp, "mkdir");
	*dir_fd = open(tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*dir_fd < 0)
		return failed(tmp, "open");
	unlinkat(*dir_fd, "state", 0);
	unlinkat(*dir_fd, "ram", 0);
	return 0;
}

static void remove_dir(const char *tmp, int dir_fd)
{
	unlinkat(dir_fd, "state", 0);
	unlinkat(dir_fd, "ram", 0);
	rmdir(tmp);
}

int vmm_save(struct vmm *vm, const char *dir, void (*progress)(void *arg, uint64_t done), void *arg)
{
	int dir_fd = -1, err;
	char *tmp;

	if (asprintf(&tmp, "%s.tmp", dir) < 0)
		return -ENOMEM;
	err = make_dir(tmp, dir, &dir_fd);
	if (err) {
		free(tmp);
		return err;
	}
	err = write_state(vm, dir_fd, dir);
	if (!err)
		err = write_ram(vm, dir_fd, dir, progress, arg);
	if (!err && (fsync(dir_fd) < 0 || rename(tmp, dir) < 0))
		err = failed(dir, "rename");
	if (err)
		remove_dir(tmp, dir_fd);
	close(dir_fd);
	free(tmp);
	return err;
}

int vmm_can_load(const struct vmm_snapshot *s)
{
	if (s->machine == vmm_machine.kind)
		return 0;
	return apf_error_set(-EINVAL, "snapshot: of an %s machine, this program runs %s ones; restore "
			     "it on a host of its kind", vmm_snapshot_machine_name(s->machine),
			     vmm_snapshot_machine_name(vmm_machine.kind));
}

int vmm_load(struct vmm *vm, const struct vmm_snapshot *s)
{
	int err = vmm_can_load(s);

	if (err)
		return err;
	if (s->vm.mem_size != vm->cfg.mem_size || s->vm.cpus != vm->cfg.cpus)
		return apf_error_set(-EINVAL, "snapshot: of %u vCPUs, %llu bytes; this VM: %u, %llu",
				     s->vm.cpus, (unsigned long long)s->vm.mem_size,
				     vm->cfg.cpus, (unsigned long long)vm->cfg.mem_size);
	if (s->vm.abi != vm->cfg.abi)
		return apf_error_set(-EINVAL, "snapshot: its guest was offered generation %s, this "
				     "VM offers %s", apf_abi_name(s->vm.abi),
				     apf_abi_name(vm->cfg.abi));
	err = vmm_machine_load(vm, s);
	for (unsigned int i = 0; i < vm->cfg.cpus && !err; i++)
		err = vmm_vcpu_load(&vm->vcpus[i], s);
	if (!err) {
		/* When every vCPU can take the interrupt: one that is an edge is lost before. */
		vmm_devices_load(vm, s);
		err = vmm_machine_load_clock(vm, s);
	}
	/* Last, when every vCPU can take interrupts: readies may go out at once. */
	for (unsigned int i = 0; i < vm->cfg.cpus && !err; i++)
		err = vmm_vcpu_load_apf(&vm->vcpus[i], s);
	return err;
}
