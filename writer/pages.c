/*
 * pages.c - from a filled page to a released one. See pages.h.
 */
#include "pages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "point.h"

enum {
	RETRY_MS = 500,   /* a full disk is asked again this often                    */
	FAILURES_MAX = 5, /* files in a row that take no page at all: give up         */
};

/* The tags of page writes are their buffers' numbers; IO_BUFFERS is the writer's. */
enum { TAG_LAST_SYNC = IO_BUFFERS + 1 };

static unsigned slot_index(const struct pages *pages, const struct page_slot *slot)
{
	return (unsigned)(slot - pages->slots);
}

static int64_t now_ns(const struct pages *pages)
{
	return pages->sys->now(CLOCK_MONOTONIC);
}

static void retry_later(struct pages *pages)
{
	pages->retry_at = now_ns(pages) + RETRY_MS * (int64_t)NS_PER_MS;
}

static bool must_wait(const struct pages *pages)
{
	return pages->retry_at != 0 && now_ns(pages) < pages->retry_at;
}

static void tell(struct pages *pages, const char *what, const char *why)
{
	(void)snprintf(pages->trouble, sizeof(pages->trouble), "%s: %s", what, why);
}

static void enter_stall(struct pages *pages, const char *why)
{
	struct writer_status *status = pages->ring->writer;

	retry_later(pages);
	if (pages->is_stalled)
		return;
	pages->is_stalled = true;
	tell(pages, "no room on disk, the ring keeps what it can", why);
	store_relaxed(&status->stalls, load_relaxed(&status->stalls) + 1);
	store_relaxed(&status->stall_began_ns, (uint64_t)pages->sys->now(CLOCK_BOOTTIME));
	store_relaxed_u32(&status->state, WRITER_STALLED);
}

static void leave_stall(struct pages *pages)
{
	pages->retry_at = 0;
	if (!pages->is_stalled)
		return;
	pages->is_stalled = false;
	(void)snprintf(pages->trouble, sizeof(pages->trouble), "there is room on disk again");
	store_relaxed(&pages->ring->writer->stall_began_ns, 0);
	store_relaxed_u32(&pages->ring->writer->state, WRITER_RUNNING);
}

static bool is_release_durable(const struct pages *pages)
{
	return pages->config->release == RELEASE_DURABLE;
}

/* ---- filling ---- */

static struct page_slot *take_free(struct pages *pages, unsigned keep)
{
	struct page_slot *found = NULL;
	unsigned free_count = 0;

	for (unsigned i = 0; i < IO_BUFFERS; i++) {
		if (pages->slots[i].state != PAGE_FREE)
			continue;
		free_count++;
		found = &pages->slots[i];
	}
	return free_count > keep ? found : NULL;
}

struct page_slot *pages_fill(struct pages *pages, struct drain *drain)
{
	struct page_slot *slot = pages->filling;

	if (slot && slot->drain == drain)
		return slot;
	pages_close(pages);
	slot = pages->filling ? pages->filling : take_free(pages, 1); /* I4 */
	if (!slot)
		return NULL;
	if (!pages->filling)
		page_begin(&slot->builder, io_buffer(pages->io, slot_index(pages, slot)),
			   PAGE_DATA);
	slot->state = PAGE_FILLING;
	slot->is_file_page = false;
	slot->drain = drain;
	pages->filling = slot;
	return slot;
}

void pages_close(struct pages *pages)
{
	struct page_slot *slot = pages->filling;

	if (!slot || slot->builder.records == 0)
		return;
	drain_close_page(slot->drain, &slot->builder);
	drain_stamp(slot->drain, &slot->stamp);
	slot->state = PAGE_CLOSED;
	pages->order[pages->order_count++] = slot;
	pages->closed_count++;
	pages->filling = NULL;
	pages->filling_since = 0;
	POINT(page_taken);
}

/* ---- placing ---- */

