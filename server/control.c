/* SPDX-License-Identifier: MIT */
#include "server/control.h"

#include <sys/socket.h>
#include <unistd.h>

struct packet {
	u32 word, number;
};

union ancillary {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * CONTROL_MAX_FDS) + CMSG_SPACE(sizeof(struct ucred))];
};

int control_pair(int pair[2])
{
	int on = 1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	if (setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on))) {
		int err = -errno;

		close(pair[0]);
		close(pair[1]);
		return err;
	}
	return 0;
}

int control_send(int fd, const struct control *c)
{
	struct packet packet = { c->word, c->number };
	struct iovec iov[2] = { { &packet, sizeof(packet) },
				{ (void *)(uintptr_t)c->text, c->text_len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	union ancillary anc;

	if (c->nr_fds) {
		size_t len = c->nr_fds * sizeof(int);
		struct cmsghdr *cm;

		memset(&anc, 0, sizeof(anc));
		msg.msg_control = anc.bytes;
		msg.msg_controllen = CMSG_SPACE(len);
		cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(len);
		memcpy(CMSG_DATA(cm), c->fds, len);
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int control_say(int fd, enum control_word word, u32 number)
{
	struct control c;

	c.word = word;
	c.number = number;
	c.text_len = c.nr_fds = 0;
	return control_send(fd, &c);
}

static void take_ancillary(struct msghdr *msg, struct control *c)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(msg); cm; cm = CMSG_NXTHDR(msg, cm)) {
		size_t len = cm->cmsg_len - CMSG_LEN(0);

		if (cm->cmsg_level != SOL_SOCKET)
			continue;
		if (cm->cmsg_type == SCM_RIGHTS) {
			c->nr_fds = (u32)(len / sizeof(int));
			memcpy(c->fds, CMSG_DATA(cm), c->nr_fds * sizeof(int));
		} else if (cm->cmsg_type == SCM_CREDENTIALS) {
			struct ucred cred;

			memcpy(&cred, CMSG_DATA(cm), sizeof(cred));
			c->pid = cred.pid;
		}
	}
}

int control_recv(int fd, struct control *c, bool wait)
{
	struct packet packet;
	struct iovec iov[2] = { { &packet, sizeof(packet) }, { c->text, sizeof(c->text) } };
	union ancillary anc;
	struct msghdr msg = { .msg_iov = iov,
			      .msg_iovlen = 2,
			      .msg_control = anc.bytes,
			      .msg_controllen = sizeof(anc.bytes) };
	ssize_t n;

	c->nr_fds = 0;
	c->pid = 0;
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	if (n == 0)
		return 0;
	take_ancillary(&msg, c);
	if ((size_t)n < sizeof(packet))
		return -EPROTO;
	c->word = (enum control_word)packet.word;
	c->number = packet.number;
	c->text_len = (u32)((size_t)n - sizeof(packet));
	return 1;
}
