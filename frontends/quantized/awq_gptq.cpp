#include "frontends/quantized/awq_gptq.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

uint32_t word(const uint8_t* bytes, int64_t index) {
  uint32_t value;
  std::memcpy(&value, bytes + index * 4, sizeof(value));
  return value;
}

// Number `index` of an LSB-first stream of `bits` each, in words that are `stride` words apart.
uint8_t in_stream(const uint8_t* bytes, int64_t stride, int64_t index, int bits) {
  const int64_t bit = index * bits;
  const auto shift = static_cast<int>(bit % 32);
  uint32_t value = word(bytes, bit / 32 * stride) >> shift;
  if (shift + bits > 32) value |= word(bytes, (bit / 32 + 1) * stride) << (32 - shift);
  return static_cast<uint8_t>(value & ((1U << bits) - 1U));
}

// Where AWQ has the nibble of every eighth row.
constexpr std::array<int, 8> kAwqNibbles = {0, 4, 1, 5, 2, 6, 3, 7};

uint8_t awq_nibble(const uint8_t* bytes, int64_t row_of_words, int64_t words, int64_t column) {
  const int shift = 4 * kAwqNibbles[static_cast<size_t>(column % 8)];
  return word(bytes, row_of_words * words + column / 8) >> shift & 15;
}

void awq_codes(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  for (int64_t c = 0; c < matrix.type.cols(); ++c)
    out[c] = awq_nibble(matrix.codes.data(), c, matrix.type.rows() / 8, row);
}

void gptq_codes(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  for (int64_t c = 0; c < matrix.type.cols(); ++c) {
    out[c] =
        in_stream(matrix.codes.data() + row * 4, matrix.type.rows(), c, matrix.type.format.bits);
  }
}

const uint8_t* transposed_scale(const ir::Matrix& matrix, int64_t row, int64_t group) {
  return matrix.scales.data() +
         (group * matrix.type.rows() + row) * ir::byte_size(matrix.type.format.scale_type);
}

// The zeros are in `biases`, as stored.
void awq_shifts(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  for (int64_t g = 0; g < matrix.type.cols() / matrix.type.format.group; ++g)
    out[g] = awq_nibble(matrix.biases.data(), g, matrix.type.rows() / 8, row);
}

template <int added>
void gptq_shifts(const ir::Matrix& matrix, int64_t row, uint8_t* out) {
  const int bits = matrix.type.format.bits;
  const int64_t words = matrix.type.rows() * bits / 32;
  for (int64_t g = 0; g < matrix.type.cols() / matrix.type.format.group; ++g) {
    const uint8_t stored = in_stream(matrix.biases.data() + g * words * 4, 1, row, bits);
    out[g] = static_cast<uint8_t>(stored + added);
  }
}

constexpr ir::MatrixOrder kAwqOrder = {
    .codes = awq_codes, .scale = transposed_scale, .shifts = awq_shifts};
// Zeros as they are stored, which is what they are in version 2, and one more.
constexpr ir::MatrixOrder kGptqOrder = {
    .codes = gptq_codes, .scale = transposed_scale, .shifts = gptq_shifts<0>};
constexpr ir::MatrixOrder kGptqLessOneOrder = {
    .codes = gptq_codes, .scale = transposed_scale, .shifts = gptq_shifts<1>};

constexpr std::initializer_list<int> kGptqBits = {2, 3, 4, 8};

// What the configuration says of all modules.
struct Scheme {
  int bits = 4;
  int64_t group_size = 0;  // -1: one group per row
  bool may_lack_zeros = false;
  bool sorted_columns = false;  // unless g_idx says otherwise
  bool by_shape = false;        // modules may have other bits and groups, which their shapes say
  const ir::MatrixOrder* order = nullptr;
};

// The first of the names under which tools write a field. Error: two of them that differ.
absl::StatusOr<std::string_view> name_of_field(const QuantizedModules& modules,
                                               std::initializer_list<std::string_view> names) {
  std::string_view first;
  for (const std::string_view name : names) {
    const Json* value = find_field(modules.block, name);
    if (value == nullptr) continue;
    if (first.empty()) {
      first = name;
    } else if (*value != *find_field(modules.block, first)) {
      return invalid("{} is {}, but {} is {}; remove the wrong one", modules.field(first),
                     describe(*find_field(modules.block, first)), in_quotes(name),
                     describe(*value));
    }
  }
  return first.empty() ? *names.begin() : first;
}

