#include "tools/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace sinter::tools {
namespace {

// The one thing that a signal handler may write to.
volatile std::sig_atomic_t interrupt_seen = 0;

void (*second_interrupt)(int) = nullptr;

void on_interrupt(int signal) {
  if (interrupt_seen != 0) second_interrupt(signal);
  interrupt_seen = 1;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = c == '\n' ? ' ' : '?';
  return out;
}

void write_output(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

std::string flush_output() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return "";
  return fmt::format("cannot write to the standard output: {}",
                     errno != 0 ? std::strerror(errno) : "an earlier write failed");
}

void note(std::string_view text) {
  const std::string line = std::string(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

Progress::Progress() : is_terminal_(::isatty(STDERR_FILENO) == 1) {}

void Progress::update(std::string_view what, double fraction) {
  if (!is_terminal_) return;
  // Ten times a second is smooth enough; a new kind of work is shown at once.
  const auto now = std::chrono::steady_clock::now();
  if (shown_ && what == last_what_ && now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  last_what_ = what;
  shown_ = true;
  const std::string percent =
      fraction >= 0 ? fmt::format(" {:3.0f} %", 100 * std::min(fraction, 1.0)) : std::string();
  std::fprintf(stderr, "\r\033[K%s%s", printable(what).c_str(), percent.c_str());
  std::fflush(stderr);
}

void Progress::clear() {
  if (!shown_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  shown_ = false;
}

void set_up_signals(void (*again)(int signal)) {
  second_interrupt = again;
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  // Beyond a limit on file sizes, writes shall fail like on a full disk, with a message.
  std::signal(SIGXFSZ, SIG_IGN);
}

bool interrupted() { return interrupt_seen != 0; }

void throw_if_interrupted() {
  if (interrupted()) throw Interrupted{};
}

}  // namespace sinter::tools
