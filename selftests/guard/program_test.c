/* SPDX-License-Identifier: MIT */
/*
 * The guard's programs in the kernel, fed frame by frame without an interface
 * (BPF_PROG_TEST_RUN): they say what the twin in user space says; lists, their
 * ends, and the rate of SYNs; what the verifier had to look at.
 */
#include "server/guard_state.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "bpf/guard_match.h"
#include "gen/bpf/guard.skel.h"
#include "selftests/guard/frame.h"
#include "selftests/harness/harness.h"

#define LO 1 /* the interface that a test run comes through */
#define PORT 8080
/* The kernel's own is a million. Loading takes 70 us for each thousand. */
#define VERIFIER_CEILING 45000u

#define V4 .src = "192.0.2.1", .dst = "192.0.2.2"
#define V6 .src = "2001:db8::1", .dst = "2001:db8::2"
#define TO .sport = 40000, .dport = PORT

FIXTURE(program)
{
	struct guard g;
	struct guard_settings settings;
	int fd;
	bool xdp;
};

FIXTURE_VARIANT(program)
{
	bool xdp;
	u32 rate, burst;
};

VARIANT(program, xdp) = { .xdp = true };
VARIANT(program, tc) = { .xdp = false };
VARIANT(program, xdp_rate) = { .xdp = true, .rate = 1, .burst = 5 };
VARIANT(program, tc_rate) = { .xdp = false, .rate = 1, .burst = 5 };

static int say_nothing(enum libbpf_print_level level, const char *fmt, va_list args)
{
	if (level == LIBBPF_WARN)
		vfprintf(stderr, fmt, args);
	return 0;
}

FIXTURE_SETUP(program)
{
	static const struct guard_address addresses[] = { { .family = 4, .port = PORT },
							  { .family = 6, .port = PORT } };
	struct guard_config config = { .settings = &self->settings,
				       .addresses = addresses,
				       .nr_addresses = ARRAY_SIZE(addresses) };
	int err;

	libbpf_set_print(say_nothing);
	guard_init(&self->g);
	self->g.about.nr_ifaces = 1;
	self->g.about.ifaces[0].ifindex = LO;
	self->settings.syn_rate = variant->rate;
	self->settings.syn_burst = variant->burst;
	self->settings.syn_prefix_v4 = 24;
	self->g.bpf = guard_bpf__open();
	ASSERT_NOT_NULL(self->g.bpf);
	ASSERT_OK(guard_set_rules(&self->g.bpf->rodata->rules, self->g.bpf->rodata->first_place,
				  &self->g.about, &config));
	err = guard_bpf__load(self->g.bpf);
	if (err == -EPERM)
		SKIP("bpf: EPERM from loading");
	ASSERT_OK(err);
	self->xdp = variant->xdp;
	self->fd = bpf_program__fd(self->xdp ? self->g.bpf->progs.guard_xdp
					     : self->g.bpf->progs.guard_tc);
}

FIXTURE_TEARDOWN(program)
{
	guard_close(&self->g);
}

/* true: dropped. */
static bool run(struct self_program *self, const u8 *bytes, size_t len)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bytes, .data_size_in = (u32)len, .repeat = 1);

	ASSERT_OK(bpf_prog_test_run_opts(self->fd, &opts));
	if (self->xdp) {
		ASSERT_TRUE(opts.retval == XDP_DROP || opts.retval == XDP_PASS);
		return opts.retval == XDP_DROP;
	}
	ASSERT_TRUE(opts.retval == TC_ACT_SHOT || opts.retval == (u32)TC_ACT_UNSPEC);
	return opts.retval == TC_ACT_SHOT;
}

static bool drops(struct self_program *self, const struct frame_plan *plan)
{
	u8 bytes[FRAME_MAX];

	return run(self, bytes, frame_build(plan, bytes));
}

#define DROPS(self, ...)                                                                           \
	({                                                                                         \
		struct frame_plan plan_ = { __VA_ARGS__ };                                         \
		drops(self, &plan_);                                                               \
	})

/* Sums over CPUs; every value is u64s. */
static void read_counts(int fd, u32 key, __u64 *out, u32 nr)
{
	static __u64 values[1024 * 8];
	int nr_cpus = libbpf_num_possible_cpus();

	ASSERT_TRUE(nr_cpus > 0 && (u32)nr_cpus * nr <= ARRAY_SIZE(values));
	ASSERT_OK(bpf_map_lookup_elem(fd, &key, values));
	memset(out, 0, nr * sizeof(*out));
	for (u32 i = 0; i < (u32)nr_cpus * nr; i++)
		out[i % nr] += values[i];
}

