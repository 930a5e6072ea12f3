#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <string>
#include <utility>

#include "codegen/device/sizes.h"
#include "codegen/regions/products.h"
#include "ir/heads.h"
#include "ir/ops.h"
#include "ir/state_format.h"
#include "runtime/abi/kernel_abi.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

// What heads of q, k or v go through, as the type and value of their HeadTransform.
absl::StatusOr<std::string> transform(RegionContext& c, Emitter& e, const ir::HeadSource& head,
                                      int64_t head_dim) {
  const int64_t rope_dims = head.rope == nullptr ? 0 : c.width(head.rope->operands[1]);
  const bool interleaved =
      head.rope != nullptr && head.rope->text("style", "half") == "interleaved";
  std::string norm = "nullptr";
  std::string_view norm_type = "void";
  std::string norm_of;
  double eps = 0;
  if (head.norm != nullptr) {
    if (head.norm->operands.size() > 1) {
      auto pointer = c.vector_pointer(e, head.norm->operands[1]);
      if (!pointer.ok()) return pointer.status();
      norm = *std::move(pointer);
      norm_type = c_type(c.module.weight(head.norm->operands[1]).format.scale_type);
    } else {
      norm_type = "Unweighted";
    }
    eps = head.norm->number("eps", 0);
    if (head.norm_of == ir::NormOf::rotated_head) norm_of = ", OfRotatedHead";
    if (head.norm_of == ir::NormOf::row)
      norm_of = fmt::format(", OfRow<{}, {}, {}, {}>", head.norm_begin - head.first.heads.offset(),
                            c.width(head.norm->results[0]), head.norm_weights.offset(),
                            *head.norm_weights.stride());
  }
  const int64_t begin = head.rope == nullptr ? 0 : head.rope->integer("begin");
  if (begin > 0 || head.rest) {
    if (norm_of.empty()) norm_of = ", OfHead";
    norm_of += fmt::format(", {}", begin);
  }
  if (head.rest) norm_of += fmt::format(", ConcatHeads<{}>", head.first.heads.length());
  const std::string table =
      head.rope == nullptr ? "nullptr" : e.pointer(c.buffer(head.rope->operands[1]), "const float");
  return fmt::format("HeadTransform<{}, {}, {}, {}{}>{{{}, {}, {}, {{}}}}", head_dim, norm_type,
                     rope_dims, interleaved, norm_of, norm, float_literal(eps), table);
}

// Where heads of q, k or v lie, as a HeadRows.
std::string rows_of(RegionContext& c, Emitter& e, const ir::HeadPlace& place) {
  return fmt::format("{{{} + {}, {}, {}}}", e.pointer(c.buffer(place.base), "const float"),
                     place.heads.offset(), ir::row_elements(c.module, place.base),
                     place.heads.count() == 1 ? 0 : *place.heads.stride());
}

// Features of a head of keys or values, at most. On a GPU a wave of 32 lanes has a position, 8
// features to a lane. On the host much lies on the stack.
int64_t most_head_dim(const RegionContext& c, int64_t group) {
  if (c.on_gpu()) return 256;
  int64_t dim = 0;
  while (sizes::host_attention_floats(group, dim + 16) <= sizes::most_host_attention_floats)
    dim += 16;
  return dim;
}

}  // namespace

