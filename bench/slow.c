/* SPDX-License-Identifier: MIT */
/*
 * Clients that read slowly: each of N connections asks once and takes its
 * answer at a bounded pace, until it ends or the time is over. Ready when it
 * prints its first line ("reading"); at the end one line of JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1000
#define TICKS 50 /* per second: what a client may take comes in so many portions ... */
#define TURNS 20 /* ... and the clients take them in so many turns, not all at once */

static struct {
	int port, connections, seconds;
	long rate; /* bytes per second and connection */
	const char *path;
} opt = { .connections = 1, .seconds = 5, .rate = 1 << 20, .path = "/" };

static int fds[MAX_CONNECTIONS];
static unsigned long long total;
static int ended;

static void die(const char *what)
{
	fprintf(stderr, "slow: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void read_options(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		const char *value = argv[i + 1];

		if (strcmp(argv[i], "--port") == 0)
			opt.port = atoi(value);
		else if (strcmp(argv[i], "--connections") == 0)
			opt.connections = atoi(value);
		else if (strcmp(argv[i], "--seconds") == 0)
			opt.seconds = atoi(value);
		else if (strcmp(argv[i], "--rate") == 0)
			opt.rate = atol(value);
		else if (strcmp(argv[i], "--path") == 0)
			opt.path = value;
		else
			goto usage;
	}
	if (argc % 2 && opt.port > 0 && opt.connections > 0 && opt.connections <= MAX_CONNECTIONS &&
	    opt.rate >= TICKS && opt.seconds > 0)
		return;
usage:
	fprintf(stderr, "usage: slow --port N [--path /] [--connections 1] [--rate BYTES_PER_S] "
			"[--seconds 5]\n");
	exit(2);
}

static int open_one(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((unsigned short)opt.port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), room = 64 * 1024;
	char head[512];
	int n = snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: slow\r\n\r\n", opt.path);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0)
		die("socket");
	/* Else the kernel would take megabytes for us. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)))
		die("SO_RCVBUF");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) || write(fd, head, (size_t)n) != n)
		die("connect");
	return fd;
}

/* A portion of each connection whose turn it is; MSG_TRUNC: thrown away by the kernel (tcp(7)). */
static void take_portions(int turn)
{
	for (int i = turn; i < opt.connections; i += TURNS) {
		size_t left = (size_t)(opt.rate / TICKS);

		while (left && fds[i] >= 0) {
			ssize_t n = recv(fds[i], NULL, left, MSG_DONTWAIT | MSG_TRUNC);

			if (n < 0 && errno == EAGAIN)
				break;
			if (n <= 0) {
				close(fds[i]);
				fds[i] = -1;
				ended++;
				break;
			}
			total += (unsigned long long)n;
			left -= (size_t)n;
		}
	}
}

int main(int argc, char **argv)
{
	const struct timespec tick = { .tv_nsec = 1000000000L / TICKS / TURNS };

	read_options(argc, argv);
	for (int i = 0; i < opt.connections; i++)
		fds[i] = open_one();
	puts("reading");
	fflush(stdout);
	for (int i = 0; i < opt.seconds * TICKS * TURNS && ended < opt.connections; i++) {
		take_portions(i % TURNS);
		nanosleep(&tick, NULL);
	}
	printf("{\"connections\": %d, \"bytes\": %llu, \"ended\": %d}\n", opt.connections, total,
	       ended);
	return 0;
}