absl::StatusOr<Scheme> read_scheme(const QuantizedModules& modules,
                                   std::initializer_list<int> widths) {
  Scheme scheme;
  const auto bits_name = name_of_field(modules, {"bits", "w_bit", "wbits"});
  if (!bits_name.ok()) return bits_name.status();
  const auto bits = get_int(modules.block, *bits_name, modules.file);
  if (!bits.ok()) return bits.status();
  if (std::find(widths.begin(), widths.end(), *bits) == widths.end()) {
    return invalid("{} is {}, supported are {}", modules.field(*bits_name), *bits,
                   fmt::join(widths, ", "));
  }
  const auto group_name = name_of_field(modules, {"group_size", "q_group_size", "groupsize"});
  if (!group_name.ok()) return group_name.status();
  const auto group_size = get_int(modules.block, *group_name, modules.file);
  if (!group_size.ok()) return group_size.status();
  if (*group_size != -1 && *group_size < 1) {
    return invalid("{} is {}, expected a positive number or -1", modules.field(*group_name),
                   *group_size);
  }
  scheme.bits = static_cast<int>(*bits);
  scheme.group_size = *group_size;
  return scheme;
}

absl::Status expect_tensor(const std::string& name, const StoredTensor& tensor,
                           std::string_view dtype, const std::vector<int64_t>& shape,
                           std::string_view config_file) {
  if (tensor.dtype == dtype && tensor.shape == shape) return absl::OkStatus();
  return invalid("{}, expected {} {} by its qweight and the group_size of {}",
                 stored_as(name, tensor), dtype, shape_text(shape), config_file);
}

// GPTQ may have sorted columns before it grouped them.
absl::Status check_groups_in_order(const std::string& name, const StoredTensor& tensor,
                                   int64_t cols, int64_t group, std::string_view config_file) {
  absl::Status status = expect_tensor(name, tensor, "I32", {cols}, config_file);
  if (!status.ok()) return status;
  for (int64_t c = 0; c < cols; ++c) {
    if (word(tensor.bytes.data(), c) == static_cast<uint32_t>(c / group)) continue;
    return invalid(
        "{}: tensor {} puts column {} into group {}, not {}: columns were sorted (desc_act), which "
        "is not supported; quantize with desc_act false",
        tensor.file, in_quotes(name), c, static_cast<int32_t>(word(tensor.bytes.data(), c)),
        c / group);
  }
  return absl::OkStatus();
}

// The zeros of a module as they are stored.
struct StoredZeros {
  std::string module;
  int middle;  // of the codes
  int low = 255;
  int high = 0;

  bool all_are(int zero) const { return low == zero && high == zero; }
  std::string name() const { return module + ".qzeros"; }
};

int middle_of(const ir::Matrix& matrix) { return 1 << (matrix.type.format.bits - 1); }

StoredZeros look_at_zeros(const std::string& module, const ir::Matrix& matrix) {
  StoredZeros zeros{module, middle_of(matrix)};
  std::vector<uint8_t> row_zeros(
      static_cast<size_t>(matrix.type.cols() / matrix.type.format.group));
  for (int64_t row = 0; row < matrix.type.rows(); ++row) {
    matrix.order->shifts(matrix, row, row_zeros.data());
    for (const uint8_t zero : row_zeros) {
      zeros.low = std::min<int>(zeros.low, zero);
      zeros.high = std::max<int>(zeros.high, zero);
    }
  }
  return zeros;
}

// Where the first stored zero is that `is_wrong`, for messages: "7 for row 0, group 3".
template <class IsWrong>
std::string describe_zero(const ir::Matrix& matrix, const IsWrong& is_wrong) {
  std::vector<uint8_t> zeros(static_cast<size_t>(matrix.type.cols() / matrix.type.format.group));
  for (int64_t row = 0; row < matrix.type.rows(); ++row) {
    kGptqOrder.shifts(matrix, row, zeros.data());
    for (size_t g = 0; g < zeros.size(); ++g)
      if (is_wrong(zeros[g])) return fmt::format("{} for row {}, group {}", zeros[g], row, g);
  }
  return "";
}

void make_symmetric(int zero, ir::Matrix& matrix) {
  matrix.type.format.map = ir::CodeMap::symmetric;
  matrix.type.format.zero = zero;
  matrix.biases = {};
}

