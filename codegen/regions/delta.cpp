#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "codegen/device/sizes.h"
#include "codegen/regions/lane_code.h"
#include "codegen/regions/products.h"
#include "codegen/regions/row_code.h"
#include "ir/ops.h"
#include "ir/state_format.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

class DeltaLowerer {
 public:
  DeltaLowerer(RegionContext& c, const Node& node, const Node& rule)
      : c_(c),
        node_(node),
        rule_(rule),
        rest_(node),
        key_heads_(extent(0, 1)),
        key_dim_(extent(0, 2)),
        heads_(extent(2, 1)),
        value_dim_(extent(2, 2)),
        run_(ir::padded_run(key_dim_)) {
    std::erase_if(rest_.body, [](const Node& n) { return n.op == Op::delta_rule; });
  }

  absl::Status run() {
    if (std::max(key_dim_, value_dim_) > sizes::most_delta_dim)
      return absl::UnimplementedError(
          fmt::format("phase \"{}\": a delta rule of heads of {} and {} features has no kernel; "
                      "heads may have {}",
                      node_.label, key_dim_, value_dim_, sizes::most_delta_dim));
    if (auto status = c_.declare_vectors(node_); !status.ok()) return status;
    if (!c_.on_gpu()) return on_host();
    return c_.few_rows() ? few_rows() : many_rows();
  }

 private:
  int64_t extent(size_t operand, size_t i) const {
    return c_.module.tensor(rule_.operands[operand]).shape[i].value;
  }
  bool by_feature() const { return c_.module.tensor(rule_.operands[3]).shape.size() == 3; }
  ValueId result() const { return node_.results[0]; }
  bool has_work_behind() const { return result() != rule_.results[0]; }
  ir::Runs key_runs() const { return {key_heads_, key_dim_}; }
  ir::Runs value_runs() const { return {heads_, value_dim_}; }
  Buffer state() const { return {Buffer::Kind::state, rule_.operands[5], 0}; }
  std::string summary() const {
    return fmt::format("{} heads of {}x{}, {} of keys", heads_, value_dim_, key_dim_, key_heads_);
  }

  void declare_shape(Emitter& e) const {
    e.line("using H = DeltaHeads<{}, {}, {}, {}, {}{}>;", key_heads_, key_dim_, heads_, value_dim_,
           c_.out.states.layout.fixed_bytes, rule_.text("heads") == "tiled" ? ", true" : "");
    e.line("static_assert({} * H::State::run_bytes == {});", heads_ * value_dim_,
           c_.out.states.at(rule_.operands[5]).fixed_bytes);
  }
  void declare_state(Emitter& e) const {
    e.line("const H::State state{{{}}};", e.pointer(state(), "float", Access::update));
  }

  // Declares the heads of a value as rows.
  absl::StatusOr<RowCode> declare(Emitter& e, const char* name, ValueId value,
                                  const ir::Runs& heads) {
    e.line("const auto {} = [&]() __attribute__((always_inline)) {{", name);
    e.open();
    auto code = declare_heads(c_, e, rest_, value, heads);
    e.line("return x;");
    e.close();
    e.line("}}();");
    return code;
  }
  absl::Status declare_gates(Emitter& e) {
    if (by_feature()) {
      if (auto code = declare(e, "log_decay", rule_.operands[3], {heads_, key_dim_}); !code.ok())
        return code.status();
      e.line("const auto decay = decay_of_features(log_decay);");
    } else {
      if (auto status = declare_lanes(c_, e, rest_, rule_.operands[3], "log_decay"); !status.ok())
        return status;
      e.line("const auto decay = decay_of_heads(log_decay);");
    }
    return declare_lanes(c_, e, rest_, rule_.operands[4], "beta");
  }
  absl::Status declare_inputs(Emitter& e) {
    if (auto code = declare(e, "q", rule_.operands[0], key_runs()); !code.ok())
      return code.status();
    if (auto code = declare(e, "k", rule_.operands[1], key_runs()); !code.ok())
      return code.status();
    if (auto code = declare(e, "v", rule_.operands[2], value_runs()); !code.ok())
      return code.status();
    return declare_gates(e);
  }

