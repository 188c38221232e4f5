/* SPDX-License-Identifier: MIT */
/* The guard, as the supervisor has it: which addresses are ours, where its maps and locks lie. */
#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

#include "server/log.h"
#include "server/privileges.h"
#include "server/supervisor_state.h"
#include "server/title.h"

/* One, or two for a socket of both families; 0: nothing that comes over a network. */
static u32 take_addresses(const struct bind *b, struct guard_address *a)
{
	memset(a, 0, 2 * sizeof(*a));
	for (u32 i = 0; i < 2; i++)
		memcpy(a[i].iface, b->iface, sizeof(a[i].iface));
	if (b->addr.any.sa_family == AF_INET) {
		a->family = 4;
		a->port = ntohs(b->addr.in.sin_port);
		memcpy(a->addr, &b->addr.in.sin_addr, 4);
		return 1;
	}
	if (b->addr.any.sa_family != AF_INET6)
		return 0;
	a->port = a[1].port = ntohs(b->addr.in6.sin6_port);
	if (IN6_IS_ADDR_V4MAPPED(&b->addr.in6.sin6_addr)) {
		a->family = 4;
		memcpy(a->addr, &b->addr.in6.sin6_addr.s6_addr[12], 4);
		return 1;
	}
	a->family = 6;
	memcpy(a->addr, &b->addr.in6.sin6_addr, 16);
	a[1].family = 4;
	return b->both ? 2 : 1;
}

/* Locks are for all instances: beside their folders. */
static void lock_folder(const struct supervisor *s, char out[160])
{
	char *slash;

	snprintf(out, 160, "%s", s->stats.folder);
	slash = strrchr(out, '/');
	if (!slash)
		return;
	*slash = '\0';
	/* Root has made the folders and given us ours alone. */
	if (access(out, W_OK))
		*slash = '/';
}

static void forked(void)
{
	const struct privileges keep = { .bpf = true };

	title_set("guard");
	/* It detaches, and nothing else. */
	if (privileges_keep(&keep))
		log_error("guard: cannot give capabilities up");
}

_Static_assert(2 * MAX_BINDS < GUARD_PLACES && 2 * MAX_BINDS <= GUARD_PORTS &&
		       BIND_IFACE_LEN == GUARD_NAME_LEN,
	       "room for all");

int supervisor_guard(struct supervisor *s)
{
	const struct guard_settings *settings = &s->conf->guard;
	struct guard_address addresses[2 * MAX_BINDS];
	char locks[160];
	struct guard_config config = {
		.settings = settings,
		.addresses = addresses,
		.pins = s->stats.pins,
		.locks = locks,
		.forked = forked,
		.group = s->runas.change ? s->runas.gid : getegid(),
	};

	if (!settings->nr_ifaces) {
		if (settings->nr_deny || settings->nr_allow || settings->syn_rate)
			log_warn("guard: its settings have no effect without --attach IFACE");
		return 0;
	}
	if (s->conf->no_bpf) {
		log_error("guard: --attach %s needs BPF, which --no-bpf forbids; leave one of them "
			  "out",
			  settings->ifaces[0]);
		return -EINVAL;
	}
	for (u32 b = 0; b < s->conf->nr_binds; b++)
		config.nr_addresses +=
			take_addresses(&s->conf->binds[b], &addresses[config.nr_addresses]);
	if (!config.nr_addresses) {
		log_error("guard: --attach %s: nothing to guard, no address is one of TCP",
			  settings->ifaces[0]);
		return -EINVAL;
	}
	lock_folder(s, locks);
	return guard_open(&s->guard, &config);
}

u64 supervisor_guard_sweep(struct supervisor *s)
{
	guard_sweep(&s->guard, supervisor_clock_ms() * NSEC_PER_MSEC);
	/* Behind its end, for it has none in a whole millisecond. */
	return s->guard.next_expiry_ns ? s->guard.next_expiry_ns / NSEC_PER_MSEC + 1 : 0;
}
