/* SPDX-License-Identifier: MIT */
#include "server/option_value.h"

#include <stdlib.h>
#include <strings.h>

int option_u64(const char *text, u64 low, u64 high, u64 *out)
{
	char *end;
	u64 n;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || n < low || n > high)
		return -EINVAL;
	*out = n;
	return 0;
}

int option_u32(u32 *out, const char *value, u64 low, u64 high, u32 scale)
{
	u64 n;

	if (option_u64(value, low, high, &n))
		return -EINVAL;
	*out = (u32)n * scale;
	return 0;
}

int option_text(char *out, size_t room, const char *value, const char **why)
{
	size_t len = strlen(value);

	*why = "a name, not empty and not longer than 255 bytes";
	if (len == 0 || len >= room)
		return -EINVAL;
	memcpy(out, value, len + 1);
	return 0;
}

int option_bool(bool *out, const char *value, const char **why)
{
	static const char *const on[] = { "1", "true", "yes", "on" };
	static const char *const off[] = { "0", "false", "no", "off" };

	*why = "true or false";
	for (size_t i = 0; i < ARRAY_SIZE(on); i++) {
		if (!value || strcasecmp(value, on[i]) == 0) {
			*out = true;
			return 0;
		}
		if (strcasecmp(value, off[i]) == 0) {
			*out = false;
			return 0;
		}
	}
	return -EINVAL;
}

int option_seconds(u32 *out, const char *value, const char **why)
{
	*why = "seconds, from 1 to 86400";
	return option_u32(out, value, 1, 86400, MSEC_PER_SEC);
}
