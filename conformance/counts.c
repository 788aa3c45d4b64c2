/* SPDX-License-Identifier: MIT */
/* What guest and host count, and which ready of the guest's list answers which NP. */
#include <stdlib.h>
#include <string.h>

#include "conformance.h"

#define TOKENS_MAX	256u
#define BROADCAST	0xffffffffu

struct conf_counts conf_counts(struct conf_vm *vm)
{
	const char *line = conf_ask(vm, "@apf counts", "counts");

	return (struct conf_counts){
		.np = conf_number(line, "np"), .slept = conf_number(line, "slept"),
		.ready = conf_number(line, "ready"), .woken = conf_number(line, "woken"),
		.broadcasts = conf_number(line, "broadcasts"),
		.rejected = conf_number(line, "rejected"),
	};
}

static struct apf_kvm_stats host_stats(struct conf_vm *vm)
{
	struct apf_kvm_stats s = { 0 };

	if (vm->vm && vmm_get_config(vm->vm)->delivery == APF_DELIVERY_USER)
		apf_kvm_stats(vmm_apf(vm->vm), &s);
	return s;
}

struct apf_vcpu_stats conf_host(struct conf_vm *vm)
{
	return host_stats(vm).engine;
}

uint64_t conf_blocked(struct conf_vm *vm)
{
	return host_stats(vm).msi_blocked;
}

static struct conf_pages pages(struct conf_vm *vm)
{
	return *vm->c->trouble ? (struct conf_pages){ 0 } : vm->c->host->pages(vm);
}

uint32_t conf_in_flight(struct conf_vm *vm, bool most)
{
	return most ? pages(vm).most : pages(vm).in_flight;
}

uint64_t conf_fetched(struct conf_vm *vm)
{
	return pages(vm).fetched;
}

/* --- tokens --- */

struct token {
	uint32_t token, cpu;
};

struct list {
	struct token token[TOKENS_MAX];
	unsigned int n;
};

/* Takes it out of the list. False: it is not there. */
static bool take(struct list *l, struct token t)
{
	for (unsigned int i = 0; i < l->n; i++) {
		if (l->token[i].token != t.token || l->token[i].cpu != t.cpu)
			continue;
		l->token[i] = l->token[--l->n];
		return true;
	}
	return false;
}

static void add(struct list *l, struct token t)
{
	if (l->n < TOKENS_MAX)
		l->token[l->n++] = t;
}

static bool is_used(const struct list *l, uint32_t token)
{
	for (unsigned int i = 0; i < l->n; i++)
		if (l->token[i].token == token)
			return true;
	return false;
}

static void drop_cpu(struct list *l, uint32_t cpu)
{
	for (unsigned int i = l->n; i-- > 0;)
		if (l->token[i].cpu == cpu)
			l->token[i] = l->token[--l->n];
}

struct book {
	const struct conf_generation *gen;
	struct conf_tokens seen;
	struct list open;	/* told by an NP */
	struct list early;	/* ready came first (L9) */
};

static void take_np(struct book *b, struct token t)
{
	b->seen.np++;
	b->seen.odd += !t.token || t.token == BROADCAST || b->gen->cpu_of(t.token) != t.cpu;
	b->seen.twice += is_used(&b->open, t.token);
	if (!take(&b->early, t))
		add(&b->open, t);
	if (b->open.n > b->seen.most)
		b->seen.most = b->open.n;
}

static void take_event(struct book *b, const char *name, struct token t)
{
	if (!strcmp(name, "np")) {
		take_np(b, t);
	} else if (!strcmp(name, "all")) {
		b->seen.all++;
		drop_cpu(&b->open, t.cpu);
	} else {
		b->seen.ready++;
		if (!take(&b->open, t))
			add(&b->early, t);
	}
}

/* " np=CPU:TOKEN ..." Returns how many. */
static unsigned int take_line(struct book *b, const char *line)
{
	unsigned int n = 0, cpu, token;
	char name[8];
	int len;

	for (; sscanf(line, " %7[a-z]=%u:%x%n", name, &cpu, &token, &len) == 3; line += len, n++)
		take_event(b, name, (struct token){ token, cpu });
	return n;
}

struct conf_tokens conf_tokens(struct conf_vm *vm)
{
	struct book b = { .gen = vm->c->gen };
	const char *line;

	do {
		line = conf_ask(vm, "@apf events", "events");
		if (conf_number(line, "lost"))
			conf_trouble(vm->c, "the guest lost count of its notifications");
		line = strstr(line, "lost=0");
	} while (line && take_line(&b, line + strlen("lost=0")));
	b.seen.open = b.open.n;
	b.seen.stray = b.early.n;
	return b.seen;
}
