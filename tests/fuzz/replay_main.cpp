// replay_TARGET FILE|FOLDER...: a fuzz target without libFuzzer and without sanitizers, so that the
// time that an input takes is the programs' own. Fails when one takes too long.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "runtime/support/folder.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

// What changes inputs is linked and never called.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);
extern "C" size_t LLVMFuzzerMutate(uint8_t*, size_t size, size_t) { return size; }

namespace {

std::string current;

void name_input(int signal) {
  for (const std::string_view text :
       {std::string_view("signal at input "), std::string_view(current), std::string_view("\n")})
    if (::write(STDERR_FILENO, text.data(), text.size()) < 0) break;
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

std::vector<std::string> inputs_of(int count, char** arguments) {
  std::vector<std::string> inputs;
  for (int i = 1; i < count; ++i) {
    const std::filesystem::path path = arguments[i];
    if (!std::filesystem::is_directory(path)) inputs.push_back(path);
    for (const std::string& name : sinter::runtime::names_in_folder(path))
      inputs.push_back(path / name);
  }
  return inputs;
}

}  // namespace

int main(int count, char** arguments) {
  for (const int signal : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV})
    std::signal(signal, name_input);
  const std::vector<std::string> inputs = inputs_of(count, arguments);
  double slowest = 0;
  int failures = 0;
  for (const std::string& path : inputs) {
    current = path;
    std::ifstream file(path, std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    const double before = sinter::fuzz::processor_seconds();
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    const double seconds = sinter::fuzz::processor_seconds() - before;
    slowest = std::max(slowest, seconds);
    if (seconds <= sinter::fuzz::kMostSeconds) continue;
    std::fprintf(stderr, "%.1f seconds of processor time, more than %.0f, for %s\n", seconds,
                 sinter::fuzz::kMostSeconds, path.c_str());
    ++failures;
  }
  std::printf("%zu inputs replayed, at most %.2f s each\n", inputs.size(), slowest);
  return failures == 0 ? 0 : 1;
}
