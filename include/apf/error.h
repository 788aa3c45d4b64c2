/* SPDX-License-Identifier: MIT */
/*
 * Errors: functions return negative errno values; the sentence that tells an
 * operator what failed, where and what to do stands beside it, per thread.
 */
#ifndef APF_ERROR_H
#define APF_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/*
 * The text of the last error in this thread, never NULL ("" if there was none).
 * Valid until the next libapf call of this thread. Any thread.
 */
const char *apf_error(void);

/*
 * Set the text (printf style, cut at 511 bytes) and return err, which must be a
 * negative errno: `return apf_error_set(-EINVAL, "store %s: ...", name);`
 * Any thread; allocates nothing.
 */
int apf_error_set(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