/* Header and checksum for its place in the current file. */
static void place(struct pages *pages, struct page_slot *slot)
{
	struct wfile *file = pages->file;

	slot->stamp.page_no = pages->page_next++;
	slot->stamp.salt = file->salt;
	slot->length = page_finish(&slot->builder, &slot->stamp);
	slot->offset = file->offset;
	slot->is_covered = false;
	slot->is_synced = false;
	slot->state = PAGE_PLACED;
	roll_add_page(file, (const void *)slot->builder.buffer, slot->builder.data_records,
		      slot->builder.source_records);
	POINT(page_placed);
}

static void note_refusal(struct pages *pages, const char *what, int error)
{
	tell(pages, what, strerror(-error));
	if (pages->refused_since == 0)
		pages->refused_since = now_ns(pages);
}

/* False: the disk does not take it now. */
static bool submit(struct pages *pages, struct page_slot *slot)
{
	const unsigned index = slot_index(pages, slot);
	const int r =
		io_write(pages->io, pages->file->fd, index, slot->length, slot->offset, index);

	if (r < 0) {
		note_refusal(pages, "cannot submit a write, trying again", r);
		retry_later(pages);
		return false;
	}
	pages->refused_since = 0;
	slot->state = PAGE_IN_FLIGHT;
	POINT(page_submitted);
	return true;
}

static unsigned count_under_way(const struct pages *pages)
{
	unsigned count = 0;

	for (unsigned i = 0; i < pages->order_count; i++)
		count += pages->order[i]->state >= PAGE_PLACED;
	return count;
}

/* ---- files ---- */

static void submit_job(struct pages *pages, struct janitor_job *job)
{
	/* A slot has at most one job, and there are more jobs than slots. */
	const int r = janitor_submit(pages->janitor, job);

	assert(r == 0);
	(void)r;
}

static struct drain_snapshot *sealing(struct pages *pages, const struct wfile *file)
{
	return &pages->sealing[file - pages->roll->files];
}

static void make_ahead(struct pages *pages)
{
	const struct config *config = pages->config;
	struct janitor_job job = { .kind = JANITOR_MAKE,
				   .size = config->max_file,
				   .leave = { config->min_free, config->min_free_percent } };

	if (pages->ahead || now_ns(pages) < pages->make_at)
		return;
	job.file = roll_take(pages->roll);
	if (!job.file)
		return;
	job.place = roll_next_place(pages->volume, job.size, config->max_volume);
	pages->ahead = job.file;
	pages->is_ahead_ready = false;
	submit_job(pages, &job);
}

void pages_seal(struct pages *pages)
{
	struct janitor_job job = { .kind = JANITOR_SEAL,
				   .file = pages->file,
				   .tag = (uintptr_t)pages->file_ring };

	assert(count_under_way(pages) == 0 && !pages->is_in_sync);
	drain_snapshot(pages->file_ring, sealing(pages, pages->file));
	job.size = pages->file->size;
	drain_stamp_kept(pages->file_ring, &job.stamp);
	job.stamp.segment_id = pages->file->segment_id;
	job.stamp.page_no = pages->page_next;
	pages->previous_file_no = pages->file->place.file_no;
	pages->file = NULL;
	pages->is_rolling = false;
	pages->seals_submitted++;
	submit_job(pages, &job);
}

void pages_roll(struct pages *pages)
{
	pages->is_rolling = pages->file != NULL;
}

void pages_end_volume(struct pages *pages)
{
	pages_roll(pages);
	if (pages->file && pages->file->place.volume_no == pages->volume->volume_no)
		pages->volume->is_over = true;
}

/* Leave the file as it is, unsealed: the next writer settles it. */
static void drop_file(struct pages *pages)
{
	struct janitor_job job = { .kind = JANITOR_DROP, .file = pages->file };

	pages->previous_file_no = pages->file->place.file_no;
	pages->file = NULL;
	pages->is_rolling = false;
	submit_job(pages, &job);
}

