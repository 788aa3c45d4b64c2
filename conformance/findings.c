/* SPDX-License-Identifier: MIT */
/* What the checks have seen of the rows. */
#include <stdarg.h>
#include <string.h>

#include "conformance.h"

bool conf_is_user(const struct conf *c)
{
	return c->delivery == APF_DELIVERY_USER;
}

bool conf_listed(const char *list, const char *id, char separator)
{
	const size_t len = strlen(id);

	for (const char *at = list; (at = strstr(at, id)); at++)
		if ((at == list || at[-1] == separator) && (!at[len] || at[len] == separator))
			return true;
	return false;
}

bool conf_asks_for(const struct conf *c, const char *id)
{
	const char letter[] = { id[0], '\0' };

	if (id[0] != 'C' && id[0] != c->gen->letter)
		return false;
	return !c->rows || conf_listed(c->rows, id, ',') || conf_listed(c->rows, letter, ',');
}

/* The first thing that does not hold stays. */
static void set(struct conf *c, const char *rows, enum conf_verdict verdict, const char *why)
{
	for (unsigned int i = 0; conf_rows[i].id; i++) {
		const struct conf_row *row = &conf_rows[i];
		const enum conf_verdict was = c->found[i].verdict;

		if (!conf_listed(rows, row->id, ' ') || was > CONF_PASS || was > verdict)
			continue;
		c->found[i].verdict = verdict == CONF_DIFFERS && !row->differs ? CONF_FAIL : verdict;
		snprintf(c->found[i].why, sizeof(c->found[i].why), "%s", why);
	}
}

void conf_expect(struct conf *c, const char *rows, bool holds, const char *fmt, ...)
{
	char why[256] = "";
	va_list args;

	if (*c->trouble)
		return;
	if (!holds) {
		va_start(args, fmt);
		vsnprintf(why, sizeof(why), fmt, args);
		va_end(args);
	}
	set(c, rows, holds ? CONF_PASS : conf_is_user(c) ? CONF_FAIL : CONF_DIFFERS, why);
}

void conf_unseen(struct conf *c, const char *rows, const char *why)
{
	set(c, rows, CONF_UNSEEN, why);
}

void conf_trouble(struct conf *c, const char *fmt, ...)
{
	va_list args;

	if (*c->trouble)
		return;
	va_start(args, fmt);
	vsnprintf(c->trouble, sizeof(c->trouble), fmt, args);
	va_end(args);
}

void conf_take_trouble(struct conf *c, const char *rows)
{
	if (*c->trouble)
		set(c, rows, CONF_FAIL, c->trouble);
}
