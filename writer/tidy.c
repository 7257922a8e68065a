/*
 * tidy.c - the log's upkeep. See tidy.h.
 */
#include "tidy.h"

#include <string.h>

enum {
	IDLE_S = 60,       /* between looks while nothing happens: files grow old          */
	CHILD_MS = 1000,   /* between looks at the child                                   */
	SHORT_MS = 250,    /* between looks for room                                       */
	FAILED_S = 600,    /* until a child that has failed is followed by another         */
	TIMES_AT_REST = 9, /* the second thread spends one part in ten on looking            */
};

static int64_t now_ns(const struct tidy *tidy)
{
	return tidy->sys->now(CLOCK_MONOTONIC);
}

void tidy_begin(struct tidy *tidy, struct pages *pages, int dir_lock, uint64_t keep_from)
{
	const struct roll *roll = pages->roll;

	*tidy = (struct tidy){
		.sys = pages->sys,
		.config = pages->config,
		.pages = pages,
		.keep_from = keep_from,
		.archived_before = 1, /* the first volume: before it there is none */
		.retain = { .sys = pages->sys, .dir = roll->dir, .path = roll->path, .say = say },
		.archiver = { .log = { pages->sys, roll->dir, roll->path },
			      .lock = dir_lock,
			      .show = pages->config->progress },
	};
}

/* ---- the second thread's half ---- */

static void retry_later(struct tidy *tidy)
{
	tidy->archive_at = now_ns(tidy) + FAILED_S * (int64_t)NS_PER_S;
}

static void look_after_child(struct tidy *tidy)
{
	const enum archiver_state state = archiver_poll(&tidy->archiver);

	if (state == ARCHIVER_DONE)
		tidy->archived_before = tidy->archiver.range.before;
	if (state == ARCHIVER_FAILED)
		retry_later(tidy);
}

/* Is a child at work, or to be? */
static bool is_archiving(const struct tidy *tidy)
{
	return tidy->order.archive_before > tidy->archived_before &&
	       now_ns(tidy) >= tidy->archive_at;
}

static int find_first(struct tidy *tidy, uint64_t volume_no)
{
	struct logdir_list list;
	const int r = logdir_list_from(tidy->sys, tidy->retain.dir, volume_no, &list);

	if (r < 0)
		return reason_set(r, "%s: cannot list it: %s", tidy->retain.path, strerror(-r));
	tidy->child_first = list.count ? list.files[0] : (struct logdir_file){ 0 };
	logdir_list_free(&list);
	return 0;
}

static void start_child(struct tidy *tidy)
{
	const struct archive_range range = { tidy->archived_before, tidy->order.archive_before };
	int r = find_first(tidy, range.from);

	if (r == 0)
		r = archiver_start(&tidy->archiver, range);
	if (r == 0)
		return;
	say_news(&tidy->told, reason_get());
	retry_later(tidy);
}

/* What must become free for the next file. */
static int set_room(struct tidy *tidy)
{
	struct tidy_order *order = &tidy->order;
	int r;

	if (order->room == 0 || (order->may_wait_for_room && is_archiving(tidy))) /* I3 */
		return 0;
	r = roll_lack(tidy->sys, tidy->retain.dir, &order->leave, order->room, &order->limits.room);
	return r < 0 ? reason_set(r, "directory \"%s\": cannot ask for free space: %s",
				  tidy->retain.path, strerror(-r))
		     : 0;
}

static int delete_before(struct tidy *tidy, uint64_t file_no)
{
	return retain_run(&tidy->retain, &tidy->order.limits, file_no,
			  tidy->sys->now(CLOCK_REALTIME), &tidy->result.retained);
}

/* I2. Nobody waits for the child's end here: files are to be made and sealed. */
static int delete_beside_child(struct tidy *tidy)
{
	const struct tidy_order *order = &tidy->order;
	struct retain_result *result = &tidy->result.retained;
	int r = delete_before(tidy, min_u64(order->keep_from, tidy->child_first.file_no));

	if (r == 0 && result->files == 0)
		r = retain_due(&tidy->retain, &order->limits, order->keep_from,
			       tidy->sys->now(CLOCK_REALTIME));
	if (r < 0 || (r == 0 && result->files == 0))
		return r;
	result->more = true; /* of the child's own */
	if (result->files > 0)
		return 0;
	archiver_kill(&tidy->archiver);
	tidy->archived_before = max_u64(tidy->archived_before, tidy->child_first.volume_no + 1);
	return 0;
}

