// The toy plan of toy_plan.h for GPUs, and its kernels for the double.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "runtime/session/sampler.h"
#include "tests/runtime/gpu/double.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::runtime::toy {

// As the kernels of kernel_source, except that the counter is set, not counted up, when it lies in
// state that grows with the context: steps may then be run again.
struct GpuKernels {
  bool counts_up = true;
  int nan_from_position = 1 << 30;  // steps from here on give a logit that is NaN
  bool wrong_when_replayed = false;
  float probe_error = 0;  // of the second probe

  void remember(const GpuArguments& a) const {
    const auto* tokens = static_cast<const int32_t*>(a.args[0]);
    auto* history = static_cast<int32_t*>(a.args[1]);
    auto* counter = static_cast<int32_t*>(a.args[2]);
    for (int t = 0; t < a.step->tokens; ++t) history[a.step->position + t] = tokens[t];
    *counter = (counts_up ? *counter : a.step->position) + a.step->tokens;
  }
  static void sum(const GpuArguments& a) {
    const auto* history = static_cast<const int32_t*>(a.args[0]);
    const auto* weights = static_cast<const uint8_t*>(a.args[1]);
    auto* sums = static_cast<int32_t*>(a.args[2]);
    for (int t = 0; t < a.step->tokens; ++t) {
      sums[t] = 0;
      for (int s = 0; s <= a.step->position + t; ++s)
        sums[t] += (history[s] + 1) * weights[s % weight_count];
    }
  }
  void probe(const GpuArguments& a) const {
    const auto* weights = static_cast<const uint8_t*>(a.args[0]);
    auto* out = static_cast<float*>(a.args[1]);
    for (int r = 0; r < 2; ++r) {
      out[r] = r == 1 ? probe_error : 0;
      for (int k = 0; k < 16; ++k) out[r] += static_cast<float>((k + 1) * weights[16 * r + k]);
    }
  }
  void logits(const GpuArguments& a, bool replayed) const {
    const auto* sums = static_cast<const int32_t*>(a.args[0]);
    const auto* counter = static_cast<const int32_t*>(a.args[1]);
    auto* out = static_cast<float*>(a.args[2]);
    for (int r = 0; r < a.step->logits_rows; ++r) {
      const int row = sums[a.step->tokens - a.step->logits_rows + r];
      for (int v = 0; v < vocab; ++v)
        out[r * vocab + v] = static_cast<float>((31 * row + 7 * v + *counter) % 1009);
    }
    if (a.step->position >= nan_from_position) out[5] = std::numeric_limits<float>::quiet_NaN();
    if (wrong_when_replayed && replayed) out[3] += 1;
  }

  // sinter_sample, written down from runtime/session/sampler.h in the plainest way.
  static int32_t draw(std::span<const float> logits, const SampleParams& params) {
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    for (const float logit : logits)
      if (std::isnan(logit)) return sample_nan;
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
      return x != y ? x > y : a < b;
    });
    const float highest = logits[static_cast<size_t>(order[0])];
    if (std::isinf(highest)) return highest > 0 ? sample_infinite : sample_none;
    if (params.scale == 0) return order[0];
    if (params.top_k > 0 && static_cast<size_t>(params.top_k) < order.size())
      order.resize(static_cast<size_t>(params.top_k));
    const auto weight = [&](int32_t id) {
      return sampling_weight(logits[static_cast<size_t>(id)], highest, params.scale);
    };
    uint64_t total = 0;
    for (const int32_t id : order) total += weight(id);
    if (params.top_p < 1) {
      const double wanted =
          std::ceil(static_cast<double>(params.top_p) * static_cast<double>(total));
      uint64_t kept = 0;
      for (size_t i = 0; i < order.size(); ++i) {
        kept += weight(order[i]);
        if (kept < std::max<uint64_t>(1, static_cast<uint64_t>(wanted))) continue;
        order.resize(i + 1);
        break;
      }
      total = kept;
    }
    __extension__ using Wide = unsigned __int128;
    const auto target =
        static_cast<uint64_t>((Wide{sampling_bits(params.seed, params.draw)} * total) >> 64);
    uint64_t cumulated = 0;
    for (const int32_t id : order) {
      cumulated += weight(id);
      if (cumulated > target) return id;
    }
    return sample_none;
  }
  static void sample(const GpuArguments& a) {
    auto* params = static_cast<SampleParams*>(a.args[1]);
    auto* tokens = static_cast<int32_t*>(a.args[2]);
    auto* step = static_cast<StepParams*>(a.args[3]);
    auto* ring = static_cast<int32_t*>(a.args[4]);
    const auto* workspace = static_cast<const uint8_t*>(a.args[5]);
    int32_t token = draw(
        {static_cast<const float*>(a.args[0]) + (step->logits_rows - 1) * vocab, vocab}, *params);
    // A workspace that is not zeros would hang the real one.
    if (std::any_of(workspace, workspace + gpu_sample_workspace, [](uint8_t b) { return b != 0; }))
      token = sample_none;
    tokens[0] = std::max(token, 0);
    ring[params->drawn++ % params->ring_size] = token;
    ++params->draw;
    step->position += step->tokens;
    step->tokens = step->logits_rows = 1;
  }
};

inline void add_kernels(GpuDouble& gpu, const GpuKernels& kernels) {
  gpu.kernels["toy_remember"] = [kernels](const GpuArguments& a) { kernels.remember(a); };
  gpu.kernels["toy_sum"] = GpuKernels::sum;
  gpu.kernels["toy_probe"] = [kernels](const GpuArguments& a) { kernels.probe(a); };
  gpu.kernels["toy_logits"] = [kernels, &gpu](const GpuArguments& a) {
    kernels.logits(a, gpu.launches.back().replayed);
  };
  gpu.kernels["sinter_sample"] = GpuKernels::sample;
  gpu.kernels["sinter_stream"] = [](const GpuArguments&) {};
}

// The plan with code for gfx1100. `edit` may change it before the header is written.
inline std::string write_gpu_plan(const std::string& path,
                                  const std::function<void(Plan&)>& edit = {}) {
  return write_plan(
      path,
      [&](Plan& plan) {
        DevicePlan& device = plan.device_plans[0];
        device.device = "gpu";
        plan.code[0].target = "gfx1100";
        plan.code[0].family = "amdgpu";
        for (auto& [name, entry, most_rows, phases] : device.schedules) {
          phases[0].tokens_per_block = 2;
          phases[1].blocks = 3;
          phases[1].tokens_per_block = 1;
          phases[1].shared_bytes = 2048;
          phases[2].blocks = 1000;
        }
        if (edit) edit(plan);
      },
      std::string(GpuDouble::code));
}

// The counter in state that grows with the context: nothing keeps the GPU from running ahead.
inline void without_fixed_state(Plan& plan) { plan.device_plans[0].states[1] = {"counter", 4, 0}; }

}  // namespace sinter::runtime::toy