  // Declares `after`: what is made of a row of heads, once the rule has given it. On GPUs it leaves
  // rows as products multiply them, if all readers do.
  absl::Status declare_after(Emitter& e) {
    if (!has_work_behind()) {
      e.line("const NothingBehind after;");
      return absl::OkStatus();
    }
    if (auto code = declare(e, "made", result(), value_runs()); !code.ok()) return code.status();
    const auto form = c_.on_gpu() ? rows_form_of_readers(c_, result(), value_dim_) : std::nullopt;
    std::string statement;
    if (form) {
      const Buffer prepared = c_.temporary({form->row_bytes, 64});
      c_.prepared[result()] = prepared;
      e.line("const auto out = {}::at({}, {});", form->type, e.pointer(prepared, "unsigned char"),
             c_.row_count(result()));
      statement = fmt::format("quantize_head<{}, {}>(out, r, made);", value_dim_, heads_);
    } else {
      e.line("float* const out = {};", e.pointer(c_.buffer(result()), "float"));
      statement = fmt::format("{0}<{1}>(out + r * {1}, r, made);",
                              c_.on_gpu() ? "write_floats_of_head" : "write_floats", value_dim_);
    }
    e.line("const auto after = behind([=](index r) __attribute__((always_inline)) {{");
    e.open();
    e.line("{}", statement);
    e.close();
    e.line("}});");
    return absl::OkStatus();
  }

  LoweredPhase& finish(const Emitter& e, const std::string& part, std::string what) {
    LoweredPhase& phase = c_.finish(node_.label + part, e, std::move(what), summary());
    return phase;
  }
  void note_work(LoweredPhase& phase) const {
    phase.macs = static_cast<double>(3 * heads_ * value_dim_ * run_);
  }

  absl::Status on_host() {
    Emitter e;
    declare_shape(e);
    declare_state(e);
    e.line("float* const y = {};", e.pointer(c_.buffer(rule_.results[0]), "float"));
    if (auto status = declare_inputs(e); !status.ok()) return status;
    if (auto status = declare_after(e); !status.ok()) return status;
    e.line("delta_rule<H>(launch, state, q, k, v, decay, beta, y, after);");
    note_work(finish(e, "", ops_of(node_)));
    return absl::OkStatus();
  }

  absl::Status few_rows() {
    Emitter e;
    declare_shape(e);
    declare_state(e);
    e.line("float* const y = {};", e.pointer(c_.buffer(rule_.results[0]), "float"));
    if (auto status = declare_inputs(e); !status.ok()) return status;
    if (auto status = declare_after(e); !status.ok()) return status;
    const int64_t splits = sizes::delta_splits(value_dim_, sizes::delta_few_height());
    std::string arrived = "nullptr";
    if (has_work_behind() && splits > 1)
      arrived = e.pointer(
          c_.pinned(fmt::format("delta rule {}", heads_), heads_ * 4 * c_.lowered.shape.most_rows),
          "int", Access::update);
    e.line("delta_few<H>(launch, state, q, k, v, decay, beta, y, {}, after);", arrived);
    e.read_ahead(state());
    LoweredPhase& phase = finish(e, "", ops_of(node_));
    note_work(phase);
    phase.kernel = LoweredPhase::Kernel::early;
    phase.blocks = heads_ * splits;
    if (!c_.one_row()) phase.rows_per_block = 1;
    phase.shared_bytes = sizes::delta_few_shared_bytes(run_, by_feature());
    return absl::OkStatus();
  }

