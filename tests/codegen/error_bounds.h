// The judge of kernels: evaluates a phase by the reference interpreter on the inputs that its
// kernel had, and bounds by arithmetic how far the kernel may be off.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/codegen/kernel_harness.h"

namespace sinter::codegen::test {

// Half a unit in the last place of 1.0F: the relative error of one float32 operation.
inline constexpr double kRounding = 0x1p-24;
// Relative error of exp(x) in codegen/device/*/math.h. Of a host: its polynomial and the roundings
// around it. Of a GPU: exp2 of the rounded product of x and the rounded log2(e), when exp2 itself
// is as good as the C library's.
double exp_error(Device device, double x);

// Relative error of x * rsqrt(mean(x^2) + eps) * w over n features, summed in 32 lanes or one by
// one.
double rms_norm_error(int64_t n, bool lanes);

class Judge {
 public:
  explicit Judge(const Kernels& kernels) : kernels_(kernels), model_(*kernels.model) {}

  // Every number of every phase except attention must be within its bound, and so must those of
  // state without positions after the step, given what it was before (Machine::fixed_states). Fails
  // the test with the first offender of each phase.
  void expect_phases_match(const StepValues& got, const Step& step, const StepValues& before = {},
                           const StepValues& after = {});

 private:
  using Errors = std::map<ir::ValueId, std::vector<double>>;

  // A matrix as numbers.
  struct Table {
    int64_t rows = 0, cols = 0;
    std::vector<double> weight;     // [rows, cols]
    std::vector<double> magnitude;  // |scale| code + |bias|: what is added up to make the weight
  };
  const Table& table(ir::ValueId weight);

  std::vector<double> bound(const ir::Node& node, const StepValues& values, const Errors& errors);
  std::vector<double> matmul_bound(const ir::Node& node, const StepValues& values,
                                   const Errors& errors);
  // Of the result, and of the state.
  std::pair<std::vector<double>, std::vector<double>> convolution_bound(const ir::Node& node,
                                                                        const StepValues& values,
                                                                        const Errors& errors);
  std::pair<std::vector<double>, std::vector<double>> delta_bound(const ir::Node& node,
                                                                  const StepValues& values,
                                                                  const Errors& errors);
  std::pair<std::vector<double>, std::vector<double>> scan_bound(const ir::Node& node,
                                                                 const StepValues& values,
                                                                 const Errors& errors);

  const Kernels& kernels_;
  const TestModel& model_;
  std::map<ir::ValueId, Table> tables_;
  bool in_chunks_ = false;  // whether delta rules of the step are multiplied by matrix units
};

// The first number of `got` that is not within `error` of `want` fails the test.
void expect_within(const ir::Array& got, const ir::Array& want, const std::vector<double>& error,
                   const std::string& what);

// What holds for one holds for the other. False where NaNs are.
bool same_bits(const StepValues& a, const StepValues& b);

// Which targets of a device a model is compiled for.
enum class Spread {
  every_target,
  one_target,  // one only, for long lists: models that differ little follow one another
};

// Compiles models without attention for every target of the device that runs here and compares
// every phase: decode and prefill of some tokens, some or all rows of logits, one worker and
// several in any order. Compiling is what takes long: with several targets a model is tried with
// 8-bit activations on one target and with 16-bit activations on the next, its neighbour the other
// way round. `few`: rows of the schedule for a few.
void expect_models_match(const std::vector<TestModel>& models, Device device,
                         Spread spread = Spread::every_target, int64_t few = 8);

}  // namespace sinter::codegen::test