static struct guard_iface seen(struct self_program *self)
{
	struct guard_iface sum;

	read_counts(bpf_map__fd(self->g.bpf->maps.guard_ifaces), 0, sum.seen, NR_GUARD_SEEN);
	return sum;
}

static struct guard_port counted(struct self_program *self)
{
	struct guard_port sum;

	read_counts(bpf_map__fd(self->g.bpf->maps.guard_ports), 0, (__u64 *)&sum,
		    sizeof(sum) / sizeof(u64));
	return sum;
}

static void deny(struct self_program *self, const char *text, u64 seconds)
{
	const char *why;
	struct cidr c;

	ASSERT_OK(cidr_parse(text, &c, &why));
	ASSERT_OK(guard_deny(&self->g, &c, seconds));
}

static void allow(struct self_program *self, const char *text, u64 seconds)
{
	const char *why;
	struct cidr c;

	ASSERT_OK(cidr_parse(text, &c, &why));
	ASSERT_OK(guard_allow(&self->g, &c, seconds));
}

static int take_out(struct self_program *self, const char *text)
{
	const char *why;
	struct cidr c;

	ASSERT_OK(cidr_parse(text, &c, &why));
	return guard_remove(&self->g, &c);
}

TEST_F(program, verifier)
{
	struct bpf_prog_info info = { 0 };
	u32 len = sizeof(info);

	ASSERT_OK(bpf_obj_get_info_by_fd(self->fd, &info, &len));
	NOTE("%u instructions looked at by the verifier, %u in the program", info.verified_insns,
	     info.xlated_prog_len / 8);
	EXPECT_TRUE(info.verified_insns > 0);
	EXPECT_LE(info.verified_insns, VERIFIER_CEILING);
}

TEST_F(program, counts_what_is_ours)
{
	u8 bytes[FRAME_MAX];
	struct frame_plan plan = { V4, TO, .flags = PACKET_SYN };
	size_t len = frame_build(&plan, bytes);
	struct guard_port c;
	struct guard_iface s;

	EXPECT_FALSE(run(self, bytes, len));
	EXPECT_FALSE(DROPS(self, V6, TO, .flags = PACKET_ACK));
	EXPECT_FALSE(DROPS(self, V6, .dport = PORT + 1));
	EXPECT_FALSE(DROPS(self, V4, TO, .proto = 17));
	EXPECT_FALSE(DROPS(self, .ethertype = 0x0806, .payload = 1));
	c = counted(self);
	EXPECT_EQ(c.packets, 2);
	EXPECT_EQ(c.bytes, len + 14 + 40 + 20);
	EXPECT_EQ(c.syns, 1);
	EXPECT_EQ(c.dropped[0] + c.dropped[1] + c.dropped_bytes, 0);
	s = seen(self);
	EXPECT_EQ(s.seen[PACKET_TCP], 2);
	EXPECT_EQ(s.seen[GUARD_SEEN_OTHER_PORT], 1);
	EXPECT_EQ(s.seen[PACKET_NOT_TCP], 1);
	EXPECT_EQ(s.seen[PACKET_NOT_IP], 1);
}

TEST_F(program, longest_prefix_wins_and_allow_where_they_are_equal)
{
	deny(self, "192.0.2.0/24", 0);
	EXPECT_TRUE(DROPS(self, V4, TO));
	allow(self, "192.0.0.0/16", 0);
	EXPECT_TRUE(DROPS(self, V4, TO));
	allow(self, "192.0.2.0/25", 0);
	EXPECT_FALSE(DROPS(self, V4, TO));
	EXPECT_TRUE(DROPS(self, .src = "192.0.2.200", .dst = "192.0.2.2", TO));
	deny(self, "192.0.2.1", 0);
	EXPECT_TRUE(DROPS(self, V4, TO));
	/* In both lists it cannot be: the last word counts. */
	allow(self, "192.0.2.1", 0);
	EXPECT_FALSE(DROPS(self, V4, TO));
	deny(self, "2001:db8::/32", 0);
	EXPECT_TRUE(DROPS(self, V6, TO));
	EXPECT_FALSE(DROPS(self, .src = "2001:db9::1", .dst = "2001:db8::2", TO));
	EXPECT_EQ(take_out(self, "2001:db8::/32"), 0);
	EXPECT_FALSE(DROPS(self, V6, TO));
	EXPECT_EQ(take_out(self, "2001:db8::/32"), -ENOENT);
	EXPECT_EQ(counted(self).dropped[GUARD_DROP_DENY], 5);
}

