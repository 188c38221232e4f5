/* SPDX-License-Identifier: MIT */
#include "server/cidr.h"

#include <arpa/inet.h>
#include <stdio.h>

static u8 full_len(const struct cidr *c)
{
	return c->family == 4 ? 32 : 128;
}

static int parse_len(const char *text, u8 most, u8 *out)
{
	u32 n = 0;

	if (!*text || strlen(text) > 3)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		n = n * 10 + (u32)(*text - '0');
	}
	if (n > most)
		return -EINVAL;
	*out = (u8)n;
	return 0;
}

static bool has_more_bits(const struct cidr *c)
{
	for (u32 i = c->len; i < full_len(c); i++)
		if (c->addr[i / 8] & (0x80 >> i % 8))
			return true;
	return false;
}

int cidr_parse(const char *text, struct cidr *c, const char **why)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	char host[CIDR_TEXT_LEN];

	*why = "an address or a prefix, like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32";
	memset(c, 0, sizeof(*c));
	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_pton(AF_INET, host, c->addr) == 1)
		c->family = 4;
	else if (inet_pton(AF_INET6, host, c->addr) == 1)
		c->family = 6;
	else
		return -EINVAL;
	c->len = full_len(c);
	if (slash && parse_len(slash + 1, full_len(c), &c->len))
		return -EINVAL;
	if (has_more_bits(c)) {
		*why = "a prefix whose other bits are 0, like 192.0.2.0/24 (192.0.2.7/24 has more)";
		return -EINVAL;
	}
	return 0;
}

const char *cidr_show(const struct cidr *c, char out[CIDR_TEXT_LEN])
{
	size_t len;

	inet_ntop(c->family == 4 ? AF_INET : AF_INET6, c->addr, out, CIDR_TEXT_LEN);
	len = strlen(out);
	if (c->len != full_len(c))
		snprintf(out + len, CIDR_TEXT_LEN - len, "/%u", c->len);
	return out;
}