// Head norms, RoPE, append to the caches and attention: one phase for one row, two for many.
// Without appends the caches have what another phase of the step appended.
absl::Status lower_attention(RegionContext& c, const Node& node) {
  const Node* op = nullptr;
  std::map<ValueId, ValueId> appended;  // state -> what is appended
  for (const Node& inner : node.body) {
    if (inner.op == Op::attention) op = &inner;
    if (inner.op == Op::kv_append) appended[inner.operands[0]] = inner.operands[1];
  }
  if (op == nullptr || appended.contains(op->operands[1]) != appended.contains(op->operands[2]))
    return absl::UnimplementedError(fmt::format(
        "phase \"{}\": attention that appends to one of its caches has no kernel", node.label));
  const bool appends = !appended.empty();
  const auto& q_shape = c.module.tensor(op->operands[0]).shape;
  const int64_t heads = q_shape[1].value;
  const ir::TensorType& keys = c.module.tensor(op->operands[1]);
  const ir::TensorType& values = c.module.tensor(op->operands[2]);
  const int64_t kv_heads = keys.shape[0].value;
  const int64_t qk_head_dim = keys.shape[2].value;
  const int64_t v_head_dim = values.shape[2].value;
  const int64_t window = op->integer("window");
  const int64_t chunk = op->integer("chunk");
  const ir::StateFormat& format = *ir::find_state_format(keys.dtype);
  const sizes::Heads shape_of{heads / kv_heads, ir::padded_run(qk_head_dim),
                              ir::padded_run(v_head_dim), format.bits, format.group};
  const auto follow = [&](ValueId value, ir::HeadsOf whose) {
    return ir::follow_heads(c.module, value, whose,
                            [&](ValueId id) { return ir::find_definition(node.body, id); });
  };
  struct Heads {
    std::string_view name;
    int64_t head_dim;
    ir::HeadSource source;
  };
  std::vector<Heads> all_heads = {
      {"q", qk_head_dim, follow(op->operands[0], ir::HeadsOf::queries_or_keys)}};
  if (appends) {
    all_heads.push_back(
        {"k", qk_head_dim, follow(appended[op->operands[1]], ir::HeadsOf::queries_or_keys)});
    all_heads.push_back({"v", v_head_dim, follow(appended[op->operands[2]], ir::HeadsOf::values)});
  }
  for (const Heads& of : all_heads)
    if (!of.source.stopped.empty())
      return absl::InternalError(fmt::format("phase \"{}\" has an op that its kernel does not: {}",
                                             node.label, of.source.stopped));

  if (const int64_t most = most_head_dim(c, heads / kv_heads); shape_of.widest() > most) {
    const bool of_keys = qk_head_dim >= v_head_dim;
    return absl::UnimplementedError(
        fmt::format("config.json: \"{}\" (of a GGUF file \"attention.{}_length\") is {}; attention "
                    "on {} with {} heads to a KV head has kernels for at most {}",
                    of_keys ? "head_dim" : "v_head_dim", of_keys ? "key" : "value",
                    std::max(qk_head_dim, v_head_dim), c.on_gpu() ? "GPUs" : "the host",
                    heads / kv_heads, most));
  }

  const std::string width = qk_head_dim == v_head_dim
                                ? fmt::format("{}", qk_head_dim)
                                : fmt::format("{} and values of {}", qk_head_dim, v_head_dim);
  const std::string shape = fmt::format("{} heads of {}, {} KV heads", heads, width, kv_heads);
  const std::string scale = float_literal(op->number("scale", 1.0));
  // Keys and values are of one kind and hold as many positions.
  const runtime::PlanState& state = c.out.states.at(op->operands[1]);
  const std::string places = state.kind == runtime::PlanState::Kind::ring
                                 ? fmt::format("Ring<{}, {}>", c.out.states.layout.fixed_bytes,
                                               state.positions / page_positions)
                                 : fmt::format("Pages<{}>", c.out.states.layout.page_bytes);
  const auto declare_cache_type = [&](Emitter& e, const std::string& options) {
    e.line("using Cache = Caches<{}, {}, {}, {}, {}, cache_format::{}, {}{}>;", heads, kv_heads,
           qk_head_dim, v_head_dim, places, ir::name(keys.dtype), window, options);
    e.line("static_assert(Cache::Keys::bytes_per_position == {});", ir::bytes_per_position(keys));
    e.line("static_assert(Cache::Values::bytes_per_position == {});",
           ir::bytes_per_position(values));
  };
  // What only those that attend need comes last.
  const double softcap = op->number("softcap");
  const auto declare_cache = [&](Emitter& e, Access access, bool attends) -> absl::Status {
    const bool has_sinks = attends && op->operands.size() > 3;
    const bool has_cap = attends && (has_sinks || softcap > 0);
    std::string options;
    std::string sinks;
    if (has_cap || chunk > 0) options += fmt::format(", {}", chunk);
    if (has_cap)
      options += fmt::format(", 0x{:08x}", std::bit_cast<uint32_t>(static_cast<float>(softcap)));
    if (has_sinks) {
      auto pointer = c.vector_pointer(e, op->operands[3]);
      if (!pointer.ok()) return pointer.status();
      options += fmt::format(", {}", c_type(c.module.weight(op->operands[3]).format.scale_type));
      sinks = fmt::format(", {{{}}}", *pointer);
    }
    declare_cache_type(e, options);
    e.line("const Cache cache{{{}, {}, {{}}{}}};",
           e.pointer({Buffer::Kind::state, op->operands[1], 0}, "u8", access),
           e.pointer({Buffer::Kind::state, op->operands[2], 0}, "u8", access), sinks);
    return absl::OkStatus();
  };
  const auto declare_heads = [&](Emitter& e) -> absl::Status {
    for (const Heads& of : all_heads) {
      auto made = transform(c, e, of.source, of.head_dim);
      if (!made.ok()) return made.status();
      e.line("auto {} = {};", of.name, *made);
    }
    for (const Heads& of : all_heads) {
      const std::string first = rows_of(c, e, of.source.first);
      if (of.source.rest) {
        e.line("{}.rows = {{{}, {}}};", of.name, first, rows_of(c, e, *of.source.rest));
      } else {
        e.line("{}.rows = {};", of.name, first);
      }
    }
    if (!appends) e.line("const NoHeads k, v;");
    return absl::OkStatus();
  };
  const Buffer result = c.buffer(op->results[0]);
  // For each row.
  const int64_t most_splits =
      c.on_gpu() ? sizes::gpu_splits(kv_heads, sizes::reach(window, chunk), shape_of.widest())
                 : sizes::host_splits;
  const int64_t split_bytes =
      c.on_gpu() ? sizes::split_bytes(heads, most_splits, shape_of.value_dim)
                 : sizes::host_split_bytes(heads, kv_heads, most_splits, shape_of.value_dim);
  // Layers share a buffer: a GPU's is zero between phases. Of the host's the counters are, which
  // another shape has elsewhere.
  const auto splits = [&](int64_t rows) {
    return c.pinned(c.on_gpu() ? "attention"
                               : fmt::format("attention {} {} {} {}", heads, kv_heads,
                                             shape_of.value_dim, most_splits),
                    split_bytes * rows);
  };
  // A block has the heads of a KV head.
  const auto declare_results = [&](Emitter& e) {
    const auto form = rows_form_of_readers(c, op->results[0], heads / kv_heads * v_head_dim);
    if (!form) {
      e.line("const FloatResults<Cache> results{{{}}};", e.pointer(result, "float"));
      return;
    }
    const Buffer prepared = c.temporary({form->row_bytes, 0});
    c.prepared[op->results[0]] = prepared;
    e.line("const QuantizedResults<Cache, {0}> results{{{0}::at({1}, {2})}};", form->type,
           e.pointer(prepared, "unsigned char"), c.row_count(op->results[0]));
  };
  if (c.one_row() || (c.on_gpu() && c.few_rows())) {
    const int64_t shared_bytes = shape_of.few_rows_shared_bytes(shape_of.on_halves());
    Emitter e;
    if (auto status = declare_cache(e, appends ? Access::update : Access::read, true); !status.ok())
      return status;
    if (auto status = declare_heads(e); !status.ok()) return status;
    e.line("static_assert(SplitBuffers<Cache>::bytes == {});", split_bytes);
    const std::string call =
        fmt::format("(launch, cache, q, k, v, {}, {}, ", scale,
                    e.pointer(splits(c.lowered.shape.most_rows), "unsigned char", Access::update));
    if (c.on_gpu()) {
      e.line("static_assert(FewShared<Cache>::bytes <= {});", shared_bytes);
      declare_results(e);
      e.line("attention_few<{}>{}results);", c.one_row(), call);
      // The table, and what earlier steps cached.
      for (const Heads& of : all_heads)
        if (of.source.rope != nullptr) e.read_ahead(c.buffer(of.source.rope->operands[1]));
      for (const size_t cache : {1, 2}) e.read_ahead({Buffer::Kind::state, op->operands[cache], 0});
    } else {
      e.line("attention_step{}{});", call, e.pointer(result, "float"));
    }
    LoweredPhase& phase = c.finish(node.label, e, ops_of(node), shape);
    phase.blocks = kv_heads * most_splits;
    if (!c.one_row()) phase.rows_per_block = 1;
    if (!c.on_gpu()) return absl::OkStatus();
    // By lanes a thread has more in registers.
    using Kernel = LoweredPhase::Kernel;
    phase.kernel = !shape_of.on_halves() ? Kernel::early
                   : c.one_row()         ? Kernel::alone
                                         : Kernel::paired;
    phase.shared_bytes = shared_bytes;
    return absl::OkStatus();
  }
  const Buffer queries = c.temporary({heads * qk_head_dim * 4, 0});
  Emitter a;
  if (appends) {
    if (auto status = declare_cache(a, Access::update, false); !status.ok()) return status;
  } else {
    declare_cache_type(a, "");
    a.line("const Cache cache{{}};");
  }
  if (auto status = declare_heads(a); !status.ok()) return status;
  a.line("attention_append(launch, cache, q, k, v, {}, {});", scale, a.pointer(queries, "float"));
  LoweredPhase& append = c.finish(node.label + (appends ? ".append" : ".queries"), a,
                                  appends ? "rms_norm, rope, kv_append" : "rms_norm, rope", shape);
  append.rows_per_block = 1;
  const int64_t transformed = heads + (appends ? kv_heads : 0);
  if (c.on_gpu()) append.blocks = (transformed + 7) / 8;  // a wave takes a head
  append.shared_bytes = c.on_gpu() ? sizes::append_shared_bytes(shape_of.key_dim) : 0;
  Emitter e;
  if (auto status = declare_cache(e, Access::read, true); !status.ok()) return status;
  if (c.few_rows()) {
    e.line("static_assert(SplitBuffers<Cache>::bytes == {});", split_bytes);
    e.line("attention_few(launch, cache, {}, {}, {});", e.pointer(queries, "const float"),
           e.pointer(splits(c.lowered.shape.most_rows), "unsigned char", Access::update),
           e.pointer(result, "float"));
    LoweredPhase& phase = c.finish(node.label, e, "attention", shape);
    phase.blocks = kv_heads * most_splits;
    phase.rows_per_block = 1;
    return absl::OkStatus();
  }
  e.line("attention_rows(launch, cache, {}, {});", e.pointer(queries, "const float"),
         e.pointer(result, "float"));
  if (c.on_gpu())
    e.line("static_assert(attention_rows_shared_bytes<Cache> <= {});",
           shape_of.many_rows_shared_bytes(shape_of.on_halves()));
  LoweredPhase& phase = c.finish(node.label, e, "attention", shape);
  phase.blocks = kv_heads;
  if (c.on_gpu()) phase.kernel = LoweredPhase::Kernel::wide;
  phase.rows_per_block = std::max<int64_t>(1, sizes::Heads::tile / shape_of.group);
  phase.shared_bytes = c.on_gpu() ? shape_of.many_rows_shared_bytes(shape_of.on_halves()) : 0;
  return absl::OkStatus();
}

}  // namespace sinter::codegen
