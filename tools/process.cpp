#include "tools/process.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <exception>
#include <new>

#include "runtime/support/mapped_range.h"
#include "runtime/support/temporary_file.h"
#include "tools/command.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

constexpr const char* out_of_memory_text =
    "out of memory; close other programs or use a smaller model";

constexpr const char* bug_text = "internal error: this is a bug in sinter, please report it: ";

const char* program_name = "sinter";

// One line, whatever the bytes. Safe in signal handlers.
void say(std::string_view what, std::string_view detail) noexcept {
  std::array<char, 4096> line;
  size_t size = 0;
  for (const std::string_view part :
       {std::string_view(program_name), std::string_view(": "), what, detail})
    for (const char c : part.substr(0, line.size() - 1 - size))
      line[size++] = static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  line[size++] = '\n';
  // Nothing can be done about a stderr that takes no more.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), size);
}

void open_closed_descriptors() {
  // In order, so that each gets its own number: the lowest that is free.
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF && ::open("/dev/null", O_RDWR) != fd)
      ::_exit(kExitBug);
}

// The signal ends the process as it would have without a handler.
void on_end(int signal) {
  runtime::remove_temporaries();
  std::signal(signal, SIG_DFL);
  ::raise(signal);
}

void on_bus_error(int signal, siginfo_t* info, void*) {
  if (const char* path = runtime::mapped_file_at(info->si_addr); path != nullptr)
    end_process(kExitBadInput, path,
                ": was truncated, or cannot be read any more, while it was in use; make it whole "
                "and run the command again");
  on_end(signal);
}

[[noreturn]] void on_terminate() noexcept {
  if (const std::exception_ptr thrown = std::current_exception()) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::bad_alloc&) {
      end_process(kExitBadInput, out_of_memory_text);
    } catch (const std::exception& error) {
      end_process(kExitBug, bug_text, error.what());
    } catch (...) {
      end_process(kExitBug, bug_text, "an unknown exception");
    }
  }
  end_process(kExitBug, bug_text, "std::terminate");
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action{};
  ::sigaction(signal, nullptr, &action);
  if (action.sa_handler == SIG_IGN) return;  // nohup, or a shell's background
  action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

void end_process(int code, std::string_view what, std::string_view detail) noexcept {
  say(what, detail);
  runtime::remove_temporaries();
  ::_exit(code);
}

void end_for_llvm(bool out_of_memory, const char* reason) noexcept {
  const std::string_view text = reason;
  if (out_of_memory || text.find("ut of memory") != std::string_view::npos)
    end_process(kExitBadInput, out_of_memory_text);
  end_process(kExitBug, "LLVM failed; this is a bug in sinter, please report it: ", text);
}

void set_up_process(const char* program) {
  program_name = program;
  open_closed_descriptors();
  // Where the main thread's own stack is what ran out.
  alignas(16) static std::array<char, 64 << 10> stack;
  stack_t alternate{};
  alternate.ss_sp = stack.data();
  alternate.ss_size = stack.size();
  ::sigaltstack(&alternate, nullptr);
  set_up_signals(on_end);
  for (const int signal : {SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXCPU, SIGABRT, SIGSEGV, SIGILL,
                           SIGFPE, SIGTRAP, SIGSYS})
    handle(signal, on_end);
  struct sigaction bus{};
  bus.sa_sigaction = on_bus_error;
  bus.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&bus.sa_mask);
  ::sigaction(SIGBUS, &bus, nullptr);
  std::set_terminate(on_terminate);
}

}  // namespace sinter::tools
