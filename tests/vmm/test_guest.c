/* SPDX-License-Identifier: MIT */
/*
 * The whole VMM with a tiny guest on the machine's own KVM: boot, serial line, ends,
 * snapshot, restore in every delivery mode, control socket. Skipped without KVM.
 */
#include "test_vm.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cli/cli.h>
#include <apf/error.h>
#include <apf/store.h>
#include <vmm/vmm.h>

#define LOAD	(vmm_machine.ram.start + 0x200000)

extern const uint8_t test_guest_start[], test_guest_end[];
extern const char test_guest_ends[];	/* the letters that end a guest of this machine */

static void write_elf(const char *path)
{
	const uint64_t len = (uint64_t)(test_guest_end - test_guest_start);
	Elf64_Ehdr e = { .e_type = ET_EXEC, .e_machine = vmm_machine.kind, .e_entry = LOAD,
			 .e_phoff = sizeof(e), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 };
	const Elf64_Phdr p = { .p_type = PT_LOAD, .p_offset = sizeof(e) + sizeof(p),
			       .p_filesz = len, .p_memsz = len, .p_paddr = LOAD, .p_vaddr = LOAD };
	FILE *f = fopen(path, "w");

	memcpy(e.e_ident, ELFMAG, SELFMAG);
	e.e_ident[EI_CLASS] = ELFCLASS64;
	e.e_ident[EI_DATA] = ELFDATA2LSB;
	assert_non_null(f);
	assert_int_equal(fwrite(&e, sizeof(e), 1, f), 1);
	assert_int_equal(fwrite(&p, sizeof(p), 1, f), 1);
	assert_int_equal(fwrite(test_guest_start, len, 1, f), 1);
	fclose(f);
}

static int set_up(void **state)
{
	if (make_folder())
		return -1;
	write_elf(in_folder("guest"));
	return 0;
}

static void remove_snapshot(const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/state", in_folder(name));
	unlink(path);
	snprintf(path, sizeof(path), "%s/ram", in_folder(name));
	unlink(path);
	rmdir(in_folder(name));
}

static int tear_down(void **state)
{
	remove_snapshot("snap");
	unlink(in_folder("guest"));
	return remove_folder();
}

static struct vmm *boot(const char *input, unsigned int cpus)
{
	const struct vmm_boot b = { .kernel = in_folder("guest"), .cmdline = "" };
	const struct vmm_config cfg = config(input, cpus);
	struct vmm *vm;

	check(vmm_create(&cfg, &vm));
	check(vmm_boot(vm, &b));
	check(vmm_start(vm));
	vmm_resume(vm);
	return vm;
}

static void wait_line(struct vmm *vm, const char *text)
{
	for (unsigned int ms = 0; ms < LIMIT_S * 1000; ms++) {
		if (vmm_console_seen(vmm_console(vm), text))
			break;
		usleep(1000);
	}
	assert_true(vmm_console_seen(vmm_console(vm), text));
}

static void test_each_way_to_end(void **state)
{
	static const struct {
		const char *input;
		enum vmm_end end;
	} cases[] = {
		{ "q", VMM_END_POWEROFF }, { "r", VMM_END_RESET }, { "k", VMM_END_RESET },
		{ "c", VMM_END_CRASH }, { "e", VMM_END_DEBUG_EXIT },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct vmm *vm;

		if (!strchr(test_guest_ends, *cases[i].input))
			continue;
		vm = boot(cases[i].input, 1);
		run_until(vm, NULL, cases[i].end);
		assert_int_equal(vmm_debug_exit(vm) < 0, cases[i].end != VMM_END_DEBUG_EXIT);
		assert_true(vmm_first_output_ns(vm) > 0);
		assert_string_equal(vmm_console_marks(vmm_console(vm))->text, "@apf ready");
		vmm_destroy(vm);
	}
}

