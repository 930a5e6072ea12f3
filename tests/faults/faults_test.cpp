// A system call or an allocation that fails, or a kill there, at every place where a program
// writes: what was there before stays, or all of the new is there; nothing is left behind, but what
// a killed program cannot remove, and that the next one does.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "tests/tools/command_line.h"

namespace sinter::tools {
namespace {

// In the order of the shim's classes.
constexpr const char* kClasses[] = {"open",  "read",     "write", "sync",  "rename",
                                    "mkdir", "truncate", "map",   "close", "allocate"};

// "short" and "kill" are the shim's words; "+" lets all later calls fail too.
const std::map<std::string, std::vector<std::string>>& failures() {
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

Files files_in(const fs::path& folder) {
  Files files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder).string();
    files[name] = entry.is_directory() ? "a folder" : read(entry.path());
  }
  return files;
}

std::string names(const Files& files) {
  std::string text;
  for (const auto& [name, contents] : files) text += fmt::format(" {} ({})", name, contents.size());
  return text;
}

Files without_temporaries(Files files) {
  std::erase_if(files, [](const auto& file) { return file.first.find("tmp-") != file.first.npos; });
  return files;
}

struct Scenario {
  std::string command;            // with its program
  fs::path folder;                // where faults happen, made anew for every run
  std::function<void()> prepare;  // fills the folder
  std::vector<std::string>
      must_succeed;         // failures that the program has to survive, by class or whole
  size_t most_places = 40;  // of a class
};

Outcome run_with(const Scenario& scenario, const std::string& fault, const fs::path& counts = {}) {
  return shell(
      fmt::format("LD_PRELOAD='{}' SINTER_FAULT='{}' SINTER_FAULT_UNDER='{}' {} {}",
                  SINTER_FAULT_SHIM, fault, scenario.folder.string(),
                  counts.empty() ? "" : fmt::format("SINTER_FAULT_COUNTS='{}'", counts.string()),
                  scenario.command));
}

Files prepare(const Scenario& scenario) {
  fs::remove_all(scenario.folder);
  fs::create_directories(scenario.folder);
  scenario.prepare();
  return files_in(scenario.folder);
}

// Calls of each class in a run without a fault.
std::vector<uint64_t> counted(const Scenario& scenario) {
  const fs::path file = work_folder() / "counts";
  fs::remove(file);
  EXPECT_EQ(run_with(scenario, "", file).code, 0);
  const std::string bytes = read(file);
  std::vector<uint64_t> counts(std::size(kClasses));
  EXPECT_GE(bytes.size(), counts.size() * sizeof(uint64_t)) << "the shim was not loaded";
  bytes.copy(reinterpret_cast<char*>(counts.data()), counts.size() * sizeof(uint64_t));
  return counts;
}

bool is_last_line_an_error(const std::string& text) {
  if (text.empty() || text.back() != '\n') return false;
  const size_t line = text.rfind('\n', text.size() - 2) + 1;
  return text.compare(line, 6, "sinter") == 0;
}

void expect_kept(const Scenario& scenario, const std::string& fault, const Outcome& reference,
                 const Files& done) {
  SCOPED_TRACE(fmt::format("SINTER_FAULT={} {}", fault, scenario.command));
  const Files before = prepare(scenario);
  const Outcome outcome = run_with(scenario, fault);
  const bool killed = fault.ends_with("kill");
  Files after = files_in(scenario.folder);
  if (outcome.code == 0) {
    EXPECT_TRUE(after == done) << names(after);
    EXPECT_EQ(outcome.out, reference.out);
    return;
  }
  for (const std::string& survived : scenario.must_succeed)
    EXPECT_FALSE(fault.starts_with(survived) && !killed) << outcome.err;
  EXPECT_FALSE(fault.ends_with("short") || fault.ends_with(fmt::format(":{}", EINTR)))
      << outcome.err;
  if (outcome.code != 137) {
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_TRUE(is_last_line_an_error(outcome.err)) << outcome.err;
  } else {
    EXPECT_TRUE(killed) << outcome.code << outcome.err;
    after = without_temporaries(after);
  }
  EXPECT_TRUE(after == before || after == done) << names(after);
  if (outcome.code == 2 || files_in(scenario.folder) == done) return;
  // What was left is removed by the next command that writes there.
  EXPECT_EQ(run_with(scenario, "").code, 0);
  const Files swept = files_in(scenario.folder);
  EXPECT_TRUE(swept == done) << names(swept);
}

// Every call of the classes fails once, in one of the ways, the first and the last in all of them.
// Which way is another one in every run of the test.
void expect_kept_everywhere(const Scenario& scenario) {
  prepare(scenario);
  const std::vector<uint64_t> counts = counted(scenario);
  prepare(scenario);
  const Outcome reference = run_with(scenario, "");
  ASSERT_EQ(reference.code, 0) << reference.err;
  const Files done = files_in(scenario.folder);
  const auto turn =
      static_cast<size_t>(std::chrono::system_clock::now().time_since_epoch().count() / 1000);
  for (size_t i = 0; i < std::size(kClasses); ++i) {
    const auto ways = failures().find(kClasses[i]);
    if (ways == failures().end() || counts[i] == 0) continue;
    const std::vector<std::string>& all = ways->second;
    const auto step = std::max<uint64_t>(1, counts[i] / scenario.most_places);
    for (uint64_t at = 1; at <= counts[i]; at += step) {
      const bool is_end = at == 1 || at + step > counts[i];
      for (size_t way = 0; way < (is_end ? all.size() : 1); ++way) {
        const std::string& what = all[(at + turn + way) % all.size()];
        expect_kept(scenario, fmt::format("{}:{}:{}", kClasses[i], at, what), reference, done);
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

// One allocation fails, at places all over the run.
void expect_allocations_kept(const Scenario& scenario, uint64_t places) {
  prepare(scenario);
  const uint64_t count = counted(scenario).back();
  prepare(scenario);
  const Outcome reference = run_with(scenario, "");
  ASSERT_EQ(reference.code, 0) << reference.err;
  const Files done = files_in(scenario.folder);
  const auto turn =
      static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  for (uint64_t i = 0; i < places; ++i) {
    const uint64_t at = 1 + (i * count / places + turn / 1000 % (count / places + 1)) % count;
    expect_kept(scenario, fmt::format("allocate:{}:{}", at, ENOMEM), reference, done);
    if (testing::Test::HasFailure()) return;
  }
}

fs::path folder_for(const char* name) { return work_folder() / name; }

void copy_model(const fs::path& from, const fs::path& to,
                std::initializer_list<const char*> files) {
  fs::create_directories(to);
  for (const char* file : files) fs::copy_file(from / file, to / file);
}

Scenario compile_scenario() {
  const fs::path folder = folder_for("compile");
  Scenario scenario;
  scenario.folder = folder;
  scenario.command = fmt::format("'{}' compile '{}' -o '{}' --target host", SINTER_PROGRAM,
                                 (folder / "model").string(), (folder / "out" / "a.plan").string());
  scenario.prepare = [folder] {
    copy_model(fs::path(SINTER_GOLDENS) / "mlx_b4_g32", folder / "model",
               {"config.json", "generation_config.json", "model.safetensors"});
    fs::create_directories(folder / "out");
    write(folder / "out" / "a.plan", "what was there before");
    write(folder / "out" / "other.plan", "another file");
  };
  return scenario;
}

Scenario logits_scenario() {
  const fs::path folder = folder_for("logits");
  const std::string plan = tiny_plan();
  Scenario scenario;
  scenario.folder = folder;
  scenario.command = fmt::format("'{}' logits '{}' --ids '{}' --out '{}' --threads 2",
                                 SINTER_RUN_PROGRAM, (folder / "model.plan").string(),
                                 (folder / "ids").string(), (folder / "logits.npy").string());
  scenario.most_places = 20;
  scenario.prepare = [folder, plan] {
    fs::copy_file(plan, folder / "model.plan");
    write(folder / "ids", "1 2 3 4 5");
    write(folder / "logits.npy", "what was there before");
  };
  return scenario;
}

TEST(Faults, CompileKeepsTheOldPlan) { expect_kept_everywhere(compile_scenario()); }

TEST(Faults, CompileKeepsTheOldPlanWithoutMemory) {
  expect_allocations_kept(compile_scenario(), 12);
}

TEST(Faults, ConvertLeavesAWholeFolderOrNone) {
  const fs::path folder = folder_for("convert");
  Scenario scenario;
  scenario.folder = folder;
  scenario.command = fmt::format("'{}' convert '{}' -o '{}'", SINTER_PROGRAM,
                                 (folder / "model.gguf").string(), (folder / "out").string());
  scenario.prepare = [folder] {
    fs::copy_file(fs::path(SINTER_GOLDENS) / "gguf_tokenizer" / "model.gguf",
                  folder / "model.gguf");
  };
  expect_kept_everywhere(scenario);
}

TEST(Faults, LogitsKeepsTheOldFile) { expect_kept_everywhere(logits_scenario()); }

TEST(Faults, LogitsKeepsTheOldFileWithoutMemory) { expect_allocations_kept(logits_scenario(), 60); }

// A plan that cannot be cached is run all the same.
TEST(Faults, RunNeedsNoCache) {
  const fs::path folder = folder_for("cache");
  Scenario scenario;
  scenario.folder = folder;
  scenario.command =
      fmt::format("XDG_CACHE_HOME='{}' '{}' run '{}' -p ROMEO -n 3 --threads 1",
                  (folder / "cache").string(), SINTER_PROGRAM, tiny_model().string());
  scenario.prepare = [] {};
  scenario.must_succeed = {"write", "sync", "rename", "mkdir", "truncate", "close"};
  scenario.most_places = 12;
  prepare(scenario);
  const std::vector<uint64_t> counts = counted(scenario);
  prepare(scenario);
  const Outcome reference = run_with(scenario, "");
  ASSERT_EQ(reference.code, 0) << reference.err;
  for (const char* class_of_call : {"write", "sync", "rename", "mkdir"}) {
    const auto at = std::find_if(std::begin(kClasses), std::end(kClasses), [&](const char* name) {
      return std::string_view(name) == class_of_call;
    });
    const uint64_t count = counts[static_cast<size_t>(at - std::begin(kClasses))];
    ASSERT_GT(count, 0u) << class_of_call;
    for (const uint64_t place : std::set<uint64_t>{1, count / 2 + 1, count}) {
      for (const std::string& what : failures().at(class_of_call)) {
        const std::string fault = fmt::format("{}:{}:{}", class_of_call, place, what);
        SCOPED_TRACE(fault);
        prepare(scenario);
        const Outcome outcome = run_with(scenario, fault);
        if (what == "kill") {
          EXPECT_TRUE(outcome.code == 137 || outcome.code == 0) << outcome.code << outcome.err;
          EXPECT_EQ(run_with(scenario, "").out, reference.out);
        } else {
          EXPECT_EQ(outcome.code, 0) << outcome.err;
          EXPECT_EQ(outcome.out, reference.out);
        }
        const Files left = files_in(folder);
        EXPECT_TRUE(left == without_temporaries(left)) << names(left);
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace sinter::tools
