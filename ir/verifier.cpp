#include "ir/verifier.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "ir/entries.h"
#include "ir/ops.h"
#include "ir/regions.h"
#include "ir/state_format.h"

namespace sinter::ir {

namespace {

// Far above any model, and low enough that bytes and bits of a matrix fit 64 bits.
constexpr int64_t kMaxExtent = int64_t{1} << 40;
constexpr int64_t kMaxElements = int64_t{1} << 48;

absl::Status error(const std::string& message) { return absl::InvalidArgumentError(message); }

// Multiplies the element count by an extent, or says what is wrong with it.
absl::Status count_elements(int64_t extent, const std::string& type, int64_t& elements) {
  if (extent <= 0 || extent > kMaxExtent) {
    return error(fmt::format("{}: extent {} is not in 1..2^40", type, extent));
  }
  if (elements > kMaxElements / extent) {
    return error(fmt::format("{}: more than 2^48 elements", type));
  }
  elements *= extent;
  return absl::OkStatus();
}

bool has_type(const Attribute& attribute, AttributeType type) {
  switch (type) {
    case AttributeType::integer:
      return std::holds_alternative<int64_t>(attribute);
    case AttributeType::text:
      return std::holds_alternative<std::string>(attribute);
    case AttributeType::flag:
      return std::holds_alternative<bool>(attribute);
    case AttributeType::integers:
      return std::holds_alternative<std::vector<int64_t>>(attribute);
    case AttributeType::number:
      break;
  }
  const double* number = std::get_if<double>(&attribute);
  return std::holds_alternative<int64_t>(attribute) || (number && std::isfinite(*number));
}

const char* name(AttributeType type) {
  switch (type) {
    case AttributeType::integer:
      return "an integer";
    case AttributeType::text:
      return "a string";
    case AttributeType::flag:
      return "true or false";
    case AttributeType::integers:
      return "a list of integers";
    case AttributeType::number:
      break;
  }
  return "a finite number";
}

// Columns of a block; 0: none.
struct Rotation {
  int64_t stored = 0;   // of a dequantized matrix
  int64_t latent = 0;   // of rows of a rotated table
  int64_t rotated = 0;  // of what `rotate` made
};

class Verifier {
 public:
  explicit Verifier(const Module& module)
      : module_(module),
        defined_(module.values.size(), false),
        visible_(module.values.size(), false),
        dequantized_(module.values.size(), false),
        rotation_(module.values.size()),
        entries_(entries_of(module)),
        entry_(module.values.size(), kNoEntry) {}

  absl::Status run() {
    if (absl::Status s = symbols(); !s.ok()) return s;
    if (absl::Status s = params(); !s.ok()) return s;
    for (const Node& node : module_.nodes) {
      absl::Status s = node.op == Op::fused ? fused(node) : plain(node);
      if (s.ok()) s = one_entry(node);
      if (s.ok()) continue;
      if (node.label.empty()) return s;
      return error(fmt::format("{} (in {})", std::string(s.message()), node.label));
    }
    return returns();
  }

 private:
  bool in_range(ValueId id) const {
    return id >= 0 && static_cast<size_t>(id) < module_.values.size();
  }
  bool is(const std::vector<bool>& flags, ValueId id) const {
    return flags[static_cast<size_t>(id)];
  }
  static void set(std::vector<bool>& flags, ValueId id, bool on) {
    flags[static_cast<size_t>(id)] = on;
  }
  void define(ValueId id) {
    set(defined_, id, true);
    set(visible_, id, true);
  }

  std::string describe(ValueId id) const {
    if (!in_range(id)) return fmt::format("value {}, which the module does not have", id);
    const Value& v = module_.value(id);
    if (v.kind == ValueKind::weight || v.kind == ValueKind::state) return "@" + v.name;
    return v.kind == ValueKind::param ? "%" + v.name : fmt::format("value {}", id);
  }

