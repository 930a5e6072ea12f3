// A plan on one page, and numbers as people read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/plan/plan.h"
#include "tools/program.h"

namespace sinter::tools {

// "512 B", "3.4 kB", "548.8 MB", "1.24 GB"; powers of 1000.
std::string size_text(uint64_t bytes);
// "1,724,576"
std::string count_text(uint64_t number);

double seconds_since(std::chrono::steady_clock::time_point start);

// The layer a phase or a weight belongs to: 3 for "model.layers.3.mlp.gate_proj"; -1 for none.
int64_t layer_of(std::string_view name);

// Decode phases of the layers: the fewest and the most that a layer has; 0 and 0 without layers.
struct PhasesPerLayer {
  int64_t fewest = 0;
  int64_t most = 0;
};
PhasesPerLayer phases_per_layer(const runtime::DevicePlan& plan);

// Bytes of weights that decoding one token reads, and its multiply-adds.
uint64_t weight_bytes_per_token(const runtime::DevicePlan& plan);
double macs_per_token(const runtime::DevicePlan& plan);

// Of a plan's states that are kept by position: "f16".
std::string state_formats(const runtime::DevicePlan& plan);

// `rates`: what predictions for a target were made with; may be empty. Ends with a newline.
std::string summary(const runtime::Plan& plan, const TargetRates& rates);

struct Spread {
  double median = 0, low = 0, high = 0;
};
Spread spread_of(std::vector<double> values);  // not empty

}  // namespace sinter::tools
