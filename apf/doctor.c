/* SPDX-License-Identifier: MIT */
/* apf doctor: what this host can do, and for every No the reason and what to do. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/kvm.h>

#include <json-c/json.h>

#include <apf/error.h>
#include <apf/memory.h>

#include "doctor.h"

/* A loop in a guest may take this much longer than natively before KVM counts as slow. */
#define SLOW_RATIO 3.0

static const char help[] =
"usage: apf doctor [--json]\n"
"\n"
"Find out what this host can do: KVM and its speed, the capabilities that libapf uses,\n"
"userfaultfd and io_uring. For every No it says why and what to do.\n"
"\n"
"  --json   print the findings as JSON\n"
"\n"
"Exit code 0: asynchronous page faults in user space work here, with Linux guests; else 1.\n";

void doctor_add(struct doctor *d, const char *name, bool ok, unsigned int needed, const char *fix,
		const char *fmt, ...)
{
	struct check *c = &d->checks[d->n++];
	va_list args;

	*c = (struct check){ .name = name, .ok = ok, .needed = needed, .fix = fix };
	va_start(args, fmt);
	vsnprintf(c->detail, sizeof(c->detail), fmt, args);
	va_end(args);
}

static const char *kvm_open_fix(int err)
{
	if (err == EACCES || err == EPERM)
		return "run as root, or join the group that owns /dev/kvm (usually \"kvm\")";
	if (err == ENOENT || err == ENODEV || err == ENXIO)
		return doctor_arch.no_kvm;
	return "see the kernel's log";
}

static void check_speed(struct doctor *d, int kvm_fd)
{
	struct kvm_speed *s = &d->speed;
	double ring0, ring3;

	if (kvm_speed(kvm_fd, s)) {
		d->kvm_kind = "slow";
		doctor_add(d, "kvm-speed", false, FOR_LINUX, "this KVM cannot even loop; use the lab",
			   "%s", apf_error());
		return;
	}
	ring0 = s->ns_ring0 / s->ns_native;
	ring3 = s->ns_ring3 / s->ns_native;
	d->kvm_kind = ring0 <= SLOW_RATIO && ring3 <= SLOW_RATIO ? "real" : "slow";
	doctor_add(d, "kvm-speed", !strcmp(d->kvm_kind, "real"), FOR_LINUX,
		   ring3 <= SLOW_RATIO
			? "this KVM emulates privileged code: fine for test kernels that work in user "
			  "mode; for Linux guests use the lab (`make run` does)"
			: "for Linux guests use another machine or the lab (`make run` does)",
		   "a loop takes %.1f times as long in %s, %.1f times in %s", ring0,
		   doctor_arch.privileged, ring3, doctor_arch.user);
}

static void check_capabilities(struct doctor *d, int kvm_fd)
{
	struct apf_kvm_probe p;

	if (apf_kvm_probe(kvm_fd, &p))
		doctor_add(d, "kvm-api", false, FOR_USER | FOR_KERNEL, "this is no KVM that libapf knows",
			   "%s", apf_error());
	else
		doctor_arch.check(d, &p);
}

static void check_kvm(struct doctor *d, bool measure)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), err = errno;

	d->kvm_kind = "none";
	doctor_add(d, "kvm", fd >= 0, FOR_USER | FOR_KERNEL | FOR_RESTORE | FOR_LINUX,
		   fd < 0 ? kvm_open_fix(err) : NULL, "/dev/kvm: %s",
		   fd < 0 ? strerror(err) : "can be opened");
	if (fd < 0)
		return;
	if (measure)
		check_speed(d, fd);
	check_capabilities(d, fd);
	close(fd);
}

static const char *uffd_fix(void)
{
	if (access("/dev/userfaultfd", F_OK) < 0)
		return "run as root, or `sysctl vm.unprivileged_userfaultfd=1`; kernels from 6.1 "
		       "on also offer /dev/userfaultfd";
	return "run as root, or get access to /dev/userfaultfd (chmod, or a udev rule)";
}

static void check_memory(struct doctor *d)
{
	struct apf_mem_probe p = { 0 };
	int err = apf_mem_probe(&p);
	/* Who may not create one cannot ask what it offers: the kernel may well be new enough. */
	const char *rights = err == -EPERM || err == -EACCES
				     ? "not known before userfaultfd is permitted: do that first" : NULL;

	doctor_add(d, "userfaultfd", !err && p.userfaultfd, FOR_RESTORE, uffd_fix(), "%s",
		   err ? apf_error() : "serves faults of the kernel, too");
	doctor_add(d, "minor-faults", p.minor_shmem, FOR_RESTORE,
		   rights ? rights : "use kernel 5.14 or newer",
		   "UFFD_FEATURE_MINOR_SHMEM: pages are read straight into guest memory");
	doctor_add(d, "poison", p.poison, FOR_USER, rights ? rights : "use kernel 6.6 or newer",
		   "UFFDIO_POISON: a missing page that a vCPU touches returns to user space");
	doctor_add(d, "io_uring", p.io_uring, FOR_RESTORE,
		   "`sysctl kernel.io_uring_disabled=0`, or allow it in this container's seccomp filter",
		   "io_uring: no thread waits for a page");
}

const struct check *doctor_missing(const struct doctor *d, unsigned int needed)
{
	for (unsigned int i = 0; i < d->n; i++)
		if ((d->checks[i].needed & needed) && !d->checks[i].ok)
			return &d->checks[i];
	return NULL;
}

/* Does everything work that one of these needs? */
static bool all_ok(const struct doctor *d, unsigned int needed)
{
	return !doctor_missing(d, needed);
}

