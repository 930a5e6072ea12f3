// Models against logits computed by transformers: the reference interpreter on the imported graph.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <vector>

#include "frontends/json_file.h"
#include "frontends/open/open_checkpoint.h"
#include "frontends/safetensors/safetensors.h"
#include "ir/interpreter.h"
#include "models/import.h"
#include "tests/ir/f32_caches.h"

namespace sinter::models {

template <class T>
std::vector<T> numbers(const frontends::StoredTensor& tensor) {
  std::vector<T> out(tensor.bytes.size() / sizeof(T));
  std::memcpy(out.data(), tensor.bytes.data(), out.size() * sizeof(T));
  return out;
}

// Imports the model in `file` and compares its logits with those of the case in `folder`, of all
// positions or of the first ones.
inline void expect_logits(const std::filesystem::path& file, const std::filesystem::path& folder,
                          size_t positions = 0) {
  const auto checkpoint = frontends::open_checkpoint(file);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model = import_checkpoint(**checkpoint);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto stored = frontends::open_safetensors(folder / "golden.safetensors");
  ASSERT_TRUE(stored.ok()) << stored.status();
  const auto ids = numbers<int32_t>(stored->tensors.at("input_ids"));
  const auto expected = numbers<float>(stored->tensors.at("logits"));
  const auto details = frontends::read_json_object(folder / "case.json");
  ASSERT_TRUE(details.ok()) << details.status();
  const auto tolerance = frontends::get_double(*details, "rel_tol_f32", "case.json");
  ASSERT_TRUE(tolerance.ok()) << tolerance.status();

  ir::InterpreterState state;
  const auto logits = ir::interpret(ir::with_f32_caches(model->module), **checkpoint,
                                    {ids, static_cast<int64_t>(ids.size())}, state);
  ASSERT_TRUE(logits.ok()) << logits.status();
  ASSERT_EQ(logits->data.size(), expected.size());
  const size_t vocab = expected.size() / ids.size();
  double worst = 0;
  for (size_t t = 0; t < (positions == 0 ? ids.size() : positions); ++t) {
    double difference = 0;
    double size = 0;
    for (size_t i = t * vocab; i < (t + 1) * vocab; ++i) {
      ASSERT_TRUE(std::isfinite(logits->data[i])) << "position " << t;
      difference += std::pow(double{logits->data[i]} - expected[i], 2);
      size += std::pow(double{expected[i]}, 2);
    }
    worst = std::max(worst, std::sqrt(difference / size));
  }
  testing::Test::RecordProperty("error", fmt::format("{:.1e}", worst));
  EXPECT_LE(worst, *tolerance);
}

}  // namespace sinter::models
