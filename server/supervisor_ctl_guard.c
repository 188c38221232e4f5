/* SPDX-License-Identifier: MIT */
/* The guard's lists, over the control socket. */
#include <stdio.h>

#include "server/supervisor_ctl.h"
#include "server/supervisor_state.h"

#define MAX_SECONDS (366ll * 24 * 3600)
#define MAX_LISTED 5000u /* entries in an answer */

static bool guarded(struct ctl_call *call)
{
	if (!call->s->guard.bpf)
		ctl_request_fail(
			&call->request, CTL_NO_GUARD,
			"this server has no guard; start it with one: hyperion-bpf --attach "
			"IFACE ...");
	return !call->request.failed;
}

static void take_cidr(struct ctl_call *call, struct cidr *c)
{
	const char *why = "";
	char text[CIDR_TEXT_LEN];

	ctl_request_text(&call->request, "cidr", text, sizeof(text));
	if (!call->request.failed && cidr_parse(text, c, &why))
		ctl_request_fail(&call->request, CTL_BAD_ARGUMENT, "%s %s: \"cidr\" is %s",
				 call->request.command, text, why);
}

static void say_failed(struct ctl_call *call, int err)
{
	if (err == -ENOSPC)
		ctl_request_fail(&call->request, CTL_FULL, "the list is full: %u entries",
				 GUARD_ENTRIES);
	else
		ctl_request_fail(&call->request, CTL_INTERNAL, "%s: %s", call->request.command,
				 strerror(-err));
}

static void enter(struct ctl_call *call,
		  int (*add)(struct guard *g, const struct cidr *cidr, u64 seconds))
{
	struct ctl_request *r = &call->request;
	struct cidr c = { 0 };
	char text[CIDR_TEXT_LEN];
	u64 seconds = 0;
	int err;

	take_cidr(call, &c);
	if (ctl_request_has(r, "seconds"))
		seconds = (u64)ctl_request_number(r, "seconds", 1, MAX_SECONDS);
	if (!ctl_request_complete(r) || !guarded(call))
		return;
	err = add(&call->s->guard, &c, seconds);
	if (err) {
		say_failed(call, err);
		return;
	}
	cidr_show(&c, text);
	if (seconds)
		ctl_say(call, "%s %s for %llu s", r->command, text, (unsigned long long)seconds);
	else
		ctl_say(call, "%s %s", r->command, text);
}

void ctl_run_deny(struct ctl_call *call)
{
	enter(call, guard_deny);
}

void ctl_run_allow(struct ctl_call *call)
{
	enter(call, guard_allow);
}

void ctl_run_forget(struct ctl_call *call)
{
	struct cidr c = { 0 };
	char text[CIDR_TEXT_LEN];
	int err;

	take_cidr(call, &c);
	if (!ctl_request_complete(&call->request) || !guarded(call))
		return;
	cidr_show(&c, text);
	err = guard_remove(&call->s->guard, &c);
	if (err == -ENOENT)
		ctl_request_fail(&call->request, CTL_NOT_FOUND, "%s is in neither list", text);
	else if (err)
		say_failed(call, err);
	else
		ctl_say(call, "forget %s", text);
}

/* --- showing them --- */

struct listing {
	json_t *lists[NR_GUARD_LISTS];
	u32 nr;
};

static int add_entry(void *arg, const struct guard_listed *e)
{
	struct listing *l = arg;
	char text[CIDR_TEXT_LEN];
	u64 seconds = (e->expires_in_ns + NSEC_PER_SEC - 1) / NSEC_PER_SEC;

	if (l->nr++ == MAX_LISTED)
		return 1;
	json_array_append_new(l->lists[e->list],
			      json_pack("{s:s,s:I,s:o}", "cidr", cidr_show(&e->cidr, text), "hits",
					(json_int_t)e->hits, "expires_in_s",
					e->expires_in_ns ? json_integer((json_int_t)seconds)
							 : json_null()));
	return 0;
}

void ctl_run_lists(struct ctl_call *call)
{
	struct listing l = { 0 };
	int more;

	if (!ctl_request_complete(&call->request) || !guarded(call))
		return;
	l.lists[GUARD_DENY] = json_array();
	l.lists[GUARD_ALLOW] = json_array();
	more = guard_each(&call->s->guard, add_entry, &l);
	call->body = json_pack("{s:o,s:o,s:b}", "deny", l.lists[GUARD_DENY], "allow",
			       l.lists[GUARD_ALLOW], "more", more > 0);
}

json_t *ctl_guard_status(const struct supervisor *s)
{
	static const char *const modes[] = GUARD_MODE_NAMES;
	const struct guard_about *about = &s->guard.about;
	json_t *list;

	if (!s->guard.bpf)
		return json_null();
	list = json_array();
	for (u32 i = 0; i < about->nr_ifaces; i++)
		json_array_append_new(list, json_pack("{s:s,s:s}", "interface", about->ifaces[i].name,
						      "mode", modes[about->ifaces[i].mode]));
	return list;
}
