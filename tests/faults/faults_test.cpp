// A system call or an allocation that fails, or a kill there, at every place where a program
// writes: what was there before stays, or all of the new is there; nothing is left behind, but what
// a killed program cannot remove, and that the next one does.
#include "tests/faults/fault_runs.h"

namespace sinter::tools {
namespace {

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

void expect_kept_everywhere(const Scenario& scenario) {
  prepare(scenario);
  const std::vector<uint64_t> counts = counted(scenario);
  prepare(scenario);
  const Outcome reference = run_with(scenario, "");
  ASSERT_EQ(reference.code, 0) << reference.err;
  const Files done = files_in(scenario.folder);
  for_each_fault(scenario, counts,
                 [&](const std::string& fault) { expect_kept(scenario, fault, reference, done); });
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

Scenario compile_scenario() {
  const fs::path folder = work_folder() / "compile";
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

// Clang works anew in every run. One target will do.
Scenario clang_scenario() {
  Scenario scenario = compile_scenario();
  const std::string host = "--target host";
  scenario.command.replace(scenario.command.find(host), host.size(), "--target x86-64-v3");
  scenario.command = "SINTER_OBJECT_CACHE= " + scenario.command;
  return scenario;
}

Scenario logits_scenario() {
  const fs::path folder = work_folder() / "logits";
  const std::string& plan = tiny_plan();
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

TEST(Faults, CompileKeepsTheOldPlanWithoutMemoryForClang) {
  expect_allocations_kept(clang_scenario(), 8);
}

TEST(Faults, ConvertLeavesAWholeFolderOrNone) {
  const fs::path folder = work_folder() / "convert";
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

}  // namespace
}  // namespace sinter::tools
