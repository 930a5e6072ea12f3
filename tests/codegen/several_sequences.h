// Steps of models with state whose rows are of several sequences.
#pragma once

#include <utility>
#include <vector>

#include "tests/codegen/error_bounds.h"
#include "tests/codegen/random_models.h"

namespace sinter::codegen::test {

// Rows `begin`.. of every tensor, as many as the part of the step has.
inline StepValues rows_of(const StepValues& values, const Step& whole, size_t begin,
                          const Step& part) {
  StepValues out;
  for (const auto& [id, array] : values) {
    const size_t width = array.data.size() / static_cast<size_t>(whole.count());
    ir::Array& rows = out[id];
    rows.shape = array.shape;
    rows.shape[0] = part.count();
    const auto first = array.data.begin() + static_cast<ptrdiff_t>(begin * width);
    rows.data.assign(first, first + part.count() * static_cast<ptrdiff_t>(width));
  }
  return out;
}

// Steps whose rows are of several sequences, each judged by itself.
class SeveralSequences {
 public:
  SeveralSequences(const Kernels& kernels, int64_t sequences)
      : machine_(kernels, page_positions, sequences),
        judge_(kernels),
        positions_(static_cast<size_t>(sequences)) {}

  // Pairs of a sequence and how many rows it has.
  void run(const std::vector<std::pair<int, int64_t>>& parts, Mode mode, int workers) {
    Step step{.mode = mode, .tokens = {}, .workers = workers};
    std::vector<Step> alone;
    std::vector<StepValues> before;
    for (const auto& [sequence, count] : parts) {
      int& position = positions_[static_cast<size_t>(sequence)];
      Step& part = alone.emplace_back(
          Step{.mode = mode, .tokens = random_tokens(count, random_), .position = position});
      for (const int32_t token : part.tokens)
        step.rows.push_back(
            {.token = token, .position = position++, .sequence = sequence, .logits = -1});
      step.rows.back().logits = static_cast<int>(alone.size()) - 1;
      before.push_back(machine_.fixed_states(sequence));
    }
    step.logits_rows = std::ssize(parts);
    const StepValues got = machine_.run(step);
    size_t begin = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      judge_.expect_phases_match(rows_of(got, step, begin, alone[i]), alone[i], before[i],
                                 machine_.fixed_states(parts[i].first));
      begin += alone[i].tokens.size();
    }
  }

  // Twelve steps of prompts, of few rows and of one, with rows of up to four sequences.
  void run_random(Random& random, int wave) {
    for (int step = 0; step < 12; ++step) {
      const Mode mode = step % 3 == 0 ? Mode::prefill : step % 3 == 1 ? Mode::few : Mode::decode;
      std::vector<std::pair<int, int64_t>> parts;
      int64_t left = mode == Mode::decode ? 1 : mode == Mode::few ? 8 : 40;
      for (int sequence = 0; sequence < 4 && left > 0; ++sequence) {
        const int64_t count = 1 + random.below(left);
        parts.emplace_back(sequence, count);
        left -= count;
      }
      run(parts, mode, wave == 0 ? 1 + step % 4 : kPlannedWorkers);
    }
  }

 private:
  Machine machine_;
  Judge judge_;
  std::vector<int> positions_;
  Random random_{11};
};

}  // namespace sinter::codegen::test
