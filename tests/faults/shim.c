// A library for LD_PRELOAD that lets one call fail, or kills the process there.
//
//   SINTER_FAULT=CLASS:N:WHAT   the N-th call (from 1) of a class: open, read, write, sync, rename,
//   mkdir, truncate, map,
//                               close (of files below SINTER_FAULT_UNDER alone) or allocate
//                               WHAT: the number of an errno, which that call gives; with "+", all
//                               later ones too, as on a full disk; "short", which lets a call do
//                               half of its work; "kill" and "stop", that signal before
//                               the call
//   SINTER_FAULT_COUNTS=FILE    a file of 16 numbers of 64 bits: how many calls of each class there
//   were
//
// Calls are counted from the start of main.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum class_of_call {
  OPEN,
  READ,
  WRITE,
  SYNC,
  RENAME,
  MKDIR,
  TRUNCATE,
  MAP,
  CLOSE,
  ALLOCATE,
  CLASSES
};
static const char* const names[CLASSES] = {"open",  "read",     "write", "sync",  "rename",
                                           "mkdir", "truncate", "map",   "close", "allocate"};

static atomic_bool started;
static _Atomic uint64_t own_counts[CLASSES];
static _Atomic uint64_t* counts = own_counts;
static const char* under;
static int fault_class = -1;
static uint64_t fault_at;
static int fault_errno;
static int fault_signal;
static bool fault_stays, fault_halves;

enum outcome { PASS, FAIL, HALF };

// One more call of the class: what becomes of it. errno is set for FAIL.
static enum outcome next(int class) {
  if (!started) return PASS;
  const uint64_t number = atomic_fetch_add(&counts[class], 1) + 1;
  if (class != fault_class || number < fault_at || (number > fault_at && !fault_stays)) return PASS;
  if (fault_signal != 0) {
    kill(getpid(), fault_signal);
    return PASS;
  }
  if (fault_halves) return HALF;
  errno = fault_errno;
  return FAIL;
}

static bool is_under(const char* path) {
  return under != nullptr && path != nullptr && strncmp(path, under, strlen(under)) == 0;
}

static bool is_file_under(int fd) {
  if (!started || under == nullptr) return false;
  char link[64];
  char path[PATH_MAX];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof(path) - 1);
  if (size < 0) return false;
  path[size] = 0;
  return is_under(path);
}

static void read_settings(void) {
  under = getenv("SINTER_FAULT_UNDER");
  const char* file = getenv("SINTER_FAULT_COUNTS");
  if (file != nullptr) {
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && ftruncate(fd, 128) == 0) {
      void* shared = mmap(nullptr, 128, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (shared != MAP_FAILED) counts = shared;
    }
    if (fd >= 0) syscall(SYS_close, fd);
  }
  const char* fault = getenv("SINTER_FAULT");
  char class[16];
  char what[16];
  unsigned long long number = 0;
  if (fault == nullptr || sscanf(fault, "%15[a-z]:%llu:%15s", class, &number, what) != 3) return;
  for (int i = 0; i < CLASSES; ++i)
    if (strcmp(names[i], class) == 0) fault_class = i;
  fault_at = number;
  if (strcmp(what, "kill") == 0) fault_signal = SIGKILL;
  if (strcmp(what, "stop") == 0) fault_signal = SIGSTOP;
  fault_halves = strcmp(what, "short") == 0;
  fault_errno = atoi(what);
  fault_stays = strchr(what, '+') != nullptr;
}

static int (*real_main)(int, char**, char**);
static int counted_main(int argc, char** argv, char** environment) {
  read_settings();
  started = true;
  const int status = real_main(argc, argv, environment);
  started = false;
  return status;
}

int __libc_start_main(int (*main)(int, char**, char**), int argc, char** argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void* stack_end);
int __libc_start_main(int (*main)(int, char**, char**), int argc, char** argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void* stack_end) {
  real_main = main;
  typeof(&__libc_start_main) real = dlsym(RTLD_NEXT, "__libc_start_main");
  return real(counted_main, argc, argv, init, fini, rtld_fini, stack_end);
}

