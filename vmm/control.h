/* SPDX-License-Identifier: MIT */
/*
 * The control socket: one JSON object a line, in both directions. Part of vmm_loop;
 * everything runs on its thread.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONTROL_CLIENTS		8u
#define CONTROL_LINE_MAX	8192u

struct vmm;

struct control_client {
	int fd;			/* -1: free */
	size_t len;
	char line[CONTROL_LINE_MAX];
};

/* A snapshot that a client asked for and whose conditions are not met yet. */
struct control_job {
	bool active;
	bool stop;
	uint32_t min_outstanding;
	uint64_t deadline_ns;	/* UINT64_MAX: none */
	char *to, *wait_for;
	struct control_client *client;	/* NULL: it went away, nobody is told */
};

struct control {
	struct vmm *vm;
	uint64_t start_ns;
	int listen_fd;		/* -1: no socket */
	uint64_t accept_ns;	/* not before: there was no descriptor left for a client */
	char *path;
	dev_t dev;		/* the file that is ours, once ino is not 0 */
	ino_t ino;
	struct control_client clients[CONTROL_CLIENTS];
	struct control_job job;
};

/*
 * Make the socket (path NULL: none). A socket that nobody listens on is replaced, anything else
 * that has the name stays: -EEXIST. 0 or negative errno + apf_error.
 */
int control_open(struct control *c, struct vmm *vm, const char *path, uint64_t start_ns);
/* Tell whoever waits why nothing comes any more, and remove the socket. */
void control_close(struct control *c);

/* Descriptors to poll: fills at most 1 + CONTROL_CLIENTS, returns how many. */
unsigned int control_fds(const struct control *c, struct pollfd *fds);
/* Serve them after poll. */
void control_serve(struct control *c, const struct pollfd *fds, unsigned int n);
/* Look whether the waiting snapshot can be taken. */
void control_work(struct control *c);

#endif