static void fill_file_info(const struct pages *pages, struct file_info *info)
{
	const struct segment *segment = &pages->file_ring->segment;
	struct clock_sample now;

	clock_sample(pages->sys, segment->geometry.clock, &now);
	*info = (struct file_info){
		.format_major = FORMAT_MAJOR,
		.format_minor = FORMAT_MINOR,
		.page_max = PAGE_MAX,
		.salt = pages->file->salt,
		.log_id = pages->log_id,
		.file_no = pages->file->place.file_no,
		.volume_no = pages->file->place.volume_no,
		.previous_file_no = pages->previous_file_no,
		.previous_checksum = pages->previous_checksum,
		.created_ticks = now.ticks,
		.created_boottime_ns = now.boottime_ns,
		.created_realtime_ns = now.realtime_ns,
		.writer_pid = pages->sys->getpid(),
		.clock = segment->geometry.clock,
		.writer_version = SHMLOG_VERSION_TEXT,
	};
	memcpy(info->boot_id, segment->geometry.boot_id, sizeof(info->boot_id));
	(void)gethostname(info->host, sizeof(info->host) - 1);
	(void)snprintf(info->ring, sizeof(info->ring), "%s", segment->name);
}

/* The FILE page goes before all pages that wait. */
static void place_file_page(struct pages *pages)
{
	struct page_slot *slot = take_free(pages, 0);
	struct file_info info;

	assert(slot != NULL); /* I4 */
	fill_file_info(pages, &info);
	page_begin(&slot->builder, io_buffer(pages->io, slot_index(pages, slot)), PAGE_FILE);
	page_append_info(&slot->builder, &info, sizeof(info));
	drain_fill_file_page(pages->file_ring, &slot->builder);
	drain_stamp_kept(pages->file_ring, &slot->stamp);
	slot->drain = pages->file_ring;
	slot->is_file_page = true;
	memmove(pages->order + 1, pages->order, pages->order_count * sizeof(*pages->order));
	pages->order[0] = slot;
	pages->order_count++;
	pages->file->page_first = pages->page_next;
	place(pages, slot);
}

/* A file made ahead in a volume that is over by now is not begun there. */
static void leave_old_volume(struct pages *pages)
{
	struct janitor_job job = { .kind = JANITOR_REMOVE, .file = pages->ahead };

	if (!pages->volume->is_over || !pages->is_ahead_ready)
		return;
	roll_settle(pages->volume, pages->ahead->place.volume_no, pages->ahead->size, 0);
	pages->ahead = NULL;
	pages->is_ahead_ready = false;
	submit_job(pages, &job);
}

/* The next file, if it is there. All pages before are complete (I3). */
static bool begin_file(struct pages *pages, struct drain *ring)
{
	struct writer_status *status = pages->ring->writer;

	leave_old_volume(pages);
	if (!pages->ahead)
		make_ahead(pages);
	if (!pages->is_ahead_ready)
		return false;
	if (pages->void_before && !pages_is_sealed(pages))
		return false; /* I7 */
	pages->void_before = pages->void_next;
	pages->void_next = false;
	assert(pages->ahead != NULL);
	pages->file = pages->ahead;
	pages->ahead = NULL;
	pages->is_ahead_ready = false;
	pages->file_ring = ring;
	pages->file->segment_id = ring->segment.geometry.segment_id;
	pages->file_began = now_ns(pages);
	if (pages->file->place.volume_no != pages->begun_volume_no)
		pages->volume_began = pages->file_began;
	pages->begun_volume_no = pages->file->place.volume_no;
	store_relaxed(&status->files, load_relaxed(&status->files) + 1);
	place_file_page(pages);
	return true;
}

/* Can the page go into the current file? */
static bool fits(const struct pages *pages, const struct page_slot *slot)
{
	const struct wfile *file = pages->file;
	const uint32_t length = (uint32_t)align_up(slot->builder.used, PAGE_ALIGN);

	/* A file is one ring's: its FILE page speaks for that ring, and gives its sources numbers.
	 */
	if (file->segment_id != slot->drain->segment.geometry.segment_id)
		return false;
	return roll_fits(file, length);
}

/* Make the current file one that takes this page, or come back later. */
static bool prepare_file(struct pages *pages, const struct page_slot *slot)
{
	if (pages->file && !pages->is_rolling && fits(pages, slot))
		return true;
	if (count_under_way(pages) > 0 || pages->is_in_sync)
		return false;
	if (pages->file)
		pages_seal(pages);
	return begin_file(pages, slot->drain);
}

/* Half way through a file the next one is made, so that nobody waits for it. */
static void think_ahead(struct pages *pages)
{
	if (pages->file && pages->file->offset > pages->file->size / 2)
		make_ahead(pages);
}

