// The modules of a checkpoint that are stored quantized: one reader per source format, chosen by
// what config.json says, and the checks that readers share.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "frontends/checkpoint.h"
#include "frontends/json_file.h"
#include "frontends/safetensors/safetensors.h"
#include "ir/matrix.h"

namespace sinter::frontends {

// What a reader works on. It files the matrices of the modules that its format describes and takes
// the tensors that they are made of; all others are read as dense ones.
struct QuantizedModules {
  const Json& config;
  const Json& block;       // what says how; an empty object when no file says anything
  std::string block_name;  // "quantization_config"; empty when the block is a whole file
  std::string_view file;   // that holds the block: config.json or a file of its own
  const StoredTensors& tensors;
  Checkpoint& checkpoint;
  std::set<std::string, std::less<>> taken = {};  // names of tensors

  // `config.json: "quantization_config.bits"`, the beginning of messages about a field of the
  // block.
  std::string field(std::string_view key) const;
  // Null when there is none.
  const StoredTensor* find(std::string_view name) const;
  // Error: the tensor is missing although `reason`, a tensor of the same module, is there.
  absl::StatusOr<const StoredTensor*> need(std::string_view name, std::string_view reason) const;
  // Files the matrix and takes the tensors named module + suffix. Error: the module is there
  // already.
  absl::Status add(const std::string& module, ir::Matrix matrix,
                   std::initializer_list<std::string_view> suffixes);
};

// Reads what the quantization block describes. Error: names a method or format that is not known,
// or the tensor that does not fit it.
absl::Status read_quantized_modules(QuantizedModules& modules);

// The method of a block: its `quant_method` in small letters, or what its fields are typical of;
// empty for MLX's.
absl::StatusOr<std::string> method_of(const Json& block, std::string_view file);

// Whether there are tensors as the method stores them.
bool has_tensors_of(std::string_view method, const StoredTensors& tensors);

// F16, BF16 or F32.
std::optional<ir::DType> float_type(std::string_view dtype);

// `FILE: tensor "NAME" is DTYPE SHAPE`, the beginning of messages.
std::string stored_as(std::string_view name, const StoredTensor& tensor);

// Error: names the first scale (or bias) that is NaN or infinite.
absl::Status check_finite(std::string_view name, const StoredTensor& tensor, ir::DType dtype);

// Error: names the first byte that is a NaN of E4M3, for codes that stand for themselves.
absl::Status check_e4m3_codes(std::string_view name, const StoredTensor& tensor);

// The only number of a tensor of F16, BF16 or F32. Error: it has others, or the number is 0, NaN
// or infinite, which no scale is.
absl::StatusOr<float> read_scale(std::string_view name, const StoredTensor& tensor);

// Whether a list like `modules_to_not_convert` of the block names the module: as a whole, as its
// beginning or as its end.
bool names_module(const Json& list, std::string_view module);

}  // namespace sinter::frontends
