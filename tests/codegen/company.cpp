#include "tests/codegen/company.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace sinter::codegen::test {

namespace {

constexpr int kSequences = 32;
constexpr int64_t kCapacity = 3 * page_positions;

bool has_state(const ir::Module& module) {
  return std::ranges::any_of(module.values,
                             [](const ir::Value& v) { return v.kind == ir::ValueKind::state; });
}

// Row `r` of what a step with several rows computed.
bool is_row_of(const ir::Array& together, int64_t r, const ir::Array& alone) {
  const size_t size = alone.data.size();
  const auto begin = together.data.begin() + static_cast<ptrdiff_t>(size) * r;
  return together.data.size() >= size * static_cast<size_t>(r + 1) &&
         std::memcmp(&*begin, alone.data.data(), size * sizeof(float)) == 0;
}

class Company {
 public:
  explicit Company(const Kernels& kernels)
      : kernels_(kernels),
        alone_(kernels, kCapacity, kSequences),
        together_(kernels, kCapacity, kSequences),
        positions_(kSequences) {}

  // Sequences of different lengths, some over the end of a page. A GPU that is played thread by
  // thread takes long for many tokens: most of its sequences are short.
  void read_prompts() {
    constexpr int64_t kLengths[] = {1, 3, 17, 63, 64, 66, 100};
    const int long_ones = kernels_.device() == Device::gpu ? 9 : kSequences;
    for (int s = 0; s < kSequences; ++s) {
      const int64_t length = s < long_ones ? kLengths[s % std::size(kLengths)] : 1 + s % 3;
      Step step{.mode = Mode::prefill, .tokens = {}};
      for (int64_t i = 0; i < length; ++i) step.rows.push_back(next_row(s, -1));
      step.rows.back().logits = 0;
      alone_.run(step);
      together_.run(step);
    }
  }

  // `count` rows: of as many sequences, but for one that has three, as when a draft is checked.
  void decode(int64_t count, int workers) {
    Step step{.mode = Mode::few, .tokens = {}, .logits_rows = count, .workers = workers};
    std::vector<int> order(kSequences);
    for (int s = 0; s < kSequences; ++s) order[static_cast<size_t>(s)] = s;
    for (size_t i = order.size() - 1; i > 0; --i)
      std::swap(order[i], order[static_cast<size_t>(random_.below(static_cast<int64_t>(i) + 1))]);
    for (size_t next = 0; std::ssize(step.rows) < count; ++next)
      for (int64_t i = 0; i < (next == 1 ? 3 : 1) && std::ssize(step.rows) < count; ++i)
        step.rows.push_back(next_row(order[next], static_cast<int>(std::ssize(step.rows))));
    const StepValues got = together_.run(step);
    for (int64_t r = 0; r < count; ++r) {
      StepRow row = step.rows[static_cast<size_t>(r)];
      row.logits = 0;
      const StepValues want = alone_.run(
          {.mode = Mode::decode, .tokens = {}, .rows = {row}, .workers = workers == 0 ? 0 : 2});
      for (const auto& [id, array] : want) {
        // What several rows left in the form in which products multiply it those have read.
        if (!got.contains(id)) continue;
        EXPECT_TRUE(is_row_of(got.at(id), r, array))
            << kernels_.name() << ": row " << r << " of " << count << ", %" << id;
      }
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_TRUE(std::ranges::equal(alone_.pages(), together_.pages()))
        << kernels_.name() << ", " << count << " rows: pages differ";
    EXPECT_TRUE(std::ranges::equal(alone_.fixed(), together_.fixed()))
        << kernels_.name() << ", " << count << " rows: fixed state differs";
  }

 private:
  StepRow next_row(int sequence, int logits) {
    return {.token = static_cast<int>(random_.below(kVocabulary)),
            .position = positions_[static_cast<size_t>(sequence)]++,
            .sequence = sequence,
            .logits = logits};
  }

  const Kernels& kernels_;
  Machine alone_, together_;
  std::vector<int> positions_;
  Random random_{5};
};

}  // namespace

void expect_company_does_not_matter(const Kernels& kernels) {
  Company company(kernels);
  if (has_state(kernels.model->module)) company.read_prompts();
  const bool on_gpu = kernels.device() == Device::gpu;
  const int64_t most = kernels.schedule(Mode::few).shape.most_rows;
  for (const int64_t count : {int64_t{2}, int64_t{5}, most - 1, most}) {
    if (on_gpu && count == most - 1) continue;  // thread by thread takes long
    company.decode(count, on_gpu ? kPlannedWorkers : 3);
    if (::testing::Test::HasFailure()) return;
  }
}

void expect_company_does_not_matter(const Kernels& kernels, const std::vector<int>& positions) {
  const auto count = std::ssize(positions);
  Machine machine(kernels, std::ranges::max(positions) + 1, count);
  // Numbers and scales of float16 of 0.5 to 1 in size; any codes.
  Random random(3);
  for (const std::span<uint8_t> states : {machine.pages(), machine.fixed()})
    for (size_t i = 0; i + 1 < states.size(); i += 2) {
      const auto half = static_cast<uint16_t>((random.below(1 << 16) & 0x83ff) | 0x3800);
      std::memcpy(&states[i], &half, sizeof half);
    }
  Step step{.mode = Mode::few,
            .tokens = {},
            .logits_rows = count,
            .workers = kernels.device() == Device::gpu ? kPlannedWorkers : 3};
  for (int r = 0; r < count; ++r)
    step.rows.push_back({.token = static_cast<int>(random.below(kVocabulary)),
                         .position = positions[static_cast<size_t>(r)],
                         .sequence = r,
                         .logits = r});
  const StepValues got = machine.run(step);
  for (int r = 0; r < count; ++r) {
    StepRow row = step.rows[static_cast<size_t>(r)];
    row.logits = 0;
    const StepValues want =
        machine.run({.mode = Mode::decode, .tokens = {}, .rows = {row}, .workers = step.workers});
    for (const auto& [id, array] : want)
      EXPECT_TRUE(is_row_of(got.at(id), r, array))
          << kernels.name() << ": row " << r << ", position " << row.position << ", %" << id;
  }
}

}  // namespace sinter::codegen::test
