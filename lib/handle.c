/*
 * handle.c - the cold half of shmlog.h: attach, detach, bind, counters, words for errors.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "producer.h"

/* ---- attach ---- */

static int read_options(const struct shmlog_options *options, struct shmlog_options *ret)
{
	*ret = (struct shmlog_options)SHMLOG_OPTIONS_INIT;
	if (options) {
		if (options->size < offsetof(struct shmlog_options, prebind) ||
		    options->size > 4096)
			return reason_set(-EINVAL,
					  "struct shmlog_options: size %zu is none of ours; "
					  "begin with SHMLOG_OPTIONS_INIT",
					  options->size);
		memcpy(ret, options, options->size < sizeof(*ret) ? options->size : sizeof(*ret));
	}
	if (ret->level < 0 || ret->level > 7)
		return reason_set(-EINVAL, "options: level %d; give 1 to 7, or 0 for info",
				  ret->level);
	if ((unsigned)ret->clock > SHMLOG_CLOCK_WRITER)
		return reason_set(-EINVAL, "options: clock %d is none of enum shmlog_clock",
				  (int)ret->clock);
	if (ret->mode_bits & ~0777u)
		return reason_set(-EINVAL, "options: mode_bits %o; give permission bits, 0 to 0777",
				  ret->mode_bits);
	if (ret->level == 0)
		ret->level = SHMLOG_INFO;
	if (!ret->name)
		ret->name = program_invocation_short_name;
	return 0;
}

static int create_if_missing(const char *ring, const struct shmlog_options *options)
{
	const struct segment_options segment = {
		.lanes = options->lanes,
		.lane_size = options->lane_size,
		.mode_bits = options->mode_bits,
		.group = (gid_t)-1,
		.clock = options->clock,
	};
	const int r = segment_create(&sys_real, ring, &segment);

	return r == -EEXIST ? 0 : r;
}

static int map_ring(const char *ring, const struct shmlog_options *options, struct ring_map **ret)
{
	int r = attachment_map(&sys_real, ring, options->name, options->level, ret);

	if (r == -ENOENT && options->create) {
		r = create_if_missing(ring, options);
		if (r == 0)
			r = attachment_map(&sys_real, ring, options->name, options->level, ret);
	}
	return r;
}

SHMLOG_API int shmlog_attach(const char *ring, const struct shmlog_options *options,
			     struct shmlog **ret_log)
{
	struct shmlog_options checked;
	struct ring_map *map;
	uintptr_t token;
	int r = ret_log ? read_options(options, &checked) : -EINVAL;

	if (r == 0)
		r = binding_watch_process();
	if (r == 0)
		r = map_ring(ring, &checked, &map);
	if (r != 0)
		return r;
	r = attachment_show(map, &token);
	if (r < 0) {
		attachment_release(map);
		return r;
	}
	*ret_log = (struct shmlog *)token;
	if (checked.prebind)
		r = binding_prebind(token, checked.prebind);
	if (r == -ENOBUFS)
		r = -EAGAIN;
	if (r < 0) {
		shmlog_detach(ret_log);
		return reason_set(r, "ring \"%s\": cannot bind %u lanes ahead: %s", ring,
				  checked.prebind, shmlog_strerror(r));
	}
	return 0;
}

/* The caller's open claim under a handle that he has just ended. */
static void end_claim(uintptr_t token)
{
	struct binding *binding = thread_bindings[token_slot(token)];

	if (binding && load_relaxed(&binding->token) == 0)
		producer_abort_claim(binding);
}

SHMLOG_API void shmlog_detach(struct shmlog **log)
{
	struct ring_map *map;
	uintptr_t token;

	if (!log || !*log)
		return;
	token = handle_token(*log);
	*log = NULL;
	if (!attachment_end(token, &map))
		return;
	binding_close_all(map);
	end_claim(token);
	(void)binding_drop_stale(token);
	attachment_release(map);
}

/* ---- bind ---- */

SHMLOG_API int shmlog_bind(struct shmlog *log)
{
	struct binding *binding;

	const int r = binding_get(handle_token(log), &binding);

	return r == -ENOBUFS ? -EAGAIN : r;
}

SHMLOG_API int shmlog_unbind(struct shmlog *log)
{
	struct ring_map *map = attachment_acquire(handle_token(log));
	struct binding *binding = binding_current(handle_token(log));

	if (!map)
		return -EBADF;
	if (binding) {
		producer_abort_claim(binding);
		(void)binding_drop_stale(handle_token(log));
	}
	attachment_release(map);
	return 0;
}

/* ---- counters ---- */

/* From the process's own memory alone: lanes may be unmapped meanwhile. */
static void count_bindings(const struct process_state *process, struct shmlog_stats *stats)
{
	for (size_t i = 0; i < BINDINGS_MAX; i++) {
		const struct binding *binding = &process->bindings[i];
		const bool is_bound =
			load_acquire_u32(&binding->tid) != 0; /* MO slot:B <- slot:A */

		if (!binding_was_used(binding))
			break;
		stats->threads += is_bound;
		stats->lanes += load_relaxed_u32(&binding->has_lane);
	}
}

SHMLOG_API int shmlog_get_stats(struct shmlog *log, struct shmlog_stats *stats)
{
	struct ring_map *map = attachment_acquire(handle_token(log));
	uint64_t drops[LOSS_REASONS];

	if (!map)
		return -EBADF;
	if (stats->size != sizeof(*stats)) {
		attachment_release(map);
		return -EINVAL;
	}
	*stats = (struct shmlog_stats){ .size = sizeof(*stats) };
	count_bindings(map->process, stats);
	for (size_t i = 0; i < LOSS_REASONS; i++) {
		drops[i] = load_relaxed(&map->process->drops[i]);
		stats->dropped += drops[i];
	}
	stats->dropped_full = drops[LOSS_FULL];
	stats->dropped_size = drops[LOSS_SIZE];
	stats->dropped_busy = drops[LOSS_BUSY];
	stats->dropped_no_lane = drops[LOSS_NO_LANE];
	stats->dropped_corrupt = drops[LOSS_CORRUPT];
	attachment_release(map);
	return 0;
}

SHMLOG_API size_t shmlog_record_max(struct shmlog *log)
{
	struct ring_map *map = attachment_acquire(handle_token(log));
	size_t record_max = 0;

	if (map) {
		record_max = map->segment.geometry.record_max;
		attachment_release(map);
	}
	return record_max;
}

/* ---- words ---- */

SHMLOG_API const char *shmlog_strerror(int error)
{
	switch (-error) {
	case 0:
		return "no error";
	case EAGAIN:
		return "no room";
	case EMSGSIZE:
		return "the record is larger than the ring's record maximum";
	case ESHUTDOWN:
		return "the ring was removed";
	case EBADF:
		return "no such handle or claim";
	case EBUSY:
		return "a claim is open already";
	case EPROTO:
		return "another layout or format version";
	case EBADMSG:
		return "not of shmlog, or damaged";
	default:
		return strerrordesc_np(-error) ? strerrordesc_np(-error) : "unknown error";
	}
}

SHMLOG_API const char *shmlog_reason(void)
{
	return reason_get();
}
