/*
 * samples.h - what is measured again and again: medians, percentiles, the columns of a table.
 *
 * Room for all samples is taken, and touched, with the first: nothing is paid for while times are
 * taken. Beyond SAMPLES_MAX nothing is added any more.
 */
#ifndef SHMLOG_BENCH_SAMPLES_H
#define SHMLOG_BENCH_SAMPLES_H

#include "base.h"

enum { SAMPLES_MAX = 1 << 20 };

/* Zero-initialised: empty. */
struct samples {
	float *values;
	size_t count;
	bool is_sorted;
};

void samples_add(struct samples *samples, double value);
void samples_reserve(struct samples *samples); /* before a fork: both see what is added     */
double samples_at(struct samples *samples, double share); /* 0.5: the median; 0 if empty  */
void samples_free(struct samples *samples);

/* "median (p10 .. p90)", SPREAD_COLUMNS wide. */
enum { SPREAD_COLUMNS = 27 };
void print_spread(struct samples *samples, int digits);

/* ,"name":[median,p10,p90] */
void json_spread(const char *name, struct samples *samples);

/* ,"name":[[share,value], ...], from p50 as far as so many samples can tell, and the largest. */
void json_percentiles(const char *name, struct samples *samples);

/* One column of a table. */
struct metric {
	const char *title;
	const char *key; /* of the JSON                                                      */
	int digits;
	bool is_narrow; /* in the table the median alone                                     */
	struct samples values;
};

/* The titles, for the end of a line that @label begins; nothing with -j. */
void metrics_head(const char *label, const struct metric *metrics, size_t count);

/* The values, for the same line of each row; with -j as further fields. Empties the metrics. */
void metrics_print(struct metric *metrics, size_t count);

#endif
