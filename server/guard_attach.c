/* SPDX-License-Identifier: MIT */
#include "server/guard.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <signal.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "gen/bpf/guard.skel.h"
#include "server/guard_state.h"
#include "server/log.h"

#define LOCK_TRIES 200
#define LOCK_WAIT_NS (10 * (long)NSEC_PER_MSEC)
#define TCX_INGRESS ((enum bpf_attach_type)46) /* BPF_TCX_INGRESS, of Linux 6.6 */
#define CLSACT_PRIORITY 49152u
/* Whose filter it is, and whether the qdisc is ours as well: a killed server leaves nothing else behind. */
#define CLSACT_HANDLE 0x48790000u
#define CLSACT_HANDLE_QDISC 0x48790001u

static const char *const mode_names[NR_GUARD_MODES] = GUARD_MODE_NAMES;

/* --- interfaces --- */

int guard_find_iface(const char *name)
{
	u32 ifindex = if_nametoindex(name);
	const struct sockaddr_ll *link = NULL;
	struct ifaddrs *all = NULL;
	int type = -1;
	u32 flags = 0;

	if (!ifindex) {
		log_error("guard: --attach %s: no interface has that name; `ip link` lists them",
			  name);
		return -ENODEV;
	}
	if (getifaddrs(&all))
		return -errno;
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		if (!a->ifa_addr || a->ifa_addr->sa_family != AF_PACKET ||
		    strcmp(a->ifa_name, name) != 0)
			continue;
		link = (const void *)a->ifa_addr;
		type = link->sll_hatype;
		flags = a->ifa_flags;
	}
	freeifaddrs(all);
	if (type != ARPHRD_ETHER && type != ARPHRD_LOOPBACK) {
		log_error("guard: --attach %s: its packets have no Ethernet header, which the "
			  "guard needs",
			  name);
		return -EPROTONOSUPPORT;
	}
	if (!(flags & IFF_UP)) {
		log_error("guard: --attach %s: the interface is down: ip link set dev %s up", name,
			  name);
		return -ENETDOWN;
	}
	return (int)ifindex;
}

/* Who held it before us may have unlinked the file between our open and our lock. */
static bool still_there(int fd, const char *path)
{
	struct stat held, there;

	return fstat(fd, &held) == 0 && lstat(path, &there) == 0 && held.st_ino == there.st_ino &&
	       held.st_dev == there.st_dev;
}

static pid_t read_owner(int fd)
{
	char text[16] = "";

	return pread(fd, text, sizeof(text) - 1, 0) > 0 ? (pid_t)atoi(text) : -1;
}

/* Whoever has the lock cleans up behind a server that was killed, and goes. */
static bool being_left(int fd)
{
	pid_t pid = read_owner(fd);

	return pid == 0 || (pid > 0 && kill(pid, 0) && errno == ESRCH);
}

static int open_lock(struct guard_hook *h)
{
	for (int tries = 0; tries < LOCK_TRIES; tries++) {
		bool taken;
		int err;

		h->lock_fd = open(h->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
		if (h->lock_fd < 0)
			return -errno;
		err = flock(h->lock_fd, LOCK_EX | LOCK_NB) ? -errno : 0;
		taken = err == -EWOULDBLOCK;
		if (err && !taken)
			return err;
		if (taken && !being_left(h->lock_fd))
			return -EBUSY;
		if (!taken && still_there(h->lock_fd, h->lock))
			return 0;
		close(h->lock_fd);
		h->lock_fd = -1;
		if (taken)
			nanosleep(&(struct timespec){ .tv_nsec = LOCK_WAIT_NS }, NULL);
	}
	return -EBUSY;
}

/* By number and network namespace: a number is only one within it. */
int guard_lock(struct guard *g, u32 i, const char *folder)
{
	struct guard_hook *h = &g->hooks[i];
	const char *name = g->about.ifaces[i].name;
	char pid[16] = "";
	struct stat st;
	int err;

	if (stat("/proc/self/ns/net", &st))
		return -errno;
	snprintf(h->lock, sizeof(h->lock), "%s/guard-%lu-%u", folder, (unsigned long)st.st_ino,
		 g->about.ifaces[i].ifindex);
	err = open_lock(h);
	if (!err) {
		if (ftruncate(h->lock_fd, 0) || dprintf(h->lock_fd, "%d\n", (int)getpid()) < 0)
			log_debug("guard: %s: %s", h->lock, strerror(errno));
		return 0;
	}
	if (err != -EBUSY || h->lock_fd < 0) {
		log_error("guard: %s: %s", h->lock, strerror(-err));
	} else {
		if (pread(h->lock_fd, pid, sizeof(pid) - 1, 0) > 0)
			pid[strcspn(pid, "\n")] = '\0';
		log_error(
			"guard: --attach %s: another hyperion-bpf guards it pid=%s; leave --attach "
			"out here, or stop that one",
			name, pid[0] ? pid : "?");
	}
	if (h->lock_fd >= 0)
		close(h->lock_fd);
	h->lock_fd = -1;
	return err;
}

static void unlock(struct guard_hook *h)
{
	if (h->lock_fd < 0)
		return;
	unlink(h->lock);
	close(h->lock_fd);
	h->lock_fd = -1;
}

/* --- XDP --- */

static void program_name(u32 id, char out[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = { 0 };
	u32 len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	out[0] = '\0';
	if (fd < 0)
		return;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len))
		memcpy(out, info.name, BPF_OBJ_NAME_LEN);
	close(fd);
}