  absl::Status symbols() {
    std::set<std::string_view> names;
    for (const auto& [id, data] : module_.weights) {
      if (!in_range(id) || !module_.is_weight(id)) {
        return error(fmt::format("numbers are given for {}, which is no weight", describe(id)));
      }
    }
    for (size_t i = 0; i < module_.values.size(); ++i) {
      const auto id = static_cast<ValueId>(i);
      const Value& v = module_.values[i];
      const bool is_weight = v.kind == ValueKind::weight;
      if (is_weight != std::holds_alternative<WeightType>(v.type) ||
          (v.kind == ValueKind::state) != std::holds_alternative<StateType>(v.type)) {
        return error(fmt::format("{} has the type {}", describe(id), to_string(v.type)));
      }
      // A weight that no node uses any more may have lost its numbers: it is not part of the module
      // then.
      if (is_weight ? !module_.weights.contains(id) : v.kind != ValueKind::state) continue;
      if (v.name.empty()) return error("a weight or a state has no name");
      if (!names.insert(v.name).second) return error(fmt::format("@{} is declared twice", v.name));
      absl::Status s = is_weight ? weight(id) : verify_type(module_.state(id));
      if (!s.ok()) return error(fmt::format("@{}: {}", v.name, std::string(s.message())));
      define(id);
    }
    return absl::OkStatus();
  }

  absl::Status weight(ValueId id) const {
    const WeightType& type = module_.weight(id);
    if (absl::Status s = verify_type(type); !s.ok()) return s;
    const WeightData& data = module_.weights.at(id);
    if (data.sources.empty() == data.constant.empty()) {
      return error("a weight has either sources or constants");
    }
    if (data.constant.empty()) return absl::OkStatus();
    if (!type.format.is_dense() || type.format.scale_type != DType::f32) {
      return error(fmt::format("constants are f32, the weight is {}", to_string(type)));
    }
    if (static_cast<int64_t>(data.constant.size()) != type.elements()) {
      return error(
          fmt::format("{} constants for {} elements", data.constant.size(), type.elements()));
    }
    const bool finite = std::all_of(data.constant.begin(), data.constant.end(),
                                    [](float x) { return std::isfinite(x); });
    return finite ? absl::OkStatus() : error("a constant is not finite");
  }