static struct page_slot *first_in_state(struct pages *pages, enum page_state state)
{
	for (unsigned i = 0; i < pages->order_count; i++)
		if (pages->order[i]->state == state)
			return pages->order[i];
	return NULL;
}

static bool any_in_flight(struct pages *pages)
{
	return first_in_state(pages, PAGE_IN_FLIGHT) != NULL;
}

/* ---- errors ---- */

/*
 * The file is given up and nothing is in flight any more: what is not complete, or complete behind
 * something that is not, goes to the next file under new numbers. Nothing of it was released.
 */
static void give_file_up(struct pages *pages)
{
	unsigned kept = 0;

	pages->is_poisoned = false;
	pages->last_sync = LAST_SYNC_NONE;
	pages->void_next = true;
	if (pages->order_count && pages->order[0]->state >= PAGE_PLACED)
		pages->page_next = pages->order[0]->stamp.page_no;
	for (unsigned i = 0; i < pages->order_count; i++) {
		struct page_slot *slot = pages->order[i];

		slot->state = slot->is_file_page ? PAGE_FREE : PAGE_CLOSED;
		if (!slot->is_file_page)
			pages->order[kept++] = slot;
	}
	pages->order_count = kept;
	if (pages->file)
		drop_file(pages);
	POINT(file_given_up);
	if (++pages->failures >= FAILURES_MAX)
		pages->fatal = -EIO;
	if (pages->failures > 1)
		retry_later(pages);
}

/* I7: its FILE page is complete, so the next one will have another number. */
static bool must_last(const struct pages *pages)
{
	return pages->void_before && !(pages->order_count && pages->order[0]->is_file_page);
}

/* I5, I7. True: what is complete in the file is durable, or counted as what may be lost. */
static bool sync_last(struct pages *pages)
{
	if (is_release_durable(pages))
		return true; /* I6: what is not synced is still in order, and moves on */
	if (pages->last_sync == LAST_SYNC_IN_FLIGHT)
		return false;
	if (pages->last_sync == LAST_SYNC_DONE || !pages->file)
		return true;
	if (!must_last(pages) && !drain_is_unsynced(pages->file_ring))
		return true;
	if (io_sync(pages->io, pages->file->fd, TAG_LAST_SYNC) == 0)
		pages->last_sync = LAST_SYNC_IN_FLIGHT;
	return false;
}

static void synced_last(struct pages *pages, int error)
{
	pages->last_sync = LAST_SYNC_DONE;
	if (error < 0)
		drain_count_unsynced(pages->file_ring, NULL);
}

void pages_poison(struct pages *pages, const char *why)
{
	struct writer_status *status = pages->ring->writer;

	store_relaxed(&status->io_errors, load_relaxed(&status->io_errors) + 1);
	pages->is_poisoned = true;
	tell(pages, "the file is given up, a new one begins", why);
}

static void failed(struct pages *pages, struct page_slot *slot, int error)
{
	slot->state = PAGE_PLACED;
	if (error == -ENOSPC)
		enter_stall(pages, strerror(ENOSPC));
	else if (error == -EFBIG && slot->is_file_page)
		pages->fatal = -EFBIG; /* not even one page */
	else
		pages_poison(pages, strerror(-error));
}

/* ---- completion ---- */

static void release_page(const struct pages *pages, struct page_slot *slot)
{
	struct drain_snapshot now;

	drain_release(slot->drain, &slot->builder);
	POINT(page_released);
	if (!is_release_durable(pages))
		return;
	drain_snapshot(slot->drain, &now);
	drain_set_durable(slot->drain, &now);
}

