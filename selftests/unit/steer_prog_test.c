/* SPDX-License-Identifier: MIT */
/* What the kernel says of bpf/steer.bpf.c. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/capability.h>
#include <unistd.h>

#include "bpf/abi.h"
#include "selftests/harness/harness.h"
#include "server/steer.h"

/* The kernel gives up at a million; a branch more in steer.h may double it. */
#define MAX_VERIFIED_INSNS 20000u
#define NR_SLOTS 264u

static int make_rows(const char *name, u32 value_len, u32 nr)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(u32), value_len, nr, &opts);

	if (fd == -EPERM || fd == -EACCES)
		SKIP("bpf: no privilege");
	ASSERT_GE(fd, 0);
	return fd;
}

/* Loads it, for the first of two addresses. */
static void check_load(void)
{
	const bool wanted[2] = { true, false };
	struct bpf_prog_info info = { 0 };
	u32 len = sizeof(info);
	int rows = make_rows("steer", sizeof(struct stats_steer), NR_SLOTS);
	int header = make_rows("header", sizeof(struct stats_header), 1);
	struct steer s;

	ASSERT_OK(steer_open(&s, wanted, 2, rows, header, NR_SLOTS));
	ASSERT_GE(steer_prog(&s, 0), 0);
	EXPECT_EQ(steer_prog(&s, 1), -1);
	ASSERT_OK(bpf_obj_get_info_by_fd(steer_prog(&s, 0), &info, &len));
	printf("# %s: %u instructions verified, %u bytes of machine code\n", info.name,
	       info.verified_insns, info.jited_prog_len);
	EXPECT_GT(info.verified_insns, 100);
	EXPECT_LT(info.verified_insns, MAX_VERIFIED_INSNS);
	steer_close(&s);
	close(rows);
	close(header);
}

TEST(the_verifier_is_soon_done)
{
	check_load();
}

/* 0, or -1: there is more to have than may be had. */
static int keep_only(const cap_value_t *values, int nr)
{
	cap_t caps = cap_init();
	int err = -1;

	ASSERT_NE(caps, NULL);
	if (!cap_set_flag(caps, CAP_PERMITTED, nr, values, CAP_SET) &&
	    !cap_set_flag(caps, CAP_EFFECTIVE, nr, values, CAP_SET))
		err = cap_set_proc(caps);
	cap_free(caps);
	return err;
}

/* Without CAP_PERFMON the verifier also checks what the CPU may do on paths that it only guesses. */
TEST(cap_bpf_is_enough)
{
	/* What the supervisor has; of these, what it takes. */
	static const cap_value_t both[] = { CAP_BPF, CAP_NET_ADMIN };

	if (keep_only(both, 2))
		SKIP("bpf: no privilege");
	check_load();
	ASSERT_OK(keep_only(both, 1));
	check_load();
}
