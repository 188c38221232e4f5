/* SPDX-License-Identifier: MIT */
/* Runs the cases: registry, one process and one time limit for each, TAP. The checks are in checks.c. */
#include "selftests/harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "selftests/harness/state.h"

#define EXIT_SKIPPED 4
#define MAX_OUTPUT (256 * 1024) /* of one case; the rest is dropped */

enum verdict {
	PASSED,
	FAILED,
	SKIPPED,
};

/* One case being run, as the parent sees it. */
struct run {
	pid_t pid;
	int pidfd;
	int out_fd;
	u64 start_ns;
	bool timed_out;
	bool at_line_start;
	size_t nr_shown;
};

/* Shared with the child of the moment: what it says about itself. */
struct harness_shared *harness_shared;

static struct harness_case *cases, **cases_tail = &cases;
static const char *(*program_needs)(void);
static sigjmp_buf out_of_case;
static pid_t case_pid;

void harness_add_case(struct harness_case *c)
{
	*cases_tail = c;
	cases_tail = &c->next;
}

void harness_add_variant(struct harness_fixture *f, struct harness_variant *v)
{
	struct harness_variant **tail = &f->variants;

	while (*tail)
		tail = &(*tail)->next;
	*tail = v;
}

void harness_needs(const char *(*fn)(void))
{
	program_needs = fn;
}

/* --- in the child --- */

void time_limit(unsigned int seconds)
{
	__atomic_store_n(&harness_shared->limit_s, seconds, __ATOMIC_RELAXED);
}

bool has_failed(void)
{
	return __atomic_load_n(&harness_shared->failed, __ATOMIC_RELAXED);
}

void harness_note(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	vdprintf(STDERR_FILENO, fmt, ap);
	va_end(ap);
	dprintf(STDERR_FILENO, "\n");
}

/* Only the thread and process that entered the case may jump out of it. */
void harness_leave(void)
{
	if (getpid() != case_pid || gettid() != case_pid)
		_exit(1);
	siglongjmp(out_of_case, 1);
}

void harness_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(harness_shared->skip, sizeof(harness_shared->skip), fmt, ap);
	va_end(ap);
	harness_leave();
	abort();
}

/* Whether @fn came to its end. */
static bool attempt(void (*fn)(void *self, const void *variant), void *self, const void *value)
{
	if (sigsetjmp(out_of_case, 0))
		return false;
	fn(self, value);
	return true;
}

/* Set-up, body, tear-down: the tear-down runs whenever the set-up came to its end. */
static void run_body(struct harness_case *c, const struct harness_variant *v)
{
	const void *value = v ? v->value : NULL;
	struct harness_fixture *f = c->fixture;
	void *self = NULL;

	if (f) {
		if (!f->setup || !f->teardown) {
			harness_note("fixture %s lacks its set-up or tear-down", f->name);
			_exit(1);
		}
		self = calloc(1, f->size ? f->size : 1);
		if (!self)
			_exit(1);
	}
	if (!f || attempt(f->setup, self, value)) {
		attempt(c->run, self, value);
		if (f)
			attempt(f->teardown, self, value);
	}
	free(self);
}

static __attribute__((noreturn)) void child(struct harness_case *c, const struct harness_variant *v,
					    int out_fd)
{
	setpgid(0, 0);
	/* Who kills the program must not leave a case behind that runs for ever. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(out_fd, STDOUT_FILENO);
	dup2(out_fd, STDERR_FILENO);
	close(out_fd);
	setvbuf(stdout, NULL, _IOLBF, 0);
	case_pid = getpid();
	run_body(c, v);
	fflush(NULL);
	/* A case that ended early has left things behind by design: no leak check. */
	if (has_failed())
		_exit(1);
	if (harness_shared->skip[0])
		_exit(EXIT_SKIPPED);
	exit(0);
}

/* --- in the parent --- */

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static u64 limit_ns(void)
{
	const char *scale = getenv("HYPERION_TIME_SCALE");
	u64 s = __atomic_load_n(&harness_shared->limit_s, __ATOMIC_RELAXED);

	return s * NSEC_PER_SEC * (scale && atoi(scale) > 0 ? (u64)atoi(scale) : 1);
}

/* What the case printed becomes comment lines. */
static void show(struct run *r, const char *p, size_t len)
{
	for (size_t i = 0; i < len && r->nr_shown < MAX_OUTPUT; i++, r->nr_shown++) {
		if (r->at_line_start)
			fputs("# ", stdout);
		putchar(p[i] ? p[i] : '?');
		r->at_line_start = p[i] == '\n';
	}
}

static void finish_line(struct run *r)
{
	if (!r->at_line_start)
		putchar('\n');
	r->at_line_start = true;
}