static void complete_first(struct pages *pages)
{
	struct page_slot *slot = pages->order[0];
	const struct page_header *header = (const void *)slot->builder.buffer;
	struct writer_status *status = pages->ring->writer;

	if (!slot->is_file_page) {
		release_page(pages, slot);
		pages->completed_count++;
		pages->failures = 0;
	}
	/* Its table holds every lane's position: from here on this log speaks for the ring. */
	if (slot->is_file_page) {
		slot->drain->writer->log_id = pages->log_id;
		POINT(log_id_stored);
		drain_file_page_done(slot->drain);
		if (slot->drain == pages->ring)
			pages->settled = pages->file->place;
	}
	pages->previous_checksum = header->checksum;
	store_relaxed(&status->pages, load_relaxed(&status->pages) + 1);
	store_relaxed(&status->bytes, load_relaxed(&status->bytes) + slot->length);
	slot->state = PAGE_FREE;
	pages->order_count--;
	memmove(pages->order, pages->order + 1, pages->order_count * sizeof(*pages->order));
}

static bool is_first_done(const struct pages *pages)
{
	const struct page_slot *first = pages->order[0];

	return first->state == PAGE_COMPLETE && (first->is_synced || !is_release_durable(pages));
}

static void complete(struct pages *pages)
{
	while (!pages->is_poisoned && pages->order_count && is_first_done(pages))
		complete_first(pages);
}

static void page_written(struct pages *pages, struct page_slot *slot, int error)
{
	assert(slot->state == PAGE_IN_FLIGHT);
	if (error < 0) {
		failed(pages, slot, error);
		return;
	}
	slot->state = PAGE_COMPLETE;
	POINT(page_completed);
	if (!first_in_state(pages, PAGE_PLACED))
		leave_stall(pages);
	complete(pages);
}

bool pages_await_sync(const struct pages *pages)
{
	return is_release_durable(pages) && pages->order_count &&
	       pages->order[0]->state == PAGE_COMPLETE;
}

/* Somebody waits for the buffers, or for the end of the file. */
bool pages_press_for_sync(const struct pages *pages)
{
	return pages_await_sync(pages) &&
	       (pages->is_rolling || pages->order_count > IO_BUFFERS / 2 ||
		pages->order[pages->order_count - 1]->state == PAGE_CLOSED);
}

void pages_sync_begun(struct pages *pages)
{
	pages->is_in_sync = true;
	for (unsigned i = 0; i < pages->order_count; i++) {
		if (pages->order[i]->state != PAGE_COMPLETE)
			break;
		pages->order[i]->is_covered = true;
	}
}

int pages_submit_sync(struct pages *pages, uint64_t tag)
{
	const int r = io_sync(pages->io, pages->file->fd, tag);

	if (r < 0) {
		note_refusal(pages, "cannot submit a sync, trying again", r);
		return r;
	}
	pages->refused_since = 0;
	pages_sync_begun(pages);
	return 0;
}

void pages_sync_done(struct pages *pages, bool is_good)
{
	pages->is_in_sync = false;
	for (unsigned i = 0; is_good && i < pages->order_count; i++)
		pages->order[i]->is_synced |= pages->order[i]->is_covered;
	if (is_good)
		complete(pages);
}

void pages_written(struct pages *pages, unsigned tag, int error)
{
	assert(tag < IO_BUFFERS || tag == TAG_LAST_SYNC);
	if (tag == TAG_LAST_SYNC)
		synced_last(pages, error);
	else
		page_written(pages, &pages->slots[tag], error);
}

/* ---- the pump ---- */

void pages_pump(struct pages *pages)
{
	struct page_slot *slot;

	if (pages->is_poisoned && !any_in_flight(pages) && !pages->is_in_sync && sync_last(pages))
		give_file_up(pages);
	if (pages->is_poisoned || pages->fatal || must_wait(pages))
		return;
	while ((slot = first_in_state(pages, PAGE_PLACED)))
		if (!submit(pages, slot))
			return;
	while ((slot = first_in_state(pages, PAGE_CLOSED))) {
		if (!prepare_file(pages, slot))
			break;
		if (pages->order[0]->state == PAGE_PLACED && !submit(pages, pages->order[0]))
			return; /* the FILE page of a file just begun */
		place(pages, slot);
		if (!submit(pages, slot))
			return;
	}
	if (pages->is_rolling && count_under_way(pages) == 0 && !pages->is_in_sync)
		pages_seal(pages);
	think_ahead(pages);
}

void pages_try_again(struct pages *pages)
{
	pages->make_at = 0;
	pages->retry_at = 0;
}

/* ---- the second thread's results ---- */

