/*
 * verify_file.c - one file: its pages against their headers, their numbers, and its SEAL page.
 *
 * What the scan cannot prove is damage unless the file's state explains it. A finding names what is
 * bad once: what follows from it (an index entry without its page, a sum that a lost page was part
 * of) is not told again.
 */
#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <lz4frame.h>
#include <stdio.h>
#include <string.h>

enum { FRAME_CHUNK = 64 * 1024 };

/* A file while it is gone through; in a concatenation one part of it. */
struct part {
	struct verify *verify;
	struct verify_file *file;
	uint64_t offset;     /* of its FILE page                                      */
	uint64_t page_first; /* 0: not known                                          */
	uint64_t page_next;
	uint64_t bad_from; /* bytes before this page that are none                  */
	uint64_t bad_to;
	uint64_t data_records;
	uint64_t first_ticks;
	uint64_t last_ticks;
	uint32_t pages;  /* entries in verify->index                              */
	bool has_begun;  /* a page was seen                                       */
	bool is_partial; /* pages of it are missing                               */
	bool is_misnamed;
	bool is_over; /* its SEAL page was seen                                */
};

/* What the records of one page come to. */
struct sums {
	uint64_t first_ticks;
	uint64_t last_ticks;
	uint64_t lost;
	uint32_t records;
	uint16_t data;
	uint16_t sources;
	bool is_bad;
};

/* ---- one page ---- */

static void add_losses(struct part *part, const void *payload, uint32_t length, struct sums *sums)
{
	struct gap_payload gap = { 0 };

	memcpy(&gap, payload, (size_t)min_u64(length, sizeof(gap)));
	for (size_t i = 0; i < COUNT_OF(gap.lost); i++) {
		sums->lost += gap.lost[i];
		if (!part->file->is_twin)
			part->verify->verdict->lost[i] += gap.lost[i];
	}
}

static void add_ticks(uint64_t ticks, struct sums *sums)
{
	if (sums->data == 0 || ticks < sums->first_ticks)
		sums->first_ticks = ticks;
	sums->last_ticks = max_u64(sums->last_ticks, ticks);
	sums->data++;
}

static void sum_up(struct part *part, const void *page, struct sums *ret)
{
	struct page_cursor cursor = { 0 }, entries = { 0 };
	const struct entry_header *entry;
	struct record_header record;
	const void *payload;
	int r;

	*ret = (struct sums){ 0 };
	while ((r = page_next_record(page, &cursor, &record, &payload)) == 1) {
		ret->records++;
		if (record.kind == RECORD_SOURCE)
			ret->sources++;
		if (record.kind == RECORD_DATA)
			add_ticks(record.ticks, ret);
		else if (record.kind == RECORD_GAP)
			add_losses(part, payload, record.length, ret);
	}
	while (r == 0 && (r = page_next_entry(page, &entries, &entry)) == 1)
		;
	ret->is_bad = r < 0;
}

static bool is_as_header(const struct page_header *header, const struct sums *sums)
{
	return !sums->is_bad && header->records == sums->records &&
	       header->first_ticks == sums->first_ticks && header->last_ticks == sums->last_ticks;
}

/*
 * DATA pages say what came up to and with them. A FILE page is made while records behind it are
 * already taken, and a writer that goes on after a kill begins with the larger of what it finds: so
 * over a FILE page the sums may grow by more than the records, never by less.
 */
static bool are_totals_right(const struct totals *last, const struct page_header *header,
			     const struct sums *sums)
{
	const uint64_t records = header->total_records - last->records - sums->data;
	const uint64_t lost = header->total_lost - last->lost - sums->lost;

	if (header->total_abandoned < last->abandoned)
		return false;
	if (last->is_new_file)
		return (int64_t)records >= 0 && (int64_t)lost >= 0;
	return records == 0 && lost == 0;
}

static void check_totals(struct part *part, const struct page_header *header,
			 const struct sums *sums)
{
	struct totals *last = &part->verify->standing.totals;
	const bool follows =
		last->segment_id == header->segment_id && last->page_no + 1 == header->page_no;

	if (header->kind != PAGE_DATA) {
		last->page_no += follows;
		last->is_new_file |= header->kind == PAGE_FILE;
		return;
	}
	if (follows && !are_totals_right(last, header, sums))
		verify_tell(part->verify,
			    "\"%s\": page %" PRIu64
			    " counts other records than the page before it and its own; report "
			    "this: no writer makes such a page",
			    part->file->path, header->page_no);
	*last = (struct totals){ .segment_id = header->segment_id,
				 .page_no = header->page_no,
				 .records = header->total_records,
				 .lost = header->total_lost,
				 .abandoned = header->total_abandoned };
}

