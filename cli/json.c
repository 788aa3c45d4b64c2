/* SPDX-License-Identifier: MIT */
/* JSON goes out. */
#include <errno.h>
#include <string.h>

#include <json-c/json.h>

#include "cli.h"

int json_write(struct json_object *o, const char *path)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_SPACED |
							  JSON_C_TO_STRING_NOSLASHESCAPE);
	const bool to_stdout = !strcmp(path, "-");
	FILE *f = to_stdout ? stdout : fopen(path, "we");
	int err = 0;

	if (!f || fprintf(f, "%s\n", text) < 0 || fflush(f))
		err = -errno;
	if (f && !to_stdout && fclose(f) && !err)
		err = -errno;
	json_object_put(o);
	return err;
}

bool member_is_true(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

const char *member_text(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && v ? json_object_get_string(v) : "?";
}
