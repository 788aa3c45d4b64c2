/* SPDX-License-Identifier: MIT */
/*
 * Walks every state that the machine of model.h can reach, breadth first, and
 * checks each; then walks backwards from the good ends to find states from
 * which there is no way there.
 *
 * A state is known by 96 bits of hash over all its bytes. Liveness: from every state
 * some sequence of fair steps (those that are bound to happen if they stay
 * possible) leads to "every task done, every NP answered"; with finitely many
 * states and fair scheduling no waiter then sleeps for ever.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"

#define NO_STATE UINT32_MAX

/* How a state was first reached. */
struct seen {
	uint32_t parent;
	struct step by;
};

/* Open addressing by hash_low; number is the state's plus one, 0 if free. */
struct slot {
	uint64_t hash_high;
	uint32_t hash_low;
	uint32_t number;
};

struct edge {
	uint32_t from, to;
};

/* Of each state only what matters in the scenario, one behind the other. */
struct level {
	char *states;
	uint32_t count, room;
};

/* All that is known of the scenario at hand. */
static struct {
	struct seen *seen;
	uint32_t states, seen_room;
	struct slot *slots;
	uint32_t slot_mask;
	struct edge *edges;		/* of fair steps */
	uint64_t nr_edges, edge_room, transitions;
	uint8_t *good;			/* per state: a good end, or on the way to one */
	struct level level, next;	/* the states of this depth, and of the one below */
	uint32_t depth;
} x;

static void *grow(void *p, size_t bytes)
{
	p = realloc(p, bytes);
	if (!p) {
		fprintf(stderr, "explorer: out of memory\n");
		exit(2);
	}
	return p;
}

/* Nobody picks states to collide, so a fast hash of 96 bits is as good as a compare. */
static struct slot hash_state(const struct state *s)
{
	const uint64_t *w = (const uint64_t *)s;
	uint64_t low = 0x9e3779b97f4a7c15ull, high = 0xd6e8feb86659fd93ull;

	_Static_assert(sizeof(*s) % 16 == 0 && offsetof(struct state, lib) % 16 == 0,
		       "hashed by pairs of words");
	for (size_t i = 0; i < state_bytes() / 8; i += 2) {
		uint64_t a = w[i] ^ low, b = w[i + 1] ^ high;
		unsigned __int128 m = (unsigned __int128)(a + 0xa0761d6478bd642full) *
				      (b + 0xe7037ed1a0b428dbull);

		low = (uint64_t)m + (b << 7 | b >> 57);
		high = (uint64_t)(m >> 64) ^ (a << 31 | a >> 33);
	}
	return (struct slot) { .hash_high = high, .hash_low = (uint32_t)(low ^ low >> 32) };
}

static struct slot *find_slot(const struct slot *key)
{
	uint32_t at = key->hash_low & x.slot_mask;

	while (x.slots[at].number && (x.slots[at].hash_high != key->hash_high ||
				      x.slots[at].hash_low != key->hash_low))
		at = (at + 1) & x.slot_mask;
	return &x.slots[at];
}

static void more_slots(void)
{
	uint32_t old = x.slots ? x.slot_mask + 1 : 0, size = old ? 2 * old : 1u << 16;
	struct slot *from = x.slots;

	x.slots = grow(NULL, size * sizeof(*x.slots));
	memset(x.slots, 0, size * sizeof(*x.slots));
	x.slot_mask = size - 1;
	for (uint32_t i = 0; i < old; i++)
		if (from[i].number)
			*find_slot(&from[i]) = from[i];
	free(from);
}

static void add_to_level(struct level *l, const struct state *s)
{
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 1 << 10;
		l->states = grow(l->states, l->room * state_bytes());
	}
	memcpy(l->states + l->count++ * state_bytes(), s, state_bytes());
}

/* The number of a state; a new one is entered into the level below. */
static uint32_t enter(const struct state *s, uint32_t parent, struct step by)
{
	struct slot key = hash_state(s), *slot;

	if (!x.slots || x.states > x.slot_mask / 4 * 3)
		more_slots();
	slot = find_slot(&key);
	if (slot->number)
		return slot->number - 1;
	if (x.states == x.seen_room) {
		x.seen_room = x.seen_room ? 2 * x.seen_room : 1 << 16;
		x.seen = grow(x.seen, x.seen_room * sizeof(*x.seen));
		x.good = grow(x.good, x.seen_room);
	}
	add_to_level(&x.next, s);
	x.seen[x.states] = (struct seen) { parent, by };
	x.good[x.states] = all_is_well(s);
	key.number = ++x.states;
	*slot = key;
	return key.number - 1;
}

static void add_edge(uint32_t from, uint32_t to)
{
	if (x.nr_edges == x.edge_room) {
		x.edge_room = x.edge_room ? 2 * x.edge_room : 1 << 18;
		x.edges = grow(x.edges, x.edge_room * sizeof(*x.edges));
	}
	x.edges[x.nr_edges++] = (struct edge) { from, to };
}

