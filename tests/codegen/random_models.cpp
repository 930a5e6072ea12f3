#include "tests/codegen/random_models.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "frontends/gguf/blocks.h"
#include "passes/pipeline.h"
#include "runtime/support/half.h"

namespace sinter::codegen::test {

namespace {

void append(ir::DType dtype, float value, std::vector<uint8_t>& bytes) {
  const auto put = [&](auto element) {
    const size_t at = bytes.size();
    bytes.resize(at + sizeof(element));
    std::memcpy(bytes.data() + at, &element, sizeof(element));
  };
  switch (dtype) {
    case ir::DType::f32:
      return put(value);
    case ir::DType::f16:
      return put(runtime::f16_from_f32(value));
    case ir::DType::bf16:
      return put(runtime::bf16_from_f32(value));
    case ir::DType::i32:
      return put(static_cast<int32_t>(value));
    case ir::DType::e8m0:
    case ir::DType::e4m3:
    case ir::DType::q8:
    case ir::DType::q4:
      ADD_FAILURE() << "bytes are made as bytes";
  }
}

// FNV-1a
uint64_t seed_of(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3U;
  return hash;
}

// Four significant bits: its product with any zero point up to 4 bits long is exact even in bf16.
float random_scale(Random& random) {
  const auto mantissa = static_cast<float>(8 + random.below(8));
  const float sign = random.below(2) == 0 ? 1.0F : -1.0F;
  return sign * std::ldexp(mantissa, static_cast<int>(-8 - random.below(3)));
}

float random_bias(Random& random, ir::DType dtype) {
  const float bias = random.uniform(-0.5F, 0.5F);
  std::vector<uint8_t> bytes;
  append(dtype, bias, bytes);
  return ir::read_element(dtype, bytes.data(), 0);
}

// GGUF's type of a format that only blocks have: two levels, codes in base 3.
const frontends::GgmlType* block_type(const ir::WeightFormat& format) {
  if (format.block == 0 && !format.base3) return nullptr;
  for (const frontends::GgmlType& type : frontends::ggml_types())
    if (type.has_format && type.format == format) return &type;
  ADD_FAILURE() << "no type of GGUF is " << ir::to_string(format);
  return nullptr;
}

// Random bytes, with numbers of the block as large as those of a model.
void append_block(const frontends::GgmlType& type, Random& random, std::vector<uint8_t>& bytes) {
  std::vector<uint8_t> block(static_cast<size_t>(type.block_bytes));
  for (uint8_t& byte : block) byte = static_cast<uint8_t>(random.bits());
  const auto put = [&](int64_t at) {
    const float number = random_scale(random) / static_cast<float>(1 << type.format.sub_bits);
    const uint16_t half = runtime::f16_from_f32(number);
    std::memcpy(block.data() + at, &half, 2);
  };
  put(type.blocks.scale);
  if (type.format.has_biases()) put(type.blocks.bias);
  bytes.insert(bytes.end(), block.begin(), block.end());
}

}  // namespace

std::vector<std::string> kinds_of(const TestModel& model) {
  std::vector<std::string> all;
  for (const ir::Node& node : model.module.nodes) all.push_back(node.text("kind", ""));
  return all;
}

uint64_t Random::bits() {
  // SplitMix64
  uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

float Random::uniform(float low, float high) {
  return low + (high - low) * (static_cast<float>(bits() >> 40) * 0x1p-24F);
}

void RandomWeights::add_dense(const std::string& name, std::vector<int64_t> shape, ir::DType dtype,
                              const std::vector<float>& values) {
  Entry& entry = entries_[name];
  entry.type = {std::move(shape), dense(dtype)};
  for (const float value : values) append(dtype, value, entry.codes);
}

void RandomWeights::add_coded(const std::string& name, int64_t rows, int64_t cols,
                              const ir::WeightFormat& format, Random& random) {
  Entry& entry = entries_[name];
  if (const frontends::GgmlType* blocks = block_type(format); blocks != nullptr) {
    entry.type = {{rows, cols}, format};
    entry.blocks = &blocks->blocks;
    for (int64_t b = 0; b < rows * (cols / blocks->block_elements); ++b)
      append_block(*blocks, random, entry.codes);
    return;
  }
  entry.type = {{rows, cols}, stored_format(format)};
  const int64_t codes = format.map == ir::CodeMap::ternary ? 3 : int64_t{1} << format.bits;
  const int64_t row_bytes = (cols * format.bits + 7) / 8;
  entry.codes.resize(static_cast<size_t>(rows * row_bytes));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      auto code = static_cast<unsigned>(random.below(codes));
      // NaN
      if (format.map == ir::CodeMap::fp8 && (code & 127U) == 127) code ^= 1U;
      for (int b = 0; b < format.bits; ++b) {
        const int64_t at = c * format.bits + b;
        uint8_t& byte = entry.codes[static_cast<size_t>(r * row_bytes + at / 8)];
        byte = static_cast<uint8_t>(byte | (((code >> b) & 1U) << (at % 8)));
      }
    }
  if (format.tensor_scale) entry.tensor_scale = random.uniform(0.05F, 0.2F);
  for (int64_t g = 0; format.group > 0 && g < rows * (cols / format.group); ++g) {
    const float scale = random_scale(random);
    if (ir::byte_size(format.scale_type) == 1) {
      // Exponents below and about 1; E4M3 from its subnormals on.
      entry.scales.push_back(static_cast<uint8_t>(
          format.scale_type == ir::DType::e8m0 ? 118 + random.below(10) : random.below(72)));
    } else {
      append(format.scale_type, scale, entry.scales);
    }
    if (format.map == ir::CodeMap::affine) {
      append(format.scale_type, random_bias(random, format.scale_type), entry.biases);
    } else if (format.map == ir::CodeMap::shifted) {
      entry.biases.push_back(static_cast<uint8_t>(random.below(codes)));
    } else if (entry.type.format.has_biases()) {
      append(format.scale_type, static_cast<float>(-format.zero_point() * scale), entry.biases);
    }
  }
}

void RandomWeights::stack(const std::string& name, int64_t experts) {
  ir::WeightType& type = entries_.at(name).type;
  type.shape = {experts, type.rows() / experts, type.cols()};
}

absl::StatusOr<ir::Matrix> RandomWeights::matrix(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    return absl::NotFoundError(fmt::format("there is no matrix \"{}\"", name));
  const Entry& entry = found->second;
  ir::Matrix matrix{entry.type, entry.codes, entry.scales, entry.biases};
  matrix.blocks = entry.blocks;
  matrix.tensor_scale = entry.tensor_scale;
  return matrix;
}

ir::WeightFormat stored_format(const ir::WeightFormat& format) {
  const bool proven = format.map == ir::CodeMap::symmetric || format.map == ir::CodeMap::ternary;
  if (!proven || format.group == 0 || block_type(format) != nullptr) return format;
  return affine(format.bits, format.group, format.scale_type);
}

ir::WeightFormat dense(ir::DType dtype) {
  return {.map = ir::CodeMap::dense, .bits = 0, .group = 0, .zero = 0, .scale_type = dtype};
}
ir::WeightFormat affine(int bits, int group, ir::DType scale_type) {
  return {.map = ir::CodeMap::affine, .bits = bits, .group = group, .scale_type = scale_type};
}
ir::WeightFormat symmetric(int bits, double zero, int group, ir::DType scale_type) {
  return {.map = ir::CodeMap::symmetric,
          .bits = bits,
          .group = group,
          .zero = zero,
          .scale_type = scale_type};
}
ir::WeightFormat ternary(int group, ir::DType scale_type) {
  return {.map = ir::CodeMap::ternary, .bits = 2, .group = group, .scale_type = scale_type};
}

ir::WeightFormat ternary_tensor() {
  return {.map = ir::CodeMap::ternary, .bits = 2, .tensor_scale = true};
}

std::vector<ir::WeightFormat> further_formats() {
  const auto coded = [](ir::CodeMap map, int bits, int group, ir::DType scale) {
    return ir::WeightFormat{.map = map, .bits = bits, .group = group, .scale_type = scale};
  };
  std::vector<ir::WeightFormat> formats = {
      coded(ir::CodeMap::fp4, 4, 16, ir::DType::e4m3),
      coded(ir::CodeMap::fp8, 8, 32, ir::DType::e8m0),
      coded(ir::CodeMap::iq4, 4, 64, ir::DType::f32),
      coded(ir::CodeMap::shifted, 4, 128, ir::DType::f16),
      coded(ir::CodeMap::shifted, 8, 32, ir::DType::bf16),
      coded(ir::CodeMap::shifted, 3, 32, ir::DType::f16),
      // Groups as long as a row, or nearly.
      coded(ir::CodeMap::sign, 1, 320, ir::DType::f16),
      coded(ir::CodeMap::iq4, 4, 1024, ir::DType::bf16),
      ternary_tensor(),
  };
  formats.push_back(formats[0]);
  formats.back().tensor_scale = true;
  for (const frontends::GgmlType& type : frontends::ggml_types()) {
    const ir::WeightFormat& f = type.format;
    const bool plain = f.map == ir::CodeMap::affine || f.map == ir::CodeMap::symmetric;
    if (type.has_format && !f.is_dense() && !(plain && f.block == 0 && f.group <= 128))
      formats.push_back(f);
  }
  return formats;
}

int64_t least_cols(const ir::WeightFormat& format) {
  if (format.base3) return 256;
  return std::max<int64_t>(format.group > 0 ? format.scale_cols() : 32, 32);
}

ModelBuilder::ModelBuilder(std::string name)
    : name_(std::move(name)),
      builder_(name_),
      random_(seed_of(name_)),
      weights_(std::make_shared<RandomWeights>()) {
  tokens_ = builder_.param("tokens", {ir::DType::i32, {ir::Dim::of('T')}});
}

ir::ValueId ModelBuilder::rows(const std::string& label, int64_t width) {
  std::vector<float> values;
  for (int64_t r = 0; r < kVocabulary; ++r) {
    float size = 0;
    for (int64_t c = 0; c < width; ++c) {
      constexpr float kSizes[] = {0.0F, 0.25F, 1.0F, 1.0F, 4.0F};
      if (c % 32 == 0) size = kSizes[width < 64 ? 2 : random_.below(5)];
      values.push_back(size * random_.uniform(-1.5F, 1.5F));
    }
  }
  return rows(label, width, values);
}

ir::ValueId ModelBuilder::rows(const std::string& label, int64_t width,
                               const std::vector<float>& table_values) {
  const std::string name = unique(label);
  const int64_t tokens = static_cast<int64_t>(table_values.size()) / width;
  weights_->add_dense(name, {tokens, width}, ir::DType::f32, table_values);
  const ir::ValueId table =
      builder_.weight(name, {{tokens, width}, dense(ir::DType::f32)}, {{name}, {}});
  return add(label, ir::Op::embed, {tokens_, table});
}

ir::ValueId ModelBuilder::matrix(const std::string& label, int64_t rows, int64_t cols,
                                 const ir::WeightFormat& format, int64_t rotated) {
  const std::string name = unique(label);
  if (format.is_dense()) {
    std::vector<float> values(static_cast<size_t>(rows * cols));
    for (float& value : values) value = random_.uniform(-1.0F, 1.0F);
    weights_->add_dense(name, {rows, cols}, format.scale_type, values);
    return builder_.weight(name, {{rows, cols}, format, rotated}, {{name}, {}});
  }
  weights_->add_coded(name, rows, cols, format, random_);
  coded_.push_back(format);
  const ir::WeightFormat stored = stored_format(format);
  const ir::ValueId weight = builder_.weight(name, {{rows, cols}, stored, rotated}, {{name}, {}});
  return add(label, ir::Op::dequantize, {weight});
}

ir::ValueId ModelBuilder::stacked(const std::string& label, int64_t experts, int64_t rows,
                                  int64_t cols, const ir::WeightFormat& format) {
  const std::string name = unique(label);
  weights_->add_coded(name, experts * rows, cols, format, random_);
  weights_->stack(name, experts);
  const ir::ValueId weight =
      builder_.weight(name, {{experts, rows, cols}, stored_format(format)}, {{name}, {}});
  return add(label, ir::Op::dequantize, {weight});
}

ir::ValueId ModelBuilder::vector(const std::string& label, int64_t size, ir::DType dtype) {
  const std::string name = unique(label);
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) value = random_.uniform(0.5F, 1.5F);
  weights_->add_dense(name, {size}, dtype, values);
  return builder_.weight(name, {{size}, dense(dtype)}, {{name}, {}});
}

