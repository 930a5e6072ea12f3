#include "codegen/lower.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "codegen/emitter.h"
#include "codegen/epilogue.h"
#include "codegen/probe.h"
#include "codegen/weight_structs.h"
#include "ir/ops.h"

namespace sinter::codegen {

namespace {

using ir::Node;
using ir::Op;
using ir::ValueId;

std::string float_literal(double value) {
  std::string text = fmt::format("{}", static_cast<float>(value));
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text + "F";
}

// Lowers one schedule. Every region kind is one member function.
class Lowerer {
 public:
  Lowerer(const ir::Module& module, Device device, Activations activations, Mode mode,
          Lowering& out, std::vector<passes::Remark>& remarks)
      : module_(module),
        device_(device),
        activations_(activations),
        mode_(mode),
        out_(out),
        remarks_(remarks),
        lowered_(mode == Mode::decode    ? out.decode
                 : mode == Mode::prefill ? out.prefill
                                         : out.probe) {}

  absl::Status run() {
    for (const Node& node : module_.nodes) {
      const std::string kind = node.text("kind", "");
      absl::Status status;
      if (node.op != Op::fused) {
        status = absl::InternalError(fmt::format("[{}] outside a phase", ir::info(node.op).name));
      } else if (kind == "embed") {
        status = embed(node);
      } else if (kind == "rope_table") {
        status = rope_table(node);
      } else if (kind == "matmul") {
        status = matmul(node);
      } else if (kind == "attention") {
        status = attention(node);
      } else if (kind == "rows") {
        status = rows(node);
      } else if (kind == "top_k") {
        status = top_k(node);
      } else if (kind == "experts") {
        status = experts(node);
      } else {
        status =
            absl::UnimplementedError(fmt::format("no kernel for a phase of kind \"{}\"", kind));
      }
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status probes(ValueId input) {
    std::map<std::string, ValueId> smallest;  // by format
    for (const auto& [id, layout] : out_.layouts) {
      const ir::WeightType& type = module_.weight(id);
      if (type.shape.size() < 2) continue;
      ValueId& known = smallest.emplace(ir::to_string(type.format), id).first->second;
      if (type.elements() < module_.weight(known).elements()) known = id;
    }
    out_.probe_results = temporary({});
    for (const auto& [format, weight] : smallest)
      if (auto status = probe(weight, input); !status.ok()) return status;
    return absl::OkStatus();
  }

 private:
  // Whether steps have one row.
  bool decode() const { return mode_ != Mode::prefill; }
  bool on_gpu() const { return device_ == Device::gpu; }
  int planes() const { return activations_ == Activations::a8 ? 1 : 2; }
  int64_t width(ValueId id) const { return module_.tensor(id).shape.back().value; }
  bool is_last_rows(ValueId id) const { return module_.tensor(id).shape[0].symbol == 'L'; }
  std::string row_count(ValueId id) const {
    return is_last_rows(id) ? "launch->step->logits_rows" : "launch->step->tokens";
  }

  Buffer buffer(ValueId id) const {
    if (id == module_.returns[0]) return {Buffer::Kind::logits, 0, 0};
    if (module_.value(id).kind == ir::ValueKind::param) return {Buffer::Kind::tokens, 0, 0};
    return {Buffer::Kind::activation, id, 0};
  }
  Buffer temporary(Room room) {
    const auto id = static_cast<int64_t>(lowered_.temporaries.size());
    lowered_.temporaries[id] = room;
    return {Buffer::Kind::temporary, id, 0};
  }

  static constexpr int64_t kGpuBlock = 128;     // columns
  static constexpr int64_t kReduceBytes = 128;  // three numbers per wave

  LoweredPhase& finish(const Node& node, std::string_view suffix, const Emitter& emitter,
                       std::string what, std::string summary) {
    LoweredPhase phase;
    phase.name = node.label + std::string(suffix);
    phase.what = std::move(what);
    phase.summary = std::move(summary);
    phase.body = emitter.text();
    phase.arguments = emitter.arguments();
    phase.accesses = emitter.accesses();
    lowered_.phases.push_back(std::move(phase));
    return lowered_.phases.back();
  }

  std::string ops_of(const Node& node) const {
    std::vector<std::string_view> names;
    for (const Node& inner : node.body)
      if (inner.op != Op::reshape && inner.op != Op::slice &&
          std::find(names.begin(), names.end(), ir::info(inner.op).name) == names.end())
        names.push_back(ir::info(inner.op).name);
    return fmt::format("{}", fmt::join(names, ", "));
  }

  // Chooses the layout of a weight; all its readers must agree on the parts.
  absl::StatusOr<PackedLayout> layout(ValueId weight, int64_t parts) {
    const auto sources = static_cast<int64_t>(module_.weights.at(weight).sources.size());
    const PackedLayout wanted = packed_layout(module_.weight(weight), parts,
                                              on_gpu() ? Layout::gpu16 : Layout::cpu16, sources);
    const auto [at, inserted] = out_.layouts.emplace(weight, wanted);
    if (!inserted && at->second.parts != parts)
      return absl::InternalError(fmt::format("\"{}\" is read in {} and in {} parts",
                                             module_.value(weight).name, at->second.parts, parts));
    return at->second;
  }

  // Columns that a row may have: where all share a scale, int32 holds the sum of a row's products,
  // of levels below 2^bits with a plane of -128..127, and of a lane's or thread's activations.
  int64_t most_row_cols(const ir::WeightFormat& format) const {
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    if (format.group > 0 || multiplies_floats(format)) return kMost;
    const int64_t top = planes() == 1 ? 127 : 127 * 256;
    if (on_gpu()) return kMost / top / 8 * 2048;  // each of 256 threads has 8 of 2048
    const int bits = format.map == ir::CodeMap::fp4   ? 5
                     : format.map == ir::CodeMap::iq4 ? 8
                                                      : format.bits;
    return std::min(kMost / (((int64_t{1} << bits) - 1) * 128), kMost / top * 16) / 32 * 32;
  }

  // Declares `Weights` and the variable `w`.
  absl::Status declare_weights(Emitter& e, ValueId weight, int64_t parts) {
    const ir::WeightType& type = module_.weight(weight);
    if (const int64_t most = most_row_cols(type.format); type.cols() > most)
      return absl::UnimplementedError(
          fmt::format("weight \"{}\" is {}: kernels sum the products of at most {} columns that "
                      "share a scale",
                      module_.value(weight).name, ir::to_string(type), most));
    const auto chosen = layout(weight, parts);
    if (!chosen.ok()) return chosen.status();
    const auto sources = static_cast<int64_t>(module_.weights.at(weight).sources.size());
    return codegen::declare_weights(
        e, {weight, module_.value(weight).name, module_.weight(weight), *chosen, sources});
  }
  std::string rows_type(const ir::WeightType& type) const {
    return codegen::rows_type(type, planes());
  }

  absl::Status embed(const Node& node) {
    const Node& op = node.body[0];
    if (op.op != Op::embed || !module_.is_weight(op.operands[1]))
      return absl::UnimplementedError("[embed] of a dequantized table; run fold_dequantize");
    Emitter e;
    if (auto status = declare_weights(e, op.operands[1], 1); !status.ok()) return status;
    e.line("embed<{}>(launch, w, {}, {});", width(op.results[0]),
           e.pointer(buffer(op.operands[0]), "const i32"),
           e.pointer(buffer(op.results[0]), "float"));
    const ir::WeightType& type = module_.weight(op.operands[1]);
    LoweredPhase& phase = finish(node, "", e, "embed", ir::to_string(type));
    phase.tokens_per_block = 1;
    phase.weight_bytes =
        static_cast<int64_t>(static_cast<double>(type.cols()) * type.format.bits_per_weight() / 8);
    return absl::OkStatus();
  }

  absl::Status rope_table(const Node& node) {
    const Node& op = node.body[0];
    Emitter e;
    const std::vector<float>& frequencies = module_.weights.at(op.operands[0]).constant;
    if (frequencies.empty())
      return absl::UnimplementedError("[rope_table] frequencies must be a constant of the graph");
    if (auto chosen = layout(op.operands[0], 1); !chosen.ok()) return chosen.status();
    e.line("rope_table<{}>(launch, {}, {}, {});", frequencies.size(),
           e.pointer({Buffer::Kind::weight, op.operands[0], 0}, "const float"),
           float_literal(op.number("scale", 1.0)), e.pointer(buffer(op.results[0]), "float"));
    finish(node, "", e, "rope_table", fmt::format("{} pairs", frequencies.size()))
        .tokens_per_block = 1;
    return absl::OkStatus();
  }

  // A vector among the weights, in its own element type.
  std::string vector_pointer(Emitter& e, ValueId weight) const {
    return e.pointer({Buffer::Kind::weight, weight, 0},
                     fmt::format("const {}", c_type(module_.weight(weight).format.scale_type)));
  }

  // `const auto x = prologue;` for the chain last_rows, rms_norm that ends in `input`.
  absl::Status declare_prologue(Emitter& e, const Node& node, ValueId input, ValueId& source,
                                bool& plain) {
    std::string norm_weight;
    std::string_view norm_type;
    double eps = 0;
    plain = true;
    source = input;
    if (const Node* norm = ir::find_definition(node.body, source);
        norm != nullptr && norm->op == Op::rms_norm) {
      if (auto chosen = layout(norm->operands[1], 1); !chosen.ok()) return chosen.status();
      norm_weight = vector_pointer(e, norm->operands[1]);
      norm_type = c_type(module_.weight(norm->operands[1]).format.scale_type);
      eps = norm->number("eps", 0);
      source = norm->operands[0];
      plain = false;
    }
    std::string first = "0";
    if (const Node* last = ir::find_definition(node.body, source);
        last != nullptr && last->op == Op::last_rows) {
      source = last->operands[0];
      first = "launch->step->tokens - launch->step->logits_rows";
      plain = false;
    }
    if (ir::find_definition(node.body, source) != nullptr)
      return absl::UnimplementedError(
          fmt::format("phase \"{}\": no prologue of this form", node.label));
    const std::string rows = e.pointer(buffer(source), "const float");
    if (norm_weight.empty()) {
      e.line("const PlainRows<{}> x{{{}, {}}};", width(input), rows, first);
    } else {
      e.line("const RmsNormRows<{}, {}> x{{{}, {}, {}, {}}};", width(input), norm_type, rows,
             norm_weight, float_literal(eps), first);
    }
    return absl::OkStatus();
  }

  absl::Status matmul(const Node& node) {
    const auto is_product = [](const Node& n) { return n.op == Op::matmul; };
    const auto product = std::find_if(node.body.begin(), node.body.end(), is_product);
    if (product == node.body.end() || node.results.size() != 1)
      return absl::InternalError(
          fmt::format("phase \"{}\" is not one product with one result", node.label));
    const ValueId input = product->operands[0];
    const ValueId weight = product->operands[1];
    if (!module_.is_weight(weight))
      return absl::UnimplementedError("[matmul] of dequantized weights; run fold_dequantize");
    const ir::WeightType& type = module_.weight(weight);
    const ValueId result = node.results[0];
    const int64_t out_width = width(result);
    const int64_t parts = type.rows() / out_width;
    const std::string rows = row_count(result);
    const std::string dims = fmt::format("{} x {}", type.rows(), type.cols());

    const std::string rows_form = rows_type(type);
    const bool floats = multiplies_floats(type.format);
    const int64_t row_bytes = prepared_row_bytes(type);

    Emitter e;
    if (auto status = declare_weights(e, weight, parts); !status.ok()) return status;
    if (decode()) {
      ValueId source = -1;
      bool plain = false;
      if (auto status = declare_prologue(e, node, input, source, plain); !status.ok())
        return status;
      if (!on_gpu()) out_.scratch_bytes = std::max(out_.scratch_bytes, row_bytes);
    } else {
      // The prologue is a phase of its own; dense weights read plain rows where they are.
      Emitter p;
      ValueId source = -1;
      bool plain = false;
      if (auto status = declare_prologue(p, node, input, source, plain); !status.ok())
        return status;
      Buffer prepared = buffer(source);
      if (!plain || !floats) {
        prepared = temporary({row_bytes, 64});
        p.line("write_rows<{}>(launch, {}, {}, x);", rows_form,
               p.pointer(prepared, "unsigned char"), rows);
        finish(node, ".input", p,
               plain    ? "quantize"
               : floats ? "rms_norm"
                        : "rms_norm, quantize",
               fmt::format("rows of {}", type.cols()))
            .tokens_per_block = 1;
        lowered_.phases.back().shared_bytes = kReduceBytes;
      }
      e.line("const auto x = {}::at({}, {});", rows_form,
             e.pointer(prepared, "unsigned char", Access::read), rows);
    }

    const auto leaf = [&](ValueId value, int64_t offset) {
      return value == product->results[0] ? fmt::format("y{}", offset / out_width) : std::string();
    };
    ElementwiseCode code(
        module_, node.body, leaf, e, [this](ValueId id) { return buffer(id); }, "row");
    auto value = code.evaluate(result, 0);
    if (!value.ok()) return value.status();
    if (auto status = declare_vectors(node); !status.ok()) return status;
    e.line("float* out = {};", e.pointer(buffer(result), "float"));
    const std::string ys = parts == 1 ? "Lanes y0" : "Lanes y0, Lanes y1";
    e.line(
        "const auto epilogue = [=](index row, index col, index n, {}) "
        "__attribute__((always_inline)) {{",
        ys);
    e.open();
    for (const std::string& statement : code.statements()) e.line("{}", statement);
    e.line("store(out + row * {} + col, {}, n);", out_width, *value);
    e.close();
    e.line("}};");
    const GpuShape shape = gpu_shape(type, out_width, row_bytes);
    if (decode()) {
      if (on_gpu())
        e.line("static_assert(one_row_shared_bytes<{}> <= {});", rows_form, shape.shared_bytes);
      e.line("matmul_one_row<{}, {}, {}>(launch, w, x, epilogue);", rows_form, parts, out_width);
    } else {
      if (on_gpu())
        e.line("static_assert(tile_shared_bytes<{}> <= {});", rows_form, shape.shared_bytes);
      e.line("multiply<{}, {}>(launch, w, x, epilogue);", parts, out_width);
    }
    if (floats && decode())
      remarks_.push_back(
          {"lower", false, module_.value(weight).name,
           fmt::format("{} weights: multiplied in float32, whatever the activation mode",
                       type.format.is_dense() ? "dense" : "fp8")});
    LoweredPhase& phase =
        finish(node, "", e, ops_of(node), fmt::format("{} {}", dims, ir::to_string(type.format)));
    phase.weight_bytes = type.packed_bytes();
    phase.macs = static_cast<double>(type.elements());
    if (decode() && !on_gpu()) phase.scratch_bytes = row_bytes;
    if (on_gpu()) {
      if (decode()) phase.kernel = LoweredPhase::Kernel::early;
      phase.blocks = shape.blocks;
      phase.tokens_per_block = shape.tokens_per_block;
      phase.shared_bytes = shape.shared_bytes;
    }
    return absl::OkStatus();
  }

  // The rows are those of the first part, which begins the weight.
  absl::Status probe(ValueId weight, ValueId input) {
    const ir::WeightType& type = module_.weight(weight);
    const PackedLayout& packed = out_.layouts.at(weight);
    const int64_t rows = std::min(packed.part_rows, kProbeRows);
    int64_t& result_bytes = lowered_.temporaries.at(out_.probe_results.value).fixed_bytes;
    const LoweredProbe probe{weight, result_bytes / 4, rows};
    result_bytes += rows * 4;
    const std::string rows_form = rows_type(type);
    const int64_t row_bytes = prepared_row_bytes(type);
    Emitter e;
    if (auto status = declare_weights(e, weight, packed.parts); !status.ok()) return status;
    if (auto chosen = layout(input, 1); !chosen.ok()) return chosen.status();
    e.line("const PlainRows<{}> x{{{}, 0}};", type.cols(),
           e.pointer({Buffer::Kind::weight, input, 0}, "const float"));
    e.line("float* out = {} + {};", e.pointer(out_.probe_results, "float"), probe.first);
    e.line(
        "const auto epilogue = [=](index, index col, index n, Lanes y0) "
        "__attribute__((always_inline)) {{ store(out + col, y0, n); }};");
    const GpuShape shape = gpu_shape(type, rows, row_bytes);
    if (on_gpu())
      e.line("static_assert(one_row_shared_bytes<{}> <= {});", rows_form, shape.shared_bytes);
    e.line("matmul_one_row<{}, 1, {}>(launch, w, x, epilogue);", rows_form, rows);
    LoweredPhase phase;
    phase.name = "probe." + module_.value(weight).name;
    phase.what = "matmul";
    phase.summary = fmt::format("{} x {} {}", rows, type.cols(), ir::to_string(type.format));
    phase.body = e.text();
    phase.arguments = e.arguments();
    phase.accesses = e.accesses();
    phase.weight_bytes = type.packed_bytes() / type.rows() * rows;
    phase.macs = static_cast<double>(rows * type.cols());
    if (on_gpu()) {
      phase.kernel = LoweredPhase::Kernel::early;
      phase.blocks = shape.blocks;
      phase.shared_bytes = shape.shared_bytes;
    } else {
      phase.scratch_bytes = row_bytes;
      out_.scratch_bytes = std::max(out_.scratch_bytes, row_bytes);
    }
    lowered_.phases.push_back(std::move(phase));
    out_.probes.push_back(probe);
    return absl::OkStatus();
  }

  // A row of the input as the kernels for `type` multiply it (codegen/device/*/activations.h).
  int64_t prepared_row_bytes(const ir::WeightType& type) const {
    if (multiplies_floats(type.format)) return type.cols() * 4;
    const int64_t filled = kernel_type(type).cols();
    const int64_t cols = on_gpu() ? (filled + kGpuBlock - 1) / kGpuBlock * kGpuBlock : filled;
    return cols * planes() + row_groups(type) * 8;
  }

  // How a product is spread over a GPU (codegen/device/gpu/matvec.h and matmul.h).
  struct GpuShape {
    int64_t blocks = 1;
    int64_t tokens_per_block = 0;
    int64_t shared_bytes = 0;
  };
  GpuShape gpu_shape(const ir::WeightType& type, int64_t out_width, int64_t row_bytes) const {
    const int64_t tiles = (out_width + kTileRows - 1) / kTileRows;
    const int64_t column_blocks = (type.cols() + kGpuBlock - 1) / kGpuBlock;
    if (decode()) {
      // Rows are padded to avoid bank conflicts; partial sums lie behind them.
      const int64_t padding = column_blocks * 16 * planes() + 64;
      return {tiles, 0, row_bytes + padding + 2304};
    }
    constexpr int64_t kTokens = 64;
    const int64_t block_groups = type.format.group > 0 && !multiplies_floats(type.format)
                                     ? kGpuBlock / dot_group(kernel_type(type))
                                     : 1;
    const int64_t shared = multiplies_floats(type.format)
                               ? kTokens * 36 * 4
                               : 2 * kTokens * (160 * planes() + block_groups * 8);
    return {(tiles + 7) / 8, kTokens, shared};
  }

  // Layouts of the weight vectors that the epilogue of `node` reads.
  absl::Status declare_vectors(const Node& node) {
    for (const Node& inner : node.body) {
      if (inner.op == Op::matmul) continue;
      for (const ValueId id : inner.operands)
        if (module_.is_weight(id))
          if (auto chosen = layout(id, 1); !chosen.ok()) return chosen.status();
    }
    return absl::OkStatus();
  }

  // Whether the phase before `node` writes the value.
  bool made_just_before(const Node& node, ValueId id) const {
    if (&node == module_.nodes.data()) return false;
    const auto& made = (&node - 1)->results;
    return std::find(made.begin(), made.end(), id) != made.end();
  }

  // q, k or v of an attention phase, followed back to where it comes from.
  struct HeadSource {
    ValueId base = -1;
    int64_t begin = 0;
    const Node* norm = nullptr;
    const Node* rope = nullptr;
  };
  absl::StatusOr<HeadSource> follow(const Node& node, ValueId value) const {
    HeadSource head;
    for (const Node* at = ir::find_definition(node.body, value); at != nullptr;
         at = ir::find_definition(node.body, value)) {
      if (at->op == Op::rope && head.rope == nullptr && head.norm == nullptr) {
        head.rope = at;
      } else if (at->op == Op::rms_norm && head.norm == nullptr &&
                 module_.tensor(value).shape.size() == 3) {
        head.norm = at;
      } else if (at->op == Op::slice) {
        head.begin += at->integer("begin", 0);
      } else if (at->op != Op::reshape) {
        return absl::UnimplementedError(
            fmt::format("phase \"{}\": [{}] before attention has no kernel", node.label,
                        ir::info(at->op).name));
      }
      value = at->operands[0];
    }
    head.base = value;
    return head;
  }

  absl::StatusOr<std::string> transform(Emitter& e, const HeadSource& head, int64_t head_dim) {
    const int64_t rope_dims = head.rope == nullptr ? 0 : width(head.rope->operands[1]);
    const bool interleaved =
        head.rope != nullptr && head.rope->text("style", "half") == "interleaved";
    std::string norm = "nullptr";
    std::string_view norm_type = "void";
    double eps = 0;
    if (head.norm != nullptr) {
      if (auto chosen = layout(head.norm->operands[1], 1); !chosen.ok()) return chosen.status();
      norm = vector_pointer(e, head.norm->operands[1]);
      norm_type = c_type(module_.weight(head.norm->operands[1]).format.scale_type);
      eps = head.norm->number("eps", 0);
    }
    const std::string table =
        head.rope == nullptr ? "nullptr" : e.pointer(buffer(head.rope->operands[1]), "const float");
    return fmt::format("HeadTransform<{}, {}, {}, {}>{{{}, {}, {}}}", head_dim, norm_type,
                       rope_dims, interleaved, norm, float_literal(eps), table);
  }

  // Features of a head, at most. On a GPU a wave of 32 lanes has a position, 8 features to a lane.
  // On the host queries, partial results and a key lie on the stack: see attention_step and
  // attention_rows in codegen/device/cpu/attention.h.
  int64_t most_head_dim(int64_t group) const {
    if (on_gpu()) return 256;
    constexpr int64_t kStackFloats = (256 << 10) / 4;
    constexpr int64_t kRows = 8, kScores = 64;
    const int64_t heads = std::max(group, kRows) + kRows + 4;
    return std::max<int64_t>(0, kStackFloats - kRows * (kScores + 2) - group * 4) / heads / 16 * 16;
  }

  absl::Status attention(const Node& node) {
    const Node* op = nullptr;
    std::map<ValueId, ValueId> appended;  // state -> what is appended
    for (const Node& inner : node.body) {
      if (inner.op == Op::attention) op = &inner;
      if (inner.op == Op::kv_append) appended[inner.operands[0]] = inner.operands[1];
    }
    if (op == nullptr || !appended.contains(op->operands[1]) || !appended.contains(op->operands[2]))
      return absl::UnimplementedError(
          fmt::format("phase \"{}\": attention without its own append has no kernel", node.label));
    const auto& q_shape = module_.tensor(op->operands[0]).shape;
    const int64_t heads = q_shape[1].value;
    const int64_t head_dim = q_shape[2].value;
    const int64_t kv_heads = module_.tensor(op->operands[1]).shape[0].value;
    const auto q = follow(node, op->operands[0]);
    const auto k = follow(node, appended[op->operands[1]]);
    const auto v = follow(node, appended[op->operands[2]]);
    for (const auto* head : {&q, &k, &v})
      if (!head->ok()) return head->status();
    if (v->norm != nullptr || v->rope != nullptr)
      return absl::UnimplementedError(
          fmt::format("phase \"{}\": values with norm or RoPE have no kernel", node.label));

    if (const int64_t most = most_head_dim(heads / kv_heads); head_dim > most)
      return absl::UnimplementedError(fmt::format(
          "config.json: \"head_dim\" (of a GGUF file \"attention.key_length\") is {}; attention on "
          "{} with {} heads to a KV head has kernels for at most {}",
          head_dim, on_gpu() ? "GPUs" : "the host", heads / kv_heads, most));

    const std::string shape = fmt::format("{} heads of {}, {} KV heads", heads, head_dim, kv_heads);
    const std::string scale = float_literal(op->number("scale", 1.0));
    const auto prepare = [&](Emitter& e, Access access) -> absl::Status {
      e.line("using Cache = Caches<{}, {}, {}>;", heads, kv_heads, head_dim);
      e.line("const Cache cache{{{}, {}, launch->step->capacity}};",
             e.pointer({Buffer::Kind::state, op->operands[1], 0}, "f16", access),
             e.pointer({Buffer::Kind::state, op->operands[2], 0}, "f16", access));
      return absl::OkStatus();
    };
    const auto heads_of = [&](Emitter& e) -> absl::Status {
      const auto q_transform = transform(e, *q, head_dim);
      const auto k_transform = transform(e, *k, head_dim);
      for (const auto* t : {&q_transform, &k_transform})
        if (!t->ok()) return t->status();
      e.line("const auto q_transform = {};", *q_transform);
      e.line("const auto k_transform = {};", *k_transform);
      for (const auto& [name, head] :
           {std::pair{"q", &*q}, std::pair{"k", &*k}, std::pair{"v", &*v}})
        e.line("const HeadRows {}{{{} + {}, {}}};", name,
               e.pointer(buffer(head->base), "const float"), head->begin,
               width(head->base) * (module_.tensor(head->base).shape.size() == 3
                                        ? module_.tensor(head->base).shape[1].value
                                        : 1));
      return absl::OkStatus();
    };
    const Buffer result = buffer(op->results[0]);
    if (decode()) {
      const int64_t value_dim = (head_dim + 15) / 16 * 16;
      // SplitBuffers in codegen/device/*/attention.h
      const int64_t most_splits =
          on_gpu() ? std::clamp<int64_t>(256 / kv_heads, 1, 32) : int64_t{16};
      const int64_t bytes = (heads * most_splits * (value_dim + 2) + kv_heads) * 4;
      // Layers of one shape share a buffer: its counters are zero between phases. Another shape has
      // its counters elsewhere.
      const auto splits = static_cast<int64_t>(split_buffers_.size());
      const int64_t pinned =
          split_buffers_.emplace(std::tuple(heads, kv_heads, head_dim), splits).first->second;
      out_.pinned[pinned].fixed_bytes = bytes;
      Emitter e;
      if (auto status = prepare(e, Access::update); !status.ok()) return status;
      if (auto status = heads_of(e); !status.ok()) return status;
      e.line("static_assert(SplitBuffers<Cache>::bytes == {});", bytes);
      e.line("attention_step(launch, cache, q, k, v, q_transform, k_transform, {}, {}, {});", scale,
             e.pointer({Buffer::Kind::pinned, pinned, 0}, "unsigned char", Access::update),
             e.pointer(result, "float"));
      if (on_gpu())
        e.line("static_assert(attention_shared_bytes<Cache> <= {});",
               attention_shared_bytes(heads / kv_heads, head_dim));
      LoweredPhase& phase = finish(node, "", e, ops_of(node), shape);
      // The kernel reads the table before it waits for the phase before, but for none earlier.
      const bool table_is_new =
          (q->rope != nullptr && made_just_before(node, q->rope->operands[1])) ||
          (k->rope != nullptr && made_just_before(node, k->rope->operands[1]));
      if (on_gpu() && !table_is_new) phase.kernel = LoweredPhase::Kernel::early;
      phase.blocks = kv_heads * most_splits;
      phase.shared_bytes = on_gpu() ? attention_shared_bytes(heads / kv_heads, head_dim) : 0;
      return absl::OkStatus();
    }
    const Buffer queries = temporary({heads * head_dim * 4, 64});
    Emitter a;
    if (auto status = prepare(a, Access::update); !status.ok()) return status;
    if (auto status = heads_of(a); !status.ok()) return status;
    a.line("attention_append(launch, cache, q, k, v, q_transform, k_transform, {}, {});", scale,
           a.pointer(queries, "float"));
    LoweredPhase& append = finish(node, ".append", a, "rms_norm, rope, kv_append", shape);
    append.tokens_per_block = 1;
    append.shared_bytes = on_gpu() ? 8 * ((head_dim + 15) / 16 * 16) * 4 : 0;
    Emitter e;
    if (auto status = prepare(e, Access::read); !status.ok()) return status;
    e.line("attention_rows(launch, cache, {}, {});", e.pointer(queries, "const float"),
           e.pointer(result, "float"));
    if (on_gpu())
      e.line("static_assert(attention_rows_shared_bytes<Cache> <= {});",
             attention_rows_shared_bytes(head_dim));
    LoweredPhase& phase = finish(node, "", e, "attention", shape);
    phase.blocks = kv_heads;
    if (on_gpu()) phase.kernel = LoweredPhase::Kernel::wide;
    phase.tokens_per_block = std::max<int64_t>(1, kAttentionRows / (heads / kv_heads));
    phase.shared_bytes = on_gpu() ? attention_rows_shared_bytes(head_dim) : 0;
    return absl::OkStatus();
  }

  // codegen/device/gpu/attention.h: queries and a key, then the partial results of the waves.
  static int64_t attention_shared_bytes(int64_t group, int64_t head_dim) {
    const int64_t value_dim = (head_dim + 15) / 16 * 16;
    return (group + 1) * value_dim * 4 + 8 * 4 * (value_dim + 2) * 4 + 16;
  }
  // Queries, keys or values, and scores of a tile.
  static constexpr int64_t kAttentionRows = 32;
  static int64_t attention_rows_shared_bytes(int64_t head_dim) {
    const int64_t value_dim = (head_dim + 15) / 16 * 16;
    const int64_t positions = value_dim <= 128 ? 64 : 16;
    return ((kAttentionRows + positions) * (value_dim + 4) + kAttentionRows * (positions + 4)) * 4;
  }

  absl::Status top_k(const Node& node) {
    const Node& op = node.body[0];
    Emitter e;
    e.line("top_k<{}, {}>(launch, {}, {}, {});", width(op.operands[0]), op.integer("k", 0),
           e.pointer(buffer(op.operands[0]), "const float"), row_count(op.results[0]),
           e.pointer(buffer(op.results[0]), "i32"));
    LoweredPhase& phase = finish(node, "", e, "top_k", fmt::format("of {}", width(op.operands[0])));
    phase.tokens_per_block = 1;
    phase.shared_bytes = kReduceBytes + 64;
    return absl::OkStatus();
  }

  // Products with the matrices that a router chose, a row of x (or one for each choice) at a time.
  absl::Status experts(const Node& node) {
    const Node& op = node.body[0];
    const ValueId weight = op.operands[2];
    if (!module_.is_weight(weight))
      return absl::UnimplementedError(
          "[gather_matmul] of dequantized weights; run fold_dequantize");
    const ir::WeightType& type = module_.weight(weight);
    const auto& shape = module_.tensor(op.results[0]).shape;
    const int64_t chosen = shape[1].value;
    const bool each = module_.tensor(op.operands[0]).shape.size() == 3;
    // A GPU reads rows of floats 16 at a time from where they are.
    if (on_gpu() && multiplies_floats(type.format) && type.cols() % 16 != 0)
      return absl::UnimplementedError(
          fmt::format("phase \"{}\": experts of {} columns have no kernel; a multiple of 16 has",
                      node.label, type.cols()));
    const std::string rows = each ? fmt::format("launch->step->tokens * {}", chosen)
                                  : std::string("launch->step->tokens");
    Buffer prepared = buffer(op.operands[0]);
    if (!multiplies_floats(type.format)) {
      Emitter p;
      p.line("const PlainRows<{}> x{{{}, 0}};", type.cols(), p.pointer(prepared, "const float"));
      prepared = temporary({prepared_row_bytes(type) * (each ? chosen : 1), 64});
      p.line("write_rows<{}>(launch, {}, {}, x);", rows_type(type),
             p.pointer(prepared, "unsigned char"), rows);
      LoweredPhase& phase =
          finish(node, ".input", p, "quantize", fmt::format("rows of {}", type.cols()));
      phase.blocks = each ? chosen : 1;
      phase.tokens_per_block = 1;
      phase.shared_bytes = kReduceBytes;
    }
    Emitter e;
    if (auto status = declare_weights(e, weight, type.shape[0]); !status.ok()) return status;
    e.line("const auto x = {}::at({}, {});", rows_type(type),
           e.pointer(prepared, "unsigned char", Access::read), rows);
    e.line("gather_multiply<{}, {}, {}, {}>(launch, w, {}, x, {});", chosen, each, type.shape[0],
           type.shape[1], e.pointer(buffer(op.operands[1]), "const i32"),
           e.pointer(buffer(op.results[0]), "float"));
    LoweredPhase& phase = finish(node, "", e, ops_of(node), ir::to_string(type));
    phase.weight_bytes = type.packed_bytes() / type.shape[0] * chosen;
    phase.macs = static_cast<double>(type.shape[1] * type.shape[2] * chosen);
    const int64_t tiles = (type.shape[1] + kTileRows - 1) / kTileRows;
    phase.blocks = (tiles * chosen + 7) / 8;
    phase.tokens_per_block = 1;
    return absl::OkStatus();
  }

  absl::Status rows(const Node& node) {
    const Node& op = node.body[0];
    const ValueId result = op.results[0];
    if (module_.tensor(result).shape.size() != 2)
      return absl::UnimplementedError(fmt::format(
          "[{}] at \"{}\" on heads has no kernel of its own", ir::info(op.op).name, node.label));
    Emitter e;
    if (op.op == Op::rms_norm || op.op == Op::last_rows) {
      ValueId source = -1;
      bool plain = false;
      if (auto status = declare_prologue(e, node, result, source, plain); !status.ok())
        return status;
      e.line("write_rows<FloatRows<{}>>(launch, {}, {}, x);", width(result),
             e.pointer(buffer(result), "unsigned char"), row_count(result));
    } else {
      ElementwiseCode code(
          module_, node.body, [](ValueId, int64_t) { return std::string(); }, e,
          [this](ValueId id) { return buffer(id); }, "row");
      auto value = code.evaluate(result, 0);
      if (!value.ok()) return value.status();
      if (auto status = declare_vectors(node); !status.ok()) return status;
      e.line("float* out = {};", e.pointer(buffer(result), "float"));
      e.line(
          "for_each_vector<{}>(launch, {}, [=](index row, index col, index n) "
          "__attribute__((always_inline)) {{",
          width(result), row_count(result));
      e.open();
      for (const std::string& statement : code.statements()) e.line("{}", statement);
      e.line("store(out + row * {} + col, {}, n);", width(result), *value);
      e.close();
      e.line("}});");
    }
    LoweredPhase& phase =
        finish(node, "", e, ops_of(node), fmt::format("rows of {}", width(result)));
    phase.tokens_per_block = 1;
    phase.shared_bytes = kReduceBytes;
    return absl::OkStatus();
  }

  const ir::Module& module_;
  Device device_;
  Activations activations_;
  Mode mode_;
  Lowering& out_;
  std::vector<passes::Remark>& remarks_;
  LoweredMode& lowered_;
  // Pinned buffer of each shape of attention: heads, KV heads, head_dim.
  std::map<std::tuple<int64_t, int64_t, int64_t>, int64_t> split_buffers_;
};

}  // namespace

int64_t state_bytes_per_position(const ir::Module& module, ValueId state) {
  // keys and values alike: kv_heads x (features rounded up to 16) x f16; see
  // codegen/device/cpu/attention.h
  const auto& shape = module.tensor(state).shape;
  return shape[0].value * ((shape[2].value + 15) / 16 * 16) * 2;
}

absl::StatusOr<Lowering> lower(const ir::Module& module, Device device, Activations activations,
                               std::vector<passes::Remark>& remarks) {
  Lowering out;
  std::vector<passes::Remark> again;  // the second schedule says the same
  if (auto status = Lowerer(module, device, activations, Mode::decode, out, remarks).run();
      !status.ok())
    return status;
  if (auto status = Lowerer(module, device, activations, Mode::prefill, out, again).run();
      !status.ok())
    return status;
  return out;
}

absl::Status lower_probes(const ir::Module& module, Device device, Activations activations,
                          ValueId input, Lowering& lowering) {
  std::vector<passes::Remark> none;
  return Lowerer(module, device, activations, Mode::probe, lowering, none).probes(input);
}

}  // namespace sinter::codegen