/* KVM's own knows one generation, and x86. */
static const char *kernel_lacks(const struct doctor *d, enum apf_abi_id abi)
{
	const struct check *missing = doctor_missing(d, FOR_RESTORE | FOR_KERNEL);

	if (!vmm_machine.kernel_delivery)
		return "KVM has none here";
	if (abi != APF_ABI_X86_INT)
		return "KVM has not this guest's generation";
	return missing ? missing->name : NULL;
}

enum apf_delivery doctor_best(const struct doctor *d, enum apf_abi_id abi, char *why, size_t size)
{
	const struct check *user = doctor_missing(d, FOR_RESTORE | FOR_USER);
	const char *kernel = kernel_lacks(d, abi);

	if (!user) {
		snprintf(why, size, "libapf tells the guest of missing pages; this host can do it");
		return APF_DELIVERY_USER;
	}
	if (!kernel) {
		snprintf(why, size, "KVM tells the guest of missing pages; user lacks %s here: %s",
			 user->name, user->fix);
		return APF_DELIVERY_KERNEL;
	}
	snprintf(why, size, "a processor stands still for a missing page; user lacks %s here: %s; "
		 "kernel: %s", user->name, user->fix, kernel);
	return APF_DELIVERY_SYNC;
}

enum apf_delivery doctor_choose(enum apf_abi_id abi, char *why, size_t size)
{
	struct doctor d = { 0 };

	check_kvm(&d, false);
	check_memory(&d);
	return doctor_best(&d, abi, why, size);
}

static struct json_object *as_json(const struct doctor *d)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	struct json_object *modes = json_object_new_object();
	const char *mode = doctor_arch.host_mode();

	json_object_object_add(o, "ok", json_object_new_boolean(all_ok(d, FOR_USER | FOR_RESTORE |
								       FOR_LINUX)));
	json_object_object_add(o, "kernel", json_object_new_string(d->uts.release));
	json_object_object_add(o, "machine", json_object_new_string(d->uts.machine));
	json_object_object_add(o, "page_size", json_object_new_int64(sysconf(_SC_PAGESIZE)));
	json_object_object_add(o, "host_mode", mode ? json_object_new_string(mode) : NULL);
	json_object_object_add(o, "kvm_kind", json_object_new_string(d->kvm_kind));
	json_object_object_add(modes, "sync", json_object_new_boolean(all_ok(d, FOR_RESTORE)));
	json_object_object_add(modes, "kernel",
			       json_object_new_boolean(all_ok(d, FOR_RESTORE | FOR_KERNEL)));
	json_object_object_add(modes, "user",
			       json_object_new_boolean(all_ok(d, FOR_RESTORE | FOR_USER)));
	json_object_object_add(o, "modes", modes);
	json_object_object_add(o, "linux_guests", json_object_new_boolean(all_ok(d, FOR_LINUX)));
	json_object_object_add(o, "loop_ns_native", json_object_new_double(d->speed.ns_native));
	json_object_object_add(o, "loop_ns_ring0", json_object_new_double(d->speed.ns_ring0));
	json_object_object_add(o, "loop_ns_ring3", json_object_new_double(d->speed.ns_ring3));
	for (unsigned int i = 0; i < d->n; i++) {
		const struct check *c = &d->checks[i];
		struct json_object *e = json_object_new_object();

		json_object_object_add(e, "name", json_object_new_string(c->name));
		json_object_object_add(e, "ok", json_object_new_boolean(c->ok));
		json_object_object_add(e, "detail", json_object_new_string(c->detail));
		if (!c->ok)
			json_object_object_add(e, "fix", json_object_new_string(c->fix));
		json_object_array_add(list, e);
	}
	json_object_object_add(o, "checks", list);
	return o;
}

static const char *yes_no(bool yes)
{
	return yes ? "yes" : "no";
}

static void print_text(const struct doctor *d)
{
	const char *mode = doctor_arch.host_mode();

	printf("Linux %s on %s, pages of %ld KiB%s%s; KVM: %s\n\n", d->uts.release, d->uts.machine,
		      sysconf(_SC_PAGESIZE) / 1024, mode ? ", " : "", mode ? mode : "", d->kvm_kind);
	for (unsigned int i = 0; i < d->n; i++) {
		const struct check *c = &d->checks[i];

		printf("%-4s %-18s %s\n", yes_no(c->ok), c->name, c->detail);
		if (!c->ok)
			printf("%24s-> %s\n", "", c->fix);
	}
	printf("\nmode sync: %s   mode kernel: %s   mode user: %s%s   Linux guests: %s\n",
		      yes_no(all_ok(d, FOR_RESTORE)), yes_no(all_ok(d, FOR_RESTORE | FOR_KERNEL)),
		      yes_no(all_ok(d, FOR_RESTORE | FOR_USER)),
		      all_ok(d, FOR_LAZY_TABLES) ? "" : ", with page tables fetched first",
		      all_ok(d, FOR_LINUX) ? "yes" : "no, or too slow");
}

int cmd_doctor(int argc, char **argv, uint64_t start_ns)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct doctor d = { 0 };
	bool json = false;
	int c;

	while ((c = next_option(argc, argv, longs, "doctor")) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (c == '?')
			return EXIT_USAGE;
		json = true;
	}
	if (optind < argc)
		return usage_error("doctor", "'%s' is no option", argv[optind]);
	uname(&d.uts);
	check_kvm(&d, true);
	check_memory(&d);
	if (json)
		json_write(as_json(&d), "-");
	else
		print_text(&d);
	return all_ok(&d, FOR_USER | FOR_RESTORE | FOR_LINUX) ? EXIT_OK : EXIT_ERROR;
}
