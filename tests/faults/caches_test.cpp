// What fails in a cache fails no command: it does its work without one. Nothing is left behind, and
// what is in a cache is whole.
#include "tests/faults/fault_runs.h"

namespace sinter::tools {
namespace {

void expect_needs_no_cache(const Scenario& scenario, const std::string& fault,
                           const Outcome& reference, const Files& done) {
  SCOPED_TRACE(fmt::format("SINTER_FAULT={} {}", fault, scenario.command));
  prepare(scenario);
  const Outcome outcome = run_with(scenario, fault);
  const bool killed = fault.ends_with("kill") && outcome.code == 137;
  if (!killed) {
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, reference.out);
    const Files left = files_in(scenario.folder);
    EXPECT_TRUE(left == without_temporaries(left)) << names(left);
  }
  const Outcome next = run_with(scenario, "");
  EXPECT_EQ(next.code, 0) << next.err;
  EXPECT_EQ(next.out, reference.out);
  const Files swept = files_in(scenario.folder);
  EXPECT_TRUE(swept == done) << names(swept);
}

void expect_needs_no_cache_anywhere(const Scenario& scenario) {
  prepare(scenario);
  const std::vector<uint64_t> counts = counted(scenario);
  prepare(scenario);
  const Outcome reference = run_with(scenario, "");
  ASSERT_EQ(reference.code, 0) << reference.err;
  const Files done = files_in(scenario.folder);
  ASSERT_FALSE(done.empty());
  for_each_fault(scenario, counts, [&](const std::string& fault) {
    expect_needs_no_cache(scenario, fault, reference, done);
  });
}

// With an empty cache, and with what a run left in it.
void expect_cold_and_warm(Scenario scenario) {
  scenario.prepare = [] {};
  expect_needs_no_cache_anywhere(scenario);
  if (testing::Test::HasFailure()) return;
  const fs::path kept = work_folder() / "kept-cache";
  fs::remove_all(kept);
  fs::copy(scenario.folder, kept, fs::copy_options::recursive);
  scenario.prepare = [kept, folder = scenario.folder] {
    fs::copy(kept, folder, fs::copy_options::recursive);
  };
  expect_needs_no_cache_anywhere(scenario);
}

TEST(Caches, ARunNeedsNoCacheOfPlans) {
  Scenario scenario;
  scenario.folder = work_folder() / "plans";
  scenario.command = fmt::format("XDG_CACHE_HOME='{}' '{}' run '{}' -p ROMEO -n 3 --threads 1",
                                 scenario.folder.string(), SINTER_PROGRAM, tiny_model().string());
  scenario.most_places = 6;
  scenario.all_ways_at_ends = false;
  expect_cold_and_warm(scenario);
}

TEST(Caches, ACompilationNeedsNoCacheOfObjects) {
  Scenario scenario;
  scenario.folder = work_folder() / "objects";
  scenario.command = fmt::format("SINTER_OBJECT_CACHE='{}' '{}'",
                                 (scenario.folder / "kernels").string(), SINTER_COMPILE_NOTHING);
  scenario.most_places = 6;
  scenario.all_ways_at_ends = false;
  expect_cold_and_warm(scenario);
}

// A file beside the model that nobody needs says nothing about the cache.
TEST(Caches, OfPlansDependOnTheFilesOfTheModelAlone) {
  const fs::path model = copy_of_model("cached-model");
  fs::create_directories(model / "additional_chat_templates");
  const fs::path more = model / "additional_chat_templates" / "rag.jinja";
  write(more, "one");
  const fs::path cache = work_folder() / "by-content";
  const auto plans_after_run = [&] {
    const Outcome outcome =
        shell(fmt::format("XDG_CACHE_HOME='{}' '{}' run '{}' -p ROMEO -n 1 --threads 1",
                          cache.string(), SINTER_PROGRAM, model.string()));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return files_in(cache / "sinter").size();
  };
  EXPECT_EQ(plans_after_run(), 1u);
  write(model / "notes.txt", "not of the model");
  fs::create_symlink("nowhere", model / "gone.json");
  EXPECT_EQ(plans_after_run(), 1u);
  write(more, "two");
  EXPECT_EQ(plans_after_run(), 2u);
  write(model / "generation_config.json", R"({"temperature": 0.5, "do_sample": true})");
  EXPECT_EQ(plans_after_run(), 3u);
}

}  // namespace
}  // namespace sinter::tools