/* Somebody's XDP program is there: 0 when there is none. */
static int refuse_taken(const struct guard *g, u32 i)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, found);
	const char *name = g->about.ifaces[i].name;
	char program[BPF_OBJ_NAME_LEN];
	u32 id;

	if (bpf_xdp_query((int)g->about.ifaces[i].ifindex, 0, &found))
		return 0;
	id = found.drv_prog_id ? found.drv_prog_id : found.skb_prog_id;
	id = id ? id : found.hw_prog_id;
	if (!id)
		return 0;
	program_name(id, program);
	log_error("guard: --attach %s: another XDP program is attached there: %s, "
		  "id %u. It is not "
		  "replaced: detach it (ip link set dev %s xdp off), or put the "
		  "guard behind it with "
		  "--guard-mode tcx",
		  name, program[0] ? program : "?", id, name);
	return -EEXIST;
}

static int attach_xdp(struct guard *g, u32 i, u32 flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);

	g->hooks[i].link_fd = bpf_link_create(bpf_program__fd(g->bpf->progs.guard_xdp),
					      (int)g->about.ifaces[i].ifindex, BPF_XDP, &opts);
	return min(g->hooks[i].link_fd, 0);
}

static int attach_native(struct guard *g, u32 i)
{
	return attach_xdp(g, i, XDP_FLAGS_DRV_MODE);
}

static int attach_generic(struct guard *g, u32 i)
{
	return attach_xdp(g, i, XDP_FLAGS_SKB_MODE);
}

/* --- traffic control --- */

static int attach_tcx(struct guard *g, u32 i)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);

	g->hooks[i].link_fd = bpf_link_create(bpf_program__fd(g->bpf->progs.guard_tc),
					      (int)g->about.ifaces[i].ifindex, TCX_INGRESS, &opts);
	return min(g->hooks[i].link_fd, 0);
}

static struct bpf_tc_hook clsact_hook(u32 ifindex)
{
	return (struct bpf_tc_hook){ .sz = sizeof(struct bpf_tc_hook),
				     .ifindex = (int)ifindex,
				     .attach_point = BPF_TC_INGRESS };
}

static void remove_clsact(u32 ifindex, bool with_qdisc)
{
	struct bpf_tc_hook hook = clsact_hook(ifindex);
	LIBBPF_OPTS(bpf_tc_opts, opts, .priority = CLSACT_PRIORITY);

	opts.handle = with_qdisc ? CLSACT_HANDLE_QDISC : CLSACT_HANDLE;
	bpf_tc_detach(&hook, &opts);
	if (!with_qdisc)
		return;
	/* Both directions at once are the qdisc itself. */
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	bpf_tc_hook_destroy(&hook);
}

/* Our lock says that nobody serves them; the name, that they are a guard's. */
static void remove_leftovers(u32 ifindex)
{
	struct bpf_tc_hook hook = clsact_hook(ifindex);

	for (u32 handle = CLSACT_HANDLE; handle <= CLSACT_HANDLE_QDISC; handle++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .handle = handle, .priority = CLSACT_PRIORITY);
		char program[BPF_OBJ_NAME_LEN];

		if (bpf_tc_query(&hook, &opts))
			continue;
		program_name(opts.prog_id, program);
		if (strcmp(program, "guard_tc") == 0)
			remove_clsact(ifindex, handle == CLSACT_HANDLE_QDISC);
	}
}

