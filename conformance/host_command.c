/* SPDX-License-Identifier: MIT */
/* The host that is another VMM: a command that boots the test kernel, judged from outside. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apf/error.h>

#include "missing.h"
#include "preload.h"

#define WORDS_MAX	64u

struct conf_command {
	pid_t pid;		/* and its group; 0: it has ended */
	int status;
	int in;			/* its standard input */
	int sock;		/* to what is preloaded */
	struct missing *missing;
};

/* --- start --- */

/* A word of the command with {name} replaced; to be freed. NULL: no memory. */
static char *fill_in(const char *word, const char *const (*values)[2])
{
	char *text = strdup(word), *at, *longer;

	for (; text && (*values)[0]; values++) {
		at = strstr(text, (*values)[0]);
		if (!at)
			continue;
		*at = '\0';
		if (asprintf(&longer, "%s%s%s", text, (*values)[1], at + strlen((*values)[0])) < 0)
			longer = NULL;
		free(text);
		text = longer;
	}
	return text;
}

static void execute(struct conf_vm *vm, const struct conf_setup *setup, const char *words, int in, int sock)
{
	char cpus[16], number[16], preload[300], *argv[WORDS_MAX + 1] = { NULL };
	const char *const values[][2] = { { "{kernel}", vm->c->kernel }, { "{cmdline}", words },
					  { "{cpus}", cpus }, { NULL, NULL } };
	sigset_t none;

	snprintf(cpus, sizeof(cpus), "%u", setup->cpus);
	snprintf(number, sizeof(number), "%d", sock);
	for (unsigned int i = 0; i < WORDS_MAX && vm->c->command[i]; i++)
		argv[i] = fill_in(vm->c->command[i], values);
	dup2(in, STDIN_FILENO);
	dup2(vm->out[1], STDOUT_FILENO);
	fcntl(sock, F_SETFD, 0);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setenv(PRELOAD_SOCKET, number, 1);
	if (conf_find(preload, sizeof(preload), "", "../libexec/libapf/", "apf-conformance-preload.so"))
		setenv("LD_PRELOAD", preload, 1);
	execvp(argv[0], argv);
	fprintf(stderr, "apf-conformance: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int command_boot(struct conf_vm *vm, const struct conf_setup *setup, const char *words)
{
	struct conf_command *command = calloc(1, sizeof(*command));
	int in[2], sock[2];

	if (!command)
		return -ENOMEM;
	if (pipe2(in, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0) {
		free(command);
		return -errno;
	}
	command->pid = fork();
	if (!command->pid)
		execute(vm, setup, words, in[0], sock[1]);
	setpgid(command->pid, 0);	/* as the child does: whoever is first */
	close(in[0]);
	close(sock[1]);
	command->in = in[1];
	command->sock = sock[0];
	vm->command = command;
	return command->pid < 0 ? -errno : 0;
}

/* --- pages --- */

/* Each task's record lies above its data, and is there from the start. */
static bool is_record(void *arg, unsigned int i)
{
	const struct conf_saved *at = arg;

	return i % (at->pages + 1) == at->pages;
}

static int take_pages(struct conf_vm *vm, const struct conf_setup *setup)
{
	struct conf_command *command = vm->command;

	command->missing = missing_open(command->sock);
	if (!command->missing)
		return -ENXIO;
	return missing_take(command->missing, conf_ram_start + vm->at.user_start,
			    vm->at.tasks * (vm->at.pages + 1), is_record, &vm->at, setup);
}

static void command_restore(struct conf *c, struct conf_vm *vm, const struct conf_setup *setup)
{
	conf_boot(c, vm, setup);
	if (!*c->trouble)
		conf_take_error(vm, take_pages(vm, setup));
}

static struct conf_pages command_pages(struct conf_vm *vm)
{
	return vm->command->missing ? missing_pages(vm->command->missing) : (struct conf_pages){ 0 };
}

static void command_release(struct conf_vm *vm)
{
	if (vm->command->missing)
		missing_release(vm->command->missing);
}

/* --- the rest --- */

static int command_input(struct conf_vm *vm, const char *text, size_t len)
{
	return write(vm->command->in, text, len) == (ssize_t)len ? 0 : -EPIPE;
}

static bool command_ended(struct conf_vm *vm, char *how, size_t size)
{
	struct conf_command *command = vm->command;

	if (command->pid && waitpid(command->pid, &command->status, WNOHANG) == command->pid)
		command->pid = 0;
	if (WIFSIGNALED(command->status))
		snprintf(how, size, "signal %d", WTERMSIG(command->status));
	else
		snprintf(how, size, "exit code %d", WEXITSTATUS(command->status));
	return !command->pid;
}

/* KVM_RUN returns for a signal, as the one that stops a process. */
static void command_interrupt(struct conf_vm *vm)
{
	siginfo_t info;

	kill(-vm->command->pid, SIGSTOP);
	waitid(P_PID, (id_t)vm->command->pid, &info, WSTOPPED | WEXITED | WNOWAIT);
	kill(-vm->command->pid, SIGCONT);
}

static void command_end(struct conf_vm *vm)
{
	struct conf_command *command = vm->command;

	if (!command)
		return;
	if (command->pid > 0)
		kill(-command->pid, SIGKILL);
	missing_close(command->missing);	/* KVM's end waits for pages that it has asked for */
	if (command->pid > 0)
		waitpid(command->pid, NULL, 0);
	close(command->in);
	close(command->sock);
	free(command);
}

const struct conf_host conf_host_command = {
	.boot = command_boot, .restore = command_restore, .release = command_release,
	.input = command_input, .ended = command_ended, .pages = command_pages,
	.interrupt = command_interrupt, .end = command_end,
};