static void note_page(struct part *part, const struct page_header *header, uint64_t offset,
		      const struct sums *sums)
{
	if (part->pages < FILE_PAGES_MAX)
		part->verify->index[part->pages++] = (struct index_entry){
			.first_ticks = header->first_ticks,
			.last_ticks = header->last_ticks,
			.page_no = header->page_no,
			.offset_pages = (uint32_t)((offset - part->offset) / PAGE_ALIGN),
			.records = sums->data,
			.sources = sums->sources,
		};
	if (sums->data > 0 && (part->data_records == 0 || sums->first_ticks < part->first_ticks))
		part->first_ticks = sums->first_ticks;
	part->last_ticks = max_u64(part->last_ticks, sums->last_ticks);
	part->data_records += sums->data;
	if (part->file->is_twin)
		return;
	part->verify->verdict->pages++;
	part->verify->verdict->records += sums->data;
}

static void take_page(struct part *part, uint64_t offset)
{
	const struct page_header *header = (const void *)part->verify->buffer;
	struct standing *standing = &part->verify->standing;
	struct sums sums;

	sum_up(part, header, &sums);
	if (header->kind <= PAGE_DATA && !is_as_header(header, &sums))
		verify_tell(part->verify,
			    "\"%s\": the header of page %" PRIu64
			    " says otherwise than its records; report this: no writer makes such a "
			    "page",
			    part->file->path, header->page_no);
	check_totals(part, header, &sums);
	note_page(part, header, offset, &sums);
	part->page_next = header->page_no + 1;
	standing->page_last = header->page_no;
	standing->checksum = header->checksum;
}

/* ---- what is not there ---- */

static const char *say_pages(uint64_t first, uint64_t next, char text[64])
{
	if (next - first == 1)
		(void)snprintf(text, 64, "page %" PRIu64 " is", first);
	else
		(void)snprintf(text, 64, "pages %" PRIu64 " to %" PRIu64 " are", first, next - 1);
	return text;
}

static bool has_bad(const struct part *part)
{
	return part->bad_to > part->bad_from;
}

static void take_bad(struct part *part, const struct scan_piece *piece)
{
	if (!has_bad(part))
		part->bad_from = piece->offset;
	part->bad_to = piece->offset + piece->length;
}

/* Bytes that are no page are told and done with; @what follows from them. */
static void tell_bad(struct part *part, const char *what)
{
	verify_tell(part->verify, "\"%s\": bytes %" PRIu64 " to %" PRIu64 " are damaged: %s",
		    part->file->path, part->bad_from, part->bad_to - 1, what);
	part->verify->verdict->bad_bytes += part->bad_to - part->bad_from;
	part->bad_from = part->bad_to = 0;
}

/* The next page that counts has number @next: tell what is bad or missing before it. */
static void settle(struct part *part, uint64_t next)
{
	const uint64_t missing = next > part->page_next ? next - part->page_next : 0;
	char pages[64], text[128];

	part->verify->verdict->missing_pages += missing;
	part->is_partial |= missing > 0;
	if (missing > 0)
		(void)snprintf(text, sizeof(text), "%s lost; shmlog-cat --salvage shows the others",
			       say_pages(part->page_next, next, pages));
	if (has_bad(part))
		tell_bad(part, missing > 0 ? text : "but no page of the log is missing there");
	else if (missing > 0)
		verify_tell(part->verify, "\"%s\": %s", part->file->path, text);
	part->page_next = max_u64(part->page_next, next);
}

/* ---- SEAL page ---- */

static void tell_seal(struct part *part, const char *what)
{
	verify_tell(part->verify,
		    "\"%s\": its SEAL page %s; report this: no writer makes such a page",
		    part->file->path, what);
}

