/*
 * life.c - the producer of bench/life.sh: what it sees of the drain while a log lives.
 *
 *	life push RING DIR text|noise TEXT MB MB_PER_S
 *	life print text|noise TEXT MB
 *
 * `push' keeps one lane busy with lines of the file TEXT, over and over, or with random records of
 *1 to 2000 bytes, until MB are pushed; `print' writes the same records, each with a newline.
 *
 * A stall is the time between two moves of the lane's `released' while something that was published
 * waits behind it: for that long the drain has stood still for this producer, whatever held it up:
 * the disk, the files' turn, the second thread, the child that compresses, another program on its
 * processor. It is seen from outside, in the shared memory that blocked producers look at, and is
 * not what the writer says of itself. The producer looks after every few records, and around each
 *of its pauses, which are some 0.3 ms: times are as exact as that. That the writer lets records
 *gather until half the lane is full is part of it, with whatever upkeep; so compare, and look at
 *the tail.
 *
 * A second thread adds up, every few ms, what the files in DIR take on the disk.
 *
 * Prints one line: seconds, megabytes a second, stalls at 50, 99 and 99.9 % and the longest in us,
 * and the peak on the disk in bytes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "segment.h"
#include "shmlog.h"

enum {
	NOISE_MAX = 2000,
	NOISE_BYTES = 16 * 1024 * 1024, /* of which records are cut                      */
	LOOK_EVERY = 16,                /* records                                       */
	BURST_BYTES = 64 * 1024,        /* between two looks at the time                 */
	SAMPLES_MAX = 4 * 1024 * 1024,
	DISK_MS = 4,
	STAT_BLOCK = 512,
};

#define MEGABYTE UINT64_C(1000000)

static int failed(const char *what, const char *why)
{
	fprintf(stderr, "life: %s: %s\n", what, why);
	return -1;
}

/* ---- what is pushed ---- */

struct stream {
	const uint8_t *text;
	size_t size;
	size_t at;
	bool is_noise;
	uint64_t random;
	uint64_t rest; /* bytes to come, with their newlines                             */
};

/* xorshift64: the same each time. */
static uint64_t next_random(struct stream *stream)
{
	stream->random ^= stream->random << 13;
	stream->random ^= stream->random >> 7;
	stream->random ^= stream->random << 17;
	return stream->random;
}

static int make_noise(struct stream *stream)
{
	uint64_t *noise = malloc(NOISE_BYTES);

	if (!noise)
		return failed("noise", strerror(ENOMEM));
	for (size_t i = 0; i < NOISE_BYTES / sizeof(*noise); i++)
		noise[i] = next_random(stream);
	stream->text = (const uint8_t *)noise;
	stream->size = NOISE_BYTES;
	return 0;
}

static int map_text(struct stream *stream, const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat about;
	void *text;

	if (fd < 0 || fstat(fd, &about) < 0 || about.st_size == 0)
		return failed(path, "no text");
	text = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	(void)close(fd);
	if (text == MAP_FAILED)
		return failed(path, strerror(errno));
	stream->text = text;
	stream->size = (size_t)about.st_size;
	return 0;
}

static int open_stream(struct stream *stream, const char *kind, const char *text, const char *mb)
{
	*stream = (struct stream){ .random = 88172645463325252, .rest = strtoull(mb, NULL, 10) };
	stream->rest *= MEGABYTE;
	stream->is_noise = strcmp(kind, "noise") == 0;
	return stream->is_noise ? make_noise(stream) : map_text(stream, text);
}

static size_t next_line(struct stream *stream)
{
	const uint8_t *end = memchr(stream->text + stream->at, '\n', stream->size - stream->at);

	return end ? (size_t)(end - stream->text) - stream->at : stream->size - stream->at;
}

static size_t next_noise(struct stream *stream)
{
	const uint64_t random = next_random(stream);

	stream->at = (size_t)(random >> 32) % (NOISE_BYTES - NOISE_MAX);
	return 1 + (size_t)(random & UINT32_MAX) % NOISE_MAX;
}

/* False: all are through. */
static bool next(struct stream *stream, const uint8_t **ret, size_t *ret_size)
{
	if (stream->rest == 0)
		return false;
	if (stream->at >= stream->size)
		stream->at = 0;
	*ret_size = stream->is_noise ? next_noise(stream) : next_line(stream);
	*ret = stream->text + stream->at;
	stream->at += *ret_size + 1;
	stream->rest -= min_u64(*ret_size + 1, stream->rest);
	return true;
}

static int print(struct stream *stream)
{
	const uint8_t *data;
	size_t size;

	while (next(stream, &data, &size)) {
		(void)fwrite(data, 1, size, stdout);
		(void)putchar('\n');
	}
	return fflush(stdout) == 0 ? 0 : failed("standard output", strerror(errno));
}

/* ---- what the log takes on the disk ---- */

struct disk {
	const char *path;
	uint64_t peak;
	struct shared_u32 is_over;
	pthread_t thread;
};

/* Of all files in @dir, which is closed, and in its volumes. What vanishes meanwhile is gone. */
static uint64_t add_up(int dir)
{
	DIR *stream = fdopendir(dir);
	const struct dirent *entry;
	uint64_t sum = 0;

	while (stream && (entry = readdir(stream))) {
		struct stat about;

		if (entry->d_name[0] == '.')
			continue;
		if (entry->d_type == DT_DIR)
			sum += add_up(openat(dir, entry->d_name, O_RDONLY | O_CLOEXEC));
		else if (fstatat(dir, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) == 0)
			sum += (uint64_t)about.st_blocks * STAT_BLOCK;
	}
	if (stream)
		(void)closedir(stream);
	return sum;
}

