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

  static const StepRow* rows(const GpuArguments& a) {
    return reinterpret_cast<const StepRow*>(a.step + 1);
  }
  // Where the counter has no page of its own, pages hold nothing but the history.
  int32_t* paged(const GpuArguments& a, int argument, int sequence, int position) const {
    const int page_numbers = page_positions * (counts_up ? 1 : 2);
    const int page = a.pages[sequence * a.pages_per_sequence + position / page_positions];
    return static_cast<int32_t*>(a.args[argument]) + page * page_numbers +
           position % page_positions;
  }
  int32_t* counter(const GpuArguments& a, int sequence) const {
    if (!counts_up) {
      int last = 0;
      for (int r = 0; r < a.step->rows; ++r)
        if (rows(a)[r].sequence == sequence) last = rows(a)[r].position;
      return paged(a, 1, sequence, last);
    }
    return static_cast<int32_t*>(a.args[1]) + 16 * sequence;
  }
  void remember(const GpuArguments& a) const {
    for (int r = 0; r < a.step->rows; ++r) {
      const StepRow& row = rows(a)[r];
      *paged(a, 0, row.sequence, row.position) = row.token;
      int32_t& count = *counter(a, row.sequence);
      count = counts_up ? count + 1 : row.position + 1;
    }
  }
  void sum(const GpuArguments& a) const {
    const auto* weights = static_cast<const uint8_t*>(a.args[1]);
    auto* sums = static_cast<int32_t*>(a.args[2]);
    for (int r = 0; r < a.step->rows; ++r) {
      sums[r] = 0;
      for (int s = 0; s <= rows(a)[r].position; ++s)
        sums[r] += (*paged(a, 0, rows(a)[r].sequence, s) + 1) * weights[s % weight_count];
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
    for (int r = 0; r < a.step->rows; ++r) {
      const StepRow& row = rows(a)[r];
      if (row.logits < 0) continue;
      float* out = static_cast<float*>(a.args[2]) + row.logits * vocab;
      for (int v = 0; v < vocab; ++v)
        out[v] = static_cast<float>((31 * sums[r] + 7 * v + *counter(a, row.sequence)) % 1009);
      if (row.position >= nan_from_position) out[5] = std::numeric_limits<float>::quiet_NaN();
      if (wrong_when_replayed && replayed) out[3] += 1;
    }
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
    auto* all_params = static_cast<SampleParams*>(a.args[1]);
    auto* step = static_cast<StepParams*>(a.args[2]);
    const auto* workspace = static_cast<const uint8_t*>(a.args[4]);
    const auto ring_size = static_cast<int>(reinterpret_cast<uintptr_t>(a.args[5]));
    // A workspace that is not zeros would hang the real one.
    const bool is_clear =
        std::all_of(workspace, workspace + gpu_sample_workspace, [](uint8_t b) { return b == 0; });
    for (int r = 0; r < step->rows; ++r) {
      StepRow& row = reinterpret_cast<StepRow*>(step + 1)[r];
      if (row.logits < 0) continue;
      SampleParams& params = all_params[row.sequence];
      const int32_t token =
          is_clear && a.args[6] == reinterpret_cast<void*>(uintptr_t{vocab})
              ? draw({static_cast<const float*>(a.args[0]) + row.logits * vocab, vocab}, params)
              : sample_none;
      auto* const ring = static_cast<int32_t*>(a.args[3]) + r * ring_size;
      ring[params.drawn++ % ring_size] = token;
      ++params.draw;
      row.token = std::max(token, 0);
      ++row.position;
    }
  }
};

inline void add_kernels(GpuDouble& gpu, const GpuKernels& kernels) {
  gpu.kernels["toy_remember"] = [kernels](const GpuArguments& a) { kernels.remember(a); };
  gpu.kernels["toy_sum"] = [kernels](const GpuArguments& a) { kernels.sum(a); };
  gpu.kernels["toy_probe"] = [kernels](const GpuArguments& a) { kernels.probe(a); };
  gpu.kernels["toy_logits"] = [kernels, &gpu](const GpuArguments& a) {
    kernels.logits(a, gpu.launches.back().replayed);
  };
  gpu.kernels["sinter_sample"] = GpuKernels::sample;
  gpu.kernels["sinter_stream"] = [](const GpuArguments&) {};
}

// The plan with code for gfx1100. `edit` may change it before the header is written.
inline std::string write_gpu_plan(const std::string& path,
                                  const std::function<void(Plan&)>& edit = {},
                                  std::string_view tokenizer = "{}") {
  return write_plan(
      path,
      [&](Plan& plan) {
        DevicePlan& device = plan.device_plans[0];
        device.device = "gpu";
        plan.code[0].target = "gfx1100";
        plan.code[0].family = "amdgpu";
        for (auto& [name, entry, most_rows, phases] : device.schedules) {
          phases[0].rows_per_block = 2;
          phases[1].blocks = 3;
          phases[1].rows_per_block = 1;
          phases[1].shared_bytes = 2048;
          phases[2].blocks = 1000;
        }
        if (edit) edit(plan);
      },
      std::string(GpuDouble::code), tokenizer);
}

}  // namespace sinter::runtime::toy