// The function of that name behind this library.
#define REAL(function)           \
  static typeof(&function) real; \
  if (real == nullptr) real = dlsym(RTLD_NEXT, #function)

#define OPEN_MODE(flags)                        \
  mode_t mode = 0;                              \
  if (((flags) & O_CREAT) != 0) {               \
    va_list arguments;                          \
    va_start(arguments, flags);                 \
    mode = (mode_t)va_arg(arguments, unsigned); \
    va_end(arguments);                          \
  }

#define DEFINE_OPEN(function)                            \
  int function(const char* path, int flags, ...) {       \
    OPEN_MODE(flags)                                     \
    REAL(function);                                      \
    if (is_under(path) && next(OPEN) == FAIL) return -1; \
    return real(path, flags, mode);                      \
  }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_OPENAT(function)                                \
  int function(int folder, const char* path, int flags, ...) { \
    OPEN_MODE(flags)                                           \
    REAL(function);                                            \
    if (is_under(path) && next(OPEN) == FAIL) return -1;       \
    return real(folder, path, flags, mode);                    \
  }
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

#define DEFINE_FOPEN(function)                                \
  FILE* function(const char* path, const char* mode) {        \
    REAL(function);                                           \
    if (is_under(path) && next(OPEN) == FAIL) return nullptr; \
    return real(path, mode);                                  \
  }
DEFINE_FOPEN(fopen)
DEFINE_FOPEN(fopen64)

// A transfer of `size` bytes: fails, or is of half as many.
#define DEFINE_TRANSFER(class, function, parameters, arguments) \
  ssize_t function parameters {                                 \
    REAL(function);                                             \
    if (is_file_under(fd)) {                                    \
      const enum outcome outcome = next(class);                 \
      if (outcome == FAIL) return -1;                           \
      if (outcome == HALF) size = (size + 1) / 2;               \
    }                                                           \
    return real arguments;                                      \
  }
DEFINE_TRANSFER(WRITE, write, (int fd, const void* data, size_t size), (fd, data, size))
DEFINE_TRANSFER(WRITE, pwrite, (int fd, const void* data, size_t size, off_t at),
                (fd, data, size, at))
DEFINE_TRANSFER(WRITE, pwrite64, (int fd, const void* data, size_t size, off64_t at),
                (fd, data, size, at))
DEFINE_TRANSFER(WRITE, writev, (int fd, const struct iovec* data, int size), (fd, data, size))
DEFINE_TRANSFER(READ, read, (int fd, void* data, size_t size), (fd, data, size))
DEFINE_TRANSFER(READ, pread, (int fd, void* data, size_t size, off_t at), (fd, data, size, at))
DEFINE_TRANSFER(READ, pread64, (int fd, void* data, size_t size, off64_t at), (fd, data, size, at))

#define DEFINE_FILE(class, function, parameters, arguments)  \
  int function parameters {                                  \
    REAL(function);                                          \
    if (is_file_under(fd) && next(class) == FAIL) return -1; \
    return real arguments;                                   \
  }
DEFINE_FILE(SYNC, fsync, (int fd), (fd))
DEFINE_FILE(SYNC, fdatasync, (int fd), (fd))
DEFINE_FILE(TRUNCATE, ftruncate, (int fd, off_t size), (fd, size))
DEFINE_FILE(TRUNCATE, ftruncate64, (int fd, off64_t size), (fd, size))
DEFINE_FILE(TRUNCATE, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))

// As Linux does, the file is closed even when an error is reported.
int close(int fd) {
  REAL(close);
  const bool fails = is_file_under(fd) && next(CLOSE) == FAIL;
  const int error = errno;
  const int result = real(fd);
  if (!fails) return result;
  errno = error;
  return -1;
}

#define DEFINE_PATH(class, function, parameters, arguments) \
  int function parameters {                                 \
    REAL(function);                                         \
    if (is_under(path) && next(class) == FAIL) return -1;   \
    return real arguments;                                  \
  }
DEFINE_PATH(RENAME, rename, (const char* path, const char* to), (path, to))
DEFINE_PATH(RENAME, renameat, (int from, const char* path, int in, const char* to),
            (from, path, in, to))
DEFINE_PATH(MKDIR, mkdir, (const char* path, mode_t mode), (path, mode))

#define DEFINE_MAP(function, offset_type)                                                        \
  void* function(void* at, size_t size, int protection, int flags, int fd, offset_type offset) { \
    REAL(function);                                                                              \
    if (fd >= 0 && is_file_under(fd) && next(MAP) == FAIL) return MAP_FAILED;                    \
    return real(at, size, protection, flags, fd, offset);                                        \
  }
DEFINE_MAP(mmap, off_t)
DEFINE_MAP(mmap64, off64_t)

// glibc's own names of its allocator: dlsym itself allocates.
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

void* malloc(size_t size) { return next(ALLOCATE) == FAIL ? nullptr : __libc_malloc(size); }
void* calloc(size_t count, size_t size) {
  return next(ALLOCATE) == FAIL ? nullptr : __libc_calloc(count, size);
}
void* realloc(void* old, size_t size) {
  return next(ALLOCATE) == FAIL ? nullptr : __libc_realloc(old, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  return next(ALLOCATE) == FAIL ? nullptr : __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) {
  if (next(ALLOCATE) == FAIL) return ENOMEM;
  *out = __libc_memalign(alignment, size);
  return *out == nullptr ? ENOMEM : 0;
}
