// Runs the programs with a system call or an allocation that fails, or a signal there
// (tests/faults/shim.c).
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <map>
#include <vector>

#include "tests/tools/command_line.h"

namespace sinter::tools {

// In the order of the shim's classes.
inline constexpr const char* kClasses[] = {"open",  "read",     "write", "sync",  "rename",
                                           "mkdir", "truncate", "map",   "close", "allocate"};

// "short" and "kill" are the shim's words; "+" lets all later calls fail too.
inline const std::map<std::string, std::vector<std::string>>& failures() {
  static const auto number = [](int error) { return std::to_string(error); };
  static const std::map<std::string, std::vector<std::string>> table = {
      {"open", {number(EACCES), number(EMFILE), number(ENOSPC), number(EROFS), "kill"}},
      {"read", {number(EIO), number(EINTR), "short"}},
      {"write",
       {number(ENOSPC) + "+", number(EIO), number(EINTR), number(EDQUOT) + "+", number(EFBIG),
        "short", "kill"}},
      {"sync", {number(EIO), number(ENOSPC), number(EDQUOT), "kill"}},
      {"rename", {number(EACCES), number(EIO), number(ENOSPC), number(EXDEV), "kill"}},
      {"mkdir", {number(EACCES), number(ENOSPC), number(EDQUOT), "kill"}},
      {"truncate", {number(ENOSPC), number(EFBIG), "kill"}},
      {"map", {number(ENOMEM), number(ENODEV)}},
      {"close", {number(EIO), number(ENOSPC), "kill"}},
  };
  return table;
}

using Files = std::map<std::string, std::string>;  // path to contents

inline Files files_in(const fs::path& folder) {
  Files files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder).string();
    files[name] = entry.is_directory() ? "a folder" : read(entry.path());
  }
  return files;
}

inline std::string names(const Files& files) {
  std::string text;
  for (const auto& [name, contents] : files) text += fmt::format(" {} ({})", name, contents.size());
  return text;
}

inline Files without_temporaries(Files files) {
  std::erase_if(files, [](const auto& file) { return file.first.find("tmp-") != file.first.npos; });
  return files;
}

struct Scenario {
  std::string command;            // with its program
  fs::path folder;                // where faults happen, made anew for every run
  std::function<void()> prepare;  // fills the folder
  size_t most_places = 40;        // of a class
  bool all_ways_at_ends = true;   // of the first and the last place; else one way
};

inline Outcome run_with(const Scenario& scenario, const std::string& fault,
                        const fs::path& counts = {}) {
  return shell(
      fmt::format("LD_PRELOAD='{}' SINTER_FAULT='{}' SINTER_FAULT_UNDER='{}' {} {}",
                  SINTER_FAULT_SHIM, fault, scenario.folder.string(),
                  counts.empty() ? "" : fmt::format("SINTER_FAULT_COUNTS='{}'", counts.string()),
                  scenario.command));
}

inline Files prepare(const Scenario& scenario) {
  fs::remove_all(scenario.folder);
  fs::create_directories(scenario.folder);
  scenario.prepare();
  return files_in(scenario.folder);
}

// Calls of each class in a run without a fault.
inline std::vector<uint64_t> counted(const Scenario& scenario) {
  const fs::path file = work_folder() / "counts";
  fs::remove(file);
  EXPECT_EQ(run_with(scenario, "", file).code, 0);
  const std::string bytes = read(file);
  std::vector<uint64_t> counts(std::size(kClasses));
  EXPECT_GE(bytes.size(), counts.size() * sizeof(uint64_t)) << "the shim was not loaded";
  bytes.copy(reinterpret_cast<char*>(counts.data()), counts.size() * sizeof(uint64_t));
  return counts;
}

// Calls `expect` with faults: calls of every class fail once, each in one of the ways, which is
// another one in every run of the test.
inline void for_each_fault(const Scenario& scenario, const std::vector<uint64_t>& counts,
                           const std::function<void(const std::string& fault)>& expect) {
  const auto turn =
      static_cast<size_t>(std::chrono::system_clock::now().time_since_epoch().count() / 1000);
  for (size_t i = 0; i < std::size(kClasses); ++i) {
    const auto ways = failures().find(kClasses[i]);
    if (ways == failures().end() || counts[i] == 0) continue;
    const std::vector<std::string>& all = ways->second;
    const auto step = std::max<uint64_t>(1, counts[i] / scenario.most_places);
    for (uint64_t at = 1; at <= counts[i]; at += step) {
      const bool is_end = scenario.all_ways_at_ends && (at == 1 || at + step > counts[i]);
      for (size_t way = 0; way < (is_end ? all.size() : 1); ++way) {
        const std::string& what = all[(at + turn + way) % all.size()];
        expect(fmt::format("{}:{}:{}", kClasses[i], at, what));
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

inline void copy_model(const fs::path& from, const fs::path& to,
                       std::initializer_list<const char*> files) {
  fs::create_directories(to);
  for (const char* file : files) fs::copy_file(from / file, to / file);
}

}  // namespace sinter::tools