static void test_debug_exit_takes_values_of_any_width(void **state)
{
	static const struct {
		const char *input;
		uint32_t value;
	} cases[] = { { "e", 0x10 }, { "l", 0x12345678 } };

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct vmm *vm = boot(cases[i].input, 1);

		run_until(vm, NULL, VMM_END_DEBUG_EXIT);
		assert_int_equal(vmm_debug_exit(vm), cases[i].value);
		vmm_destroy(vm);
	}
}

static void test_time_limit_ends_a_guest_that_never_does(void **state)
{
	const struct vmm_loop_config cfg = { .timeout_ns = 50000000 };
	struct vmm *vm = boot("", 2);

	assert_int_equal(vmm_loop(vm, &cfg), VMM_END_TIMEOUT);
	vmm_destroy(vm);
}

static void save_filled_vm(void)
{
	struct vmm *vm = boot("f", 2);

	remove_snapshot("snap");
	wait_line(vm, "@apf filled");
	vmm_pause(vm);
	apf_kvm_freeze(vmm_apf(vm), true);
	check(vmm_save(vm, in_folder("snap"), NULL, NULL));
	assert_int_equal(vmm_save(vm, in_folder("snap"), NULL, NULL), -EEXIST);
	apf_kvm_freeze(vmm_apf(vm), false);
	vmm_resume(vm);		/* a snapshot does not disturb the VM */
	vmm_destroy(vm);
}

static struct vmm *restore(enum apf_delivery mode, const char *input, struct vmm_snapshot *snap,
			   void **bytes)
{
	struct vmm_config cfg = config(input, 2);
	char spec[160];
	struct vmm *vm;
	size_t len;

	snprintf(spec, sizeof(spec), "latency:1ms,file:%s/ram", in_folder("snap"));
	cfg.delivery = mode;
	check(apf_store_open(spec, &cfg.store));
	snprintf(spec, sizeof(spec), "%s/state", in_folder("snap"));
	check(vmm_read_file(spec, VMM_SNAPSHOT_BYTES_MAX, bytes, &len));
	check(vmm_snapshot_parse(*bytes, len, snap));
	check(vmm_create(&cfg, &vm));
	check(vmm_load(vm, snap));
	check(vmm_start(vm));
	vmm_resume(vm);
	return vm;
}

/*
 * Where ring 0 is emulated, its page walks do not trap on missing tables, so a guest that
 * lives in ring 0 cannot be restored in mode user there.
 */
static enum apf_delivery last_mode(void)
{
	struct kvm_speed s = { 1, 1000, 1000 };
	int fd = open("/dev/kvm", O_RDWR);

	assert_true(fd >= 0);
	kvm_speed(fd, &s);
	close(fd);
	return s.ns_ring0 < 10 * s.ns_native ? APF_DELIVERY_USER : APF_DELIVERY_KERNEL;
}

static void test_snapshot_and_lazy_restore_in_every_mode(void **state)
{
	static struct vmm_snapshot snap;
	enum apf_delivery last;

	save_filled_vm();
	last = last_mode();
	for (enum apf_delivery mode = APF_DELIVERY_SYNC; mode <= last; mode++) {
		struct apf_mem_stats ms;
		struct vmm *vm;
		void *bytes;

		if (mode == APF_DELIVERY_KERNEL && !vmm_machine.kernel_delivery)
			continue;
		vm = restore(mode, "tq", &snap, &bytes);
		run_until(vm, NULL, VMM_END_POWEROFF);
		assert_string_equal(vmm_console_marks(vmm_console(vm))->text, "@apf good");
		apf_mem_stats(vmm_mem(vm), &ms);
		assert_in_range(ms.fetched, 64, 1000);
		vmm_destroy(vm);
		free(bytes);
	}
}

