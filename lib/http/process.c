/*
 * The process' own metrics, as Prometheus' client libraries name them, from /proc/self. What
 * cannot be read is left out.
 */
#include "http/http.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "metrics/metrics.h"

enum { CPU, RSS, VIRT, START, FDS, MAX_FDS, N_FAMILIES };

static const struct metrics_desc descs[N_FAMILIES] = {
	[CPU] = {.type = METRICS_COUNTER,
		 .name = "process_cpu_seconds_total",
		 .help = "Total user and system CPU time spent in seconds.",
		 .unit = "seconds"},
	[RSS] = {.type = METRICS_GAUGE,
		 .name = "process_resident_memory_bytes",
		 .help = "Resident memory size in bytes.",
		 .unit = "bytes"},
	[VIRT] = {.type = METRICS_GAUGE,
		  .name = "process_virtual_memory_bytes",
		  .help = "Virtual memory size in bytes.",
		  .unit = "bytes"},
	[START] = {.type = METRICS_GAUGE,
		   .name = "process_start_time_seconds",
		   .help = "Start time of the process since the Unix epoch in seconds.",
		   .unit = "seconds"},
	[FDS] = {.type = METRICS_GAUGE,
		 .name = "process_open_fds",
		 .help = "Number of open file descriptors."},
	[MAX_FDS] = {.type = METRICS_GAUGE,
		     .name = "process_max_fds",
		     .help = "Maximum number of open file descriptors."},
};

struct process_stat {
	double cpu, start; /* seconds; start: since boot */
	double virt, rss;  /* bytes */
};

/* proc(5): fields are counted from behind the name, which may hold anything, so from the last
 * parenthesis: state is 3, utime 14, stime 15, starttime 22, vsize 23, rss 24. */
static bool read_stat(struct process_stat *ret)
{
	FILE *f = fopen("/proc/self/stat", "re");
	unsigned long utime, stime, vsize;
	unsigned long long start;
	double hz = (double)sysconf(_SC_CLK_TCK);
	char line[1024], *p = NULL;
	long rss;

	if (f && fgets(line, sizeof(line), f))
		p = strrchr(line, ')');
	if (f)
		fclose(f);
	if (!p || sscanf(p + 1,
			 " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d"
			 " %*d %*d %llu %lu %ld",
			 &utime, &stime, &start, &vsize, &rss) != 5)
		return false;
	*ret = (struct process_stat){.cpu = (double)(utime + stime) / hz,
				     .start = (double)start / hz,
				     .virt = (double)vsize,
				     .rss = (double)rss * (double)sysconf(_SC_PAGESIZE)};
	return true;
}

static bool read_boot_time(double *ret)
{
	FILE *f = fopen("/proc/stat", "re");
	char line[256];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "btime %lf", ret) == 1;
	if (f)
		fclose(f);
	return found;
}

/* Without ".", ".." and the descriptor that reads. */
static bool count_fds(double *ret)
{
	DIR *d = opendir("/proc/self/fd");
	double n = -3;

	if (!d)
		return false;
	while (readdir(d))
		n++;
	closedir(d);
	*ret = n;
	return true;
}

static void put(struct metrics_writer *w, struct metrics_family *f, double v)
{
	metrics_begin(w, f);
	metrics_sample(w, NULL, v);
}

static void collect(struct metrics_writer *w, void *arg)
{
	struct metrics_family **f = arg;
	struct process_stat st;
	struct rlimit limit;
	double boot, fds;

	if (read_stat(&st)) {
		put(w, f[CPU], st.cpu);
		put(w, f[RSS], st.rss);
		put(w, f[VIRT], st.virt);
		if (read_boot_time(&boot))
			put(w, f[START], boot + st.start);
	}
	if (count_fds(&fds))
		put(w, f[FDS], fds);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		put(w, f[MAX_FDS], (double)limit.rlim_cur);
}

int http_process_metrics(struct metrics *m, struct err *e)
{
	_cleanup_free_ struct metrics_family **f = calloc(N_FAMILIES, sizeof(*f));
	int r;

	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	for (int i = 0; i < N_FAMILIES; i++)
		if ((r = metrics_add_family(m, &descs[i], &f[i], e)) < 0)
			return r;
	r = metrics_add_collector(m, collect, f, free);
	if (r < 0)
		return err_set(e, r, "out of memory");
	mem_steal(&f);
	return 0;
}