  absl::Status params() {
    std::set<std::string_view> entries;
    std::set<std::string_view> names;
    for (size_t e = 0; e < entries_.size(); ++e) {
      if (!entries.insert(entries_[e].name).second)
        return error(fmt::format("the entry @{} is there twice", entries_[e].name));
      if (absl::Status s = params(e, names); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  absl::Status params(size_t entry, std::set<std::string_view>& names) {
    for (ValueId id : entries_[entry].params) {
      if (!in_range(id) || module_.value(id).kind != ValueKind::param) {
        return error(fmt::format("the parameter list has {}, which is no parameter", describe(id)));
      }
      const Value& v = module_.value(id);
      if (v.name.empty()) return error("a parameter has no name");
      if (!names.insert(v.name).second) {
        return error(fmt::format("the parameter %{} is declared twice", v.name));
      }
      if (absl::Status s = verify_type(module_.tensor(id)); !s.ok()) {
        return error(fmt::format("%{}: {}", v.name, std::string(s.message())));
      }
      define(id);
      entry_[static_cast<size_t>(id)] = entry;
    }
    return absl::OkStatus();
  }

  // What a node reads is of one entry, and so is its result; a state is of the entry that used it
  // first.
  absl::Status one_entry(const Node& node) {
    if (entries_.size() == 1) return absl::OkStatus();
    size_t own = kNoEntry;
    const std::vector<ValueId> inputs = inputs_of(node);
    for (const ValueId id : inputs) {
      const size_t entry = entry_[static_cast<size_t>(id)];
      if (own == kNoEntry) own = entry;
      if (entry == kNoEntry || entry == own) continue;
      return error(fmt::format("[{}] {} is of the entry @{}, what else it reads of @{}",
                               info(node.op).name, describe(id), entries_[entry].name,
                               entries_[own].name));
    }
    for (const ValueId id : inputs)
      if (module_.is_state(id)) entry_[static_cast<size_t>(id)] = own;
    for (const ValueId id : node.results) entry_[static_cast<size_t>(id)] = own;
    return absl::OkStatus();
  }

  absl::Status plain(const Node& node) {
    if (absl::Status s = verify_attributes(node); !s.ok()) return s;
    const std::string_view op = info(node.op).name;
    if (!node.body.empty()) return error(fmt::format("[{}] only fused has a body", op));
    for (size_t i = 0; i < node.operands.size(); ++i) {
      if (absl::Status s = operand(node, i); !s.ok()) return s;
    }
    const size_t expected = info(node.op).has_result() ? 1 : 0;
    if (node.results.size() != expected) {
      return error(fmt::format("[{}] it has {} results, the op gives {}", op, node.results.size(),
                               expected));
    }
    const TensorType* declared = nullptr;
    if (expected == 1) {
      const ValueId id = node.results[0];
      if (!in_range(id) || module_.value(id).kind != ValueKind::result) {
        return error(fmt::format("[{}] its result is {}, which is no result", op, describe(id)));
      }
      if (is(defined_, id)) {
        return error(fmt::format("[{}] {} is defined twice", op, describe(id)));
      }
      declared = &module_.tensor(id);
      if (absl::Status s = verify_type(*declared); !s.ok()) {
        return error(fmt::format("[{}] {}", op, std::string(s.message())));
      }
    }
    const absl::StatusOr<TensorType> type = result_type(module_, node, declared);
    if (!type.ok()) return type.status();
    if (absl::Status s = rotation(node); !s.ok()) return s;
    if (declared == nullptr) return absl::OkStatus();
    if (*type != *declared) {
      return error(fmt::format("[{}] the result is declared {}, the op gives {}", op,
                               to_string(*declared), to_string(*type)));
    }
    define(node.results[0]);
    set(dequantized_, node.results[0], node.op == Op::dequantize);
    return absl::OkStatus();
  }

  // A rotated matrix is multiplied with rows that were rotated in the same blocks, and rows of a
  // rotated table are rotated back before anything else is done with them: numbers would be wrong
  // otherwise, and no shape. Every result carries what it is, in bodies as outside of them.
  absl::Status rotation(const Node& node) {
    const std::string_view op = info(node.op).name;
    Rotation of_result;
    for (size_t i = 0; i < node.operands.size(); ++i) {
      const ValueId id = node.operands[i];
      const int64_t stored = stored_rotation(id);
      const int64_t latent = rotation_[static_cast<size_t>(id)].latent;
      if (node.op == Op::dequantize) of_result.stored = stored;
      if (node.op == Op::embed && i == 1) of_result.latent = stored;
      const bool is_product = node.op == Op::matmul || node.op == Op::gather_matmul;
      if (is_product && is_matrix_operand(node.op, i) && stored != 0) {
        const ValueId input = node.operands[0];
        if (rotation_[static_cast<size_t>(input)].rotated != stored) {
          return error(
              fmt::format("[{}] the columns of {} are rotated in blocks of {}; its input, {}, must "
                          "be rows that "
                          "[rotate] made with this block",
                          op, describe(id), stored, describe(input)));
        }
      }
      if (latent == 0) continue;
      if (node.op == Op::rotate && node.flag("inverse") && node.integer("block") == latent)
        continue;
      if (!keeps_rows(node)) {
        return error(
            fmt::format("[{}] operand {}, {}, is rows of a table that is rotated in blocks of {}; "
                        "only [rotate] "
                        "with this block and inverse = true may read them",
                        op, i, describe(id), latent));
      }
      of_result.latent = latent;
    }
    if (node.results.empty()) return absl::OkStatus();
    if (node.op == Op::rotate && !node.flag("inverse")) of_result.rotated = node.integer("block");
    if (keeps_rows(node)) {
      const int64_t block = rotation_[static_cast<size_t>(node.operands[0])].rotated;
      if (block != 0 && module_.tensor(node.results[0]).shape.back().value % block == 0)
        of_result.rotated = block;
    }
    rotation_[static_cast<size_t>(node.results[0])] = of_result;
    return absl::OkStatus();
  }
  // Of a weight or a dequantized one.
  int64_t stored_rotation(ValueId id) const {
    return module_.is_weight(id) ? module_.weight(id).rotated
                                 : rotation_[static_cast<size_t>(id)].stored;
  }
  // Whether the result is rows of the first operand, or whole blocks of them.
  static bool keeps_rows(const Node& node) {
    return node.op == Op::last_rows || node.op == Op::reshape;
  }

  absl::Status operand(const Node& node, size_t i) const {
    const std::string_view op = info(node.op).name;
    const ValueId id = node.operands[i];
    if (!in_range(id)) return error(fmt::format("[{}] operand {} is {}", op, i, describe(id)));
    if (!is(visible_, id)) {
      const bool hidden = is(defined_, id);
      return error(fmt::format(
          "[{}] operand {}, {}, {}", op, i, describe(id),
          hidden ? "is local to the body of another node" : "is not defined before its use"));
    }
    // Nothing but a row decoder may read a dequantized matrix, and only weights make one.
    const bool takes_matrix = is_matrix_operand(node.op, i);
    if (takes_matrix && !module_.is_weight(id) && !is(dequantized_, id)) {
      return error(fmt::format("[{}] operand {}, {}, must be a weight or a dequantized weight", op,
                               i, describe(id)));
    }
    if (!takes_matrix && is(dequantized_, id)) {
      return error(fmt::format(
          "[{}] operand {}, {}, is a dequantized weight; only products and embed take one", op, i,
          describe(id)));
    }
    return absl::OkStatus();
  }

  absl::Status fused(const Node& node) {
    if (absl::Status s = verify_attributes(node); !s.ok()) return s;
    if (node.body.empty()) return error("[fused] the body is empty");
    std::set<ValueId> local;
    for (const Node& inner : node.body) {
      if (inner.op == Op::fused) return error("[fused] a body may not have a fused node");
      if (absl::Status s = plain(inner); !s.ok()) return s;
      if (const Region& region = *region_of(node); !region.may_hold(inner.op)) {
        return error(fmt::format("[{}] in a phase of kind \"{}\", which is {}", info(inner.op).name,
                                 region.name, region.what));
      }
      local.insert(inner.results.begin(), inner.results.end());
    }
    for (ValueId id : local) set(visible_, id, false);
    for (ValueId id : node.results) {
      if (!local.contains(id)) {
        return error(fmt::format("[fused] its result {} is not defined in the body", describe(id)));
      }
      if (is(visible_, id)) {
        return error(fmt::format("[fused] its result {} is listed twice", describe(id)));
      }
      set(visible_, id, true);
    }
    return absl::OkStatus();
  }

  absl::Status returns() const {
    for (size_t e = 0; e < entries_.size(); ++e)
      if (absl::Status s = returns(e); !s.ok()) return s;
    return absl::OkStatus();
  }

  absl::Status returns(size_t entry) const {
    if (entries_[entry].returns.empty())
      return error(entry == 0 ? std::string("the module returns nothing")
                              : fmt::format("the entry @{} returns nothing", entries_[entry].name));
    for (ValueId id : entries_[entry].returns) {
      if (!in_range(id) || !is(visible_, id)) {
        return error(fmt::format("{} is returned but not defined", describe(id)));
      }
      if (entries_.size() > 1 && entry_[static_cast<size_t>(id)] != entry) {
        return error(fmt::format("{} is returned by the entry @{}, of which it is not",
                                 describe(id), entries_[entry].name));
      }
      const ValueKind kind = module_.value(id).kind;
      if (kind == ValueKind::weight || kind == ValueKind::state || is(dequantized_, id)) {
        return error(fmt::format("{} is returned; only computed tensors can be", describe(id)));
      }
      if (rotation_[static_cast<size_t>(id)].latent != 0) {
        return error(
            fmt::format("{} is returned; it is rows of a rotated table, which [rotate] "
                        "with inverse = true takes back",
                        describe(id)));
      }
    }
    return absl::OkStatus();
  }

  const Module& module_;
  std::vector<bool> defined_;      // by any node so far, bodies included
  std::vector<bool> visible_;      // usable here
  std::vector<bool> dequantized_;  // results of dequantize
  std::vector<Rotation> rotation_;
  static constexpr size_t kNoEntry = SIZE_MAX;
  std::vector<Entry> entries_;
  std::vector<size_t> entry_;  // of each tensor and state; weights have none
};

}  // namespace

namespace {

absl::Status verify_extents(const std::vector<Dim>& shape, const std::string& text) {
  if (shape.empty()) return error(fmt::format("{}: there are no extents", text));
  int64_t elements = 1;
  for (const Dim& dim : shape) {
    if (dim.is_symbol()) {
      if (dim.symbol == 'T' || dim.symbol == 'L' || dim.symbol == 'C') continue;
      return error(fmt::format("{}: symbol {} is unknown; T, L and C are", text, dim.symbol));
    }
    if (absl::Status s = count_elements(dim.value, text, elements); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status verify_type(const TensorType& type) {
  if (byte_size(type.dtype) == 1) {
    return error(fmt::format("{}: only weights are stored in single bytes", to_string(type)));
  }
  if (is_of_states(type.dtype)) {
    return error(
        fmt::format("{}: only states are stored as {}", to_string(type), name(type.dtype)));
  }
  return verify_extents(type.shape, to_string(type));
}

absl::Status verify_type(const StateType& type) {
  const std::string text = to_string(type);
  const StateKindInfo& kind = info(type.kind);
  const TensorType& numbers = type.numbers;
  if (absl::Status s = verify_extents(numbers.shape, text); !s.ok()) return s;
  const auto symbols = std::count_if(numbers.shape.begin(), numbers.shape.end(),
                                     [](const Dim& dim) { return dim.is_symbol(); });
  if (!kind.by_position) {
    if (symbols != 0)
      return error(fmt::format("{}: extents of {} state are numbers", text, kind.name));
    if (numbers.dtype == DType::f32) return absl::OkStatus();
    return error(fmt::format("{}: {} state holds f32", text, kind.name));
  }
  const bool is_ring = type.kind == StateKind::ring;
  const bool is_cache =
      numbers.shape.size() == 3 && !numbers.shape[0].is_symbol() &&
      (!numbers.shape[1].is_symbol() || (!is_ring && numbers.shape[1].symbol == 'C')) &&
      !numbers.shape[2].is_symbol();
  if (!is_cache) {
    return error(fmt::format("{}: {} state is [kv_heads, {}, head_dim]", text, kind.name,
                             is_ring ? "window" : "C"));
  }
  if (find_state_format(numbers.dtype) != nullptr) return absl::OkStatus();
  return error(fmt::format("{}: {} state holds {}", text, kind.name, state_format_names()));
}

namespace {

// The widths and zero point of codes.
absl::Status verify_codes(const WeightType& type, const std::string& text) {
  const WeightFormat& format = type.format;
  if (const int width = info(format.map).bits; width > 0 && format.bits != width) {
    return error(fmt::format("{}: its codes have {} bits", text, width));
  }
  if (format.bits < 1 || format.bits > 8) {
    return error(fmt::format("{}: {} bits per code; 1 to 8 can be", text, format.bits));
  }
  if (format.map == CodeMap::ternary && format.bits < 2) {
    return error(fmt::format("{}: ternary codes need 2 bits or more", text));
  }
  if (format.base3 &&
      (format.map != CodeMap::ternary || format.bits != 2 || type.cols() % 256 != 0)) {
    return error(fmt::format("{}: codes in base 3 are ternary, in multiples of 256 columns", text));
  }
  if (format.map == CodeMap::symmetric) {
    const double twice = 2 * format.zero;
    // Written so that a NaN fails too.
    if (!(format.zero >= 0 && format.zero <= 256) || twice != std::floor(twice)) {
      return error(fmt::format("{}: the zero point must be a multiple of 0.5 in 0..256", text));
    }
  }
  return absl::OkStatus();
}

absl::Status verify_scales(const WeightType& type, const std::string& text) {
  const WeightFormat& format = type.format;
  if (format.group == 0 && format.tensor_scale && format.block == 0) {
    if (!format.has_biases() && format.map != CodeMap::shifted) return absl::OkStatus();
    return error(fmt::format("{}: biases and shifts are of groups", text));
  }
  if (format.group < 1 || type.cols() % format.group != 0) {
    return error(
        fmt::format("{}: groups of {} do not divide {} columns", text, format.group, type.cols()));
  }
  if (format.has_biases() && byte_size(format.scale_type) == 1) {
    return error(fmt::format("{}: biases are f32, f16 or bf16", text));
  }
  if (format.block == 0) {
    if (format.sub_bits == 0 && format.sub_zero == 0) return absl::OkStatus();
    return error(fmt::format("{}: scales of two levels need a block", text));
  }
  if (format.block < 1 || format.block % format.group != 0 || type.cols() % format.block != 0) {
    return error(
        fmt::format("{}: blocks of {} do not hold whole groups or do not divide {} columns", text,
                    format.block, type.cols()));
  }
  if (format.sub_bits < 1 || format.sub_bits > 8 || format.sub_zero < 0 || format.sub_zero > 255) {
    return error(fmt::format("{}: a group's scale has 1 to 8 bits", text));
  }
  if (format.map == CodeMap::shifted || (format.has_biases() && format.sub_zero != 0)) {
    return error(fmt::format("{}: no format of two levels has this map", text));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status verify_type(const WeightType& type) {
  const std::string text = to_string(type);
  if (type.shape.empty() || type.shape.size() > 3) {
    return error(fmt::format("{}: a weight has one to three extents", text));
  }
  int64_t elements = 1;
  for (int64_t extent : type.shape) {
    if (absl::Status s = count_elements(extent, text, elements); !s.ok()) return s;
  }
  if (const int64_t block = type.rotated; block != 0) {
    if (type.shape.size() < 2) return error(fmt::format("{}: only matrices are rotated", text));
    if (block < 2 || (block & (block - 1)) != 0 || type.cols() % block != 0) {
      return error(
          fmt::format("{}: blocks of {} are no power of two from 2 on or do not divide {} "
                      "columns",
                      text, block, type.cols()));
    }
  }
  const WeightFormat& format = type.format;
  const bool one_byte = format.scale_type == DType::e8m0 || format.scale_type == DType::e4m3;
  if (format.scale_type == DType::i32 || is_of_states(format.scale_type) ||
      (format.is_dense() && one_byte)) {
    return error(fmt::format("{}: elements are f32, f16 or bf16", text));
  }
  if (format.map != CodeMap::symmetric && format.zero != 0) {
    return error(fmt::format("{}: only symmetric weights have a zero point", text));
  }
  if (format.is_dense()) {
    WeightFormat plain;
    plain.scale_type = format.scale_type;
    if (format == plain) return absl::OkStatus();
    return error(fmt::format("{}: dense weights have no bits and no group", text));
  }
  if (absl::Status s = verify_codes(type, text); !s.ok()) return s;
  return verify_scales(type, text);
}

absl::Status verify_attributes(const OpInfo& op, const Attributes& attributes) {
  for (const auto& [key, attribute] : attributes) {
    const AttributeInfo* known = op.find_attribute(key);
    if (known == nullptr) return error(fmt::format("[{}] attribute {} is unknown", op.name, key));
    if (!has_type(attribute, known->type)) {
      return error(fmt::format("[{}] attribute {} must be {}", op.name, key, name(known->type)));
    }
  }
  for (const AttributeInfo& known : op.attributes) {
    if (!known.fallback && !attributes.contains(std::string(known.name))) {
      return error(fmt::format("[{}] attribute {} is missing", op.name, known.name));
    }
  }
  return absl::OkStatus();
}

absl::Status verify_attributes(const Node& node) {
  if (static_cast<size_t>(node.op) >= op_table().size()) {
    return error(fmt::format("op number {} is not in the table", static_cast<int>(node.op)));
  }
  const OpInfo& op = info(node.op);
  if (node.op == Op::fused && !node.operands.empty()) {
    return error("[fused] it has operands; what its body reads are its inputs");
  }
  const size_t least = op.least_operands();
  const size_t most = op.operands.size();
  if (node.operands.size() < least || node.operands.size() > most) {
    const std::string range = least == most ? "" : fmt::format("{} to ", least);
    return error(fmt::format("[{}] it has {} operands, the op takes {}{}", op.name,
                             node.operands.size(), range, most));
  }
  if (absl::Status s = verify_attributes(op, node.attributes); !s.ok()) return s;
  if (node.op == Op::fused && region_of(node) == nullptr) {
    std::vector<std::string_view> known;
    for (const Region& region : kRegions) known.push_back(region.name);
    return error(fmt::format("[fused] kind \"{}\" is unknown; known: {}", node.text("kind"),
                             fmt::join(known, ", ")));
  }
  return absl::OkStatus();
}

absl::Status verify(const Module& module) { return Verifier(module).run(); }

}  // namespace sinter::ir