ir::ValueId ModelBuilder::constant(const std::string& label, std::vector<float> values) {
  const auto size = static_cast<int64_t>(values.size());
  return builder_.weight(unique(label), {{size}, dense(ir::DType::f32)}, {{}, std::move(values)});
}

ir::ValueId ModelBuilder::state(const std::string& label, int64_t heads, int64_t head_dim,
                                ir::DType format) {
  return builder_.state(unique(label),
                        {ir::StateKind::paged, {format, {heads, ir::Dim::of('C'), head_dim}}});
}

ir::ValueId ModelBuilder::ring(const std::string& label, int64_t heads, int64_t window,
                               int64_t head_dim, ir::DType format) {
  return builder_.state(unique(label), {ir::StateKind::ring, {format, {heads, window, head_dim}}});
}

ir::ValueId ModelBuilder::fixed_state(const std::string& label, std::vector<ir::Dim> shape) {
  return builder_.state(unique(label), {ir::StateKind::fixed, {ir::DType::f32, std::move(shape)}});
}

ir::ValueId ModelBuilder::add(const std::string& label, ir::Op op,
                              std::vector<ir::ValueId> operands, ir::Attributes attributes) {
  builder_.set_label(unique(label));
  return builder_.add(op, std::move(operands), std::move(attributes));
}

ir::ValueId ModelBuilder::reshape(const std::string& label, ir::ValueId x,
                                  std::vector<ir::Dim> shape) {
  builder_.set_label(unique(label));
  return builder_.reshape(x, std::move(shape));
}

TestModel ModelBuilder::finish(ir::ValueId result) {
  TestModel model{name_, {}, weights_};
  const auto built = builder_.finish({result});
  EXPECT_TRUE(built.ok()) << name_ << ": " << built.status();
  if (!built.ok()) return model;
  passes::PassContext context;
  context.source = weights_.get();
  auto fused = passes::run_pipeline(*built, context);
  EXPECT_TRUE(fused.ok()) << name_ << ": " << fused.status();
  if (!fused.ok()) return model;
  model.module = *std::move(fused);
  for (const ir::WeightFormat& format : coded_) {
    const bool found = std::any_of(
        model.module.weights.begin(), model.module.weights.end(),
        [&](const auto& weight) { return model.module.weight(weight.first).format == format; });
    EXPECT_TRUE(found) << name_ << ": no weight is " << to_string(format) << " after the passes";
  }
  return model;
}

}  // namespace sinter::codegen::test
