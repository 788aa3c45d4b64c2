/* SPDX-License-Identifier: MIT */
/* The serial port as a driver sees it, and its far end: lines, marks, the awaited line. */
#include "test_vmm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/serial_reg.h>

#include <vmm/console.h>
#include <vmm/serial.h>

struct port {
	struct vmm_serial s;
	struct vmm_console c;
	int pipe[2];
	unsigned int raised;	/* edges up */
	bool level;
	unsigned int until;	/* how often the awaited line came */
	char until_line[64];
};

static const char *const marks[] = { "@apf ", "MARK" };

static void set_irq(void *ctx, bool level)
{
	struct port *p = ctx;

	p->raised += level && !p->level;
	p->level = level;
}

static void until_seen(void *ctx, const char *line)
{
	struct port *p = ctx;

	p->until++;
	strncpy(p->until_line, line, sizeof(p->until_line) - 1);
}

static void begin(struct port *p, const char *input)
{
	memset(p, 0, sizeof(*p));
	assert_int_equal(pipe(p->pipe), 0);
	const struct vmm_console_config cfg = {
		.out_fd = p->pipe[1], .marks = marks, .nr_marks = 2, .until = "all done",
		.until_seen = until_seen, .ctx = p,
	};

	assert_int_equal(vmm_console_init(&p->c, &cfg), 0);
	p->s.console = &p->c;
	p->s.set_irq = set_irq;
	p->s.ctx = p;
	assert_int_equal(vmm_serial_init(&p->s, input, strlen(input)), 0);
}

static void end(struct port *p)
{
	vmm_serial_destroy(&p->s);
	vmm_console_destroy(&p->c);
	close(p->pipe[0]);
	close(p->pipe[1]);
}

static void send(struct port *p, const char *text)
{
	for (; *text; text++)
		vmm_serial_write(&p->s, UART_TX, (uint8_t)*text);
}

static uint8_t reg(struct port *p, unsigned int offset)
{
	return vmm_serial_read(&p->s, offset);
}

static void test_scratch_register_and_ier_hold_what_was_written(void **state)
{
	struct port p;

	begin(&p, "");
	vmm_serial_write(&p.s, UART_SCR, 0xa5);
	vmm_serial_write(&p.s, UART_IER, 0xff);
	assert_int_equal(reg(&p, UART_SCR), 0xa5);
	assert_int_equal(reg(&p, UART_IER), 0x0f);	/* no UUE bit: not an XScale port */
	end(&p);
}

