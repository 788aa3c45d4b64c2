/* SPDX-License-Identifier: MIT */
/* The event loop: timers in order, calls from other threads exactly once, polls, sleep and wake. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apf/error.h>

#include "drive.h"

#define TIMERS	2000
#define POSTERS	4
#define POSTS	5000

static bool no_turn(void *ctx)
{
	return false;
}

static struct apf_loop *new_loop(void)
{
	const struct apf_loop_hooks hooks = { .turn = no_turn, .pending = no_turn };
	struct apf_loop *l;

	if (apf_loop_create(&hooks, &l))
		fail_msg("%s", apf_error());
	return l;
}

struct ticker {
	struct apf_timer timer;
	struct apf_loop *loop;
};

static struct {
	uint64_t last;
	unsigned int fired, out_of_order, early, left;
} seen;

static void tick(struct apf_timer *t)
{
	struct ticker *k = apf_container_of(t, struct ticker, timer);

	seen.fired++;
	seen.out_of_order += t->deadline_ns < seen.last;
	seen.early += apf_clock_ns() < t->deadline_ns;
	seen.last = t->deadline_ns;
	if (!--seen.left)
		apf_loop_stop(k->loop);
}

static void test_timers_fire_in_order_never_early_and_not_when_cancelled(void **state)
{
	struct apf_loop *l = new_loop();
	struct ticker *t = calloc(TIMERS, sizeof(*t));
	uint64_t now = apf_loop_now(l);

	memset(&seen, 0, sizeof(seen));
	srand(1);
	for (int i = 0; i < TIMERS; i++) {
		t[i].loop = l;
		t[i].timer.fn = tick;
		apf_loop_timer_arm(l, &t[i].timer, now + (uint64_t)(rand() % 30000) * 1000);
	}
	for (int i = 0; i < TIMERS; i += 3)	/* again, for another time */
		apf_loop_timer_arm(l, &t[i].timer, now + (uint64_t)(rand() % 30000) * 1000);
	for (int i = 0; i < TIMERS; i += 4)
		apf_loop_timer_cancel(l, &t[i].timer);
	apf_loop_timer_cancel(l, &t[0].timer);	/* not armed: nothing happens */
	seen.left = TIMERS - TIMERS / 4;
	apf_loop_run(l);
	assert_int_equal(seen.fired, TIMERS - TIMERS / 4);
	assert_int_equal(seen.out_of_order, 0);
	assert_int_equal(seen.early, 0);
	apf_loop_destroy(l);
	free(t);
}

struct post {
	struct apf_loop_call call;
	unsigned int poster, number;
};

static struct {
	struct apf_loop *loop;
	pthread_t thread;
	unsigned int next[POSTERS], total, wrong;
	struct post post[POSTERS][POSTS];
} posts;

static void called(struct apf_loop_call *c)
{
	struct post *p = apf_container_of(c, struct post, call);

	posts.wrong += p->number != posts.next[p->poster]++;
	posts.wrong += !pthread_equal(pthread_self(), posts.thread);
	if (++posts.total == POSTERS * POSTS)
		apf_loop_stop(posts.loop);
}

static void *poster(void *arg)
{
	unsigned int n = (unsigned int)(uintptr_t)arg;

	for (unsigned int i = 0; i < POSTS; i++) {
		posts.post[n][i] = (struct post){ .call.fn = called, .poster = n, .number = i };
		apf_loop_post(posts.loop, &posts.post[n][i].call);
		if (i % 512 == 0)
			usleep(200);		/* let the loop fall asleep in between */
	}
	return NULL;
}

