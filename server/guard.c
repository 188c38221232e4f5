/* SPDX-License-Identifier: MIT */
#include "server/guard.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/bpf/guard.skel.h"
#include "server/clock.h"
#include "server/guard_state.h"
#include "server/log.h"

static const char *const map_names[NR_GUARD_MAPS] = GUARD_MAP_NAMES;

void guard_init(struct guard *g)
{
	memset(g, 0, sizeof(*g));
	g->after_fd = -1;
	for (u32 i = 0; i < GUARD_IFACES; i++)
		g->hooks[i] = (struct guard_hook){ .link_fd = -1, .lock_fd = -1 };
}

static struct bpf_map *map_of(const struct guard *g, enum guard_map_id id)
{
	struct bpf_map *const maps[NR_GUARD_MAPS] = {
		g->bpf->maps.guard,         g->bpf->maps.guard_ifaces,  g->bpf->maps.guard_ports,
		g->bpf->maps.guard_deny_v4, g->bpf->maps.guard_deny_v6, g->bpf->maps.guard_allow_v4,
		g->bpf->maps.guard_allow_v6
	};

	return maps[id];
}

/* --- the program's constants --- */

/* The first @len bits of a word in network order; the rest is 0. */
static u32 mask_word(u32 len)
{
	u8 bytes[4];
	u32 word;

	for (u32 i = 0; i < 4; i++)
		bytes[i] = len >= 8 * i + 8 ? 0xff
			   : len > 8 * i    ? (u8)(0xff00 >> (len - 8 * i))
					    : 0;
	memcpy(&word, bytes, sizeof(word));
	return word;
}

static void set_rate(struct guard_rules *rules, struct guard_about *about,
		     const struct guard_settings *settings)
{
	about->syn_rate = settings->syn_rate;
	about->syn_burst = settings->syn_burst ? settings->syn_burst : settings->syn_rate;
	about->syn_prefix_v4 = settings->syn_prefix_v4 ? settings->syn_prefix_v4 : 32;
	about->syn_prefix_v6 = settings->syn_prefix_v6 ? settings->syn_prefix_v6 : 64;
	rules->syn_mask_v4 = mask_word(about->syn_prefix_v4);
	for (u32 i = 0; i < 4; i++) {
		u32 len = about->syn_prefix_v6;

		rules->syn_mask_v6[i] = mask_word(len > 32 * i ? len - 32 * i : 0);
	}
	if (!settings->syn_rate)
		return;
	rules->syn_interval_ns = max(NSEC_PER_SEC / settings->syn_rate, 1ull);
	rules->syn_burst_ns = rules->syn_interval_ns * about->syn_burst;
}

static u32 row_of(struct guard_about *about, u16 port)
{
	u32 i = 0;

	while (i < about->nr_ports && about->ports[i] != port)
		i++;
	if (i == about->nr_ports)
		about->ports[about->nr_ports++] = port;
	return i;
}

int guard_set_rules(struct guard_rules *rules, u8 first_place[65536], struct guard_about *about,
		    const struct guard_config *config)
{
	set_rate(rules, about, config->settings);
	rules->nr_ifaces = about->nr_ifaces;
	for (u32 i = 0; i < about->nr_ifaces; i++)
		rules->ifindex[i] = about->ifaces[i].ifindex;
	for (u32 i = 0; i < config->nr_addresses; i++) {
		const struct guard_address *a = &config->addresses[i];
		struct guard_place *p = &rules->places[rules->nr_places + 1];
		u32 ifindex = 0;

		for (u32 k = 0; a->iface[0] && k < about->nr_ifaces; k++)
			if (strcmp(a->iface, about->ifaces[k].name) == 0)
				ifindex = about->ifaces[k].ifindex;
		/* What listens on another interface only has nothing to do with these. */
		if (a->iface[0] && !ifindex)
			continue;
		if (rules->nr_places + 1 == GUARD_PLACES)
			return -E2BIG;
		*p = (struct guard_place){ .family = a->family, .port = a->port };
		p->ifindex = ifindex;
		memcpy(p->addr, a->addr, a->family == 4 ? 4 : 16);
		p->row = (u8)row_of(about, a->port);
		p->next = first_place[a->port];
		first_place[a->port] = (u8)++rules->nr_places;
	}
	return 0;
}