TEST_F(program, only_our_ports_are_dropped)
{
	deny(self, "0.0.0.0/0", 0);
	deny(self, "::/0", 0);
	EXPECT_TRUE(DROPS(self, V4, TO));
	EXPECT_TRUE(DROPS(self, V6, TO));
	EXPECT_TRUE(DROPS(self, V4, TO, .more = true));
	EXPECT_FALSE(DROPS(self, V4, .sport = PORT, .dport = 22));
	EXPECT_FALSE(DROPS(self, V6, .dport = 22));
	EXPECT_FALSE(DROPS(self, V4, TO, .proto = 17));
	EXPECT_FALSE(DROPS(self, V4, TO, .offset = 10));
	EXPECT_FALSE(DROPS(self, .ethertype = 0x0806, .payload = 1));
}

/* As it would be some seconds later. */
static void let_expire(struct self_program *self, const char *text)
{
	int fd = bpf_map__fd(self->g.bpf->maps.guard_deny_v4);
	struct guard_key_v4 key = { 0 };
	struct guard_entry e;
	const char *why;
	struct cidr c;

	ASSERT_OK(cidr_parse(text, &c, &why));
	key.len = c.len;
	memcpy(key.addr, c.addr, 4);
	ASSERT_OK(bpf_map_lookup_elem(fd, &key, &e));
	ASSERT_EQ(e.len, c.len);
	ASSERT_TRUE(e.expires_ns);
	e.expires_ns = 1;
	ASSERT_OK(bpf_map_update_elem(fd, &key, &e, BPF_EXIST));
}

static int count_entries(void *arg, const struct guard_listed *e)
{
	(void)e;
	++*(u32 *)arg;
	return 0;
}

static u32 nr_entries(struct self_program *self)
{
	u32 nr = 0;

	ASSERT_EQ(guard_each(&self->g, count_entries, &nr), 0);
	return nr;
}

TEST_F(program, an_expired_entry_hides_no_other)
{
	deny(self, "192.0.0.0/8", 0);
	deny(self, "192.0.0.0/16", 60);
	deny(self, "192.0.2.0/24", 60);
	deny(self, "192.0.2.1", 60);
	EXPECT_EQ(nr_entries(self), 4);
	let_expire(self, "192.0.2.1");
	let_expire(self, "192.0.2.0/24");
	let_expire(self, "192.0.0.0/16");
	/* Not yet swept, they neither count nor are shown. */
	EXPECT_TRUE(DROPS(self, V4, TO));
	EXPECT_EQ(nr_entries(self), 1);
	ASSERT_EQ(take_out(self, "192.0.0.0/8"), 0);
	EXPECT_FALSE(DROPS(self, V4, TO));
	self->g.next_expiry_ns = 1;
	guard_sweep(&self->g, UINT64_MAX / 2);
	EXPECT_EQ(self->g.next_expiry_ns, 0);
	EXPECT_EQ(take_out(self, "192.0.2.0/24"), -ENOENT);
}

/* Nobody sweeps here: the program itself looks at the clock. */
TEST_F(program, an_end_comes_by_itself)
{
	bool dropped = true;

	deny(self, "192.0.2.1", 1);
	allow(self, "198.51.100.1", 3600);
	deny(self, "198.51.100.0/24", 3600);
	EXPECT_TRUE(DROPS(self, V4, TO));
	EXPECT_FALSE(DROPS(self, .src = "198.51.100.1", .dst = "192.0.2.2", TO));
	for (int i = 0; dropped && i < 500; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		dropped = DROPS(self, V4, TO);
	}
	EXPECT_FALSE(dropped);
	EXPECT_TRUE(DROPS(self, .src = "198.51.100.2", .dst = "192.0.2.2", TO));
	EXPECT_EQ(nr_entries(self), 2);
}

static int find_hits(void *arg, const struct guard_listed *e)
{
	char text[CIDR_TEXT_LEN];

	if (e->list == GUARD_DENY && strcmp(cidr_show(&e->cidr, text), "192.0.2.0/24") == 0)
		*(u64 *)arg = e->hits;
	return 0;
}

TEST_F(program, hits_stay_when_the_end_moves)
{
	u64 hits = 99;

	deny(self, "192.0.2.0/24", 60);
	for (int i = 0; i < 3; i++)
		EXPECT_TRUE(DROPS(self, V4, TO));
	deny(self, "192.0.2.0/24", 0);
	EXPECT_EQ(guard_each(&self->g, find_hits, &hits), 0);
	EXPECT_EQ(hits, 3);
	EXPECT_TRUE(DROPS(self, V4, TO));
	EXPECT_EQ(guard_each(&self->g, find_hits, &hits), 0);
	EXPECT_EQ(hits, 4);
}