// GPTQ's bits and columns per group of a module, by the shapes of its tensors, where these decide
// them; else as they were. Shapes that contradict each other are found later.
Scheme scheme_of_shapes(Scheme scheme, const StoredTensor& weight, const StoredTensor& scales,
                        const StoredTensor& zeros) {
  if (weight.shape.size() != 2 || scales.shape.size() != 2 || zeros.shape.size() != 2)
    return scheme;
  const int64_t rows = weight.shape[1];
  for (const int bits : kGptqBits) {
    if (rows == 0 || zeros.shape[1] * 32 != rows * bits) continue;
    scheme.bits = bits;
    const int64_t cols = weight.shape[0] * 32 / bits;
    if (scales.shape[0] > 0 && cols % scales.shape[0] == 0)
      scheme.group_size = cols / scales.shape[0];
  }
  return scheme;
}

// Files the matrix with its zeros as they are stored, and yields what they are; nullopt when the
// module has none.
absl::StatusOr<std::optional<StoredZeros>> add_matrix(const std::string& module, Scheme scheme,
                                                      QuantizedModules& modules) {
  const std::string weight_name = module + ".qweight";
  const std::string scales_name = module + ".scales";
  const std::string zeros_name = module + ".qzeros";
  const std::string index_name = module + ".g_idx";
  const StoredTensor& weight = *modules.find(weight_name);
  const auto scales = modules.need(scales_name, weight_name);
  if (!scales.ok()) return scales.status();
  const StoredTensor* zeros = modules.find(zeros_name);
  if (zeros == nullptr && !scheme.may_lack_zeros) {
    return modules.need(zeros_name, weight_name).status();
  }
  if (scheme.by_shape && zeros != nullptr)
    scheme = scheme_of_shapes(scheme, weight, **scales, *zeros);
  const bool awq = scheme.order == &kAwqOrder;
  if (weight.dtype != "I32" || weight.shape.size() != 2 || weight.bytes.empty() ||
      (!awq && weight.shape[0] * 32 % scheme.bits != 0)) {
    return invalid("{}, expected I32 [{}]", stored_as(weight_name, weight),
                   awq ? "in, out / 8" : "in * bits / 32, out");
  }
  const int64_t rows = awq ? weight.shape[1] * 8 : weight.shape[1];
  const int64_t cols = awq ? weight.shape[0] : weight.shape[0] * 32 / scheme.bits;
  const int64_t group = scheme.group_size == -1 ? cols : scheme.group_size;
  if (cols % group != 0) {
    return invalid("{}, which is {} columns; the group_size {} of {} does not divide them",
                   stored_as(weight_name, weight), cols, group, modules.file);
  }
  if (rows * scheme.bits % 32 != 0) {
    return invalid("{}, and the zero points of {} rows do not fill whole 32-bit words",
                   stored_as(weight_name, weight), rows);
  }
  const std::optional<ir::DType> scale_type = float_type((*scales)->dtype);
  if (absl::Status status =
          expect_tensor(scales_name, **scales, scale_type ? (*scales)->dtype : "F16",
                        {cols / group, rows}, modules.file);
      !status.ok()) {
    return status;
  }
  if (absl::Status status = check_finite(scales_name, **scales, *scale_type); !status.ok())
    return status;

  ir::Matrix matrix;
  matrix.type.shape = {rows, cols};
  matrix.type.format.map = ir::CodeMap::shifted;
  matrix.type.format.bits = scheme.bits;
  matrix.type.format.group = static_cast<int>(group);
  matrix.type.format.scale_type = *scale_type;
  matrix.codes = weight.bytes;
  matrix.scales = (*scales)->bytes;
  matrix.order = scheme.order;
  std::optional<StoredZeros> stored;
  if (zeros == nullptr) {
    make_symmetric(middle_of(matrix), matrix);
  } else {
    absl::Status status = expect_tensor(zeros_name, *zeros, "I32",
                                        {cols / group, rows * scheme.bits / 32}, modules.file);
    if (!status.ok()) return status;
    matrix.biases = zeros->bytes;
    stored = look_at_zeros(module, matrix);
  }
  if (const StoredTensor* index = modules.find(index_name); index != nullptr) {
    absl::Status status = check_groups_in_order(index_name, *index, cols, group, modules.file);
    if (!status.ok()) return status;
  } else if (scheme.sorted_columns) {
    return invalid("{} is true, but tensor {} is missing", modules.field("desc_act"),
                   in_quotes(index_name));
  }
  absl::Status status =
      modules.add(module, std::move(matrix), {".qweight", ".qzeros", ".scales", ".g_idx"});
  if (!status.ok()) return status;
  return stored;
}