/* --- loading --- */

static int pin_one(struct guard *g, enum guard_map_id id, gid_t group)
{
	char path[PATH_MAX];
	int err;

	snprintf(path, sizeof(path), "%s/%s", g->pins, map_names[id]);
	err = bpf_map__pin(map_of(g, id), path);
	if (!err && (chown(path, (uid_t)-1, group) || chmod(path, 0640)))
		err = -errno;
	return err;
}

void guard_unpin(const char *pins)
{
	char path[PATH_MAX];

	for (int i = 0; i < NR_GUARD_MAPS; i++) {
		snprintf(path, sizeof(path), "%s/%s", pins, map_names[i]);
		unlink(path);
	}
}

static int pin_all(struct guard *g, const struct guard_config *config)
{
	int err = 0;

	if (!config->pins[0]) {
		log_warn("guard: its counters cannot be pinned: metrics will have none of them");
		return 0;
	}
	snprintf(g->pins, sizeof(g->pins), "%s", config->pins);
	guard_unpin(g->pins);
	for (int i = 0; !err && i < NR_GUARD_MAPS; i++)
		err = pin_one(g, (enum guard_map_id)i, config->group);
	if (err)
		log_error("guard: cannot pin its maps: %s at=%s", strerror(-err), g->pins);
	return err;
}

static int load(struct guard *g, const struct guard_config *config)
{
	u32 zero = 0;
	int err;

	g->bpf = guard_bpf__open();
	if (!g->bpf)
		return -errno;
	err = guard_set_rules(&g->bpf->rodata->rules, g->bpf->rodata->first_place, &g->about, config);
	if (err) {
		log_error("guard: more than %u addresses to listen on", GUARD_PLACES - 1);
		return err;
	}
	err = guard_bpf__load(g->bpf);
	if (err) {
		log_error(
			"guard: cannot load its program: %s%s", strerror(-err),
			err == -EPERM || err == -EACCES
				? "; --attach needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
				: "; the kernel has to have BPF (6.1 and later do)");
		return err;
	}
	return bpf_map__update_elem(g->bpf->maps.guard, &zero, sizeof(zero), &g->about,
				    sizeof(g->about), BPF_ANY);
}

static int fill_lists(struct guard *g, const struct guard_settings *settings)
{
	int err = 0;

	for (u32 i = 0; !err && i < settings->nr_deny; i++)
		err = guard_deny(g, &settings->deny[i], 0);
	for (u32 i = 0; !err && i < settings->nr_allow; i++)
		err = guard_allow(g, &settings->allow[i], 0);
	if (err)
		log_error("guard: cannot fill the lists: %s", strerror(-err));
	return err;
}

static int find_ifaces(struct guard *g, const struct guard_settings *settings)
{
	g->about.magic = GUARD_MAGIC;
	g->about.version = GUARD_VERSION;
	for (u32 i = 0; i < settings->nr_ifaces; i++) {
		int ifindex = guard_find_iface(settings->ifaces[i]);

		if (ifindex < 0)
			return ifindex;
		memcpy(g->about.ifaces[i].name, settings->ifaces[i], GUARD_NAME_LEN);
		g->about.ifaces[i].ifindex = (u32)ifindex;
		g->about.nr_ifaces++;
	}
	return 0;
}

int guard_check(const struct guard_settings *settings)
{
	for (u32 i = 0; i < settings->nr_ifaces; i++) {
		int ifindex = guard_find_iface(settings->ifaces[i]);

		if (ifindex < 0)
			return ifindex;
	}
	return 0;
}