static const char *const step_names[STEP_KINDS] = {
	[STEP_TOUCH] = "touches its page",
	[STEP_TOUCH_UNDO] = "touches its page, and an injection fails",
	[STEP_ASK] = "asks for the page",
	[STEP_FETCHED] = "page comes",
	[STEP_FAIL] = "page fails for good",
	[STEP_TELL] = "engine is told of page",
	[STEP_POLL] = "poll",
	[STEP_ENTER] = "enters the guest",
	[STEP_ENTER_UNDO] = "enters the guest, and an injection fails",
	[STEP_EXCEPTION] = "#PF handler",
	[STEP_WAIT] = "#PF handler waits",
	[STEP_HALT_OVER] = "#PF handler need not halt any more",
	[STEP_IRQ] = "interrupt, EOI; pages before its ACK",
	[STEP_HANDLER] = "handler",
	[STEP_APIC_ON] = "APIC switched on",
	[STEP_ENABLE] = "INT and EN written",
	[STEP_DISABLE] = "EN = 0, wake all",
	[STEP_AGAIN] = "EN written again",
	[STEP_RESET] = "reset",
	[STEP_FREEZE] = "VM frozen",
	[STEP_THAW] = "VM runs again",
	[STEP_RESTORE] = "saved and restored, how",
	[STEP_UNREACHABLE] = "area unreachable",
	[STEP_REACHABLE] = "area reachable again",
	[STEP_BUSY] = "busy word set",
	[STEP_UNBUSY] = "busy word cleared",
};

static void print_step(const struct state *s, const struct step *st, unsigned int number)
{
	static const char *const handler[] = { "", " wakes", " clears the token word", " ACKs" };
	static const char *const host[] = { "runs", "halted", "waits" };
	static const char *const tasks[] = { "ready", "asleep", "done" };
	bool touch = st->kind == STEP_TOUCH || st->kind == STEP_TOUCH_UNDO;

	printf("%3u  cpu%u ", number, st->cpu);
	if (touch)
		printf("task%u %s (%s)", st->arg, step_names[st->kind],
		       st->mode == USER ? "user" : st->mode == KERNEL ? "kernel" : "IF off");
	else
		printf("%s %u%s", step_names[st->kind], st->arg,
		       st->kind == STEP_HANDLER ? handler[s->cpu[st->cpu].handler] : "");
	printf("\n");
	printf("    ");
	for (unsigned int c = 0; c < VCPUS; c++)
		printf(" | cpu%u %s reason %x token %x exc %x%s%s%s%s%s%s%s", c,
		       host[s->cpu[c].host], s->cpu[c].reason, s->cpu[c].token,
		       s->cpu[c].exception, s->cpu[c].irr ? " irr" : "",
		       s->cpu[c].later ? " later" : "", s->cpu[c].due ? " due" : "",
		       s->cpu[c].handler ? " in-handler" : "", s->cpu[c].noticed ? " noticed" : "",
		       s->cpu[c].halting ? " halts" : "", s->cpu[c].busy ? " busy" : "");
	for (unsigned int t = 0; t < scenario->tasks; t++)
		printf(" | task%u %s %x%s", t, tasks[s->task[t].state], s->task[t].token,
		       s->task[t].owed ? " owed" : "");
	printf("\n");
}

/* The shortest way to a state, by taking its steps again; then one more, if any. */
static void print_path(uint32_t to, const struct step *last)
{
	uint32_t *path = NULL, length = 0;
	struct state s;

	for (uint32_t i = to; x.seen[i].parent != NO_STATE; i = x.seen[i].parent) {
		path = grow(path, (length + 1) * sizeof(*path));
		path[length++] = i;
	}
	initial_state(&s);
	for (uint32_t i = 0; i < length; i++) {
		const struct step *st = &x.seen[path[length - 1 - i]].by;

		take_step(&s, st);
		print_step(&s, st, i + 1);
	}
	if (last) {
		take_step(&s, last);
		print_step(&s, last, length + 1);
	}
	free(path);
}

static bool explore_step(uint32_t number, const struct state *from, struct step st)
{
	struct state s;
	uint32_t to;

	if (!step_possible(from, &st))
		return true;
	memcpy(&s, from, state_bytes());
	take_step(&s, &st);
	x.transitions++;
	if (violation) {
		printf("VIOLATION in %s: %s\n", scenario->name, violation);
		print_path(number, &st);
		return false;
	}
	to = enter(&s, number, st);
	if (step_is_fair(&st) && to != number)
		add_edge(number, to);
	return true;
}

static unsigned int args_of(enum step_kind kind)
{
	switch (kind) {
	case STEP_TOUCH:
	case STEP_TOUCH_UNDO:
		return scenario->tasks;
	case STEP_FETCHED:
	case STEP_FAIL:
	case STEP_TELL:
		return PAGES;
	case STEP_RESTORE:
		return 3;
	case STEP_IRQ:
		return 2;
	default:
		return 1;
	}
}