TEST_F(program, rate_of_syns)
{
	u32 nr = 0;

	/* Other sources of the same /24 and IPv6 of the same /64 share a bucket. */
	for (u32 i = 0; i < 20; i++) {
		char src[32];

		snprintf(src, sizeof(src), "192.0.2.%u", i + 1);
		nr += DROPS(self, .src = src, .dst = "198.51.100.1", TO, .flags = PACKET_SYN);
	}
	if (!variant->rate) {
		EXPECT_EQ(nr, 0);
		return;
	}
	/* One a second, so that one more at most comes through while this runs. */
	EXPECT_TRUE(nr == 15 || nr == 14);
	EXPECT_FALSE(DROPS(self, .src = "192.0.3.1", .dst = "198.51.100.1", TO, .flags = PACKET_SYN));
	EXPECT_FALSE(DROPS(self, V4, TO, .flags = PACKET_ACK));
	EXPECT_FALSE(DROPS(self, V4, TO, .flags = PACKET_SYN | PACKET_ACK));
	EXPECT_FALSE(DROPS(self, V4, .dport = 22, .flags = PACKET_SYN));
	EXPECT_FALSE(DROPS(self, V6, TO, .flags = PACKET_SYN));
	allow(self, "192.0.2.9", 0);
	EXPECT_FALSE(DROPS(self, .src = "192.0.2.9", .dst = "198.51.100.1", TO, .flags = PACKET_SYN));
	EXPECT_EQ(counted(self).dropped[GUARD_DROP_SYN_RATE], nr);
}

/* The kernel's program and the twin see the same in anything. */
static void compare(struct self_program *self, const u8 *bytes, size_t len)
{
	struct guard_iface before = seen(self), after;
	enum packet_kind kind;
	struct packet pkt;
	u32 want;
	bool dropped = run(self, bytes, len), ours;

	kind = packet_walk(bytes, bytes + len, &pkt);
	ours = kind == PACKET_TCP && guard_match(&self->g.bpf->rodata->rules,
						 self->g.bpf->rodata->first_place, &pkt, LO) >= 0;
	want = kind == PACKET_TCP && !ours ? GUARD_SEEN_OTHER_PORT : kind;
	after = seen(self);
	for (u32 i = 0; i < NR_GUARD_SEEN; i++)
		EXPECT_EQ(after.seen[i], before.seen[i] + (i == want));
	EXPECT_EQ(dropped, ours);
}

TEST_F(program, twin_over_random_frames)
{
	static const struct frame_plan plans[] = {
		{ V4, TO, .payload = 10 },
		{ V4, TO, .options = 12, .more = true },
		{ V4, .dport = PORT + 1 },
		{ V6, TO, .extensions = { 0, 60, 44 }, .nr_extensions = 3 },
		{ V6, TO, .extensions = { 43, 51 }, .nr_extensions = 2 },
	};
	u32 nr_ours = 0;
	struct rng rng;

	deny(self, "0.0.0.0/0", 0);
	deny(self, "::/0", 0);
	rng_init(&rng);
	time_limit(30);
	for (int i = 0; i < 4000 && !has_failed(); i++) {
		struct frame_plan plan = plans[rng_below(&rng, ARRAY_SIZE(plans))];
		u32 nr_bytes = (u32)rng_below(&rng, 4);
		u8 bytes[FRAME_MAX];
		size_t len;

		plan.nr_tags = self->xdp ? (u32)rng_below(&rng, 4) : 0;
		len = frame_build(&plan, bytes);
		for (u32 k = 0; k < nr_bytes; k++)
			bytes[12 + rng_below(&rng, len - 12)] = (u8)rng_next(&rng);
		/* What traffic control sees of tags is not what was sent. */
		if (!self->xdp && (packet_be16(bytes + 12) | 0x2000) == 0xa100)
			continue;
		/* A test run wants a whole IP header there. */
		if (rng_below(&rng, 4) == 0 && len > (self->xdp ? 14u : 54u))
			len = (self->xdp ? 14 : 54) + rng_below(&rng, len - (self->xdp ? 14 : 54));
		compare(self, bytes, len);
		nr_ours++;
	}
	EXPECT_TRUE(nr_ours > 3000);
	EXPECT_TRUE(counted(self).dropped[GUARD_DROP_DENY] > 300);
}
