/* SPDX-License-Identifier: MIT */
/* The written trace: what people and Perfetto find in it (V1). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include <apf/engine.h>
#include <apf/trace.h>

static struct json_object *trace, *events;

static int start(void **state)
{
	return apf_trace_start(1024);
}

static int stop(void **state)
{
	json_object_put(trace);
	return 0;
}

static void finish(void)
{
	char path[] = "/tmp/apf-trace-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(apf_trace_write(path), 0);
	trace = json_object_from_file(path);
	unlink(path);
	assert_non_null(trace);
	events = json_object_object_get(trace, "traceEvents");
}

static const char *text(struct json_object *o, const char *key)
{
	struct json_object *value = json_object_object_get(o, key);

	return value ? json_object_get_string(value) : "";
}

/* The n-th event (from 0) of this phase and category or, without one, name. NULL: there is none. */
static struct json_object *event(const char *phase, const char *cat, unsigned int n)
{
	for (size_t i = 0; i < json_object_array_length(events); i++) {
		struct json_object *e = json_object_array_get_idx(events, i);
		const char *is = json_object_object_get(e, "cat") ? text(e, "cat") : text(e, "name");

		if (!strcmp(text(e, "ph"), phase) && !strcmp(is, cat) && !n--)
			return e;
	}
	return NULL;
}

static const char *arg(struct json_object *e, const char *key)
{
	assert_non_null(e);
	return text(json_object_object_get(e, "args"), key);
}

static void test_lanes_have_names(void **state)
{
	apf_trace_record(APF_EV_NP, 3, 7, 0x1003, 0);
	apf_trace_record(APF_EV_FETCH, APF_TRACE_NO_VCPU, 7, 0, 1);
	finish();
	assert_string_equal(arg(event("M", "process_name", 0), "name"), "virtual machine");
	assert_string_equal(arg(event("M", "thread_name", 0), "name"), "vCPU 3");
	assert_string_equal(arg(event("M", "thread_name", 1), "name"), "pager: fetches pages");
	assert_null(event("M", "thread_name", 2));
}

static void test_a_fault_is_an_arrow_with_its_latency(void **state)
{
	apf_trace_record(APF_EV_NP, 0, 7, 0x1000, 0);
	apf_trace_record(APF_EV_NP, 0, 8, 0x2000, 0);
	usleep(2000);
	apf_trace_record(APF_EV_READY, 0, 7, 0x1000, 0);
	apf_trace_record(APF_EV_READY, 0, 9, 0x9000, 0);	/* told of before the recording */
	finish();
	assert_string_equal(text(event("X", "np", 0), "name"), "guest told: page missing");
	assert_string_equal(arg(event("X", "ready", 0), "gfn"), "0x7");
	assert_string_equal(arg(event("X", "ready", 0), "token"), "0x1000");
	assert_true(atoi(arg(event("X", "ready", 0), "latency_us")) >= 2000);
	assert_string_equal(arg(event("X", "ready", 1), "latency_us"), "");
	assert_string_equal(text(event("s", "arrow", 0), "id"), text(event("f", "arrow", 0), "id"));
}

static void test_a_vcpu_that_stands_says_why(void **state)
{
	apf_trace_record(APF_EV_FAULT, 0, 7, 0, APF_WAIT << 8 | APF_WHY_IRQS_OFF);
	apf_trace_record(APF_EV_FAULT, 0, 8, 0, APF_HALT << 8 | APF_WHY_KERNEL);
	apf_trace_record(APF_EV_HALT_END, 0, 8, 0, 0);
	finish();
	assert_string_equal(text(event("B", "fault", 0), "name"), "stands still outside the guest");
	assert_string_equal(arg(event("B", "fault", 0), "why"), "the guest has interrupts off");
	assert_string_equal(arg(event("B", "fault", 1), "why"), "the guest's kernel touched it, not a task");
	assert_non_null(event("E", "stand", 1));
	assert_null(event("E", "stand", 2));
}

static void test_every_reason_has_words_of_its_own(void **state)
{
	for (unsigned int why = 0; why < APF_WHY_COUNT; why++)
		apf_trace_record(APF_EV_FAULT, 0, why, 0, APF_WAIT << 8 | why);
	apf_trace_record(APF_EV_FAULT, 0, APF_WHY_COUNT, 0, APF_WAIT << 8 | APF_WHY_COUNT);
	finish();
	for (unsigned int why = 0; why < APF_WHY_COUNT; why++) {
		const char *words = arg(event("B", "fault", why), "why");

		assert_true(*words && strcmp(words, "(null)") && strcmp(words, "unknown"));
	}
	assert_string_equal(arg(event("B", "fault", APF_WHY_COUNT), "why"), "unknown");
}

static void test_a_request_is_one_bar_however_often_it_is_tried(void **state)
{
	apf_trace_record(APF_EV_FETCH, APF_TRACE_NO_VCPU, 16, 0, 2);
	apf_trace_record(APF_EV_FETCH, APF_TRACE_NO_VCPU, 99, 0, 1);
	apf_trace_record(APF_EV_FETCH, APF_TRACE_NO_VCPU, 16, 0, 2);
	apf_trace_record(APF_EV_COMPLETED, APF_TRACE_NO_VCPU, 16, 0, 0x7f0000000000);
	apf_trace_record(APF_EV_COMPLETED, APF_TRACE_NO_VCPU, 17, 0, 0x7f0000001000);
	apf_trace_record(APF_EV_COMPLETED, APF_TRACE_NO_VCPU, 99, 0, (uint64_t)-EIO);
	finish();
	for (unsigned int i = 0; i < 2; i++)
		assert_string_equal(text(event("b", "store", i), "id"), text(event("e", "store", i), "id"));
	assert_null(event("b", "store", 2));
	assert_null(event("e", "store", 2));
	assert_string_equal(arg(event("C", "pages on their way", 1), "pages"), "3");
	assert_string_equal(arg(event("C", "pages on their way", 3), "pages"), "0");
	assert_string_equal(arg(event("X", "completed", 0), "lost"), "");
	assert_string_equal(arg(event("X", "completed", 2), "lost"), "Input/output error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lanes_have_names, start, stop),
		cmocka_unit_test_setup_teardown(test_a_fault_is_an_arrow_with_its_latency, start, stop),
		cmocka_unit_test_setup_teardown(test_a_vcpu_that_stands_says_why, start, stop),
		cmocka_unit_test_setup_teardown(test_every_reason_has_words_of_its_own, start, stop),
		cmocka_unit_test_setup_teardown(test_a_request_is_one_bar_however_often_it_is_tried, start, stop),
	};

	return cmocka_run_group_tests_name("trace/chrome", tests, NULL, NULL);
}
