/* SPDX-License-Identifier: MIT */
/* The VM of a check, on whichever host; see conformance.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <apf/error.h>

#include "conformance.h"

int conf_begin(struct conf *c, struct conf_vm *vm)
{
	*vm = (struct conf_vm){ .c = c, .out = { -1, -1 } };
	if (*c->trouble)
		return -ECANCELED;
	return pipe2(vm->out, O_CLOEXEC) < 0 ? -errno : 0;
}

int conf_take_error(struct conf_vm *vm, int err)
{
	if (err)
		conf_trouble(vm->c, "no VM: %s", *apf_error() ? apf_error() : strerror(-err));
	return err;
}

void conf_boot(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup)
{
	const char *more = setup->words ? setup->words : "";
	char words[256];
	int err = conf_begin(c, vm);

	snprintf(words, sizeof(words), "tasks=%u pages=%u chunk=%u %s %s", setup->tasks,
		 setup->pages * c->chunk, c->chunk, more, c->gen->words);
	conf_take_error(vm, err ? err : c->host->boot(vm, setup, words));
	vm->at = (struct conf_saved){ .words = more, .cpus = setup->cpus, .tasks = setup->tasks,
				      .pages = setup->pages };
	conf_hear(vm, "@apf kernel");
	vm->at.kernel_end = conf_number(vm->line, "kernel_end") - conf_ram_start;
	vm->at.user_start = conf_number(vm->line, "user_start") - conf_ram_start;
	conf_hear(vm, "@apf ready");
}

void conf_restore(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup)
{
	c->host->restore(c, vm, setup);
	conf_tokens(vm);	/* those of the boot are nobody's */
	vm->held = setup->held;
}

void conf_end(struct conf_vm *vm)
{
	vm->c->host->end(vm);
	for (int i = 0; i < 2; i++)
		if (vm->out[i] >= 0)
			close(vm->out[i]);
}

void conf_release(struct conf_vm *vm)
{
	vm->held = false;
	if (!*vm->c->trouble)
		vm->c->host->release(vm);
}