/* No file can be made, and there is none. The oldest may have to go for it first: that is a stall
 * only if it does not help. */
static void lack_file(struct pages *pages, const char *why)
{
	if (pages->config->on_full == ON_FULL_STALL || pages->is_fileless)
		enter_stall(pages, why);
}

static void made(struct pages *pages, const struct janitor_job *job)
{
	pages->is_short = job->error == -ENOSPC || (job->error == 0 && job->file->size < job->size);
	if (job->error == 0) {
		roll_settle(pages->volume, job->place.volume_no, job->size, job->file->size);
		pages->is_ahead_ready = true;
		pages->is_fileless = false;
		leave_stall(pages);
		return;
	}
	roll_settle(pages->volume, job->place.volume_no, job->size, 0);
	if (job->error != -EEXIST) /* the number is used again: one trouble, told once */
		roll_unplace(pages->volume, job->place);
	roll_give(job->file);
	pages->ahead = NULL;
	pages->make_at = now_ns(pages) + RETRY_MS * (int64_t)NS_PER_MS;
	if (job->error != -ENOSPC)
		tell(pages, "cannot make the next file, trying again", job->reason);
	else if (!pages->file) /* else nobody needs it yet, and there may be room by then */
		lack_file(pages, job->reason);
	pages->is_fileless = !pages->file;
	/* The current file, if there is one, goes on to its end. */
	if (!pages->file && (job->error == -EFBIG || job->error == -EROFS || job->error == -EACCES))
		pages->fatal = job->error;
}

/* Also without its seal it is synced, as a rule: only a sync that fails loses anything. Seals end
 * in the order of the files, so all before is durable, too. */
static void sealed(struct pages *pages, const struct janitor_job *job)
{
	const struct drain_snapshot *end = sealing(pages, job->file);
	struct drain *ring = (struct drain *)(uintptr_t)job->tag; /* see pages_is_sealed() */

	pages->seals_done++;
	if (job->file->poisoned)
		drain_count_unsynced(ring, end);
	else
		drain_set_durable(ring, end);
	if (job->error == 0)
		roll_settle(pages->volume, job->file->place.volume_no, job->size, job->file->size);
	else
		tell(pages, "cannot seal a file, the next start does", job->reason);
	roll_give(job->file);
}

static void take_result(struct pages *pages, const struct janitor_job *job)
{
	if (job->kind == JANITOR_MAKE)
		made(pages, job);
	else if (job->kind == JANITOR_SEAL)
		sealed(pages, job);
	else if (job->kind == JANITOR_CALL)
		job->done(job->argument);
	else
		roll_give(job->file);
}

void pages_collect(struct pages *pages)
{
	struct janitor_job job;

	while (janitor_poll(pages->janitor, &job) > 0)
		take_result(pages, &job);
}

void pages_wait(struct pages *pages, int64_t timeout_ns)
{
	struct janitor_job job;

	if (janitor_wait(pages->janitor, &job, timeout_ns) > 0)
		take_result(pages, &job);
}

/* ---- questions ---- */

bool pages_has_data(const struct pages *pages)
{
	return pages->file && pages->file->pages > 1;
}

bool pages_hold(const struct pages *pages, const struct drain *drain)
{
	if (pages->file && pages->file_ring == drain)
		return true;
	for (unsigned i = 0; i < IO_BUFFERS; i++) {
		const struct page_slot *slot = &pages->slots[i];

		if (slot->state != PAGE_FREE && slot->drain == drain && slot->builder.records)
			return true;
	}
	return false;
}

bool pages_is_sealed(const struct pages *pages)
{
	return pages->seals_done == pages->seals_submitted;
}

bool pages_is_idle(const struct pages *pages)
{
	return pages->order_count == 0 && (!pages->filling || pages->filling->builder.records == 0);
}

void pages_finish(struct pages *pages)
{
	struct janitor_job job = { .kind = JANITOR_REMOVE };

	while (janitor_pending(pages->janitor) > 0)
		pages_wait(pages, -1);
	if (!pages->ahead)
		return;
	job.file = pages->ahead;
	pages->ahead = NULL;
	submit_job(pages, &job);
	pages_wait(pages, -1);
}