static int attach_clsact(struct guard *g, u32 i)
{
	struct bpf_tc_hook hook = clsact_hook(g->about.ifaces[i].ifindex);
	LIBBPF_OPTS(bpf_tc_opts, opts, .priority = CLSACT_PRIORITY);
	int err = bpf_tc_hook_create(&hook);

	if (err && err != -EEXIST)
		return err;
	g->hooks[i].made_qdisc = !err;
	opts.handle = err ? CLSACT_HANDLE : CLSACT_HANDLE_QDISC;
	opts.prog_fd = bpf_program__fd(g->bpf->progs.guard_tc);
	err = bpf_tc_attach(&hook, &opts);
	if (err && g->hooks[i].made_qdisc)
		remove_clsact(hook.ifindex, true);
	return err;
}

/* --- */

static int (*const attach_as[NR_GUARD_MODES])(struct guard *g, u32 i) = {
	[GUARD_NATIVE] = attach_native,
	[GUARD_GENERIC] = attach_generic,
	[GUARD_TCX] = attach_tcx,
	[GUARD_CLSACT] = attach_clsact,
};

static int try_mode(struct guard *g, u32 i, enum guard_mode mode)
{
	const char *name = g->about.ifaces[i].name;
	int err = attach_as[mode](g, i);

	if (err) {
		log_debug("guard: %s: %s: %s", name, mode_names[mode], strerror(-err));
		return err;
	}
	g->hooks[i].mode = mode;
	g->hooks[i].ifindex = g->about.ifaces[i].ifindex;
	return 0;
}

static const char *describe(enum guard_mode mode)
{
	static const char *const texts[NR_GUARD_MODES] = {
		[GUARD_NATIVE] = "XDP in the driver",
		[GUARD_GENERIC] = "generic XDP (the driver's own costs less)",
		[GUARD_TCX] = "traffic control (tcx)",
		[GUARD_CLSACT] = "traffic control (a filter of clsact)",
	};

	return texts[mode];
}

int guard_attach(struct guard *g, u32 i, enum guard_mode wanted)
{
	const char *name = g->about.ifaces[i].name;
	enum guard_mode mode = wanted ? wanted : GUARD_NATIVE;
	int err;

	remove_leftovers(g->about.ifaces[i].ifindex);
	if (mode <= GUARD_GENERIC) {
		err = refuse_taken(g, i);
		if (err)
			return err;
	}
	err = try_mode(g, i, mode);
	while (err && err != -EPERM && !wanted && ++mode < NR_GUARD_MODES)
		err = try_mode(g, i, mode);
	if (err) {
		log_error("guard: --attach %s: the kernel refuses%s%s: %s%s", name,
			  wanted ? " --guard-mode " : "", wanted ? mode_names[wanted] : "",
			  strerror(-err),
			  err == -EPERM         ? "; root is needed, or CAP_NET_ADMIN"
			  : wanted == GUARD_TCX ? "; it needs Linux 6.6, auto tries the others"
			  : wanted              ? "; auto tries the others"
						: "");
		return err;
	}
	log_info("guard: watches %s: %s", name, describe(mode));
	return 0;
}

void guard_detach(struct guard *g, u32 i)
{
	struct guard_hook *h = &g->hooks[i];

	if (h->link_fd >= 0)
		close(h->link_fd);
	h->link_fd = -1;
	if (h->mode == GUARD_CLSACT)
		remove_clsact(h->ifindex, h->made_qdisc);
	h->mode = GUARD_AUTO;
	unlock(h);
}

/* The lock of @owner, who has died, becomes ours; false: another server was first. */
static bool take_lock_of(struct guard_hook *h, pid_t owner)
{
	int fd = h->lock[0] ? open(h->lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;

	if (fd < 0)
		return !h->lock[0];
	/* Its descriptors close one after the other. */
	for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB); tries++) {
		if (read_owner(fd) != owner || tries == LOCK_TRIES)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = LOCK_WAIT_NS }, NULL);
	}
	h->lock_fd = fd;
	/* Its pid may be there for a while, and not be a server any more. */
	return still_there(fd, h->lock) && read_owner(fd) == owner && ftruncate(fd, 0) == 0 &&
	       pwrite(fd, "0\n", 2, 0) == 2;
}

void guard_clean_up(struct guard *g, pid_t owner)
{
	for (u32 i = 0; i < g->about.nr_ifaces; i++)
		if (!take_lock_of(&g->hooks[i], owner))
			return;
	if (g->pins[0])
		guard_unpin(g->pins);
	for (u32 i = 0; i < g->about.nr_ifaces; i++) {
		struct guard_hook *h = &g->hooks[i];

		if (h->mode == GUARD_CLSACT)
			remove_clsact(h->ifindex, h->made_qdisc);
		unlock(h);
	}
}
