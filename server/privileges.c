/* SPDX-License-Identifier: MIT */
#include "server/privileges.h"

#include <sys/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MAX_KEPT 8

static bool has(cap_t caps, cap_value_t cap, cap_flag_t set)
{
	cap_flag_value_t value;

	return cap_get_flag(caps, cap, set, &value) == 0 && value == CAP_SET;
}

/*
 * Permitted and effective are @kept as far as they are permitted now, or only effective if @all may
 * stay permitted; inheritable and ambient none.
 */
static int set_to(const cap_value_t *kept, int nr, bool all)
{
	cap_t now = cap_get_proc(), then = all ? cap_get_proc() : cap_init();
	int err = now && then ? 0 : -ENOMEM;

	if (!err && (cap_clear_flag(then, CAP_EFFECTIVE) || cap_clear_flag(then, CAP_INHERITABLE)))
		err = -errno;
	for (int i = 0; !err && i < nr; i++) {
		if (!has(now, kept[i], CAP_PERMITTED))
			continue;
		if (cap_set_flag(then, CAP_PERMITTED, 1, &kept[i], CAP_SET) ||
		    cap_set_flag(then, CAP_EFFECTIVE, 1, &kept[i], CAP_SET))
			err = -errno;
	}
	/* What is not inheritable the kernel takes out of the ambient set, too. */
	if (!err && cap_set_proc(then))
		err = -errno;
	cap_free(now);
	cap_free(then);
	return err;
}

static bool is_in(cap_value_t cap, const cap_value_t *list, int nr)
{
	for (int i = 0; i < nr; i++)
		if (list[i] == cap)
			return true;
	return false;
}

/* Takes CAP_SETPCAP; who has not got that has no way back by exec() either, unless files give it. */
static void bound_to(const cap_value_t *kept, int nr)
{
	for (cap_value_t cap = 0; cap_get_bound(cap) >= 0; cap++)
		if (!is_in(cap, kept, nr) && cap_get_bound(cap) > 0 && cap_drop_bound(cap))
			return;
}

int privileges_keep(const struct privileges *p)
{
	cap_value_t kept[MAX_KEPT];
	int nr = 0;

	kept[nr++] = CAP_NET_BIND_SERVICE;
	if (p->bpf) {
		kept[nr++] = CAP_BPF;
		kept[nr++] = CAP_NET_ADMIN;
	}
	if (p->starts_others || p->acts_as_other) {
		kept[nr++] = CAP_SETUID;
		kept[nr++] = CAP_SETGID;
	}
	if (p->starts_others)
		kept[nr++] = CAP_KILL;
	if (!p->bounding) {
		/* In the bounding set alone. */
		kept[nr] = CAP_SETPCAP;
		bound_to(kept, nr + p->starts_root);
	}
	/* By exec() root gets all that is in the bounding set, but under no_new_privs no more than it has. */
	return set_to(kept, nr,
		      p->bounding && p->starts_root && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

int privileges_drop(void)
{
	bound_to(NULL, 0);
	return set_to(NULL, 0, false);
}

bool privileges_have_bpf(void)
{
	cap_t now = cap_get_proc();
	/* Which includes CAP_BPF, the younger one. */
	bool found =
		now && (has(now, CAP_BPF, CAP_EFFECTIVE) || has(now, CAP_SYS_ADMIN, CAP_EFFECTIVE));

	cap_free(now);
	return found;
}

bool privileges_act_as(uid_t uid, gid_t gid)
{
	setfsgid(gid);
	setfsuid(uid);
	/* They say what was before; of -1, which nobody is, what is now. */
	if ((uid_t)setfsuid((uid_t)-1) == uid && (gid_t)setfsgid((gid_t)-1) == gid)
		return true;
	privileges_act_as_self();
	return false;
}

void privileges_act_as_self(void)
{
	setfsuid(geteuid());
	setfsgid(getegid());
}
