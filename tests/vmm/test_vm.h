/* SPDX-License-Identifier: MIT */
/* What tests with a whole VM share. Files lie in a folder of the test's own. */
#ifndef TEST_VM_H
#define TEST_VM_H

#include "test_vmm.h"

#include <vmm/vmm.h>

#define MEM	(16ull << 20)
#define LIMIT_S	30

/* For set-up and tear-down: 0, or not. The folder must be empty to be removed. */
int make_folder(void);
int remove_folder(void);
/* The path of a file in it; good until four others have been asked for. */
const char *in_folder(const char *name);
void write_file(const char *path, const void *bytes, size_t len);

/* A VM of MEM bytes that reads input from its serial port, and whose "@apf " lines are marks. */
struct vmm_config config(const char *input, unsigned int cpus);
/* Fail with apf_error if there was one. */
void check(int err);
/* Serve the VM to its end, which must be this one. control: its socket's path, or NULL. */
void run_until(struct vmm *vm, const char *control, enum vmm_end want);

#endif
