/* SPDX-License-Identifier: MIT */
/* What apf-conformance says of the rows: as a table or TAP, and as JSON. */
#include <json-c/json.h>

#include "conformance.h"

static const char *const verdicts[] = { "SKIP", "PASS", "FAIL", "DIFFERS" };

static const char *host_name(const struct conf *c)
{
	return c->host->inside ? vmm_delivery_name(c->delivery) : "command";
}

/* What was seen, or why nothing. */
static const char *reason(const struct conf *c, unsigned int i)
{
	if (*c->found[i].why)
		return c->found[i].why;
	if (c->found[i].verdict == CONF_PASS)
		return conf_rows[i].what;
	return conf_rows[i].unseen ? conf_rows[i].unseen : "no check of this implementation shows it";
}

static void print_table(const struct conf_report *r, const struct conf *c, unsigned int i)
{
	fprintf(r->out, "%-4s %-8s %s\n", conf_rows[i].id, verdicts[c->found[i].verdict],
		reason(c, i));
	if (c->found[i].verdict == CONF_DIFFERS)
		fprintf(r->out, "%13s (%s)\n", "", conf_rows[i].differs);
}

static void print_tap(struct conf_report *r, const struct conf *c, unsigned int i)
{
	const enum conf_verdict v = c->found[i].verdict;

	fprintf(r->out, "%s %u - %s_%s_%s%s%s%s\n", v == CONF_FAIL ? "not ok" : "ok", ++r->number,
		conf_rows[i].id, c->gen->name, host_name(c),
		v == CONF_DIFFERS ? "_differs_as_known" : "", v == CONF_UNSEEN ? " # SKIP " : "",
		v == CONF_UNSEEN ? reason(c, i) : "");
	if (v > CONF_PASS)
		fprintf(r->out, "# %s\n", reason(c, i));
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static struct json_object *row_json(const struct conf *c, unsigned int i)
{
	struct json_object *o = json_object_new_object();

	add_text(o, "row", conf_rows[i].id);
	add_text(o, "result", verdicts[c->found[i].verdict]);
	add_text(o, "reason", reason(c, i));
	if (c->found[i].verdict == CONF_DIFFERS)
		add_text(o, "explanation", conf_rows[i].differs);
	return o;
}

void conf_report(struct conf_report *r, const struct conf *c)
{
	struct json_object *o = json_object_new_object(), *rows = json_object_new_array();
	unsigned int count[4] = { 0 };

	for (unsigned int i = 0; conf_rows[i].id; i++) {
		if (!conf_asks_for(c, conf_rows[i].id))
			continue;
		count[c->found[i].verdict]++;
		if (r->tap)
			print_tap(r, c, i);
		else
			print_table(r, c, i);
		json_object_array_add(rows, row_json(c, i));
	}
	fprintf(r->out, "%sconformance %s/%s: %u pass, %u fail, %u differ, %u skip\n",
		r->tap ? "# " : "",
		c->gen->name, host_name(c), count[CONF_PASS], count[CONF_FAIL],
		count[CONF_DIFFERS], count[CONF_UNSEEN]);
	fflush(r->out);
	add_text(o, "abi", c->gen->name);
	add_text(o, "delivery", host_name(c));
	json_object_object_add(o, "rows", rows);
	json_object_array_add(r->variants, o);
	r->failed += count[CONF_FAIL];
}