  // What is needed of each row, then the rule, then what is made of its result.
  absl::Status many_rows() {
    const auto of_row = [&](int64_t numbers) { return c_.temporary({numbers * 4, 0}); };
    const Buffer q = of_row(key_heads_ * run_);
    const Buffer k = of_row(key_heads_ * run_);
    const Buffer gates = of_row(heads_ * 2);
    const Buffer decays = by_feature() ? of_row(heads_ * run_) : gates;
    Emitter a;
    declare_shape(a);
    const std::string count = c_.row_count(result());
    for (const auto& [name, buffer, operand] : {std::tuple{"q", q, 0}, std::tuple{"k", k, 1}}) {
      const ValueId value = rule_.operands[static_cast<size_t>(operand)];
      if (auto code = declare(a, name, value, key_runs()); !code.ok()) return code.status();
      a.line("write_heads<{}>(launch, {}, {} * {}, {});", run_, a.pointer(buffer, "float"), count,
             key_heads_, name);
    }
    // Values are read where they are, if there.
    Emitter unused;
    auto v = declare(unused, "v", rule_.operands[2], value_runs());
    if (!v.ok()) return v.status();
    int64_t jobs = 2 * key_heads_;
    Buffer values = c_.buffer(v->plain);
    int64_t value_row = heads_ * value_dim_;
    int64_t value_stride = value_dim_;
    int64_t value_offset = 0;
    if (v->heads.has_value()) {
      value_row = ir::row_elements(c_.module, v->plain);
      value_stride = *v->heads->stride();
      value_offset = v->heads->offset();
    } else {
      jobs += heads_;
      values = of_row(heads_ * value_dim_);
      if (v = declare(a, "v", rule_.operands[2], value_runs()); !v.ok()) return v.status();
      a.line("float* const values = {};", a.pointer(values, "float"));
      a.line("for_each_head(launch, {} * {}, [=](index r) __attribute__((always_inline)) {{", count,
             heads_);
      a.open();
      a.line("write_floats_of_head<{0}>(values + r * {0}, r, v);", value_dim_);
      a.close();
      a.line("}});");
    }
    if (auto status = declare_gates(a); !status.ok()) return status;
    if (by_feature()) jobs += heads_;
    a.line("write_gates<H, delta_by_chunks<H, {}>>(launch, {}, {}, decay, beta);", by_feature(),
           a.pointer(gates, "float"), by_feature() ? a.pointer(decays, "float") : "nullptr");
    LoweredPhase& inputs = finish(a, ".input", "inputs of the delta rule");
    inputs.blocks = (jobs + sizes::most_waves - 1) / sizes::most_waves;
    inputs.rows_per_block = 1;

    Emitter e;
    declare_shape(e);
    declare_state(e);
    const auto pointer = [&](const Buffer& buffer) { return e.pointer(buffer, "const float"); };
    e.line("const DeltaInputs in{{{}, {}, {}, {}, {} + {}}};", pointer(q), pointer(k),
           pointer(gates), by_feature() ? pointer(decays) : "nullptr", pointer(values),
           value_offset);
    e.line("delta_many<H, {}, {}, {}>(launch, state, in, {});", by_feature(), value_row,
           value_stride, e.pointer(c_.buffer(rule_.results[0]), "float"));
    LoweredPhase& phase = finish(e, "", "delta_rule");
    note_work(phase);
    phase.kernel = LoweredPhase::Kernel::wide;
    const int64_t height = sizes::delta_many_height(heads_, value_dim_);
    // Row by row; or, if the machine can, in chunks.
    phase.blocks = heads_ * sizes::delta_splits(value_dim_, height);
    phase.shared_bytes = sizes::delta_many_shared_bytes(run_, height, by_feature());
    if (!by_feature() && run_ <= sizes::most_delta_chunk_run) {
      phase.blocks = std::max(phase.blocks,
                              heads_ * sizes::delta_splits(value_dim_, sizes::delta_chunk_height));
      phase.shared_bytes =
          std::max<int64_t>(phase.shared_bytes, sizes::delta_chunks_shared_bytes(run_));
    }
    if (!has_work_behind()) return absl::OkStatus();

    Emitter b;
    if (auto status = declare_after(b); !status.ok()) return status;
    b.line("for_each_head(launch, {} * {}, after);", count, heads_);
    LoweredPhase& behind = finish(b, ".result", "result of the delta rule");
    behind.blocks = (heads_ + sizes::most_waves - 1) / sizes::most_waves;
    behind.rows_per_block = 1;
    return absl::OkStatus();
  }

  RegionContext& c_;
  const Node& node_;
  const Node& rule_;
  Node rest_;  // all but the rule, whose result lies in memory when it is read
  const int64_t key_heads_, key_dim_, heads_, value_dim_;
  const int64_t run_;  // numbers of a row of the state
};

}  // namespace

// A delta rule, from what its operands are made of to what is made of its result. On the host and
// in steps of few rows on a GPU one phase, else two or three.
absl::Status lower_delta(RegionContext& c, const Node& node) {
  const auto rule = std::find_if(node.body.begin(), node.body.end(),
                                 [](const Node& n) { return n.op == Op::delta_rule; });
  if (rule == node.body.end() || node.results.size() != 1)
    return absl::InternalError(
        fmt::format("phase \"{}\" is no delta rule with one result", node.label));
  return DeltaLowerer(c, node, *rule).run();
}

}  // namespace sinter::codegen
