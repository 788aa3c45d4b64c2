/* SPDX-License-Identifier: MIT */
/*
 * A 16550A: enough for Linux's 8250 driver and for guests that poll. Transmission takes
 * no time; the receive side holds the bytes that the operator gave.
 */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmm_console;

/* The registers, as a snapshot holds them. */
struct vmm_serial_regs {
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t thre_pending;	/* "transmitter empty" not acknowledged by reading IIR */
};

struct vmm_serial {
	pthread_mutex_t lock;
	struct vmm_serial_regs regs;
	struct vmm_console *console;	/* borrowed */
	/* Set the interrupt line; only called on changes. Must not block. */
	void (*set_irq)(void *ctx, bool level);
	void *ctx;
	bool irq;
	char *input;
	size_t input_len, input_pos;
};

/* 0 or -ENOMEM. Set console, set_irq and ctx before. */
int vmm_serial_init(struct vmm_serial *s, const char *input, size_t input_len);
void vmm_serial_destroy(struct vmm_serial *s);

/* More bytes for the guest to read. Any thread. 0 or -ENOMEM. */
int vmm_serial_feed(struct vmm_serial *s, const char *input, size_t len);

/* A byte access at offset 0..7. Any thread. */
void vmm_serial_write(struct vmm_serial *s, unsigned int offset, uint8_t value);
uint8_t vmm_serial_read(struct vmm_serial *s, unsigned int offset);

/* For snapshots; set also brings the interrupt line to what the registers say. */
void vmm_serial_get_regs(struct vmm_serial *s, struct vmm_serial_regs *regs);
void vmm_serial_set_regs(struct vmm_serial *s, const struct vmm_serial_regs *regs);

#endif