/* False once nobody can write any more. */
static bool show_some(struct run *r)
{
	char buf[4096];
	ssize_t n = read(r->out_fd, buf, sizeof(buf));

	if (n > 0)
		show(r, buf, (size_t)n);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Until the child has ended or its time is over; its output is read meanwhile. */
static void watch(struct run *r)
{
	struct pollfd fds[2] = {
		{ .fd = r->pidfd, .events = POLLIN },
		{ .fd = r->out_fd, .events = POLLIN },
	};

	while (!(fds[0].revents & POLLIN)) {
		u64 end = r->start_ns + limit_ns(), now = now_ns();

		if (now >= end) {
			r->timed_out = true;
			return;
		}
		/* At most a tenth of a second: the child may change its limit. */
		if (poll(fds, 2, (int)(min(end - now, 100 * NSEC_PER_MSEC) / NSEC_PER_MSEC) + 1) < 0)
			continue;
		if (fds[1].revents && !show_some(r))
			fds[1].fd = -1;
	}
}

/* What the pipe still holds; a grandchild that left our process group may keep it open. */
static void drain(struct run *r)
{
	struct pollfd fd = { .fd = r->out_fd, .events = POLLIN };

	while (r->nr_shown < MAX_OUTPUT && poll(&fd, 1, 0) == 1 && show_some(r))
		;
}

static enum verdict judge(struct run *r, int status)
{
	if (r->timed_out) {
		printf("# time limit of %llu s: killed\n",
		       (unsigned long long)(limit_ns() / NSEC_PER_SEC));
		return FAILED;
	}
	if (WIFSIGNALED(status)) {
		printf("# killed by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
		return FAILED;
	}
	if (has_failed())
		return FAILED;
	if (WEXITSTATUS(status) == EXIT_SKIPPED && harness_shared->skip[0])
		return SKIPPED;
	if (WEXITSTATUS(status)) {
		printf("# exit status %d\n", WEXITSTATUS(status));
		return FAILED;
	}
	return PASSED;
}

static enum verdict run_case(struct harness_case *c, const struct harness_variant *v)
{
	struct run r = { .at_line_start = true, .start_ns = now_ns() };
	int status = 0, pipe_fd[2];

	memset(harness_shared, 0, sizeof(*harness_shared));
	harness_shared->limit_s = TEST_SECONDS;
	fflush(NULL);
	if (pipe2(pipe_fd, O_CLOEXEC)) {
		perror("# pipe");
		return FAILED;
	}
	r.out_fd = pipe_fd[0];
	r.pid = fork();
	if (r.pid == 0) {
		close(pipe_fd[0]);
		child(c, v, pipe_fd[1]);
	}
	close(pipe_fd[1]);
	if (r.pid < 0) {
		perror("# fork");
		close(r.out_fd);
		return FAILED;
	}
	/* Both sides say it, whoever comes first: the group must exist before it is killed. */
	setpgid(r.pid, r.pid);
	r.pidfd = (int)syscall(SYS_pidfd_open, r.pid, 0);
	watch(&r);
	/* Not yet waited for, so that the group's id is still ours. */
	kill(-r.pid, SIGKILL);
	waitpid(r.pid, &status, 0);
	drain(&r);
	finish_line(&r);
	close(r.pidfd);
	close(r.out_fd);
	return judge(&r, status);
}

/* --- the program --- */

static void case_name(char *buf, size_t len, const struct harness_case *c,
		      const struct harness_variant *v)
{
	if (!c->fixture)
		snprintf(buf, len, "%s", c->name);
	else if (!v)
		snprintf(buf, len, "%s.%s", c->fixture->name, c->name);
	else
		snprintf(buf, len, "%s[%s].%s", c->fixture->name, v->name, c->name);
}

/* A name is compared as it is first: brackets belong to names, but mean a set to fnmatch. */
static bool is_wanted(const char *name, char **wanted)
{
	if (!*wanted)
		return true;
	for (; *wanted; wanted++) {
		char pattern[512], *to = pattern;

		if (!strcmp(*wanted, name))
			return true;
		for (const char *p = *wanted; *p && to < pattern + sizeof(pattern) - 2; p++) {
			if (*p == '[')
				*to++ = '\\';
			*to++ = *p;
		}
		*to = '\0';
		if (!fnmatch(pattern, name, 0))
			return true;
	}
	return false;
}

/* Calls @fn for every wanted case; returns how many there were. */
static int each_wanted(char **wanted, void (*fn)(struct harness_case *,
						 const struct harness_variant *, const char *name))
{
	int nr = 0;

	for (struct harness_case *c = cases; c; c = c->next) {
		const struct harness_variant *v = c->fixture ? c->fixture->variants : NULL;
		char name[256];

		do {
			case_name(name, sizeof(name), c, v);
			if (is_wanted(name, wanted)) {
				nr++;
				if (fn)
					fn(c, v, name);
			}
			v = v ? v->next : NULL;
		} while (v);
	}
	return nr;
}

static void list_case(struct harness_case *c, const struct harness_variant *v, const char *name)
{
	(void)c, (void)v;
	puts(name);
}

static int nr_done, nr_failed;

static void report_case(struct harness_case *c, const struct harness_variant *v, const char *name)
{
	enum verdict verdict = run_case(c, v);

	nr_done++;
	if (verdict == SKIPPED) {
		printf("ok %d - %s # SKIP %s\n", nr_done, name, harness_shared->skip);
	} else {
		printf("%s %d - %s\n", verdict == PASSED ? "ok" : "not ok", nr_done, name);
		nr_failed += verdict == FAILED;
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char **wanted = argv + 1;
	const char *reason = program_needs ? program_needs() : NULL;
	int nr;

	(void)argc;
	if (*wanted && !strcmp(*wanted, "--list")) {
		each_wanted(wanted + 1, list_case);
		return 0;
	}
	printf("TAP version 13\n");
	if (reason) {
		printf("1..0 # SKIP %s\n", reason);
		return EXIT_SKIPPED;
	}
	harness_shared = mmap(NULL, sizeof(*harness_shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (harness_shared == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	nr = each_wanted(wanted, NULL);
	if (!nr) {
		fprintf(stderr, "%s: no such case; --list names them\n", argv[0]);
		return 1;
	}
	printf("1..%d\n# HYPERION_SEED=%#llx\n", nr, (unsigned long long)rng_run_seed());
	each_wanted(wanted, report_case);
	return nr_failed != 0;
}
