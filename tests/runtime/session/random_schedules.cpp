// random_schedules PLAN DEVICE SCHEDULES: sessions of a plan on a device, under random schedules of
// everything that can be done with sequences, compared with what each sequence gives alone. For
// machines that have no compiler: bench/gpu_run.sh.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/runtime/session/random_schedule.h"
#include "tests/runtime/session/run_alone.h"

namespace sinter::runtime {
namespace {

std::string plan_path, device;
unsigned schedules = 0;

TEST(RandomSchedules, GiveEachSequenceWhatItGetsAlone) {
  auto file = PlanFile::open(plan_path, true);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const auto model = Model::load(*file, {.threads = 0, .progress = {}, .device = device});
  ASSERT_TRUE(model.ok()) << model.error().message;
  const int64_t most = std::min<int64_t>((*model)->plan().max_context, 400);
  int64_t rows = 0, logits = 0, draws = 0, cuts = 0;
  for (unsigned seed = 0; seed < schedules; ++seed) {
    SCOPED_TRACE(seed);
    const int64_t sequences = 1 + seed % 40;
    const int64_t context = std::min<int64_t>(most, 100 + seed % 4 * 100);
    auto session = Session::create(
        *model, SessionOptions{.context = context,
                               .sequences = sequences,
                               .positions = seed % 3 == 0 ? 0 : 64 + 64 * sequences,
                               .executor = seed % 4 == 3 ? Executor::eager : Executor::automatic});
    ASSERT_TRUE(session.ok()) << session.error().message;
    RandomSchedule schedule(**model, **session, seed);
    schedule.run(24);
    session->reset();
    if (!HasFailure()) schedule.compare(RunSequenceAlone(*model, context));
    if (HasFailure()) return;
    rows += schedule.rows();
    logits += schedule.logits();
    draws += schedule.draws();
    cuts += schedule.cuts();
  }
  fmt::print("{} schedules, {} rows, {} rows of logits and {} draws are the same, after {} cuts\n",
             schedules, rows, logits, draws, cuts);
}

}  // namespace
}  // namespace sinter::runtime

int main(int count, char** arguments) {
  ::testing::InitGoogleTest(&count, arguments);
  if (count != 4) {
    fmt::print(stderr, "usage: random_schedules PLAN DEVICE SCHEDULES\n");
    return 2;
  }
  sinter::runtime::plan_path = arguments[1];
  sinter::runtime::device = arguments[2];
  sinter::runtime::schedules = static_cast<unsigned>(std::strtoul(arguments[3], nullptr, 10));
  return RUN_ALL_TESTS();
}
