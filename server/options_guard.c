/* SPDX-License-Identifier: MIT */
#include "server/options_guard.h"

#include "server/option_value.h"

int set_attach(struct conf *conf, const char *value, const char **why)
{
	struct guard_settings *g = &conf->guard;
	size_t len = strlen(value);

	*why = "the name of an interface, at most 15 bytes, and at most 8 of them";
	if (!len || len >= GUARD_NAME_LEN || strpbrk(value, "/ %"))
		return -EINVAL;
	for (u32 i = 0; i < g->nr_ifaces; i++)
		if (strcmp(g->ifaces[i], value) == 0)
			return 0;
	if (g->nr_ifaces == GUARD_IFACES)
		return -EINVAL;
	memcpy(g->ifaces[g->nr_ifaces++], value, len + 1);
	return 0;
}

int set_guard_mode(struct conf *conf, const char *value, const char **why)
{
	static const char *const names[NR_GUARD_MODES] = GUARD_MODE_NAMES;

	*why = "auto, native (XDP in the driver), generic (XDP), tcx or clsact (traffic control)";
	for (u32 i = 0; i < NR_GUARD_MODES; i++) {
		if (strcmp(value, names[i]) == 0) {
			conf->guard.mode = (enum guard_mode)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int add_entry(struct cidr *list, u32 *nr, const char *value, const char **why)
{
	struct cidr cidr;

	if (cidr_parse(value, &cidr, why))
		return -EINVAL;
	*why = "at most 256 prefixes; hyperion-ctl takes more of them at run time";
	if (*nr == GUARD_CONF_ENTRIES)
		return -EINVAL;
	list[(*nr)++] = cidr;
	return 0;
}

int set_guard_deny(struct conf *conf, const char *value, const char **why)
{
	return add_entry(conf->guard.deny, &conf->guard.nr_deny, value, why);
}

int set_guard_allow(struct conf *conf, const char *value, const char **why)
{
	return add_entry(conf->guard.allow, &conf->guard.nr_allow, value, why);
}

int set_guard_syn_rate(struct conf *conf, const char *value, const char **why)
{
	*why = "SYNs per second from one source prefix, from 1 to 1000000, or off";
	if (strcmp(value, "off") == 0) {
		conf->guard.syn_rate = 0;
		return 0;
	}
	return option_u32(&conf->guard.syn_rate, value, 1, 1000000, 1);
}

int set_guard_syn_burst(struct conf *conf, const char *value, const char **why)
{
	*why = "a number from 1 to 1000000";
	return option_u32(&conf->guard.syn_burst, value, 1, 1000000, 1);
}

int set_guard_syn_prefix_v4(struct conf *conf, const char *value, const char **why)
{
	*why = "bits of an IPv4 address, from 8 to 32";
	return option_u32(&conf->guard.syn_prefix_v4, value, 8, 32, 1);
}

int set_guard_syn_prefix_v6(struct conf *conf, const char *value, const char **why)
{
	*why = "bits of an IPv6 address, from 16 to 128";
	return option_u32(&conf->guard.syn_prefix_v6, value, 16, 128, 1);
}
