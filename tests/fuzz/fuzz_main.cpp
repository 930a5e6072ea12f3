// The entry of all fuzz targets.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/mutate_json.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace sinter::fuzz {
namespace {

bool is_kept = true;

// Sanitized and counted code takes several times as long as the programs (callbacks of patterns
// eight times): what takes too long here is kept in the folder SINTER_FUZZ_SLOW, and
// replay_main.cpp says how long it takes the programs.
void keep_slow(std::string_view input) {
  static const char* const kFolder = std::getenv("SINTER_FUZZ_SLOW");
  static int kept = 0;
  if (kFolder == nullptr) return;
  const std::string path =
      std::string(kFolder) + "/" + std::to_string(::getpid()) + "-" + std::to_string(kept++);
  std::ofstream(path, std::ios::binary)
      .write(input.data(), static_cast<std::streamsize>(input.size()));
}

// Changes the JSON document that the text, its first line or one of its parts is.
std::string change_document(const std::string& text, uint64_t& state) {
  std::vector<std::string_view> documents = parts(text, 1 + next_random(state) % 3);
  if (next_random(state) % 2 == 0) documents = {std::string_view(text).substr(0, text.find('\n'))};
  const std::string_view document = documents[next_random(state) % documents.size()];
  if (!document.starts_with('{')) return text;
  const auto begin = static_cast<size_t>(document.data() - text.data());
  return text.substr(0, begin) + mutate_json(std::string(document), state) +
         text.substr(begin + document.size());
}

}  // namespace

double processor_seconds() {
  std::timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void fail(std::string_view what, std::string_view detail) {
  std::fprintf(stderr, "fuzz: %.*s\n%.*s\n", static_cast<int>(what.size()), what.data(),
               static_cast<int>(detail.size()), detail.data());
  std::abort();
}

void check_message(std::string_view message) {
  static const bool kShown = std::getenv("SINTER_FUZZ_SHOW") != nullptr;
  if (kShown)
    std::fprintf(stderr, "error: %.*s\n", static_cast<int>(message.size()), message.data());
  if (message.empty()) fail("an error without a message");
  if (message.find('\n') != std::string_view::npos) fail("an error of several lines", message);
}

void keep_if_json(std::string_view text) { is_kept = is_kept && OrderedJson::accept(text); }

std::vector<std::string_view> parts(std::string_view input, size_t count) {
  constexpr std::string_view kBetween = "\n---\n";
  std::vector<std::string_view> texts;
  while (texts.size() + 1 < count) {
    const size_t end = std::min(input.find(kBetween), input.size());
    texts.push_back(input.substr(0, end));
    input.remove_prefix(std::min(end + kBetween.size(), input.size()));
  }
  texts.push_back(input);
  return texts;
}

size_t mutate_text(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  uint64_t state = seed * 2ULL + 1;
  const uint64_t way = next_random(state) % 4;
  if (way == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::string text(reinterpret_cast<const char*>(data), size);
  std::string changed = way >= 2 ? change_document(text, state) : text;
  if (changed == text) changed = mutate(text, state);
  const size_t kept = std::min(changed.size(), max_size);
  std::memcpy(data, changed.data(), kept);
  return kept;
}

}  // namespace sinter::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sinter::fuzz;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const double before = processor_seconds();
  is_kept = true;
  use(input);
  if (processor_seconds() - before > kMostSeconds) keep_slow(input);
  return is_kept ? 0 : -1;
}
