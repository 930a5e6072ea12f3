// What sequences of the toy plan give alone.
#pragma once

#include <vector>

#include "tests/runtime/session/random_schedule.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::runtime::toy {

inline std::vector<std::vector<float>> run_alone(const std::vector<SequenceRow>& rows) {
  static const std::vector<uint8_t> bytes = weights();
  std::vector<std::vector<float>> logits;
  std::vector<int32_t> tokens;
  for (const SequenceRow& row : rows) {
    tokens.push_back(row.token);
    logits.push_back(expected_logits(tokens, bytes, row.after_step));
  }
  return logits;
}

}  // namespace sinter::runtime::toy