// What the modules have stored.
absl::StatusOr<std::vector<StoredZeros>> add_matrices(const Scheme& scheme,
                                                      QuantizedModules& modules) {
  std::vector<StoredZeros> all;
  for (const auto& [name, tensor] : modules.tensors) {
    const auto module = module_of(name, ".qweight");
    if (!module) continue;
    auto zeros = add_matrix(std::string(*module), scheme, modules);
    if (!zeros.ok()) return zeros.status();
    if (zeros->has_value()) all.push_back(*std::move(*zeros));
  }
  return all;
}

// GPTQ's configuration about zeros.
struct ZeroRules {
  std::optional<bool> symmetric;  // "sym"
  std::string format;             // "gptq" stores zeros less one, "gptq_v2" as they are
  int less() const { return format == "gptq" ? 1 : 0; }
};

// A symmetric quantizer has one zero, the middle of the codes, and either version of the format may
// have stored it, whatever the configuration says: tools have written one under the name of the
// other.
absl::Status settle_symmetric(const ZeroRules& rules, const std::vector<StoredZeros>& all,
                              QuantizedModules& modules) {
  bool mislabelled = false;
  for (const StoredZeros& zeros : all) {
    const int middle = zeros.middle;
    ir::Matrix& matrix = modules.checkpoint.matrices.at(zeros.module);
    if (!zeros.all_are(middle) && !zeros.all_are(middle - 1)) {
      const bool one = zeros.low == zeros.high;
      return invalid(
          "{}: tensor {} holds the zero point {}, but {} is true, which means {}, stored as {} or, "
          "in version 1, as {}; if the weights are asymmetric, say \"sym\": false",
          modules.find(zeros.name())->file, in_quotes(zeros.name()),
          one ? fmt::format("{} everywhere", zeros.low)
              : describe_zero(matrix, [&](int z) { return z != middle && z != middle - 1; }),
          modules.field("sym"), middle, middle, middle - 1);
    }
    mislabelled |= !zeros.all_are(middle - rules.less());
    make_symmetric(middle, matrix);
  }
  if (mislabelled) {
    modules.checkpoint.notes.push_back(
        fmt::format("{}: zero points are stored as checkpoint format \"{}\" stores them, not "
                    "\"{}\"; all of them are the middle of the codes",
                    modules.file, rules.less() == 1 ? "gptq_v2" : "gptq", rules.format));
  }
  return absl::OkStatus();
}

