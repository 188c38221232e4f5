/* SPDX-License-Identifier: MIT */
/*
 * Sends frames as they are, from a packet socket, and says how many bytes each had:
 *   sender IFACE MAC word=value...     MAC: of the other end
 *   sender --write FILE word=value...  into a file instead
 * src= dst= sport= dport= flags=(number) payload= options= offset= more=1 proto= ethertype=
 * tags=1,2 ext=0,60 cut=BYTES; count= of them, sport= growing; hosts= sources that take turns, the
 * last word of the address growing.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "selftests/guard/frame.h"

#define BATCH 64u
#define MAX_COUNT 1000000u

struct wish {
	struct frame_plan plan;
	u32 count, hosts, cut;
};

static u32 number(const char *text)
{
	return (u32)strtoul(text, NULL, 0);
}

static u32 numbers(const char *text, u32 *out, u32 max)
{
	u32 nr = 0;

	while (*text && nr < max) {
		char *end;

		out[nr++] = (u32)strtoul(text, &end, 0);
		text = *end ? end + 1 : end;
	}
	return nr;
}

static int take_list(struct frame_plan *plan, const char *key, const char *value)
{
	u32 all[FRAME_EXTENSIONS];

	if (strcmp(key, "tags") == 0) {
		plan->nr_tags = numbers(value, all, ARRAY_SIZE(plan->tags));
		for (u32 i = 0; i < plan->nr_tags; i++)
			plan->tags[i] = (u16)all[i];
		return 0;
	}
	if (strcmp(key, "ext") != 0)
		return -1;
	plan->nr_extensions = numbers(value, all, FRAME_EXTENSIONS);
	for (u32 i = 0; i < plan->nr_extensions; i++)
		plan->extensions[i] = (u8)all[i];
	return 0;
}

static int take(struct wish *w, char *word)
{
	struct frame_plan *p = &w->plan;
	char *value = strchr(word, '=');

	if (!value)
		return -1;
	*value++ = '\0';
	if (strcmp(word, "src") == 0)
		p->src = value;
	else if (strcmp(word, "dst") == 0)
		p->dst = value;
	else if (strcmp(word, "sport") == 0)
		p->sport = (u16)number(value);
	else if (strcmp(word, "dport") == 0)
		p->dport = (u16)number(value);
	else if (strcmp(word, "flags") == 0)
		p->flags = (u8)number(value);
	else if (strcmp(word, "payload") == 0)
		p->payload = number(value);
	else if (strcmp(word, "options") == 0)
		p->options = number(value);
	else if (strcmp(word, "offset") == 0)
		p->offset = (u16)number(value);
	else if (strcmp(word, "more") == 0)
		p->more = number(value);
	else if (strcmp(word, "proto") == 0)
		p->proto = (u8)number(value);
	else if (strcmp(word, "ethertype") == 0)
		p->ethertype = (u16)number(value);
	else if (strcmp(word, "count") == 0)
		w->count = number(value);
	else if (strcmp(word, "hosts") == 0)
		w->hosts = number(value);
	else if (strcmp(word, "cut") == 0)
		w->cut = number(value);
	else
		return take_list(p, word, value);
	return 0;
}

/* The source's last number and the port move on, so that no two frames are alike. */
static size_t build(const struct wish *w, u32 i, u8 *out)
{
	struct frame_plan plan = w->plan;
	char src[INET6_ADDRSTRLEN + 8];
	size_t len;

	if (plan.src && w->hosts > 1) {
		bool v6 = strchr(plan.src, ':');
		const char *last = strrchr(plan.src, v6 ? ':' : '.') + 1;
		u32 host = (u32)strtoul(last, NULL, v6 ? 16 : 10) + i % w->hosts;

		snprintf(src, sizeof(src), v6 ? "%.*s%x" : "%.*s%u", (int)(last - plan.src),
			 plan.src, host);
		plan.src = src;
	}
	plan.sport = (u16)(plan.sport + i / (w->hosts ? w->hosts : 1) % 50000);
	len = frame_build(&plan, out);
	return w->cut && w->cut < len ? w->cut : len;
}

static int write_file(const char *path, const struct wish *w)
{
	u8 bytes[FRAME_MAX];
	size_t len = build(w, 0, bytes);
	FILE *f = fopen(path, "wb");

	if (!f || fwrite(bytes, 1, len, f) != len || fclose(f)) {
		perror(path);
		return 1;
	}
	return 0;
}

static int send_all(int fd, const struct sockaddr_ll *to, const struct wish *w)
{
	static u8 frames[BATCH][FRAME_MAX];
	struct mmsghdr msgs[BATCH] = { 0 };
	struct iovec iovs[BATCH];
	u32 sent = 0;

	while (sent < w->count) {
		u32 nr = w->count - sent < BATCH ? w->count - sent : BATCH, done = 0, tries = 0;

		for (u32 i = 0; i < nr; i++) {
			iovs[i].iov_base = frames[i];
			iovs[i].iov_len = build(w, sent + i, frames[i]);
			msgs[i].msg_hdr = (struct msghdr){ .msg_name = (void *)to,
							   .msg_namelen = sizeof(*to),
							   .msg_iov = &iovs[i],
							   .msg_iovlen = 1 };
		}
		while (done < nr) {
			int n = sendmmsg(fd, msgs + done, nr - done, 0);

			if (n < 0 && errno != ENOBUFS && errno != EAGAIN)
				return -errno;
			if (n < 0 && ++tries > 10000)
				return -ENOBUFS;
			if (n < 0)
				nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
			done += n > 0 ? (u32)n : 0;
		}
		sent += nr;
	}
	return 0;
}

static int own_mac(const char *iface, u8 mac[6])
{
	char path[64];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/sys/class/net/%s/address", iface);
	f = fopen(path, "r");
	if (!f)
		return -1;
	n = fscanf(f, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
		   &mac[5]);
	fclose(f);
	return n == 6 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct wish w = { .count = 1, .plan = { .sport = 10000 } };
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };
	u8 bytes[FRAME_MAX], *mac = w.plan.to;
	int fd, err;

	for (int i = 3; i < argc; i++) {
		if (take(&w, argv[i])) {
			fprintf(stderr, "sender: %s\n", argv[i]);
			return 2;
		}
	}
	if (argc < 3 || w.count > MAX_COUNT)
		return 2;
	if (strcmp(argv[1], "--write") == 0)
		return write_file(argv[2], &w);
	if (sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != 6)
		return 2;
	/* sysfs may show another namespace; whose frames they are does not matter then. */
	if (own_mac(argv[1], w.plan.from))
		memcpy(w.plan.from, "\2\0\0\0\0\1", 6);
	to.sll_ifindex = (int)if_nametoindex(argv[1]);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0 || !to.sll_ifindex) {
		perror("sender: packet socket");
		return 1;
	}
	err = send_all(fd, &to, &w);
	if (err) {
		fprintf(stderr, "sender: %s\n", strerror(-err));
		return 1;
	}
	printf("%zu\n", build(&w, 0, bytes));
	close(fd);
	return 0;
}
