#include "frontends/quantized/matrix.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <thread>
#include <utility>

#include "frontends/error_text.h"
#include "frontends/rounding/quantizers.h"

namespace sinter::frontends {
namespace {

// Sums of a run of rows. Runs have a fixed size and are added up in order, so that results do not
// depend on how many threads there are.
struct RunResult {
  double squared_error = 0;
  double squared_norm = 0;
  double magnitudes = 0;  // sum of |w|
  absl::Status status;
};

constexpr int64_t kElementsPerRun = 1 << 19;

using DoRows = std::function<void(int64_t first, int64_t end, RunResult& result)>;

RunResult over_rows(const ir::WeightType& type, const DoRows& do_rows) {
  const int64_t rows_per_run = std::max<int64_t>(1, kElementsPerRun / type.cols());
  const int64_t runs = (type.rows() + rows_per_run - 1) / rows_per_run;
  std::vector<RunResult> results(static_cast<size_t>(runs));
  std::atomic<int64_t> next = 0;
  const auto work = [&] {
    for (int64_t run = next++; run < runs; run = next++)
      do_rows(run * rows_per_run, std::min(type.rows(), (run + 1) * rows_per_run),
              results[static_cast<size_t>(run)]);
  };
  const int64_t threads =
      std::min<int64_t>(runs, std::clamp(std::thread::hardware_concurrency(), 1U, 16U));
  std::vector<std::thread> pool;
  for (int64_t i = 1; i < threads; ++i) pool.emplace_back(work);
  work();
  for (std::thread& thread : pool) thread.join();

  RunResult total;
  for (RunResult& result : results) {
    total.squared_error += result.squared_error;
    total.squared_norm += result.squared_norm;
    total.magnitudes += result.magnitudes;
    if (total.status.ok()) total.status = std::move(result.status);
  }
  return total;
}

void release_rows(const ir::Matrix& source, int64_t first, int64_t end, Files files) {
  // Else rows lie elsewhere.
  if (!source.places.in_order() || source.order != nullptr || first == end) return;
  const uint8_t* begin = ir::row_data(source, first);
  const auto row_bytes = ir::row_data(source, 1) - ir::row_data(source, 0);
  for (const auto& file : files)
    file->release({begin, static_cast<size_t>((end - first) * row_bytes)});
}

absl::Status check_finite(std::string_view name, absl::Span<const float> values, int64_t row) {
  const int64_t bad = first_not_finite(values);
  if (bad < 0) return absl::OkStatus();
  return invalid("tensor {} is {} at row {}, column {}; only finite numbers can be quantized",
                 in_quotes(name), values[static_cast<size_t>(bad)], row, bad);
}

class RowQuantizer {
 public:
  RowQuantizer(const QuantizeTo& to, float ternary_scale, QuantizedMatrix& out)
      : to_(to), ternary_scale_(ternary_scale), out_(out) {}

  // decoded[cols]: what the row decodes to.
  bool row(int64_t row, absl::Span<const float> values, float* decoded) const {
    const ir::WeightFormat& format = to_.format;
    const auto cols = static_cast<int64_t>(values.size());
    const int64_t numbers = row * (cols / format.group) * ir::byte_size(format.scale_type);
    const PackedRow packed{out_.codes.data() + row * cols * format.bits / 8,
                           out_.scales.data() + numbers,
                           format.has_biases() ? out_.biases.data() + numbers : nullptr, decoded};
    if (to_.mode == QuantizeMode::mxfp4) {
      quantize_mxfp4(values, packed);
      return true;
    }
    if (to_.mode == QuantizeMode::ternary)
      return quantize_ternary(values, ternary_scale_, format.group, format.scale_type, packed);
    return quantize_affine(values, format.bits, format.group, format.scale_type, packed);
  }

 private:
  const QuantizeTo& to_;
  float ternary_scale_;
  QuantizedMatrix& out_;
};

}  // namespace

absl::StatusOr<QuantizedMatrix> quantize_matrix(std::string_view name, const ir::Matrix& source,
                                                const QuantizeTo& to, Files files) {
  QuantizedMatrix out;
  out.type.shape = source.type.shape;
  out.type.format = to.format;
  const int64_t rows = source.type.rows();
  const int64_t cols = source.type.cols();
  const int64_t numbers = rows * (cols / to.format.group) * ir::byte_size(to.format.scale_type);
  out.codes.resize(static_cast<size_t>(rows * cols * to.format.bits / 8));
  out.scales.resize(static_cast<size_t>(numbers));
  if (to.format.has_biases()) out.biases.resize(static_cast<size_t>(numbers));

  float ternary_scale = 0;
  if (to.mode == QuantizeMode::ternary) {
    const RunResult sums =
        over_rows(source.type, [&](int64_t first, int64_t end, RunResult& result) {
          std::vector<float> values(static_cast<size_t>(cols));
          for (int64_t row = first; row < end; ++row) {
            ir::decode_row(source, row, values.data());
            result.status = check_finite(name, values, row);
            if (!result.status.ok()) return;
            for (const float w : values) result.magnitudes += std::fabs(static_cast<double>(w));
          }
          release_rows(source, first, end, files);
        });
    if (!sums.status.ok()) return sums.status;
    ternary_scale = std::max(static_cast<float>(sums.magnitudes / static_cast<double>(rows * cols)),
                             kLeastTernaryScale);
  }

  const RowQuantizer quantizer(to, ternary_scale, out);
  RunResult sums = over_rows(source.type, [&](int64_t first, int64_t end, RunResult& result) {
    std::vector<float> values(static_cast<size_t>(cols));
    std::vector<float> decoded(static_cast<size_t>(cols));
    for (int64_t row = first; row < end; ++row) {
      ir::decode_row(source, row, values.data());
      result.status = check_finite(name, values, row);
      if (!result.status.ok()) return;
      if (!quantizer.row(row, values, decoded.data())) {
        result.status =
            invalid("tensor {}: row {} has numbers so large that their scale does not fit in {}",
                    in_quotes(name), row, ir::name(to.format.scale_type));
        return;
      }
      for (size_t i = 0; i < values.size(); ++i) {
        const double w = values[i];
        const double error = w - static_cast<double>(decoded[i]);
        result.squared_norm += w * w;
        result.squared_error += error * error;
      }
    }
    release_rows(source, first, end, files);
  });
  if (!sums.status.ok()) return sums.status;
  out.squared_error = sums.squared_error;
  out.squared_norm = sums.squared_norm;
  return out;
}

}  // namespace sinter::frontends