absl::Status settle_zeros(const ZeroRules& rules, const std::vector<StoredZeros>& all,
                          QuantizedModules& modules) {
  if (all.empty()) return absl::OkStatus();
  if (rules.symmetric == true) return settle_symmetric(rules, all, modules);
  // No asymmetric quantizer finds the same zero in every group of every matrix.
  const auto is_other_middle = [&](const StoredZeros& zeros) {
    return zeros.all_are(zeros.middle - (1 - rules.less()));
  };
  if (std::all_of(all.begin(), all.end(), is_other_middle)) {
    if (!rules.symmetric.has_value()) return settle_symmetric(rules, all, modules);
    return invalid(
        "{} is false and {} is \"{}\", but all zero points are stored as {}, the middle of the "
        "codes in the other version; correct the wrong one",
        modules.field("sym"), in_quotes("checkpoint_format"), rules.format, all[0].low);
  }
  for (const StoredZeros& zeros : all) {
    ir::Matrix& matrix = modules.checkpoint.matrices.at(zeros.module);
    const int largest = 2 * zeros.middle - 1;
    if (zeros.high + rules.less() > largest) {
      return invalid(
          "{}: tensor {} holds {}, to which checkpoint format \"gptq\" adds 1; the sum does not "
          "fit in {} bits, and tools disagree on what it means",
          modules.find(zeros.name())->file, in_quotes(zeros.name()),
          describe_zero(matrix, [&](int z) { return z == largest; }), matrix.type.format.bits);
    }
    if (zeros.low == zeros.high) {
      make_symmetric(zeros.low + rules.less(), matrix);
    } else if (rules.less() == 1) {
      matrix.order = &kGptqLessOneOrder;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ZeroRules> read_zero_rules(const QuantizedModules& modules) {
  ZeroRules rules;
  // GPTQModel has written "format" too.
  const auto name = name_of_field(modules, {"checkpoint_format", "format"});
  if (!name.ok()) return name.status();
  auto format = get_string_or(modules.block, *name, modules.file, "gptq");
  if (!format.ok()) return format.status();
  if (*format != "gptq" && *format != "gptq_v2") {
    return invalid("{} is {}, which is not supported; supported are gptq, gptq_v2",
                   modules.field(*name), in_quotes(*format));
  }
  rules.format = *std::move(format);
  if (find_field(modules.block, "sym") != nullptr) {
    const auto symmetric = get_bool(modules.block, "sym", modules.file);
    if (!symmetric.ok()) return symmetric.status();
    rules.symmetric = *symmetric;
  }
  return rules;
}

// Rules of `dynamic` that say how the quantizer found its codes.
constexpr std::array<std::string_view, 7> kQuantizerFields = {
    "act_group_aware", "damp_auto_increment", "damp_percent", "failsafe_with_rtn", "mse",
    "static_groups",   "true_sequential"};

// Modules that `dynamic` takes out ("-:PATTERN") are stored dense, which their tensors say. To
// others it may give bits and groups of their own, which their shapes say. Error: anything else.
absl::Status read_dynamic(const QuantizedModules& modules, Scheme& scheme) {
  const Json* dynamic = find_field(modules.block, "dynamic");
  if (dynamic == nullptr) return absl::OkStatus();
  if (!dynamic->is_object()) {
    return invalid("{} is {}, expected an object", modules.field("dynamic"), describe(*dynamic));
  }
  for (const auto& rule : dynamic->items()) {
    if (rule.key().starts_with("-:") || rule.value() == false) continue;
    if (!rule.value().is_object()) {
      return invalid("{} has {} for {}, expected an object", modules.field("dynamic"),
                     describe(rule.value()), in_quotes(rule.key()));
    }
    for (const auto& field : rule.value().items()) {
      const Json* common = find_field(modules.block, field.key());
      const bool says_nothing = (common != nullptr && *common == field.value()) ||
                                std::find(kQuantizerFields.begin(), kQuantizerFields.end(),
                                          field.key()) != kQuantizerFields.end();
      if (field.key() == "bits" || field.key() == "group_size") {
        scheme.by_shape = true;
      } else if (!says_nothing) {
        return invalid(
            "{} has {} {} for {}, which is not supported; supported are bits and group_size",
            modules.field("dynamic"), in_quotes(field.key()), describe(field.value()),
            in_quotes(rule.key()));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status read_awq(QuantizedModules& modules) {
  absl::StatusOr<Scheme> scheme = read_scheme(modules, {4});
  if (!scheme.ok()) return scheme.status();
  // Others order codes for one kernel.
  const auto version = get_string_or(modules.block, "version", modules.file, "gemm");
  if (!version.ok()) return version.status();
  if (absl::AsciiStrToLower(*version) != "gemm") {
    return invalid("{} is {}, which is not supported; supported is \"gemm\"",
                   modules.field("version"), in_quotes(*version));
  }
  const auto zero_point = get_bool_or(modules.block, "zero_point", modules.file, true);
  if (!zero_point.ok()) return zero_point.status();
  scheme->may_lack_zeros = !*zero_point;
  scheme->order = &kAwqOrder;
  const auto all = add_matrices(*scheme, modules);
  if (!all.ok()) return all.status();
  for (const StoredZeros& zeros : *all)
    if (zeros.low == zeros.high)
      make_symmetric(zeros.low, modules.checkpoint.matrices.at(zeros.module));
  return absl::OkStatus();
}

absl::Status read_gptq(QuantizedModules& modules) {
  absl::StatusOr<Scheme> scheme = read_scheme(modules, kGptqBits);
  if (!scheme.ok()) return scheme.status();
  const auto rules = read_zero_rules(modules);
  if (!rules.ok()) return rules.status();
  const auto marlin = get_bool_or(modules.block, "is_marlin_format", modules.file, false);
  if (!marlin.ok()) return marlin.status();
  if (*marlin)
    return invalid("{} is true, which is not supported", modules.field("is_marlin_format"));
  if (absl::Status status = read_dynamic(modules, *scheme); !status.ok()) return status;
  const auto desc_act = get_bool_or(modules.block, "desc_act", modules.file, false);
  if (!desc_act.ok()) return desc_act.status();
  scheme->sorted_columns = *desc_act;
  scheme->may_lack_zeros = rules->symmetric == true;
  scheme->order = &kGptqOrder;
  const auto all = add_matrices(*scheme, modules);
  if (!all.ok()) return all.status();
  return settle_zeros(*rules, *all, modules);
}

}  // namespace sinter::frontends
