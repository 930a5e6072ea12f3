// What a command shows and how it is stopped: text on stdout, progress and errors on stderr,
// Ctrl-C.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

namespace sinter::tools {

// `text` without control characters: strings from files must not move the cursor or break lines.
std::string printable(std::string_view text);

// Write errors are kept by the stream and reported once, by flush_output.
void write_output(std::string_view text);
template <class... Args>
void output(fmt::format_string<Args...> format, Args&&... args) {
  write_output(fmt::format(format, std::forward<Args>(args)...));
}
// Everything for stdout is written; empty when that worked, else why not.
std::string flush_output();

// A line on stderr.
void note(std::string_view text);

// A line on stderr that is written over and over: "packing weights 42 %". Nothing when stderr is
// not a terminal.
class Progress {
 public:
  Progress();
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // fraction: of the work that is done, 0..1; negative when unknown.
  void update(std::string_view what, double fraction);
  void clear();

 private:
  bool is_terminal_;
  bool shown_ = false;
  std::string last_what_;
  std::chrono::steady_clock::time_point last_;
};

// From now on the first Ctrl-C only raises a flag; `again` is called for a second one.
void set_up_signals(void (*again)(int signal));
bool interrupted();
// Thrown out of long work when the flag is up, so that temporary files are removed on the way out.
struct Interrupted {};
void throw_if_interrupted();

}  // namespace sinter::tools