static void test_posted_calls_run_once_each_in_order_on_the_loop(void **state)
{
	pthread_t t[POSTERS];

	memset(&posts, 0, sizeof(posts));
	posts.loop = new_loop();
	posts.thread = pthread_self();
	for (uintptr_t i = 0; i < POSTERS; i++)
		pthread_create(&t[i], NULL, poster, (void *)i);
	apf_loop_run(posts.loop);
	for (int i = 0; i < POSTERS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(posts.total, POSTERS * POSTS);
	assert_int_equal(posts.wrong, 0);
	apf_loop_destroy(posts.loop);
}

struct io {
	struct apf_loop_op op;
	struct apf_loop *loop;
	int res;
};

static void io_ended(struct apf_loop_op *op, int res)
{
	struct io *io = apf_container_of(op, struct io, op);

	io->res = res;
	apf_loop_stop(io->loop);
}

static void *write_later(void *arg)
{
	usleep(20000);
	assert_int_equal(write(*(int *)arg, "x", 1), 1);
	return NULL;
}

static void test_a_poll_ends_when_there_is_something_to_read(void **state)
{
	struct io io = { .op.fn = io_ended, .loop = new_loop() };
	uint64_t before = apf_clock_ns();
	pthread_t t;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(apf_loop_poll(io.loop, &io.op, p[0], POLLIN), 0);
	pthread_create(&t, NULL, write_later, &p[1]);
	apf_loop_run(io.loop);
	assert_true(io.res & POLLIN);
	assert_true(apf_clock_ns() - before >= 20000000);
	pthread_join(t, NULL);
	close(p[0]);
	close(p[1]);
	apf_loop_destroy(io.loop);
}

#define READS	3000	/* more than the submission queue holds */

static struct {
	struct apf_loop_op op[READS];
	char buf[READS];
	unsigned int left, wrong;
	int expected;		/* bytes of each read */
	struct apf_loop *loop;
} many;

static void one_read(struct apf_loop_op *op, int res)
{
	many.wrong += res != many.expected;
	if (!--many.left)
		apf_loop_stop(many.loop);
}

static void test_more_reads_than_the_queue_has_room_for(void **state)
{
	char path[64], bytes[READS];
	int fd;

	for (int i = 0; i < READS; i++)
		bytes[i] = (char)(i * 7);
	fd = make_file(".", path, bytes, sizeof(bytes));
	memset(&many, 0, sizeof(many));
	many.loop = new_loop();
	many.left = READS;
	many.expected = 1;
	for (unsigned int i = 0; i < READS; i++) {
		many.op[i].fn = one_read;
		assert_int_equal(apf_loop_read(many.loop, &many.op[i], fd, &many.buf[i], 1, i), 0);
	}
	apf_loop_run(many.loop);
	assert_int_equal(many.wrong, 0);
	assert_memory_equal(many.buf, bytes, READS);
	apf_loop_destroy(many.loop);
	close(fd);
	unlink(path);
}

static void test_stopping_waits_for_reads_in_flight(void **state)
{
	static char buf[64 * APF_PAGE_SIZE];
	static struct apf_loop_op op[64];
	char path[64];
	int fd = make_file(".", path, buf, sizeof(buf));

	memset(buf, 'x', sizeof(buf));
	memset(&many, 0, sizeof(many));
	many.loop = new_loop();
	many.left = 1000;		/* one_read never stops the loop */
	many.expected = APF_PAGE_SIZE;
	for (unsigned int i = 0; i < 64; i++) {
		op[i].fn = one_read;
		assert_int_equal(apf_loop_read(many.loop, &op[i], fd, buf + i * APF_PAGE_SIZE,
					       APF_PAGE_SIZE, (uint64_t)i * APF_PAGE_SIZE), 0);
	}
	apf_loop_stop(many.loop);
	apf_loop_run(many.loop);
	assert_int_equal(many.left, 1000 - 64);
	assert_int_equal(many.wrong, 0);
	apf_loop_destroy(many.loop);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timers_fire_in_order_never_early_and_not_when_cancelled),
		cmocka_unit_test(test_posted_calls_run_once_each_in_order_on_the_loop),
		cmocka_unit_test(test_a_poll_ends_when_there_is_something_to_read),
		cmocka_unit_test(test_more_reads_than_the_queue_has_room_for),
		cmocka_unit_test(test_stopping_waits_for_reads_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
