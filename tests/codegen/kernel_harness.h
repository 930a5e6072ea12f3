// Small models with random weights, their kernels as machine code, and memory to run them on in
// which every byte is accounted for.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/lower.h"
#include "codegen/target.h"
#include "ir/builder.h"
#include "ir/interpreter.h"
#include "ir/matrix.h"
#include "runtime/kernel_abi.h"

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

// Memory that ends at a page which faults when touched. It is given filled with `fill`; the `slack`
// bytes after the first `bytes` may be read and must keep the value 0xff: NaN in every float
// format.
class GuardedBuffer {
 public:
  GuardedBuffer() = default;
  GuardedBuffer(int64_t bytes, int64_t slack, uint8_t fill);
  GuardedBuffer(GuardedBuffer&& other) noexcept;
  GuardedBuffer& operator=(GuardedBuffer&& other) noexcept;
  ~GuardedBuffer();

  uint8_t* data() const { return data_; }  // 64-byte aligned
  int64_t bytes() const { return bytes_; }
  bool intact() const;
  void make_read_only();

 private:
  uint8_t* mapping_ = nullptr;
  int64_t mapped_ = 0;
  uint8_t* data_ = nullptr;
  int64_t bytes_ = 0;
  int64_t end_ = 0;  // of the slack
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
  absl::StatusOr<ir::Matrix> matrix(std::string_view name) const override;

 private:
  struct Entry {
    ir::WeightType type;
    std::vector<uint8_t> codes, scales, biases;
  };
  std::map<std::string, Entry, std::less<>> entries_;
};

// A model after all passes.
struct TestModel {
  std::string name;
  ir::Module module;
  std::shared_ptr<RandomWeights> weights;
};

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
  // A matrix to multiply with, or a table: dequantized where it is coded.
  ir::ValueId matrix(const std::string& label, int64_t rows, int64_t cols,
                     const ir::WeightFormat& format);
  ir::ValueId vector(const std::string& label, int64_t size, ir::DType dtype = ir::DType::f32);
  ir::ValueId constant(const std::string& label, std::vector<float> values);
  ir::ValueId state(const std::string& label, int64_t heads, int64_t head_dim);
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

ir::WeightFormat dense(ir::DType dtype);
ir::WeightFormat affine(int bits, int group, ir::DType scale_type);
ir::WeightFormat symmetric(int bits, double zero, int group, ir::DType scale_type);
ir::WeightFormat ternary(int group, ir::DType scale_type);

// The kernels of one model in one activation mode.
struct Kernels {
  const TestModel* model = nullptr;
  Activations activations = Activations::a8;
  Lowering lowering;
  std::vector<PhaseFunction> decode, prefill;  // of each phase

  std::string name() const;
};

// Machine code, loaded; functions stay valid as long as it lives.
class LoadedCode {
 public:
  LoadedCode() = default;
  explicit LoadedCode(const std::vector<uint8_t>& shared_object);
  LoadedCode(LoadedCode&& other) noexcept;
  LoadedCode& operator=(LoadedCode&& other) noexcept;
  ~LoadedCode();
  PhaseFunction find(const std::string& symbol) const;

 private:
  int file_ = -1;
  void* handle_ = nullptr;
};

struct Suite {
  LoadedCode code;
  std::vector<Kernels> kernels;
};

// A model and how its activations are multiplied.
struct Variant {
  const TestModel* model = nullptr;
  Activations activations = Activations::a8;
};

// Compiles all variants as one translation unit. Models must outlive the suite. A failure fails the
// test and leaves the suite empty.
Suite compile(const std::vector<Variant>& variants, const Target& target);

// Targets whose code this machine can run; none is a test failure.
std::vector<Target> runnable_targets();

// How the workers of a phase follow one another.
enum class Order { ascending, descending, threads };

struct Step {
  Mode mode = Mode::decode;
  std::vector<int32_t> tokens;
  int64_t position = 0;
  int64_t logits_rows = 1;
  int workers = 1;
  Order order = Order::ascending;

  int64_t count() const { return static_cast<int64_t>(tokens.size()); }
  std::string name() const;
};

// Every tensor that a phase left in memory, and the tokens.
using StepValues = std::map<ir::ValueId, ir::Array>;

// The memory of one sequence.
class Machine {
 public:
  Machine(const Kernels& kernels, int64_t capacity);

  // Runs the phases of a step one after another; activations start as NaN. Fails the test when a
  // phase writes where it may not. Other inputs of the step than `workers` and `order` being equal,
  // it may be run again at the same position.
  StepValues run(const Step& step);

  // float16 bits as the kernels laid them out.
  std::span<const uint16_t> state(ir::ValueId id) const;
  int64_t capacity() const { return capacity_; }

 private:
  const Kernels& kernels_;
  int64_t capacity_;
  std::map<ir::ValueId, GuardedBuffer> weights_, states_;
  std::map<int64_t, GuardedBuffer> pinned_;
};

std::vector<int64_t> bind_shape(const ir::TensorType& type, const Step& step);

std::vector<int32_t> random_tokens(int64_t count, Random& random);

}  // namespace sinter::codegen::test