static bool is_same_entry(const struct index_entry *a, const struct index_entry *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Each page that was seen stands in the index as it is; pages that were lost since may stand there
 * besides. */
static void check_index(struct part *part, const struct index_entry *index, uint64_t count)
{
	uint64_t at = 0;
	char text[96];

	for (uint32_t i = 0; i < part->pages; i++) {
		const struct index_entry *seen = &part->verify->index[i];

		while (at < count && index[at].page_no < seen->page_no)
			at++;
		if (at < count && is_same_entry(&index[at], seen))
			continue;
		(void)snprintf(text, sizeof(text), "has page %" PRIu64 " otherwise in its index",
			       seen->page_no);
		tell_seal(part, text);
		return;
	}
	if (!part->is_partial && count != part->pages)
		tell_seal(part, "has pages in its index that are not there");
}

static bool is_trailer_right(const struct part *part, const struct page_header *header,
			     uint64_t offset, uint64_t pages)
{
	struct seal_trailer trailer;

	memcpy(&trailer, (const uint8_t *)header + header->used - sizeof(trailer), sizeof(trailer));
	return header->used == header->length && trailer.magic == TRAILER_MAGIC &&
	       trailer.seal_offset == offset - part->offset && trailer.pages == pages;
}

static void check_seal(struct part *part, uint64_t offset)
{
	const struct page_header *header = (const void *)part->verify->buffer;
	const struct index_entry *index;
	struct seal_info info;

	if (page_seal_info(header, &info, &index) < 0) {
		tell_seal(part, "has an index that is too long for it");
		return;
	}
	check_index(part, index, info.pages);
	if (!is_trailer_right(part, header, offset, info.pages))
		tell_seal(part, "ends in a trailer that does not lead to it");
	if (info.data_records < part->data_records ||
	    (!part->is_partial &&
	     (info.data_records != part->data_records || info.first_ticks != part->first_ticks ||
	      info.last_ticks != part->last_ticks)))
		tell_seal(part, "counts other records than the file holds");
	if (part->page_first != 0 &&
	    info.pages + info.missing != header->page_no - part->page_first)
		tell_seal(part, "does not account for all pages of the file");
}

static void take_seal(struct part *part, uint64_t offset)
{
	const struct page_header *header = (const void *)part->verify->buffer;

	settle(part, header->page_no);
	check_seal(part, offset);
	part->page_next = header->page_no;
	part->is_over = true;
}

/* ---- where a file begins and ends ---- */

static void check_name(struct part *part, const struct file_info *info)
{
	const struct logdir_file *name = &part->file->name;

	if (name->file_no == 0 || (info->file_no == name->file_no &&
				   (name->volume_no == 0 || info->volume_no == name->volume_no)))
		return;
	part->is_misnamed = true;
	verify_tell(part->verify,
		    "\"%s\": is file %" PRIu64 " of volume %" PRIu64
		    " by its FILE page; name it so, or remove it if it is a copy",
		    part->file->path, info->file_no, info->volume_no);
}

static void check_chain(struct part *part, const struct file_info *info)
{
	const struct standing *standing = &part->verify->standing;

	if (standing->page_last == 0 || standing->page_last + 1 != part->page_first)
		return;
	if (info->previous_checksum != standing->checksum)
		verify_tell(part->verify,
			    "\"%s\": continues another page than page %" PRIu64 " of file %" PRIu64
			    ": one of the two files is of another log",
			    part->file->path, standing->page_last, standing->file_no);
	else if (info->previous_file_no < standing->file_no)
		verify_tell(part->verify, "\"%s\": continues file %" PRIu64 ", not file %" PRIu64,
			    part->file->path, info->previous_file_no, standing->file_no);
}

/* Numbers go on from file to file. */
static void check_numbers(struct part *part)
{
	const struct standing *standing = &part->verify->standing;
	const uint64_t first = part->page_first;
	char pages[64];

	if (first < standing->page_next) {
		verify_tell(part->verify,
			    "\"%s\": begins with page %" PRIu64
			    ", which the files before it hold: it is a copy, or of another log",
			    part->file->path, first);
	} else if (first > standing->page_next && verify_is_gap(part->verify, standing->file_no)) {
		part->verify->verdict->missing_pages += first - standing->page_next;
		verify_tell(part->verify,
			    "\"%s\": %s missing before it: lost, or a file behind file %" PRIu64
			    " was removed",
			    part->file->path, say_pages(standing->page_next, first, pages),
			    standing->file_no);
	}
}

/* Files of several logs may be concatenated, but do not lie in one directory. */
static void check_log(struct part *part)
{
	if (part->verify->dir >= 0)
		verify_tell(part->verify,
			    "\"%s\": is of another log than file %" PRIu64 "; move it away",
			    part->file->path, part->verify->standing.file_no);
}

static void begin(struct part *part, const struct page_header *header)
{
	const struct standing *standing = &part->verify->standing;
	const struct file_info *info = &part->file->scan.log.info;

	part->has_begun = true;
	if (header->kind != PAGE_FILE) { /* which is bad, but the salt in it is not */
		part->page_next = standing->is_known ? standing->page_next : header->page_no - 1;
		return;
	}
	part->page_first = part->page_next = header->page_no;
	check_name(part, info);
	if (!standing->is_known || part->is_misnamed)
		return;
	if (info->log_id != standing->log_id) {
		check_log(part);
		return;
	}
	check_numbers(part);
	check_chain(part, info);
}

/* A sealed file whose SEAL page is not there: what else is lost tells the file behind it. */
static void tell_unsealed(struct part *part)
{
	const uint64_t limit = part->file->limit;
	char pages[64], text[160] = "its SEAL page is lost, and perhaps pages before it";

	part->is_partial = true;
	if (!part->has_begun)
		(void)snprintf(text, sizeof(text),
			       "it holds no page that can be proven, or is no "
			       "log file");
	else if (part->page_next == limit)
		(void)snprintf(text, sizeof(text), "its SEAL page is lost, and no other");
	if (limit != UINT64_MAX && limit > part->page_next && part->page_next != 0) {
		part->verify->verdict->missing_pages += limit - part->page_next;
		(void)snprintf(
			text, sizeof(text), "%s lost, %s", say_pages(part->page_next, limit, pages),
			part->has_begun ? "and its SEAL page" : "no page in it can be proven");
		part->page_next = limit;
	}
	if (has_bad(part))
		tell_bad(part, text);
	else
		verify_tell(part->verify, "\"%s\": cut off: %s", part->file->path, text);
}

static void finish_sealed(struct part *part)
{
	if (!part->is_over)
		tell_unsealed(part);
	else if (has_bad(part))
		tell_bad(part, "what lies behind its SEAL page is no part of the log");
}

/* All pages before the newer file's first one reached the disk before it did. What lies behind them
 * was written again there. */
static void finish_passed(struct part *part)
{
	if (part->has_begun && !part->is_over && part->page_next < part->file->limit)
		settle(part, part->file->limit);
}

/* Where the valid prefix ends, whatever stands behind. */
static void finish_left(struct part *part, uint64_t behind)
{
	if (part->is_over || (!part->has_begun && behind == 0))
		return;
	verify_tell(part->verify,
		    "\"%s\": not recovered: no writer holds it, and %" PRIu64
		    " bytes %s; start shmlog-writer on its directory",
		    part->file->path, behind,
		    part->has_begun ? "lie behind its last good page"
				    : "have no whole FILE page before them");
}

static void finish(struct part *part, uint64_t behind)
{
	const struct file_info *info = &part->file->scan.log.info;
	struct standing *standing = &part->verify->standing;

	if (part->file->state == VERIFY_SEALED)
		finish_sealed(part);
	else if (part->file->state == VERIFY_PASSED)
		finish_passed(part);
	else if (part->file->state == VERIFY_LEFT)
		finish_left(part, behind);
	if (part->file->state != VERIFY_SEALED && !part->has_begun)
		return; /* nothing of it counts */
	if (part->page_first != 0)
		standing->log_id = info->log_id;
	standing->is_known = !part->is_misnamed &&
			     (part->page_first != 0 || (part->has_begun && standing->is_known));
	standing->file_no = part->file->name.file_no;
	standing->page_next = part->page_next;
	part->verify->verdict->files += !part->file->is_twin;
}

/* ---- from page to page ---- */

/* Is a whole page that was found the next one, or one behind it? */
static bool counts(const struct part *part, const struct page_header *header)
{
	if (header->kind == PAGE_FILE)
		return !part->has_begun;
	return !part->is_over && (!part->has_begun || header->page_no >= part->page_next);
}

/* Was its record written again in the next file? */
static bool is_beyond(const struct part *part, const struct page_header *header)
{
	const uint64_t limit = part->file->limit;

	return part->file->state == VERIFY_PASSED &&
	       (header->page_no > limit || (header->page_no == limit && header->kind != PAGE_SEAL));
}

static void take_whole(struct part *part, const struct scan_piece *piece)
{
	const struct page_header *header = (const void *)part->verify->buffer;

	if (is_beyond(part, header))
		return;
	if (!counts(part, header)) {
		take_bad(part, piece);
		return;
	}
	if (!part->has_begun)
		begin(part, header);
	if (header->kind == PAGE_SEAL) {
		take_seal(part, piece->offset);
		return;
	}
	settle(part, header->page_no);
	take_page(part, piece->offset);
}

/* Does the prefix of an open file end before this piece? */
static bool ends_prefix(const struct part *part, const struct scan_piece *piece)
{
	const struct page_header *header = (const void *)part->verify->buffer;

	if (part->file->state != VERIFY_HELD && part->file->state != VERIFY_LEFT)
		return false;
	if (piece->kind != SCAN_PAGE || !counts(part, header))
		return true;
	return part->has_begun ? header->page_no != part->page_next : header->kind != PAGE_FILE;
}

/* Bytes from @piece on to the zeros at the end. */
static int count_behind(struct part *part, struct scan_piece *piece, uint64_t *ret)
{
	int r = 0;

	*ret = 0;
	while (r == 0 && piece->kind != SCAN_END) {
		if (piece->kind != SCAN_ZERO)
			*ret += piece->length;
		r = scan_next(&part->file->scan, part->verify->buffer, piece);
	}
	return r;
}

/* One part, up to @piece: the end, or the FILE page of the next part. */
static int go_through(struct part *part, struct scan_piece *piece)
{
	const struct page_header *header = (const void *)part->verify->buffer;
	uint64_t behind = 0;
	int r = 0;

	for (; r == 0 && piece->kind != SCAN_END;
	     r = scan_next(&part->file->scan, part->verify->buffer, piece)) {
		if (part->is_over && part->verify->dir < 0 && piece->kind == SCAN_PAGE &&
		    header->kind == PAGE_FILE)
			break;
		if (ends_prefix(part, piece)) {
			r = part->file->state == VERIFY_LEFT ? count_behind(part, piece, &behind)
							     : 0;
			piece->kind = SCAN_END;
			break;
		}
		if (piece->kind == SCAN_PAGE)
			take_whole(part, piece);
		else if (piece->kind == SCAN_BAD || part->file->state == VERIFY_SEALED)
			take_bad(part, piece);
	}
	if (r == 0)
		finish(part, behind);
	return r;
}

static int verify_pages(struct verify *verify, struct verify_file *file)
{
	struct scan_piece piece;
	int r = scan_next(&file->scan, verify->buffer, &piece);

	while (r == 0) {
		struct part part = { .verify = verify, .file = file, .offset = piece.offset };

		if (verify->standing.is_known)
			part.page_next = verify->standing.page_next;
		r = go_through(&part, &piece);
		if (piece.kind == SCAN_END)
			break;
	}
	return r;
}

/* ---- archives ---- */

/* @is_open: the frame goes on. */
static int decompress(LZ4F_dctx *lz4, uint8_t *buffer, size_t size, bool *is_open)
{
	uint8_t *out = buffer + FRAME_CHUNK;
	size_t at = 0;

	while (at < size) {
		size_t taken = size - at, made = PAGE_MAX - FRAME_CHUNK;
		const size_t hint = LZ4F_decompress(lz4, out, &made, buffer + at, &taken, NULL);

		if (LZ4F_isError(hint) || (taken == 0 && made == 0))
			return -EBADMSG;
		*is_open = hint != 0;
		at += taken;
	}
	return 0;
}

static int check_frames(const struct verify *verify, int fd, LZ4F_dctx *lz4)
{
	uint64_t offset = 0;
	bool is_open = true;
	ssize_t n;
	int r = 0;

	while (r == 0 &&
	       (n = sys_read_fully(verify->sys, fd, verify->buffer, FRAME_CHUNK, offset)) != 0) {
		if (n < 0)
			return (int)n;
		r = decompress(lz4, verify->buffer, (size_t)n, &is_open);
		offset += (uint64_t)n;
	}
	return r == 0 && is_open ? -EBADMSG : r;
}

/* The bytes of an archive as its frames have them: 0; -EBADMSG; -errno. */
static int verify_frames(const struct verify *verify, int fd)
{
	LZ4F_dctx *lz4;
	int r;

	if (LZ4F_isError(LZ4F_createDecompressionContext(&lz4, LZ4F_VERSION)))
		return -ENOMEM;
	r = check_frames(verify, fd, lz4);
	(void)LZ4F_freeDecompressionContext(lz4);
	return r;
}

int verify_file(struct verify *verify, struct verify_file *file)
{
	const uint64_t findings = verify->verdict->findings;
	int r = verify_pages(verify, file);

	if (r < 0 || file->scan.input == NULL || verify->verdict->findings > findings)
		return r;
	r = verify_frames(verify, file->scan.log.fd);
	if (r != -EBADMSG)
		return r;
	verify_tell(verify,
		    "\"%s\": its pages are whole, but its LZ4 frame is damaged: checksum or size; "
		    "decompress it, and compress it anew",
		    file->path);
	return 0;
}