static int delete_oldest(struct tidy *tidy)
{
	const int r = set_room(tidy);

	if (r < 0)
		return r;
	if (tidy->archiver.pid != 0)
		return delete_beside_child(tidy);
	return delete_before(tidy, tidy->order.keep_from);
}

static int run(void *argument)
{
	struct tidy *tidy = argument;
	const int64_t began = now_ns(tidy);

	tidy->result = (struct tidy_result){ 0 };
	look_after_child(tidy);
	if (delete_oldest(tidy) < 0)
		say_news(&tidy->told, reason_get());
	if (tidy->order.archive_before == 0)
		archiver_stop(&tidy->archiver); /* --no-compress, since a reload */
	else if (tidy->archiver.pid == 0 && is_archiving(tidy))
		start_child(tidy);
	tidy->result.child_pid = (uint32_t)tidy->archiver.pid;
	tidy->result.took_ns = now_ns(tidy) - began;
	return 0;
}

/* ---- the drain's half ---- */

/* Before this run's first file is settled, nothing is to be compressed either. */
static void give_order(struct tidy *tidy)
{
	const struct config *config = tidy->config;
	const struct pages *pages = tidy->pages;
	const struct roll_place *settled = &pages->settled;

	tidy->order = (struct tidy_order){
		.limits = { .max_total = config->max_total,
			    .max_age_ns = config->max_age_ns,
			    .max_files = config->max_files },
		.keep_from = settled->file_no ? settled->file_no : tidy->keep_from,
		.archive_before = config->compress ? settled->volume_no : 0,
		.leave = { config->min_free, config->min_free_percent },
		.may_wait_for_room = pages->file || pages->order_count == 0,
	};
	if (pages->is_short && config->on_full == ON_FULL_DELETE_OLDEST)
		tidy->order.room = config->max_file;
}

static int64_t pause_ns(const struct tidy *tidy)
{
	if (tidy->result.retained.more)
		return 0;
	if (tidy->pages->is_short)
		return SHORT_MS * (int64_t)NS_PER_MS;
	return tidy->result.child_pid ? CHILD_MS * (int64_t)NS_PER_MS : IDLE_S * (int64_t)NS_PER_S;
}

static void done(void *argument)
{
	struct tidy *tidy = argument;
	struct writer_status *status = tidy->pages->ring->writer;
	const struct tidy_result *result = &tidy->result;

	tidy->is_under_way = false;
	tidy->rest_until = now_ns(tidy);
	if (result->retained.files == 0) /* else the log may have grown meanwhile */
		tidy->rest_until += TIMES_AT_REST * result->took_ns;
	tidy->next = now_ns(tidy) + pause_ns(tidy);
	if (result->retained.files > 0)
		pages_try_again(tidy->pages);
	store_relaxed_u32(&status->archiver_pid, result->child_pid);
	store_relaxed(&status->deleted_files,
		      load_relaxed(&status->deleted_files) + result->retained.files);
	store_relaxed(&status->deleted_bytes,
		      load_relaxed(&status->deleted_bytes) + result->retained.bytes);
}

static bool is_due(const struct tidy *tidy)
{
	const int64_t now = now_ns(tidy);

	if (now < tidy->rest_until && !tidy->pages->is_fileless)
		return false;
	return now >= tidy->next || tidy->seals_seen != tidy->pages->seals_done ||
	       tidy->settled_seen != tidy->pages->settled.file_no ||
	       tidy->was_short != tidy->pages->is_short;
}

void tidy_turn(struct tidy *tidy)
{
	struct janitor_job job = {
		.kind = JANITOR_CALL, .call = run, .done = done, .argument = tidy
	};

	if (tidy->is_under_way || !is_due(tidy))
		return;
	give_order(tidy);
	tidy->seals_seen = tidy->pages->seals_done;
	tidy->settled_seen = tidy->pages->settled.file_no;
	tidy->was_short = tidy->pages->is_short;
	tidy->is_under_way = janitor_submit(tidy->pages->janitor, &job) == 0;
}

void tidy_hurry(struct tidy *tidy)
{
	tidy->next = 0;
}

void tidy_end(struct tidy *tidy)
{
	archiver_stop(&tidy->archiver);
	store_relaxed_u32(&tidy->pages->ring->writer->archiver_pid, 0);
}