static void test_a_restored_vm_can_be_saved_before_its_pages_have_come(void **state)
{
	static struct vmm_snapshot snap;
	void *bytes;
	struct vmm *vm;

	save_filled_vm();
	vm = restore(last_mode(), "", &snap, &bytes);

	vmm_pause(vm);
	apf_kvm_freeze(vmm_apf(vm), true);
	check(vmm_save(vm, in_folder("second"), NULL, NULL));
	vmm_destroy(vm);
	free(bytes);
	remove_snapshot("snap");
	assert_int_equal(rename(in_folder("second"), in_folder("snap")), 0);
	vm = restore(last_mode(), "tq", &snap, &bytes);
	run_until(vm, NULL, VMM_END_POWEROFF);
	assert_string_equal(vmm_console_marks(vmm_console(vm))->text, "@apf good");
	vmm_destroy(vm);
	free(bytes);
}

/* The far end of a control socket, in a thread of its own. */
static void *talk(void *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	static char text[32768];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	size_t len = 0;
	ssize_t n;
	int tries = 1000;

	strcpy(a.sun_path, path);
	while (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && tries--)
		usleep(1000);
	dprintf(fd, "nonsense\n{\"cmd\":\"fly\"}\n{\"cmd\":\"snapshot\"}\n{\"cmd\":\"status\"}\n"
		"{\"cmd\":\"stop\"}\n");
	while (len < sizeof(text) - 1 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fd);
	return text;
}

static void test_control_socket_answers_every_line(void **state)
{
	static const char *const answers[] = {
		"expected one JSON object a line", "unknown cmd", "snapshot needs",
		"\"outstanding\":0", "\"ok\":true",
	};
	struct vmm *vm = boot("", 1);
	const char *path = in_folder("control");
	char *text;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, talk, (void *)path), 0);
	run_until(vm, path, VMM_END_STOP);
	pthread_join(t, (void **)&text);
	for (size_t i = 0; i < COUNT(answers); i++) {
		text = strstr(text, answers[i]);
		assert_non_null(text);
	}
	assert_int_not_equal(access(path, F_OK), 0);
	vmm_destroy(vm);
}

static void *flood(void *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	static char text[65536];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), tries = 1000;
	ssize_t n = 0;

	strcpy(a.sun_path, path);
	while (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && tries--)
		usleep(1000);
	memset(text, 'x', sizeof(text));
	send(fd, text, sizeof(text), MSG_NOSIGNAL);
	n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
	talk(path);		/* the next client is served all the same, and stops the VM */
	return text;
}

static void test_control_socket_refuses_endless_lines(void **state)
{
	struct vmm *vm = boot("", 1);
	const char *path = in_folder("control");
	char *text;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, flood, (void *)path), 0);
	run_until(vm, path, VMM_END_STOP);
	pthread_join(t, (void **)&text);
	assert_non_null(strstr(text, "line too long"));
	vmm_destroy(vm);
}

static void test_what_a_host_cannot_give_is_an_error(void **state)
{
	struct vmm_config cfg = config("", 1);
	const struct vmm_boot b = { .kernel = "/nonexistent", .cmdline = "" };
	struct vmm *vm;

	cfg.mem_size = 1ull << 60;
	assert_true(vmm_create(&cfg, &vm) < 0);
	cfg.mem_size = MEM;
	check(vmm_create(&cfg, &vm));
	assert_int_equal(vmm_boot(vm, &b), -ENOENT);
	vmm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_way_to_end),
		cmocka_unit_test(test_debug_exit_takes_values_of_any_width),
		cmocka_unit_test(test_time_limit_ends_a_guest_that_never_does),
		cmocka_unit_test(test_snapshot_and_lazy_restore_in_every_mode),
		cmocka_unit_test(test_a_restored_vm_can_be_saved_before_its_pages_have_come),
		cmocka_unit_test(test_control_socket_answers_every_line),
		cmocka_unit_test(test_control_socket_refuses_endless_lines),
		cmocka_unit_test(test_what_a_host_cannot_give_is_an_error),
	};

	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("1..0 # SKIP /dev/kvm: %s\n", strerror(errno));
		return 0;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
