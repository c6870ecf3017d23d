/*
 * Stands between a process and the kernel, by LD_PRELOAD: does to files under BUZZER_SHIM_PATH what strace cannot inject,
 * and moves the wall clock. Source: spec broker 13.4, 13.7. Compiled in the run, see shim.ts.
 *
 *   BUZZER_SHIM=short-write:N   the Nth write writes half of its bytes, and the process dies
 *   BUZZER_SHIM=full-after:N    from N bytes on the disk is full: writes write what fits, then ENOSPC
 *   BUZZER_SHIM=fail-sync:N     the Nth sync fails with EIO, and only that one; nothing is synced by it
 *   BUZZER_SHIM=lying-sync:N    from the Nth on syncs do nothing and say that they did
 *   BUZZER_SHIM_CLOCK=file      eight bytes, a signed count of milliseconds that are added to the wall clock
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static enum { NOTHING, SHORT_WRITE, FULL_AFTER, FAIL_SYNC, LYING_SYNC } mode = NOTHING;
static long long limit = 0;
static const char *prefix = NULL;
static atomic_llong writes, bytes, syncs;
static volatile int64_t *offset_ms = NULL;

static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_fsync)(int);
static int (*real_ftruncate)(int, off64_t);
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_gettimeofday)(struct timeval *, void *);

__attribute__((constructor)) static void start(void) {
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  real_gettimeofday = dlsym(RTLD_NEXT, "gettimeofday");
  prefix = getenv("BUZZER_SHIM_PATH");
  const char *what = getenv("BUZZER_SHIM");
  const char *colon = what == NULL ? NULL : strchr(what, ':');
  if (colon != NULL && prefix != NULL) {
    limit = atoll(colon + 1);
    if (strncmp(what, "short-write", 11) == 0) mode = SHORT_WRITE;
    else if (strncmp(what, "full-after", 10) == 0) mode = FULL_AFTER;
    else if (strncmp(what, "fail-sync", 9) == 0) mode = FAIL_SYNC;
    else if (strncmp(what, "lying-sync", 10) == 0) mode = LYING_SYNC;
  }
  const char *clock = getenv("BUZZER_SHIM_CLOCK");
  if (clock == NULL) return;
  int fd = open(clock, O_RDONLY);
  if (fd < 0) return;
  void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (map != MAP_FAILED) offset_ms = map;
}

static int is_ours(int fd) {
  if (mode == NOTHING) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strncmp(path, prefix, strlen(prefix)) == 0;
}

ssize_t pwrite64(int fd, const void *buffer, size_t size, off64_t at) {
  if ((mode != SHORT_WRITE && mode != FULL_AFTER) || !is_ours(fd)) return real_pwrite(fd, buffer, size, at);
  if (mode == SHORT_WRITE) {
    if (atomic_fetch_add(&writes, 1) + 1 != limit) return real_pwrite(fd, buffer, size, at);
    real_pwrite(fd, buffer, size / 2, at);
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  long long before = atomic_fetch_add(&bytes, (long long)size);
  if (before + (long long)size <= limit) return real_pwrite(fd, buffer, size, at);
  if (before < limit) return real_pwrite(fd, buffer, (size_t)(limit - before), at);
  errno = ENOSPC;
  return -1;
}

ssize_t pwrite(int fd, const void *buffer, size_t size, off_t at) { return pwrite64(fd, buffer, size, at); }

int fsync(int fd) {
  if ((mode != FAIL_SYNC && mode != LYING_SYNC) || !is_ours(fd)) return real_fsync(fd);
  long long number = atomic_fetch_add(&syncs, 1) + 1;
  if (mode == FAIL_SYNC && number == limit) {
    errno = EIO;
    return -1;
  }
  if (mode == LYING_SYNC && number >= limit) return 0;
  return real_fsync(fd);
}

int fdatasync(int fd) { return fsync(fd); }

int ftruncate64(int fd, off64_t size) {
  if (mode != FULL_AFTER || !is_ours(fd)) return real_ftruncate(fd, size);
  /* Growing a file takes room, too. */
  if (atomic_load(&bytes) >= limit && size > lseek64(fd, 0, SEEK_END)) {
    errno = ENOSPC;
    return -1;
  }
  return real_ftruncate(fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = real_gettime(clock, time);
  if (result != 0 || offset_ms == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
  int64_t ms = *offset_ms;
  time->tv_sec += ms / 1000;
  time->tv_nsec += (ms % 1000) * 1000000;
  if (time->tv_nsec < 0) { time->tv_nsec += 1000000000; time->tv_sec--; }
  if (time->tv_nsec >= 1000000000) { time->tv_nsec -= 1000000000; time->tv_sec++; }
  return 0;
}

int gettimeofday(struct timeval *time, void *zone) {
  if (offset_ms == NULL) return real_gettimeofday(time, zone);
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}
