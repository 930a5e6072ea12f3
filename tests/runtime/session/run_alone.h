// What sequences of a model give alone.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "runtime/session/session.h"
#include "tests/runtime/session/random_schedule.h"

namespace sinter {

// [ids, vocab], of one prefill.
inline std::vector<float> prefill_logits(runtime::Session& session, std::span<const int32_t> ids) {
  std::vector<float> logits;
  const auto status = session.prefill(ids, static_cast<int64_t>(ids.size()),
                                      [&](std::span<const float> rows, int64_t) {
                                        logits.insert(logits.end(), rows.begin(), rows.end());
                                      });
  EXPECT_TRUE(status.ok()) << status.error().message;
  return logits;
}

// For RandomSchedule, each in a session of its own: rows of steps of few rows in steps of one, runs
// of rows of chunks as one prompt.
class RunSequenceAlone {
 public:
  RunSequenceAlone(std::shared_ptr<runtime::Model> model, int64_t context)
      : model_(std::move(model)), context_(context) {}

  std::vector<std::vector<float>> operator()(const std::vector<runtime::SequenceRow>& rows) const {
    std::vector<std::vector<float>> logits;
    const auto session = runtime::Session::create(model_, context_);
    EXPECT_TRUE(session.ok()) << session.error().message;
    if (!session.ok()) return {};
    for (size_t i = 0; i < rows.size();) {
      if (!rows[i].in_chunk) {
        const auto status = (*session)->decode(rows[i++].token);
        EXPECT_TRUE(status.ok()) << status.error().message;
        const auto row = (*session)->logits();
        logits.emplace_back(row.begin(), row.end());
        continue;
      }
      std::vector<int32_t> run;
      for (; i < rows.size() && rows[i].in_chunk; ++i) run.push_back(rows[i].token);
      const std::vector<float> all = prefill_logits(**session, run);
      const auto vocab = static_cast<std::ptrdiff_t>(all.size() / run.size());
      for (auto row = all.begin(); row != all.end(); row += vocab)
        logits.emplace_back(row, row + vocab);
    }
    return logits;
  }

 private:
  std::shared_ptr<runtime::Model> model_;
  int64_t context_;
};

}  // namespace sinter