int guard_open(struct guard *g, const struct guard_config *config)
{
	const struct guard_settings *settings = config->settings;
	int err;

	if (!settings->nr_ifaces)
		return 0;
	err = find_ifaces(g, settings);
	for (u32 i = 0; !err && config->locks[0] && i < g->about.nr_ifaces; i++)
		err = guard_lock(g, i, config->locks);
	if (!err)
		err = load(g, config);
	if (!err)
		err = fill_lists(g, settings);
	for (u32 i = 0; !err && i < g->about.nr_ifaces; i++)
		err = guard_attach(g, i, settings->mode);
	if (!err)
		err = guard_publish(g);
	if (!err)
		err = pin_all(g, config);
	if (err) {
		guard_close(g);
		return err;
	}
	err = guard_after_start(g, config->forked);
	if (err)
		log_warn("guard: nobody will clean up if this process is killed: %s", strerror(-err));
	return 0;
}

int guard_publish(struct guard *g)
{
	u32 zero = 0;

	for (u32 i = 0; i < g->about.nr_ifaces; i++)
		g->about.ifaces[i].mode = g->hooks[i].mode;
	return bpf_map__update_elem(g->bpf->maps.guard, &zero, sizeof(zero), &g->about,
				    sizeof(g->about), BPF_ANY);
}

void guard_close(struct guard *g)
{
	guard_after_stop(g);
	for (u32 i = 0; i < GUARD_IFACES; i++)
		guard_detach(g, i);
	if (g->pins[0])
		guard_unpin(g->pins);
	if (g->bpf)
		guard_bpf__destroy(g->bpf);
	guard_init(g);
}

/* --- lists --- */

union list_key {
	struct guard_key_v4 v4;
	struct guard_key_v6 v6;
};

static int list_fd(const struct guard *g, enum guard_list list, u8 family)
{
	static const enum guard_map_id ids[NR_GUARD_LISTS][2] = {
		[GUARD_DENY] = { GUARD_MAP_DENY_V4, GUARD_MAP_DENY_V6 },
		[GUARD_ALLOW] = { GUARD_MAP_ALLOW_V4, GUARD_MAP_ALLOW_V6 },
	};

	return bpf_map__fd(map_of(g, ids[list][family == 6]));
}

static void key_of(const struct cidr *c, union list_key *key)
{
	memset(key, 0, sizeof(*key));
	if (c->family == 4) {
		key->v4.len = c->len;
		memcpy(key->v4.addr, c->addr, sizeof(key->v4.addr));
	} else {
		key->v6.len = c->len;
		memcpy(key->v6.addr, c->addr, sizeof(key->v6.addr));
	}
}

static void cidr_of(const union list_key *key, u8 family, struct cidr *c)
{
	*c = (struct cidr){ .family = family };
	if (family == 4) {
		c->len = (u8)key->v4.len;
		memcpy(c->addr, key->v4.addr, sizeof(key->v4.addr));
	} else {
		c->len = (u8)key->v6.len;
		memcpy(c->addr, key->v6.addr, sizeof(key->v6.addr));
	}
}

static bool expired(const struct guard_entry *e, u64 now_ns)
{
	return e->expires_ns && e->expires_ns <= now_ns;
}

/* A look-up finds what is shorter, too. */
static bool find_exact(int fd, const union list_key *key, u8 len, struct guard_entry *e)
{
	return bpf_map_lookup_elem(fd, key, e) == 0 && e->len == len;
}

static int put(struct guard *g, enum guard_list list, const struct cidr *cidr, u64 seconds)
{
	u64 now = monotonic_ns();
	struct guard_entry e;
	union list_key key;
	int fd, err;

	if (!g->bpf)
		return -ENODEV;
	guard_sweep(g, now);
	fd = list_fd(g, list, cidr->family);
	key_of(cidr, &key);
	if (!find_exact(fd, &key, cidr->len, &e))
		e = (struct guard_entry){ .len = cidr->len };
	e.expires_ns = seconds ? now + min(seconds, UINT64_MAX / 4 / NSEC_PER_SEC) * NSEC_PER_SEC : 0;
	err = bpf_map_update_elem(fd, &key, &e, BPF_ANY);
	if (err)
		return err;
	if (e.expires_ns && (!g->next_expiry_ns || e.expires_ns < g->next_expiry_ns))
		g->next_expiry_ns = e.expires_ns;
	/* The new one counts already: there is no moment in which neither does. */
	bpf_map_delete_elem(list_fd(g, list == GUARD_DENY ? GUARD_ALLOW : GUARD_DENY, cidr->family),
			    &key);
	return 0;
}

