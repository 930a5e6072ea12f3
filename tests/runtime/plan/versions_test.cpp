// Plans of every version that is still promised: they load, and their logits are what they were.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <fstream>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "runtime/host/device.h"
#include "runtime/plan/file.h"
#include "runtime/plan/plan.h"
#include "runtime/session/session.h"

namespace sinter::runtime {
namespace {

const std::vector<int32_t> kTokens = {1, 20, 3, 14, 5, 9, 23, 0};

using Rows = std::vector<std::vector<uint32_t>>;  // the bits of logits

Rows recorded() {
  std::ifstream file(SINTER_TEST_PLANS "/logits.txt");
  Rows rows;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    rows.emplace_back();
    for (std::string word; words >> word;)
      rows.back().push_back(static_cast<uint32_t>(std::stoul(word, nullptr, 16)));
  }
  return rows;
}

void append(Rows& rows, std::span<const float> logits, int64_t count) {
  const size_t width = logits.size() / static_cast<size_t>(count);
  for (size_t i = 0; i < logits.size(); ++i) {
    if (i % width == 0) rows.emplace_back();
    rows.back().push_back(std::bit_cast<uint32_t>(logits[i]));
  }
}

TEST(PlanVersions, OldPlansGiveTheSameLogits) {
  const Rows expected = recorded();
  ASSERT_EQ(expected.size(), 2 * kTokens.size());
  for (uint32_t minor = 0; minor < plan_minor; ++minor) {
    const std::string path = fmt::format("{}/{}.{}.plan", SINTER_TEST_PLANS, plan_major, minor);
    SCOPED_TRACE(path);
    const auto file = PlanFile::open(path, true);
    ASSERT_TRUE(file.ok()) << file.error().message;
    if (!choose_code((*file)->plan(), detect_host_cpu()).ok()) GTEST_SKIP() << "no x86-64-v3 here";
    LoadOptions options;
    options.threads = 1;
    const auto model = Model::load(*file, options);
    ASSERT_TRUE(model.ok()) << model.error().message;
    const auto session = Session::create(*model, 0);
    ASSERT_TRUE(session.ok()) << session.error().message;
    Rows rows;
    ASSERT_TRUE((*session)
                    ->prefill(kTokens, static_cast<int64_t>(kTokens.size()),
                              [&](std::span<const float> logits, int64_t count) {
                                append(rows, logits, count);
                              })
                    .ok());
    (*session)->reset();
    for (const int32_t token : kTokens) {
      ASSERT_TRUE((*session)->decode(token).ok());
      append(rows, (*session)->logits(), 1);
    }
    EXPECT_EQ(rows, expected);
  }
}

}  // namespace
}  // namespace sinter::runtime
