/*
 * binding.h - one thread's hold on a lane; liveness, thread end, fork.
 *
 * A thread binds a lane of its own where one is free, and stays there until it ends; else it uses
 * the shared lane 0 with the handle's owner id. The lock of a lane (or owner id) is an
 * open-file-description lock whose descriptor is closed at once: the mapping pins it, so that it
 * lives exactly as long as somebody can still store through that mapping.
 *
 * I1. A lane is mapped through an open of its own, from which nothing else comes.
 * I2. Binding state lies in memory that a forked child finds zeroed; mappings of lanes are not
 *     inherited. So a child holds nothing, and binds anew.
 * I3. Binding takes no lock but the kernel's, and no heap: it runs inside a signal handler.
 * I4. A slot belongs to the thread whose tid it holds; one whose thread is gone is free.
 * I5. A vforked child stands in a thread's place, but is a process of its own: it takes no slot,
 *     for the slot would bear the child's tid, and no thread of the process seems alive to it.
 */
#ifndef SHMLOG_LIB_BINDING_H
#define SHMLOG_LIB_BINDING_H

#include "attachment.h"
#include "ring.h"

enum {
	BINDINGS_MAX = 4096, /* threads of one handle at a time */
	POOLED_MAX = 4,      /* ended threads' lanes that are kept for the next ones */
};

/* An open claim of a thread. */
struct open_claim {
	bool open;
	uint8_t level;
	uint32_t blocks;
	uint64_t position; /* own lanes                                                  */
	uint64_t serial;
	size_t size;
	uint64_t ticks;
	uint8_t *memory; /* lane 0: private, record_max bytes; kept for the next claim   */
};

struct binding {
	/* What every push touches: one line, and the lane behind it. */
	_Alignas(64) struct shared_u64 token; /* of the handle; 0: not usable             */
	uint64_t busy;              /* mark of the push that is under way; 0 = none       */
	struct shared_u64 position; /* own lane: the next record's; lane 0: end of the last */
	uint64_t short_limit;       /* `limit` for short records; 0 where a stamp is a call */
	uint64_t short_word;        /* own lane: READY of one block, anywhere below `limit` */
	const struct shared_u32 *control;
	uint32_t record_max;
	uint8_t pending; /* drops that no GAP has told yet                               */
	uint8_t clock;   /* enum ring_clock                                              */
	int16_t level;   /* of shmlog_try_push()                                         */
	struct lane lane;
	uint64_t limit; /* own lane: no look needed up to here; 0 in lane 0               */
	/* The rest. */
	struct shared_u32 tid;      /* 0 = free slot; see I4                              */
	struct shared_u32 was_used; /* 1: since the process began, or was forked          */
	struct shared_u32 has_lane; /* 1: `base` is an own lane's; for other threads      */
	uint32_t lane_no;
	uint32_t owner; /* lane 0: the handle's owner id                           */
	bool is_source_told;
	int fd;                   /* where a mapping does not pin a lock; else -1            */
	uint64_t released;        /* own lane: as last seen                                  */
	uint64_t look_at;         /* own lane: where to look at `released` again             */
	struct shared_u64 intent; /* lane 0: see struct shared_lane; read by the handle's threads */
	uint64_t left; /* lane 0: the intent of a push that was left half way; 0 = settled */
	uint8_t *base; /* mapping of an own lane; NULL in lane 0                  */
	struct ring_map *map;
	struct producer_line *line;
	struct lane_page *page;
	const struct lane_status *status;
	uint64_t drops_before[LOSS_REASONS]; /* when the lock was taken                   */
	uint64_t told[LOSS_REASONS];         /* own lane: drops that GAPs have told       */
	struct open_claim claim;
};

/* Slots are taken from the first on: behind one that nobody has ever had there are no others. */
static inline bool binding_was_used(const struct binding *binding)
{
	return load_seq_cst_u32(&binding->tid) != 0 || /* MO slot:B <- slot:A */
	       load_relaxed_u32(&binding->was_used);
}

enum holder_state { HOLDER_NONE = 0, HOLDER_FILLING = 1, HOLDER_SHOWN = 2 };

/* The handle's hold on lane 0, shared by its threads once shown. */
struct shared_holder {
	struct shared_u32 state;
	int fd;
	uint8_t *base;
	uint32_t owner;
	struct producer_line *line;
	struct lane_page *page;
	struct lane lane;
	uint64_t drops_before[LOSS_REASONS];
	struct shared_u64 told[LOSS_REASONS];
};

/* All that must not survive a fork; MADV_WIPEONFORK. */
struct process_state {
	struct shared_u32 pid;        /* whose memory this is; 0 = not asked yet */
	struct shared_u64 start_time; /* of the process; 0 = not read yet        */
	struct shared_holder holder;
	struct shared_u64 drops[LOSS_REASONS];       /* of all threads, ended ones included */
	struct shared_u64 lane_positions[LANES_MAX]; /* ends of what ended bindings pushed */
	struct shared_u64 lane_failures[LANES_MAX];  /* `failed` at bind, or as sync last said */
	struct binding bindings[BINDINGS_MAX];
};

/* The calling thread's bindings, by handle slot. */
extern _Thread_local struct binding *thread_bindings[HANDLES_MAX];

/* The calling thread's binding under @token; NULL if it has none that is usable. */
static inline struct binding *binding_current(uintptr_t token)
{
	struct binding *binding = thread_bindings[token_slot(token)];

	/* No handle: as unlike a binding that is no longer usable as any other. */
	if (unlikely(!binding || token == 0 || load_relaxed(&binding->token) != token))
		return NULL;
	return binding;
}

/**
 * binding_get() - the calling thread's binding, made if need be.
 * Return: 0; -EBADF no such handle; -ESHUTDOWN; -EAGAIN nothing is free, -ENOBUFS only the
 *         shared lane is, and it is full (both counted nowhere yet).
 */
int binding_get(uintptr_t token, struct binding **ret);

/* Abort what is open and give the lane back: to the pool, or to everybody. */
void binding_end(struct binding *binding);

/* End the calling thread's binding of handle slot @slot, if it has one. */
void binding_leave(unsigned slot);

/* Has the calling thread given a lane back under @token? It no longer knows which. */
bool binding_was_left(uintptr_t token);

/* Let go of the calling thread's binding that can no longer be used (detached, closed,
 * quarantined). False: its claim is open, it stays until that is committed or aborted. */
bool binding_drop_stale(uintptr_t token);

/* Is the caller in a vforked child, in the place of a thread of its parent? See I5. */
bool binding_is_vforked(struct ring_map *map);

/* Whose threads these are; told at attach and in a forked child, while nobody else can bind. */
void binding_own_process(struct ring_map *map);

/* Around whatever opens the ring for a moment: a child that is forked meanwhile lets go of it. */
void binding_open_begin(void);
void binding_open_end(void);

/* Once a process: thread ends and forks are noticed from now on. 0 or -errno. */
int binding_watch_process(void);

/* Take @count lanes and an owner id now; 0 or as binding_get(). */
int binding_prebind(uintptr_t token, unsigned count);

/* What a handle is closed with: its pooled lanes, all bindings' tokens. */
void binding_close_all(struct ring_map *map);
/* The last reference is gone: unmap what is left. */
void binding_unmap_all(struct ring_map *map);

#endif
