/*
 * peers.h - other ways to get records from a program into a file, as peers.c drives them.
 *
 * Each is opened, logged to by one thread on bench.producer_cpu, finished (all that it accepted is
 * in a synced file), counted by what is in that file, and closed; then it may be opened again.
 * Whatever reads or writes for it runs on bench.consumer_cpu. All state is the peer's own.
 */
#ifndef SHMLOG_BENCH_PEERS_H
#define SHMLOG_BENCH_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer {
	const char *name;
	const char *asked; /* what it was asked to do, in a line                             */
	/* NULL: it runs here; else what is missing.                                          */
	const char *(*missing)(void);
	/* @is_flood: as many as it can take, as fast as it can; it may wait where it can.    */
	void (*open)(const char *directory, bool is_flood);
	void (*log)(const void *data, size_t size);
	void (*finish)(void);
	uint64_t (*count)(void);
	void (*close)(void);
};

extern const struct peer peer_shmlog, peer_write, peer_datagram; /* peer_own.c     */
extern const struct peer peer_lttng;                             /* peer_lttng.c   */
extern const struct peer peer_spdlog;                            /* peer_spdlog.c  */

/* A function of a shared object beside this program: what needs a peer's own headers lies in one,
 * so that the rest builds and runs without. NULL: it was not built. */
void *peer_symbol(const char *object, const char *name);

#endif
