// Small models with random weights.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "ir/builder.h"
#include "ir/matrix.h"

namespace sinter::codegen::test {

// The same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits();
  int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }
  float uniform(float low, float high);  // [low, high)

 private:
  uint64_t state_;
};

// Matrices by name, as a checkpoint stores them.
class RandomWeights : public ir::MatrixSource {
 public:
  void add_dense(const std::string& name, std::vector<int64_t> shape, ir::DType dtype,
                 const std::vector<float>& values);
  // Random codes, scales of both signs. Symmetric and ternary matrices are stored as checkpoints
  // have them, affine with bias = -zero * scale.
  void add_coded(const std::string& name, int64_t rows, int64_t cols,
                 const ir::WeightFormat& format, Random& random);
  // The rows of a matrix become those of so many matrices.
  void stack(const std::string& name, int64_t experts);
  absl::StatusOr<ir::Matrix> matrix(std::string_view name) const override;

 private:
  struct Entry {
    ir::WeightType type;
    std::vector<uint8_t> codes, scales, biases;
    const ir::BlockLayout* blocks = nullptr;
    float tensor_scale = 1;
  };
  std::map<std::string, Entry, std::less<>> entries_;
};

// A model after all passes.
struct TestModel {
  std::string name;
  ir::Module module;
  std::shared_ptr<RandomWeights> weights;
};

// Kinds of its fused nodes, in order.
std::vector<std::string> kinds_of(const TestModel& model);

inline constexpr int64_t kVocabulary = 40;

// Builds a model whose only parameter is the tokens. Names of nodes and weights are unique per
// model.
class ModelBuilder {
 public:
  explicit ModelBuilder(std::string name);

  ir::ValueId tokens() const { return tokens_; }
  // [T, width]: rows of a random float32 table. Runs of 32 columns differ in size and some are
  // zero.
  ir::ValueId rows(const std::string& label, int64_t width);
  // [T, width]: rows of this table, which has one for each token.
  ir::ValueId rows(const std::string& label, int64_t width, const std::vector<float>& table);
  // A matrix to multiply with, or a table: dequantized where it is coded.
  // `rotated`: as of ir::WeightType.
  ir::ValueId matrix(const std::string& label, int64_t rows, int64_t cols,
                     const ir::WeightFormat& format, int64_t rotated = 0);
  // Coded matrices of experts.
  ir::ValueId stacked(const std::string& label, int64_t experts, int64_t rows, int64_t cols,
                      const ir::WeightFormat& format);
  ir::ValueId vector(const std::string& label, int64_t size, ir::DType dtype = ir::DType::f32);
  ir::ValueId constant(const std::string& label, std::vector<float> values);
  ir::ValueId state(const std::string& label, int64_t heads, int64_t head_dim,
                    ir::DType format = ir::DType::f16);
  // Of one value for a sequence.
  // Keys or values of the last `window` positions.
  ir::ValueId ring(const std::string& label, int64_t heads, int64_t window, int64_t head_dim,
                   ir::DType format);
  ir::ValueId fixed_state(const std::string& label, std::vector<ir::Dim> shape);
  ir::ValueId add(const std::string& label, ir::Op op, std::vector<ir::ValueId> operands,
                  ir::Attributes attributes = {});
  ir::ValueId reshape(const std::string& label, ir::ValueId x, std::vector<ir::Dim> shape);

  // Runs the passes; a test failure when they refuse, or when a coded matrix did not end in the
  // format asked for.
  TestModel finish(ir::ValueId result);

 private:
  std::string unique(const std::string& label) const { return name_ + "." + label; }

  std::string name_;
  ir::Builder builder_;
  Random random_;
  std::shared_ptr<RandomWeights> weights_;
  std::vector<ir::WeightFormat> coded_;
  ir::ValueId tokens_ = -1;
};

// The format in which a checkpoint stores a matrix that passes prove to be of `format`.
ir::WeightFormat stored_format(const ir::WeightFormat& format);

ir::WeightFormat dense(ir::DType dtype);
ir::WeightFormat affine(int bits, int group, ir::DType scale_type);
ir::WeightFormat symmetric(int bits, double zero, int group, ir::DType scale_type);
ir::WeightFormat ternary(int group, ir::DType scale_type);
ir::WeightFormat ternary_tensor();
// Two levels of scales, tables of levels, codes in base 3, shifts, scales of a byte, long groups,
// scales of the tensor: what the formats above are not.
std::vector<ir::WeightFormat> further_formats();
// The fewest columns that a matrix of the format can have.
int64_t least_cols(const ir::WeightFormat& format);

}  // namespace sinter::codegen::test