static bool is_global(enum step_kind kind)
{
	return kind == STEP_FETCHED || kind == STEP_FAIL || kind == STEP_FREEZE ||
	       kind == STEP_THAW || kind == STEP_RESTORE;
}

static bool explore_kind(uint32_t number, const struct state *s, enum step_kind kind)
{
	uint8_t modes = kind <= STEP_TOUCH_UNDO ? USER | KERNEL | IRQS_OFF : 1;

	for (uint8_t c = 0; c < (is_global(kind) ? 1 : VCPUS); c++)
		for (uint8_t arg = 0; arg < args_of(kind); arg++)
			for (uint8_t mode = 1; mode <= modes; mode <<= 1)
				if (!explore_step(number, s,
						  (struct step) { kind, c, arg, mode }))
					return false;
	return true;
}

static bool explore_level(void)
{
	struct level done = x.level;
	struct state s;
	uint32_t first;

	x.level = x.next;
	x.next = done;
	x.next.count = 0;
	first = x.states - x.level.count;
	for (uint32_t i = 0; i < x.level.count; i++) {
		memcpy(&s, x.level.states + i * state_bytes(), state_bytes());
		for (int kind = 0; kind < STEP_KINDS; kind++)
			if (!explore_kind(first + i, &s, kind))
				return false;
	}
	return true;
}

/* Mark all from which a good end can be reached; false if one is left over. */
static bool check_liveness(void)
{
	uint32_t *start = calloc((size_t)x.states + 1, sizeof(*start));
	uint32_t *from = grow(NULL, (x.nr_edges + 1) * sizeof(*from));
	uint32_t *queue = grow(NULL, ((size_t)x.states + 1) * sizeof(*queue));
	uint32_t head = 0, tail = 0;

	for (uint64_t i = 0; i < x.nr_edges; i++)
		start[x.edges[i].to]++;
	for (uint32_t i = 1; i <= x.states; i++)
		start[i] += start[i - 1];
	for (uint64_t i = 0; i < x.nr_edges; i++)
		from[--start[x.edges[i].to]] = x.edges[i].from;
	for (uint32_t i = 0; i < x.states; i++)
		if (x.good[i])
			queue[tail++] = i;
	while (head < tail) {
		uint32_t to = queue[head++];

		for (uint32_t i = start[to]; i < start[to + 1]; i++) {
			if (x.good[from[i]])
				continue;
			x.good[from[i]] = 1;
			queue[tail++] = from[i];
		}
	}
	free(start);
	free(from);
	free(queue);
	for (uint32_t i = 0; i < x.states; i++) {
		if (x.good[i])
			continue;
		printf("VIOLATION in %s: from here some task sleeps, or some NP waits, for ever\n",
		       scenario->name);
		print_path(i, NULL);
		return false;
	}
	return true;
}

static void forget(void)
{
	free(x.seen);
	free(x.slots);
	free(x.edges);
	free(x.good);
	free(x.level.states);
	free(x.next.states);
	memset(&x, 0, sizeof(x));
}

static bool explore(const struct scenario *sc)
{
	struct state s;
	bool ok;

	forget();
	scenario = sc;
	initial_state(&s);
	enter(&s, NO_STATE, (struct step) { 0 });
	for (ok = true; ok && x.next.count; x.depth++)
		ok = explore_level();
	return ok && check_liveness();
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Named on the command line; without names all but the slow ones. */
static bool is_wanted(const struct scenario *sc, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], sc->name) || !strcmp(argv[i], "--all"))
			return true;
	return argc == 1 && !sc->slow;
}

static bool run(const struct scenario *sc)
{
	double begin = seconds();
	bool ok = explore(sc);

	printf("%-16s %u faults, %s modes, %u events: %u states, %llu transitions, "
	       "depth %u, %.1f s\n", sc->name, sc->tasks, sc->modes == USER ? "user" : "all",
	       sc->total, x.states, (unsigned long long)x.transitions, x.depth,
	       seconds() - begin);
	fflush(stdout);
	return ok;
}

int main(int argc, char **argv)
{
	uint64_t states = 0, transitions = 0;
	double begin = seconds();
	uint32_t depth = 0;
	bool ok = true;

	printf("2 vCPUs; on each path at most the given number of events, each at most once: APF "
	       "disabled, EN written again,\nvCPU reset, VM paused (and then also restored: with "
	       "its set, without, or into a smaller one),\ninjection failed, page failed for good, "
	       "area unreachable for a while, arm64: guest busy for a while.\n");
	for (size_t i = 0; i < nr_scenarios; i++) {
		if (!is_wanted(&scenarios[i], argc, argv))
			continue;
		ok = run(&scenarios[i]) && ok;
		states += x.states;
		transitions += x.transitions;
		depth = x.depth > depth ? x.depth : depth;
	}
	forget();
	printf("explorer: %llu states, %llu transitions, depth %u, %.1f s: %s\n",
	       (unsigned long long)states, (unsigned long long)transitions, depth,
	       seconds() - begin, ok && states ? "no violation" : "FAILED");
	return ok && states ? 0 : 1;
}