static void test_divisor_latch_hides_data_and_ier(void **state)
{
	struct port p;

	begin(&p, "x");
	vmm_serial_write(&p.s, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	vmm_serial_write(&p.s, UART_DLL, 12);
	vmm_serial_write(&p.s, UART_DLM, 3);
	assert_int_equal(reg(&p, UART_DLL), 12);
	assert_int_equal(reg(&p, UART_DLM), 3);
	vmm_serial_write(&p.s, UART_LCR, UART_LCR_WLEN8);
	assert_int_equal(reg(&p, UART_RX), 'x');
	assert_int_equal(reg(&p, UART_IER), 0);
	end(&p);
}

static void test_fifo_bits_appear_when_enabled(void **state)
{
	struct port p;

	begin(&p, "");
	assert_int_equal(reg(&p, UART_IIR), UART_IIR_NO_INT);
	vmm_serial_write(&p.s, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(reg(&p, UART_IIR), 0xc0 | UART_IIR_NO_INT);
	end(&p);
}

static void test_loopback_shows_modem_control_as_status(void **state)
{
	struct port p;

	begin(&p, "");
	vmm_serial_write(&p.s, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(reg(&p, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	send(&p, "not to be seen\n");
	vmm_serial_write(&p.s, UART_MCR, 0);
	assert_false(vmm_console_seen(&p.c, "not to be seen"));
	end(&p);
}

static void test_transmitter_empty_interrupt_comes_again_after_each_byte(void **state)
{
	struct port p;

	begin(&p, "");
	assert_false(p.level);
	vmm_serial_write(&p.s, UART_IER, UART_IER_THRI);
	assert_true(p.level);
	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(p.raised, i);
		assert_int_equal(reg(&p, UART_IIR), UART_IIR_THRI);
		assert_false(p.level);		/* reading IIR acknowledges it */
		assert_int_equal(reg(&p, UART_IIR), UART_IIR_NO_INT);
		send(&p, "a");
		assert_true(p.level);
	}
	end(&p);
}

/* An edge-triggered controller must see the line go down and up between two bytes. */
static void test_unacknowledged_transmitter_interrupt_makes_an_edge_per_byte(void **state)
{
	struct port p;

	begin(&p, "");
	vmm_serial_write(&p.s, UART_IER, UART_IER_THRI);
	send(&p, "ab");
	assert_int_equal(p.raised, 3);
	end(&p);
}

static void test_input_is_read_in_order_with_its_interrupt(void **state)
{
	struct port p;

	begin(&p, "go");
	assert_true(reg(&p, UART_LSR) & UART_LSR_DR);
	assert_false(p.level);
	vmm_serial_write(&p.s, UART_IER, UART_IER_RDI);
	assert_true(p.level);
	assert_int_equal(reg(&p, UART_IIR), UART_IIR_RDI);
	assert_int_equal(reg(&p, UART_RX), 'g');
	assert_true(p.level);
	/* Clearing the FIFO keeps the operator's bytes. */
	vmm_serial_write(&p.s, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	assert_int_equal(reg(&p, UART_RX), 'o');
	assert_false(p.level);
	assert_int_equal(reg(&p, UART_RX), 0);
	assert_int_equal(reg(&p, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
	end(&p);
}

static void test_input_may_be_added_to_what_was_not_read_yet(void **state)
{
	struct port p;

	begin(&p, "a");
	vmm_serial_write(&p.s, UART_IER, UART_IER_RDI);
	assert_int_equal(vmm_serial_feed(&p.s, "bc", 2), 0);
	assert_int_equal(vmm_serial_read(&p.s, UART_RX), 'a');
	assert_int_equal(vmm_serial_read(&p.s, UART_RX), 'b');
	assert_int_equal(vmm_serial_read(&p.s, UART_RX), 'c');
	assert_false(p.level);
	assert_int_equal(vmm_serial_feed(&p.s, "d", 1), 0);
	assert_true(p.level);
	assert_int_equal(vmm_serial_read(&p.s, UART_RX), 'd');
	end(&p);
}

static void test_registers_come_back_with_the_interrupt_line(void **state)
{
	struct vmm_serial_regs saved;
	struct port p;

	begin(&p, "");
	vmm_serial_write(&p.s, UART_IER, UART_IER_THRI);
	vmm_serial_write(&p.s, UART_SCR, 7);
	vmm_serial_get_regs(&p.s, &saved);
	end(&p);
	begin(&p, "");
	vmm_serial_set_regs(&p.s, &saved);
	assert_true(p.level);
	assert_int_equal(reg(&p, UART_SCR), 7);
	end(&p);
}

static void test_bytes_reach_the_output_at_the_end_of_a_line(void **state)
{
	char got[64];
	struct port p;

	begin(&p, "");
	send(&p, "hello\n");
	assert_int_equal(read(p.pipe[0], got, sizeof(got)), 6);
	assert_memory_equal(got, "hello\n", 6);
	send(&p, "$ ");
	vmm_console_flush(&p.c);
	assert_int_equal(read(p.pipe[0], got, sizeof(got)), 2);
	end(&p);
}

static void test_marks_are_lines_with_a_prefix_in_order(void **state)
{
	const struct vmm_mark *m;
	struct port p;

	begin(&p, "");
	send(&p, "boot\n@apf ready\r\nan @apf inside\nMARK two\n@apf unfinished");
	m = vmm_console_marks(&p.c);
	assert_string_equal(m->text, "@apf ready");
	assert_string_equal(m->next->text, "MARK two");
	assert_true(m->next->ns >= m->ns);
	assert_null(m->next->next);
	end(&p);
}

static void test_until_needs_a_complete_line(void **state)
{
	struct port p;

	begin(&p, "");
	send(&p, "almost all do");
	assert_int_equal(p.until, 0);
	send(&p, "ne");
	assert_int_equal(p.until, 0);
	send(&p, "\n");
	assert_int_equal(p.until, 1);
	assert_string_equal(p.until_line, "almost all done");
	end(&p);
}

static void test_seen_finds_complete_lines_only(void **state)
{
	struct port p;

	begin(&p, "");
	send(&p, "first\nsecond");
	assert_true(vmm_console_seen(&p.c, "first"));
	assert_false(vmm_console_seen(&p.c, "second"));
	send(&p, "\n");
	assert_true(vmm_console_seen(&p.c, "second"));
	end(&p);
}

static void test_seen_keeps_the_last_lines_of_much_output(void **state)
{
	char text[64];
	struct port p;
	char drain[65536];

	begin(&p, "");
	for (unsigned int i = 0; i < 20000; i++) {
		snprintf(text, sizeof(text), "line number %u ends here\n", i);
		send(&p, text);
		if (i % 1000 == 0)
			assert_true(read(p.pipe[0], drain, sizeof(drain)) > 0);
	}
	assert_true(vmm_console_seen(&p.c, "line number 19999 ends"));
	assert_true(vmm_console_seen(&p.c, "line number 16000 ends"));
	assert_false(vmm_console_seen(&p.c, "line number 5 ends"));
	end(&p);
}

static void test_long_lines_are_cut_and_zero_bytes_hide_nothing(void **state)
{
	struct port p;

	begin(&p, "");
	for (unsigned int i = 0; i < VMM_LINE_MAX; i++)
		vmm_serial_write(&p.s, UART_TX, 'x');
	vmm_serial_write(&p.s, UART_TX, 0);
	send(&p, "all done\n");
	assert_string_equal(p.until_line, "all done");
	end(&p);
}

/* A snapshot may fall into the middle of a line. */
static void test_partial_line_goes_on_after_a_restore(void **state)
{
	char part[VMM_LINE_MAX];
	struct port p;
	size_t len;

	begin(&p, "");
	send(&p, "nearly all ");
	len = vmm_console_partial(&p.c, part);
	end(&p);
	begin(&p, "");
	vmm_console_set_partial(&p.c, part, len);
	send(&p, "done\n");
	assert_string_equal(p.until_line, "nearly all done");
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scratch_register_and_ier_hold_what_was_written),
		cmocka_unit_test(test_divisor_latch_hides_data_and_ier),
		cmocka_unit_test(test_fifo_bits_appear_when_enabled),
		cmocka_unit_test(test_loopback_shows_modem_control_as_status),
		cmocka_unit_test(test_transmitter_empty_interrupt_comes_again_after_each_byte),
		cmocka_unit_test(test_unacknowledged_transmitter_interrupt_makes_an_edge_per_byte),
		cmocka_unit_test(test_input_is_read_in_order_with_its_interrupt),
		cmocka_unit_test(test_input_may_be_added_to_what_was_not_read_yet),
		cmocka_unit_test(test_registers_come_back_with_the_interrupt_line),
		cmocka_unit_test(test_bytes_reach_the_output_at_the_end_of_a_line),
		cmocka_unit_test(test_marks_are_lines_with_a_prefix_in_order),
		cmocka_unit_test(test_until_needs_a_complete_line),
		cmocka_unit_test(test_seen_finds_complete_lines_only),
		cmocka_unit_test(test_seen_keeps_the_last_lines_of_much_output),
		cmocka_unit_test(test_long_lines_are_cut_and_zero_bytes_hide_nothing),
		cmocka_unit_test(test_partial_line_goes_on_after_a_restore),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