int guard_deny(struct guard *g, const struct cidr *cidr, u64 seconds)
{
	return put(g, GUARD_DENY, cidr, seconds);
}

int guard_allow(struct guard *g, const struct cidr *cidr, u64 seconds)
{
	return put(g, GUARD_ALLOW, cidr, seconds);
}

int guard_remove(struct guard *g, const struct cidr *cidr)
{
	union list_key key;
	int nr = 0;

	if (!g->bpf)
		return -ENODEV;
	guard_sweep(g, monotonic_ns());
	key_of(cidr, &key);
	for (int list = 0; list < NR_GUARD_LISTS; list++)
		nr += !bpf_map_delete_elem(list_fd(g, (enum guard_list)list, cidr->family), &key);
	return nr ? 0 : -ENOENT;
}

static int each_of(const struct guard *g, enum guard_list list, u8 family,
		   int (*fn)(void *arg, const struct guard_listed *e), void *arg)
{
	int fd = list_fd(g, list, family), left = 2 * (int)GUARD_ENTRIES, stop = 0;
	union list_key key, *at = NULL;
	u64 now = monotonic_ns();

	/* Bounded, for it starts over when the entry at hand was removed meanwhile. */
	while (!stop && left-- && !bpf_map_get_next_key(fd, at, &key)) {
		struct guard_listed listed = { .list = list };
		struct guard_entry e;

		at = &key;
		cidr_of(&key, family, &listed.cidr);
		if (!find_exact(fd, &key, listed.cidr.len, &e) || expired(&e, now))
			continue;
		listed.expires_in_ns = e.expires_ns ? e.expires_ns - now : 0;
		listed.hits = e.hits;
		stop = fn(arg, &listed);
	}
	return stop;
}

int guard_each(const struct guard *g, int (*fn)(void *arg, const struct guard_listed *e), void *arg)
{
	int stop = 0;

	for (int list = 0; g->bpf && !stop && list < NR_GUARD_LISTS; list++) {
		stop = each_of(g, (enum guard_list)list, 4, fn, arg);
		if (!stop)
			stop = each_of(g, (enum guard_list)list, 6, fn, arg);
	}
	return stop;
}

/* The earliest end of those that stay. */
static u64 sweep_one(int fd, u8 family, u64 now_ns)
{
	union list_key keys[2];
	u64 earliest = 0;
	u32 at = 0;
	bool more = !bpf_map_get_next_key(fd, NULL, &keys[at]);

	while (more) {
		const union list_key *key = &keys[at];
		struct guard_entry e;
		struct cidr cidr;

		/* Before this one goes: the next is found from it. */
		more = !bpf_map_get_next_key(fd, key, &keys[!at]);
		at = !at;
		cidr_of(key, family, &cidr);
		if (!find_exact(fd, key, cidr.len, &e) || !e.expires_ns)
			continue;
		if (expired(&e, now_ns))
			bpf_map_delete_elem(fd, key);
		else if (!earliest || e.expires_ns < earliest)
			earliest = e.expires_ns;
	}
	return earliest;
}

void guard_sweep(struct guard *g, u64 now_ns)
{
	u64 earliest = 0;

	if (!g->bpf || !g->next_expiry_ns || now_ns < g->next_expiry_ns)
		return;
	for (int list = 0; list < NR_GUARD_LISTS; list++) {
		for (u8 family = 4; family <= 6; family += 2) {
			u64 one =
				sweep_one(list_fd(g, (enum guard_list)list, family), family, now_ns);

			if (one && (!earliest || one < earliest))
				earliest = one;
		}
	}
	g->next_expiry_ns = earliest;
}
