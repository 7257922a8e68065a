/*
 * trace.c - the events of a disk, and the table of calls that notes them. See trace.h.
 *
 * A call that changes something is carried out and noted under one lock, so that a kill never
 * falls between the two. Only syncs leave the lock in between: others' events may come meanwhile.
 */
#include "trace.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "archive_fork.h"
#include "disk.h"
#include "program.h"

enum { SYNC_US_MAX = 4000 };

#define ARENA_SIZE (UINT64_C(2) << 30) /* never touched, for the most part */

static struct trace *trace;
static bool is_archiver; /* this process is the writer's child */

/* ---- numbers ---- */

uint64_t random_next(uint64_t *state)
{
	uint64_t x = (*state += UINT64_C(0x9e3779b97f4a7c15));

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

uint32_t random_below(uint64_t *state, uint32_t bound)
{
	return (uint32_t)(random_next(state) % bound);
}

/* ---- memory ---- */

void trace_lock(pthread_mutex_t *mutex)
{
	const int r = pthread_mutex_lock(mutex);

	if (r == EOWNERDEAD)
		pthread_mutex_consistent(mutex);
	else if (r)
		broken("a lock of the trace: %s", strerror(r));
}

void trace_unlock(pthread_mutex_t *mutex)
{
	pthread_mutex_unlock(mutex);
}

uint32_t trace_count(const struct trace *of)
{
	return __atomic_load_n(&of->count, __ATOMIC_ACQUIRE);
}

static size_t keep(const void *bytes, size_t size)
{
	const size_t at = trace->used;

	if (at + size > ARENA_SIZE)
		broken("the trace's arena is full");
	memcpy(trace->arena + at, bytes, size);
	trace->used += (size + 63) / 64 * 64;
	return at;
}

static void init_lock(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(mutex, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

/* ---- nodes ---- */

static uint32_t find_node(const struct stat *about)
{
	for (uint32_t i = trace->node_count; i-- > 0;)
		if (trace->nodes[i].inode == about->st_ino &&
		    trace->nodes[i].device == about->st_dev)
			return i;
	return TRACE_NEVER;
}

static uint32_t add_node(const struct stat *about)
{
	if (trace->node_count == TRACE_NODES_MAX)
		broken("the trace has too many files");
	trace->nodes[trace->node_count] = (struct trace_node){ .device = about->st_dev,
							       .inode = about->st_ino,
							       .is_dir = S_ISDIR(about->st_mode) };
	return trace->node_count++;
}

static uint32_t node_of(int fd)
{
	struct stat about;

	return fstat(fd, &about) < 0 ? TRACE_NEVER : find_node(&about);
}

/* The directory that @path below @dir lies in, and the last part of its name. */
static uint32_t parent_of(int dir, const char *path, char name[TRACE_NAME_SIZE])
{
	const char *slash = strrchr(path, '/');
	char parent[4096] = ".";
	struct stat about;

	if (slash)
		(void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	(void)snprintf(name, TRACE_NAME_SIZE, "%.*s", TRACE_NAME_SIZE - 1,
		       slash ? slash + 1 : path);
	return fstatat(dir, parent, &about, 0) < 0 ? TRACE_NEVER : find_node(&about);
}

/* ---- events ---- */

static void note_words(struct event *event)
{
	const struct segment_view *view = &trace->view;

	for (uint32_t lane = 0; view->base && lane < view->geometry->lanes; lane++)
		event->durable[lane] = load_acquire(&view_lane_status(view, lane)->records_durable);
}

/* In the drain's thread alone: the writer's words are whole then. */
static void take_snapshot(void)
{
	struct snapshot *snapshot = &trace->snapshots[trace->snapshot_count];

	if (trace->snapshot_every == 0 || trace->count % trace->snapshot_every != 0 ||
	    trace->snapshot_count == TRACE_SNAPSHOTS_MAX || gettid() != getpid() || is_archiver)
		return;
	trace_lock(&trace->world);
	snapshot->at = trace->count;
	snapshot->segment = keep(trace->view.base, trace->view.geometry->size);
	for (unsigned i = 0; i < TRACE_PRODUCERS; i++)
		snapshot->pushed[i] = trace->known[i].pushed;
	trace->snapshot_count++;
	trace_unlock(&trace->world);
}

static void maybe_die(void)
{
	if (trace->count < trace->kill_at)
		return;
	if (gettid() == getpid())
		disk_io_scatter();
	(void)kill(getpid(), SIGKILL);
	(void)pause();
}

/* Every change begins here, and ends with leave(). */
static void enter(void)
{
	trace_lock(&trace->mutex);
	maybe_die();
}

static void leave(void)
{
	trace_unlock(&trace->mutex);
}

static uint32_t append(const struct event *event)
{
	struct event *at = &trace->events[trace->count];

	if (trace->count == TRACE_EVENTS_MAX)
		broken("the trace is full");
	take_snapshot();
	*at = *event;
	at->gone = TRACE_NEVER;
	note_words(at);
	__atomic_store_n(&trace->count, trace->count + 1, __ATOMIC_RELEASE);
	return trace->count - 1;
}

/* A change that is carried out already. */
static void append_done(struct event event)
{
	event.done = trace->count + 1;
	(void)append(&event);
}

uint32_t disk_begin_write(int fd, const void *bytes, size_t size, uint64_t offset)
{
	struct event event = {
		.kind = EVENT_WRITE, .offset = offset, .size = size, .done = TRACE_NEVER
	};
	struct stat about;
	uint32_t index;

	enter();
	if (fstat(fd, &about) < 0)
		broken("a write to no file");
	event.node = find_node(&about);
	event.grows = offset + size > (uint64_t)about.st_size;
	event.data = keep(bytes, size);
	index = append(&event);
	leave();
	return index;
}

void disk_end_write(int fd, uint32_t index)
{
	enter();
	disk_land(fd, index);
	leave();
}

void disk_land(int fd, uint32_t index)
{
	struct event *event = &trace->events[index];
	const ssize_t n = pwrite(fd, trace->arena + event->data, event->size, (off_t)event->offset);

	if (n != (ssize_t)event->size)
		broken("the disk below the trace: %s", strerror(errno));
	event->done = trace->count;
}

uint32_t disk_begin_sync(int fd)
{
	struct event event = { .kind = EVENT_SYNC, .node = node_of(fd), .done = TRACE_NEVER };
	uint32_t index;

	enter();
	index = append(&event);
	leave();
	return index;
}

void disk_end_sync(uint32_t index)
{
	const struct event synced = { .kind = EVENT_SYNCED, .node = trace->events[index].node };

	enter();
	append_done(synced);
	trace->events[index].done = trace->count;
	leave();
}

void trace_writer_died(struct trace *of)
{
	for (uint32_t i = 0; i < of->count; i++)
		if (of->events[i].kind == EVENT_WRITE && of->events[i].done == TRACE_NEVER &&
		    of->events[i].gone == TRACE_NEVER)
			of->events[i].gone = of->count;
}

/* ---- the calls ---- */

static void note_opened(int fd, uint32_t dir, const char *name, bool existed, int flags)
{
	struct event event = { .dir = dir };
	struct stat about;

	if (fstat(fd, &about) < 0)
		broken("a file that is open and is not there");
	if (!existed) {
		event.kind = EVENT_ADD;
		event.node = add_node(&about);
		memcpy(event.name, name, sizeof(event.name));
		append_done(event);
	} else if (flags & O_TRUNC) {
		event.kind = EVENT_SIZE;
		event.node = find_node(&about);
		append_done(event);
	}
}

static int disk_openat(int dir, const char *path, int flags, mode_t mode)
{
	char name[TRACE_NAME_SIZE];
	struct stat about;
	uint32_t parent;
	bool existed;
	int fd;

	if (!(flags & (O_CREAT | O_TRUNC)))
		return sys_real.openat(dir, path, flags, mode);
	enter();
	parent = parent_of(dir, path, name);
	existed = fstatat(dir, path, &about, 0) == 0;
	fd = sys_real.openat(dir, path, flags, mode);
	if (fd >= 0 && parent != TRACE_NEVER)
		note_opened(fd, parent, name, existed, flags);
	leave();
	return fd;
}

static int disk_ftruncate(int fd, off_t size)
{
	struct event event = { .kind = EVENT_SIZE, .size = (uint64_t)size };
	int r;

	enter();
	event.node = node_of(fd);
	r = sys_real.ftruncate(fd, size);
	if (r == 0 && event.node != TRACE_NEVER)
		append_done(event);
	leave();
	return r;
}

static int disk_fallocate(int fd, int mode, off_t offset, off_t size)
{
	struct event event = { .kind = EVENT_SIZE, .size = (uint64_t)(offset + size) };
	int r;

	enter();
	event.node = node_of(fd);
	r = sys_real.fallocate(fd, mode, offset, size);
	if (r == 0 && event.node != TRACE_NEVER)
		append_done(event);
	leave();
	return r;
}

static int disk_mkdirat(int dir, const char *path, mode_t mode)
{
	struct event event = { .kind = EVENT_ADD };
	struct stat about;
	int r;

	enter();
	event.dir = parent_of(dir, path, event.name);
	r = sys_real.mkdirat(dir, path, mode);
	if (r == 0 && event.dir != TRACE_NEVER && fstatat(dir, path, &about, 0) == 0) {
		event.node = add_node(&about);
		append_done(event);
	}
	leave();
	return r;
}

static int disk_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	struct event event = { .kind = EVENT_ADD };
	struct stat about;
	int r;

	enter();
	event.dir = parent_of(to_dir, to, event.name);
	r = sys_real.linkat(from_dir, from, to_dir, to, flags);
	if (r == 0 && event.dir != TRACE_NEVER && fstatat(to_dir, to, &about, 0) == 0) {
		event.node = find_node(&about);
		append_done(event);
	}
	leave();
	return r;
}

static int disk_unlinkat(int dir, const char *path, int flags)
{
	struct event event = { .kind = EVENT_REMOVE };
	int r;

	enter();
	event.dir = parent_of(dir, path, event.name);
	r = sys_real.unlinkat(dir, path, flags);
	if (r == 0 && event.dir != TRACE_NEVER)
		append_done(event);
	leave();
	return r;
}

/* Within one directory: nothing else is renamed here. */
static int disk_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	struct event event = { .kind = EVENT_RENAME };
	struct stat about;
	int r;

	enter();
	event.dir = parent_of(from_dir, from, event.name);
	if (parent_of(to_dir, to, event.new_name) != event.dir)
		broken("a rename from one directory to another is not traced");
	r = sys_real.renameat(from_dir, from, to_dir, to);
	if (r == 0 && event.dir != TRACE_NEVER && fstatat(to_dir, to, &about, 0) == 0) {
		event.node = find_node(&about);
		append_done(event);
	}
	leave();
	return r;
}

/* As a disk does, it takes its time: what others ask for comes in between. */
static int disk_fsync(int fd)
{
	uint32_t index;

	if (node_of(fd) == TRACE_NEVER)
		return sys_real.fsync(fd);
	index = disk_begin_sync(fd);
	(void)sys_real.sleep((int64_t)(index * 2654435761u % SYNC_US_MAX) * (int64_t)NS_PER_US);
	disk_end_sync(index);
	return 0;
}

static ssize_t disk_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	if (node_of(fd) == TRACE_NEVER)
		return sys_real.pwrite(fd, buffer, size, offset);
	disk_end_write(fd, disk_begin_write(fd, buffer, size, (uint64_t)offset));
	return (ssize_t)size;
}

static int pass_open(const char *path, int flags, mode_t mode)
{
	return sys_real.open(path, flags, mode);
}

static int pass_close(int fd)
{
	return sys_real.close(fd);
}

static int pass_fstat(int fd, struct stat *ret)
{
	return sys_real.fstat(fd, ret);
}

static int pass_fstatat(int dir, const char *path, struct stat *ret, int flags)
{
	return sys_real.fstatat(dir, path, ret, flags);
}

static int pass_fstatfs(int fd, struct statfs *ret)
{
	return sys_real.fstatfs(fd, ret);
}

static int pass_fchmod(int fd, mode_t mode)
{
	return sys_real.fchmod(fd, mode);
}

static int pass_fchown(int fd, uid_t user, gid_t group)
{
	return sys_real.fchown(fd, user, group);
}

static ssize_t pass_pread(int fd, void *buffer, size_t size, off_t offset)
{
	return sys_real.pread(fd, buffer, size, offset);
}

static int pass_map(void *address, size_t size, int protection, int flags, int fd, off_t offset,
		    void **ret)
{
	return sys_real.map(address, size, protection, flags, fd, offset, ret);
}

static int pass_unmap(void *address, size_t size)
{
	return sys_real.unmap(address, size);
}

static int pass_advise(void *address, size_t size, int advice)
{
	return sys_real.advise(address, size, advice);
}

static int pass_lock(int fd, int64_t start, int64_t size)
{
	return sys_real.lock(fd, start, size);
}

static int pass_unlock(int fd, int64_t start, int64_t size)
{
	return sys_real.unlock(fd, start, size);
}

static int pass_lock_query(int fd, int64_t start, int64_t size)
{
	return sys_real.lock_query(fd, start, size);
}

static int pass_futex_wait(const uint32_t *word, uint32_t value, int64_t deadline_ns)
{
	return sys_real.futex_wait(word, value, deadline_ns);
}

static int pass_futex_wake(const uint32_t *word)
{
	return sys_real.futex_wake(word);
}

static int pass_getrandom(void *buffer, size_t size)
{
	return sys_real.getrandom(buffer, size);
}

static int64_t pass_now(clockid_t clock)
{
	return sys_real.now(clock);
}

static int pass_sleep(int64_t ns)
{
	return sys_real.sleep(ns);
}

static int pass_thread_alive(uint32_t tid)
{
	return sys_real.thread_alive(tid);
}

static uint32_t pass_gettid(void)
{
	return sys_real.gettid();
}

static uint32_t pass_getpid(void)
{
	return sys_real.getpid();
}

static int pass_futimens(int fd, const struct timespec times[2])
{
	return sys_real.futimens(fd, times);
}

/* Page writes under way are not the child's. */
static void begin_archiver(void)
{
	is_archiver = true;
	disk_io_forget();
}

static int disk_spawn(const char *program, char *const arguments[], const int *descriptors,
		      size_t count)
{
	(void)program;
	(void)count;
	return archive_fork(&disk_sys, arguments, descriptors, begin_archiver);
}

static int pass_wait_child(int pid, int *ret_status)
{
	return sys_real.wait_child(pid, ret_status);
}

static int pass_kill(int pid, int signal)
{
	return sys_real.kill(pid, signal);
}

const struct sys disk_sys = {
	.open = pass_open,
	.openat = disk_openat,
	.close = pass_close,
	.fstat = pass_fstat,
	.fstatat = pass_fstatat,
	.fstatfs = pass_fstatfs,
	.ftruncate = disk_ftruncate,
	.fallocate = disk_fallocate,
	.fchmod = pass_fchmod,
	.fchown = pass_fchown,
	.mkdirat = disk_mkdirat,
	.linkat = disk_linkat,
	.unlinkat = disk_unlinkat,
	.renameat = disk_renameat,
	.fsync = disk_fsync,
	.fdatasync = disk_fsync,
	.pread = pass_pread,
	.pwrite = disk_pwrite,
	.map = pass_map,
	.unmap = pass_unmap,
	.advise = pass_advise,
	.lock = pass_lock,
	.unlock = pass_unlock,
	.lock_query = pass_lock_query,
	.futex_wait = pass_futex_wait,
	.futex_wake = pass_futex_wake,
	.getrandom = pass_getrandom,
	.now = pass_now,
	.sleep = pass_sleep,
	.thread_alive = pass_thread_alive,
	.gettid = pass_gettid,
	.getpid = pass_getpid,
	.futimens = pass_futimens,
	.spawn = disk_spawn,
	.wait_child = pass_wait_child,
	.kill = pass_kill,
};

/* ---- what is there already ---- */

static void note_content(int fd, uint32_t node, uint64_t size)
{
	static const uint8_t zeros[4096];
	struct event event = { .kind = EVENT_SIZE, .node = node, .size = size };
	uint8_t block[4096];
	ssize_t n;

	append_done(event);
	event.kind = EVENT_WRITE;
	for (uint64_t at = 0; at < size; at += sizeof(block)) {
		n = pread(fd, block, sizeof(block), (off_t)at);
		if (n <= 0)
			broken("cannot read what is to be traced");
		if (memcmp(block, zeros, (size_t)n) == 0)
			continue;
		event.offset = at;
		event.size = (uint64_t)n;
		event.data = keep(block, (size_t)n);
		append_done(event);
	}
}

static void note_tree(int dir, uint32_t dir_node);

static void note_entry(int dir, uint32_t dir_node, const char *name)
{
	struct event event = { .kind = EVENT_ADD, .dir = dir_node };
	const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	struct stat about;

	if (fd < 0 || fstat(fd, &about) < 0)
		broken("cannot open what is to be traced: %s", name);
	(void)snprintf(event.name, sizeof(event.name), "%s", name);
	event.node = add_node(&about);
	append_done(event);
	if (S_ISDIR(about.st_mode))
		note_tree(fd, event.node);
	else
		note_content(fd, event.node, (uint64_t)about.st_size);
	close(fd);
}

static void note_tree(int dir, uint32_t dir_node)
{
	DIR *stream = fdopendir(dup(dir));
	struct event sync = { .kind = EVENT_SYNC, .node = dir_node };
	struct dirent *entry;

	if (!stream)
		broken("cannot list what is to be traced");
	while ((entry = readdir(stream)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			note_entry(dir, dir_node, entry->d_name);
	(void)closedir(stream);
	append_done(sync);
}

/* All that was noted so far is durable. */
static void sync_all(void)
{
	const uint32_t nodes = trace->node_count;

	for (uint32_t node = 0; node < nodes; node++)
		append_done((struct event){ .kind = EVENT_SYNC, .node = node });
}

struct trace *trace_create(const char *root, uint64_t seed)
{
	const size_t size = sizeof(struct trace) + ARENA_SIZE;
	const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
	struct trace *before = trace;
	struct trace *made = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	const int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat about;

	if (made == MAP_FAILED || fd < 0 || fstat(fd, &about) < 0)
		broken("a trace of %s: %s", root, strerror(errno));
	made->size = size;
	made->seed = seed;
	made->kill_at = TRACE_NEVER;
	init_lock(&made->mutex);
	init_lock(&made->world);
	memset(made->known, 0xff, sizeof(made->known));
	for (unsigned i = 0; i < TRACE_PRODUCERS; i++)
		made->known[i].pushed = 0;
	trace = made;
	(void)add_node(&about);
	note_tree(fd, TRACE_ROOT);
	sync_all();
	close(fd);
	trace = before;
	return made;
}

void trace_destroy(struct trace *of)
{
	if (trace == of)
		trace = NULL;
	munmap(of, of->size);
}

void trace_seed(struct trace *of, uint64_t seed)
{
	of->seed = seed;
	disk_io_seed(seed);
}

void trace_use(struct trace *of, const struct segment_view *view)
{
	trace = of;
	of->view = *view;
	disk_io_seed(of->seed);
}
