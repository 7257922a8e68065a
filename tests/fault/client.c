/*
 * client.c - the library's calls, one after the other, while a system call fails. See client.h.
 */
#include "client.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base.h"
#include "faulty_sys.h"
#include "program.h"
#include "shmlog.h"

enum { PUSHES = 30, FLOOD = 700, ERRNO_KEPT = 4711 };

struct client {
	struct scene *scene;
	struct shmlog *log;
	unsigned producer;
};

static void expect(const struct client *client, bool is_right, const char *what, int r)
{
	if (!is_right)
		violated("%s: %s returned %d", client->scene->label, what, r);
}

static void push(const struct client *client, int64_t timeout_ns)
{
	int r;

	errno = ERRNO_KEPT;
	r = journal_push(client->scene->journal, client->log, client->producer, timeout_ns);
	expect(client, errno == ERRNO_KEPT, "a push that changed errno", r);
	expect(client, r == 0 || r == -EAGAIN || (timeout_ns && r == -ETIMEDOUT), "a push", r);
}

static void *use(void *argument)
{
	const struct client *client = argument;
	int r = shmlog_bind(client->log);

	expect(client, r == 0 || r == -EAGAIN, "shmlog_bind()", r);
	for (int i = 0; i < PUSHES; i++)
		push(client, 0);
	push(client, NS_PER_MS);
	/* There is no writer: nothing but the time can end it. */
	r = shmlog_sync(client->log, SHMLOG_SYNC_WRITTEN, NS_PER_MS);
	expect(client, r == -ETIMEDOUT || r == 0, "shmlog_sync()", r);
	r = shmlog_unbind(client->log);
	expect(client, r == 0, "shmlog_unbind()", r);
	for (int i = 0; i < FLOOD; i++)
		push(client, 0);
	push(client, NS_PER_MS);
	(void)shmlog_trigger(client->log);
	return NULL;
}

static void use_in_two_threads(struct client clients[2])
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, use, &clients[1]) != 0)
		broken("pthread_create");
	(void)pthread_join(thread, NULL);
	(void)use(&clients[0]);
}

static uint64_t count_dropped(const struct journal *journal)
{
	uint64_t count = 0;

	for (unsigned producer = 0; producer < 2; producer++)
		for (uint32_t i = 0; i < journal_next(journal, producer); i++)
			count += journal_state(journal, producer, i) == JOURNAL_DROPPED;
	return count;
}

static void check_stats(const struct client *client)
{
	struct shmlog_stats stats = { .size = sizeof(stats) };
	const int r = shmlog_get_stats(client->log, &stats);

	expect(client, r == 0, "shmlog_get_stats()", r);
	if (stats.dropped != count_dropped(client->scene->journal))
		violated("%s: %llu records counted as dropped, %llu were", client->scene->label,
			 (unsigned long long)stats.dropped,
			 (unsigned long long)count_dropped(client->scene->journal));
}

static int run(struct scene *scene)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;
	struct client clients[2];
	int r;

	options.create = 1;
	options.lanes = 4;
	options.lane_size = 65536;
	r = shmlog_attach(scene->ring, &options, &log);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < 2; i++)
		clients[i] = (struct client){ scene, log, i };
	use_in_two_threads(clients);
	check_stats(&clients[0]);
	shmlog_detach(&log);
	return log ? 1 : 0;
}

pid_t client_start(struct scene *scene)
{
	struct report *report = scene->report;
	const uint64_t before = violations();
	const pid_t pid = fork();

	if (pid < 0)
		broken("fork");
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	faulty_sys_install();
	scene_report_begin(scene);
	report->result = run(scene);
	scene_report_end(scene);
	_exit(violations() != before ? 3 : 0);
}
