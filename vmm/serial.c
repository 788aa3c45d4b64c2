/* SPDX-License-Identifier: MIT */
/* A 16550A; see serial.h. */
#include "serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/serial_reg.h>

#include <apf/error.h>

#include "console.h"

int vmm_serial_init(struct vmm_serial *s, const char *input, size_t input_len)
{
	s->input = malloc(input_len + 1);
	if (!s->input)
		return apf_error_set(-ENOMEM, "vmm: out of memory");
	memcpy(s->input, input_len ? input : "", input_len);
	s->input_len = input_len;
	s->input_pos = 0;
	s->irq = false;
	s->regs = (struct vmm_serial_regs){ .mcr = UART_MCR_OUT2, .lcr = UART_LCR_WLEN8, .dll = 1 };
	pthread_mutex_init(&s->lock, NULL);
	return 0;
}

void vmm_serial_destroy(struct vmm_serial *s)
{
	if (!s->input)
		return;
	free(s->input);
	s->input = NULL;
	pthread_mutex_destroy(&s->lock);
}

static bool has_input(const struct vmm_serial *s)
{
	return s->input_pos < s->input_len && !(s->regs.mcr & UART_MCR_LOOP);
}

/* Which interrupt the guest would be told of, in the order of the hardware. */
static uint8_t pending(const struct vmm_serial *s)
{
	if ((s->regs.ier & UART_IER_RDI) && has_input(s))
		return UART_IIR_RDI;
	if ((s->regs.ier & UART_IER_THRI) && s->regs.thre_pending)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static void update_irq(struct vmm_serial *s)
{
	bool level = pending(s) != UART_IIR_NO_INT;

	if (level == s->irq)
		return;
	s->irq = level;
	s->set_irq(s->ctx, level);
}

static uint8_t read_iir(struct vmm_serial *s)
{
	uint8_t iir = pending(s);

	if (iir == UART_IIR_THRI)
		s->regs.thre_pending = 0;
	/* Both top bits: the FIFO works. Linux takes it for a 16550A by that. */
	return iir | (s->regs.fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0);
}

static uint8_t read_msr(const struct vmm_serial *s)
{
	const uint8_t mcr = s->regs.mcr;

	if (!(mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	return (mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) | (mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
	       (mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) | (mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
}

int vmm_serial_feed(struct vmm_serial *s, const char *input, size_t len)
{
	char *all;

	pthread_mutex_lock(&s->lock);
	all = realloc(s->input, s->input_len + len + 1);
	if (all) {
		memcpy(all + s->input_len, input, len);
		s->input = all;
		s->input_len += len;
		update_irq(s);
	}
	pthread_mutex_unlock(&s->lock);
	return all ? 0 : apf_error_set(-ENOMEM, "vmm: out of memory");
}

uint8_t vmm_serial_read(struct vmm_serial *s, unsigned int offset)
{
	uint8_t v = 0;
	bool dlab;

	pthread_mutex_lock(&s->lock);
	dlab = s->regs.lcr & UART_LCR_DLAB;
	switch (offset) {
	case UART_RX:
		if (dlab)
			v = s->regs.dll;
		else if (has_input(s))
			v = (uint8_t)s->input[s->input_pos++];
		break;
	case UART_IER:
		v = dlab ? s->regs.dlm : s->regs.ier;
		break;
	case UART_IIR:
		v = read_iir(s);
		break;
	case UART_LCR:
		v = s->regs.lcr;
		break;
	case UART_MCR:
		v = s->regs.mcr;
		break;
	case UART_LSR:
		v = UART_LSR_TEMT | UART_LSR_THRE | (has_input(s) ? UART_LSR_DR : 0);
		break;
	case UART_MSR:
		v = read_msr(s);
		break;
	case UART_SCR:
		v = s->regs.scr;
		break;
	}
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
	return v;
}

static void transmit(struct vmm_serial *s, uint8_t value)
{
	if (!(s->regs.mcr & UART_MCR_LOOP))
		vmm_console_put(s->console, (char)value);
	/* The transmitter was full for no time at all: it is empty again, which is news. */
	s->regs.thre_pending = 0;
	update_irq(s);
	s->regs.thre_pending = 1;
}

void vmm_serial_write(struct vmm_serial *s, unsigned int offset, uint8_t value)
{
	struct vmm_serial_regs *r = &s->regs;
	bool dlab;

	pthread_mutex_lock(&s->lock);
	dlab = r->lcr & UART_LCR_DLAB;
	switch (offset) {
	case UART_TX:
		if (dlab)
			r->dll = value;
		else
			transmit(s, value);
		break;
	case UART_IER:
		if (dlab) {
			r->dlm = value;
			break;
		}
		if ((value & UART_IER_THRI) && !(r->ier & UART_IER_THRI))
			r->thre_pending = 1;
		r->ier = value & (UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI);
		break;
	case UART_FCR:	/* clearing the receive FIFO would lose input the operator gave */
		r->fcr = value & (UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_MASK);
		break;
	case UART_LCR:
		r->lcr = value;
		break;
	case UART_MCR:
		r->mcr = value & (UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT1 | UART_MCR_OUT2 |
				  UART_MCR_LOOP);
		break;
	case UART_SCR:
		r->scr = value;
		break;
	}
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

void vmm_serial_get_regs(struct vmm_serial *s, struct vmm_serial_regs *regs)
{
	pthread_mutex_lock(&s->lock);
	*regs = s->regs;
	pthread_mutex_unlock(&s->lock);
}

/*
 * The interrupt controllers of a restored VM remember the line's old level, so it is
 * set in any case, not only on a change.
 */
void vmm_serial_set_regs(struct vmm_serial *s, const struct vmm_serial_regs *regs)
{
	pthread_mutex_lock(&s->lock);
	s->regs = *regs;
	s->irq = pending(s) != UART_IIR_NO_INT;
	s->set_irq(s->ctx, s->irq);
	pthread_mutex_unlock(&s->lock);
}
