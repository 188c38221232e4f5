/* SPDX-License-Identifier: MIT */
#include "server/inbox.h"

#include <sys/socket.h>
#include <unistd.h>

#include "server/log.h"

union ancillary {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int inboxes_open(struct inboxes *b, u32 nr)
{
	*b = (struct inboxes){ 0 };
	while (b->nr < min(nr, INBOX_MAX)) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
			int err = -errno;

			inboxes_close(b);
			return err;
		}
		b->in[b->nr] = pair[0];
		b->to[b->nr++] = pair[1];
	}
	return 0;
}

void inboxes_close(struct inboxes *b)
{
	while (b->nr) {
		b->nr--;
		close(b->in[b->nr]);
		close(b->to[b->nr]);
	}
}

int inbox_send(int to, const struct parcel *p, int fd)
{
	struct iovec iov = { (void *)(uintptr_t)p, PARCEL_HEAD_LEN + p->len };
	union ancillary anc = { .bytes = { 0 } };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = anc.bytes,
			      .msg_controllen = sizeof(anc.bytes) };
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cm), &fd, sizeof(fd));
	return sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int take_fd(struct msghdr *msg)
{
	struct cmsghdr *cm = CMSG_FIRSTHDR(msg);
	int fd = -1;

	if (cm && cm->cmsg_level == SOL_SOCKET && cm->cmsg_type == SCM_RIGHTS &&
	    cm->cmsg_len == CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
	return fd;
}

int inbox_recv(int in, struct parcel *p, int *fd)
{
	struct iovec iov = { p, sizeof(*p) };
	union ancillary anc;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = anc.bytes,
			      .msg_controllen = sizeof(anc.bytes) };
	ssize_t n;

	do
		n = recvmsg(in, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0; /* -EAGAIN; the supervisor holds the other end, so there is no end of file */
	*fd = take_fd(&msg);
	if (*fd >= 0 && parcel_valid(p, (size_t)n))
		return 1;
	log_limited(LOG_LEVEL_ERROR, "worker: a connection from another worker is lost: %s",
		    *fd < 0 ? "no descriptor is left for it" : "its packet is not of ours");
	if (*fd >= 0)
		close(*fd);
	return -EPROTO;
}