static void *watch_disk(void *argument)
{
	const struct timespec pause = { .tv_nsec = DISK_MS * (long)NS_PER_MS };
	struct disk *disk = argument;

	while (!load_relaxed_u32(&disk->is_over)) {
		disk->peak = max_u64(disk->peak, add_up(open(disk->path, O_RDONLY | O_CLOEXEC)));
		(void)nanosleep(&pause, NULL);
	}
	return NULL;
}

/* ---- the drain, as its producer sees it ---- */

struct watch {
	const struct lane_status *lane;
	uint64_t pushed;   /* records                                                    */
	uint64_t released; /* when last looked at                                        */
	uint64_t since;    /* ns: it moved, or there was nothing to wait for             */
	uint32_t *samples; /* us                                                         */
	size_t count;
};

static void look(struct watch *watch)
{
	const uint64_t released = load_relaxed(&watch->lane->records_released);
	const uint64_t now = clock_monotonic_ns();

	if (released != watch->released && watch->count < SAMPLES_MAX)
		watch->samples[watch->count++] = (uint32_t)((now - watch->since) / NS_PER_US);
	if (released != watch->released || released == watch->pushed)
		watch->since = now;
	watch->released = released;
}

static int push_one(struct watch *watch, struct shmlog *log, const uint8_t *data, size_t size)
{
	const int r = shmlog_push_wait(log, SHMLOG_INFO, data, size, -1);

	if (r < 0)
		return failed("push", shmlog_strerror(r));
	if (++watch->pushed % LOOK_EVERY == 0)
		look(watch);
	return 0;
}

static void sleep_until(uint64_t ns)
{
	const struct timespec until = { .tv_sec = (time_t)(ns / NS_PER_S),
					.tv_nsec = (long)(ns % NS_PER_S) };

	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static int push_all(struct watch *watch, struct shmlog *log, struct stream *stream,
		    uint64_t bytes_per_s)
{
	const uint64_t began = clock_monotonic_ns();
	uint64_t bytes = 0, pause_at = BURST_BYTES;
	const uint8_t *data;
	size_t size;

	watch->since = began;
	while (next(stream, &data, &size)) {
		if (push_one(watch, log, data, size) < 0)
			return -1;
		bytes += size + 1;
		if (bytes < pause_at)
			continue;
		pause_at = bytes + BURST_BYTES;
		look(watch);
		sleep_until(began + (uint64_t)((double)bytes / (double)bytes_per_s * NS_PER_S));
		look(watch);
	}
	return 0;
}

static int compare_samples(const void *a, const void *b)
{
	const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static uint32_t quantile(const struct watch *watch, double part)
{
	return watch->samples[(size_t)((double)(watch->count - 1) * part)];
}

static void report(struct watch *watch, uint64_t bytes, uint64_t ns, uint64_t peak)
{
	qsort(watch->samples, watch->count, sizeof(*watch->samples), compare_samples);
	printf("%.1f %.0f %u %u %u %u %llu\n", (double)ns / NS_PER_S,
	       (double)bytes / MEGABYTE / ((double)ns / NS_PER_S), quantile(watch, 0.5),
	       quantile(watch, 0.99), quantile(watch, 0.999), quantile(watch, 1),
	       (unsigned long long)peak);
}

static int measure(struct watch *watch, struct shmlog *log, struct stream *stream, char **argv)
{
	struct disk disk = { .path = argv[3] };
	const uint64_t bytes = stream->rest;
	const uint64_t began = clock_monotonic_ns();
	uint64_t ns;
	int r;

	if (pthread_create(&disk.thread, NULL, watch_disk, &disk) != 0)
		return failed("thread", "none to be had");
	r = push_all(watch, log, stream, strtoull(argv[7], NULL, 10) * MEGABYTE);
	ns = clock_monotonic_ns() - began;
	store_relaxed_u32(&disk.is_over, 1);
	(void)pthread_join(disk.thread, NULL);
	if (r == 0 && watch->count == 0)
		return failed(argv[2], "its drain has never moved");
	if (r == 0)
		report(watch, bytes, ns, disk.peak);
	return r;
}

/* The first thread to bind has the first lane of its own. */
static int watch_lane(struct watch *watch, const char *ring, struct segment *segment,
		      struct segment_view *view)
{
	if (segment_open(&sys_real, ring, O_RDONLY, segment) < 0 || segment_view(segment, view) < 0)
		return failed(ring, reason_get());
	watch->lane = view_lane_status(view, 1);
	watch->samples = calloc(SAMPLES_MAX, sizeof(*watch->samples));
	return watch->samples ? 0 : failed("samples", strerror(ENOMEM));
}

static int push(struct stream *stream, char **argv)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct watch watch = { 0 };
	struct segment_view view;
	struct segment segment;
	struct shmlog *log;
	int r;

	options.name = "life";
	if (shmlog_attach(argv[2], &options, &log) < 0)
		return failed(argv[2], shmlog_reason());
	r = watch_lane(&watch, argv[2], &segment, &view);
	if (r == 0)
		r = measure(&watch, log, stream, argv);
	free(watch.samples);
	shmlog_detach(&log);
	return r;
}

int main(int argc, char **argv)
{
	struct stream stream;

	if (argc == 8 && strcmp(argv[1], "push") == 0)
		return open_stream(&stream, argv[4], argv[5], argv[6]) < 0 ||
		       push(&stream, argv) < 0;
	if (argc == 5 && strcmp(argv[1], "print") == 0)
		return open_stream(&stream, argv[2], argv[3], argv[4]) < 0 || print(&stream) < 0;
	fprintf(stderr, "usage: life push RING DIR text|noise TEXT MB MB_PER_S\n"
			"       life print text|noise TEXT MB\n");
	return 64;
}
