/* SPDX-License-Identifier: MIT */
/* What tests with a whole VM share; see test_vm.h. */
#include "test_vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apf/error.h>

static char folder[64];
static const char *const marks[] = { "@apf " };

const char *in_folder(const char *name)
{
	static char paths[4][128];
	static unsigned int turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

void write_file(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, len, 1, f), 1);
	fclose(f);
}

int make_folder(void)
{
	strcpy(folder, "/tmp/apf-vmm-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

int remove_folder(void)
{
	return rmdir(folder);
}

struct vmm_config config(const char *input, unsigned int cpus)
{
	return (struct vmm_config){
		.mem_size = MEM, .cpus = cpus, .delivery = APF_DELIVERY_USER,
		.console = { .out_fd = -1, .marks = marks, .nr_marks = 1 },
		.input = input, .input_len = strlen(input),
	};
}

void check(int err)
{
	if (err)
		fail_msg("%s", apf_error());
}

void run_until(struct vmm *vm, const char *control, enum vmm_end want)
{
	const struct vmm_loop_config cfg = { .timeout_ns = LIMIT_S * 1000000000ull,
					     .control = control };
	enum vmm_end end = vmm_loop(vm, &cfg);

	if (end != want)
		fail_msg("ended by %s (%s) instead of %s", vmm_end_name(end), vmm_end_text(vm),
			 vmm_end_name(want));
}
