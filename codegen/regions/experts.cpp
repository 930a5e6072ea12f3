#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "codegen/device/sizes.h"
#include "codegen/regions/products.h"
#include "codegen/regions/row_code.h"
#include "codegen/regions/weight_structs.h"
#include "codegen/schedule/epilogue.h"
#include "ir/ops.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

// Rows that a block of a GPU prepares for itself have this much shared memory.
constexpr int64_t kMostSharedRows = 48 << 10;

class ExpertsLowerer {
 public:
  ExpertsLowerer(RegionContext& c, const Node& node) : c_(c), node_(node) {
    for (const Node& inner : node.body) {
      if (inner.op == Op::gather_matmul) products_.push_back(&inner);
      if (inner.op == Op::weighted_sum) sum_ = &inner;
    }
    for (const ValueId id : node.results) {
      const Node* made = ir::find_definition(node.body, id);
      (made < products_[0] ? kept_ : results_).push_back(id);
    }
    const auto& shape = c.module.tensor(products_[0]->results[0]).shape;
    chosen_ = shape[1].value;
    width_ = shape[2].value;
    each_ = c.module.tensor(input()).shape.size() == 3;
  }

  absl::Status run() {
    for (const Node* product : products_)
      if (!c_.module.is_weight(product->operands[2]))
        return absl::UnimplementedError(
            "[gather_matmul] of dequantized weights; run fold_dequantize");
    if (auto status = c_.declare_vectors(node_); !status.ok()) return status;
    const bool prepares = c_.one_row() && (!c_.on_gpu() || shared_rows() <= kMostSharedRows);
    Emitter e;
    if (auto status = prepares ? prepare(e) : read_prepared(e); !status.ok()) return status;
    if (auto status = multiply(e, prepares); !status.ok()) return status;
    LoweredPhase& phase = c_.finish(node_.label, e, ops_of(node_), ir::to_string(type()));
    for (const Node* product : products_) {
      const ir::WeightType& of = c_.module.weight(product->operands[2]);
      phase.weight_bytes += of.packed_bytes() / of.shape[0] * chosen_;
      phase.macs += static_cast<double>(of.shape[1] * of.shape[2] * chosen_);
    }
    const int64_t tiles = (width_ + kTileRows - 1) / kTileRows;
    // Tiles of a block of a GPU: its waves share those of a choice, or of matrices, among them.
    const auto matrices = static_cast<int64_t>(products_.size());
    const int64_t together = sum_ == nullptr ? std::max<int64_t>(1, sizes::most_waves / matrices)
                                             : std::max<int64_t>(1, sizes::most_waves / chosen_);
    phase.blocks = (tiles * (sum_ == nullptr ? chosen_ : 1) + together - 1) / together;
    phase.rows_per_block = 1;
    if (prepares && !c_.on_gpu()) phase.scratch_bytes = row_bytes() * rows_per_token();
    if (c_.on_gpu()) phase.shared_bytes = meeting_place(prepares) + meeting_bytes();
    return absl::OkStatus();
  }

 private:
  ValueId input() const { return products_[0]->operands[0]; }
  const ir::WeightType& type() const { return c_.module.weight(products_[0]->operands[2]); }
  std::string form() const { return rows_type(type(), c_.planes()); }
  int64_t row_bytes() const { return prepared_row_bytes(c_, type()); }
  int64_t rows_per_token() const { return each_ ? chosen_ : 1; }
  ir::RowOf row_of() const { return each_ ? ir::RowOf::head : ir::RowOf::token; }
  int64_t shared_rows() const {
    return sizes::shared_rows_bytes(rows_per_token(), shared_row_bytes(c_, type()));
  }
  // Where in shared memory waves of a block meet, behind the rows that it prepares.
  int64_t meeting_place(bool prepares) const {
    return prepares ? sizes::round_up(shared_rows(), 16) : 0;
  }
  int64_t meeting_bytes() const {
    return std::max<int64_t>(sizes::most_waves, chosen_) * kTileRows * 4;
  }
  std::string rows() const {
    const std::string tokens = c_.row_count(input());
    return each_ ? fmt::format("{} * {}", tokens, chosen_) : tokens;
  }

  // Every worker prepares the rows of the token for itself.
  absl::Status prepare(Emitter& e) {
    const auto code = declare_rows(c_, e, node_, input(), kept_, "launch->worker == 0", row_of());
    if (!code.ok()) return code.status();
    e.line("const auto prepared = prepare_rows<{}, {}>(launch, x);", form(), rows_per_token());
    if (c_.on_gpu()) {
      e.line("static_assert(shared_rows_bytes<{}, {}> == {});", form(), rows_per_token(),
             shared_rows());
    } else {
      c_.out.scratch_bytes = std::max(c_.out.scratch_bytes, row_bytes() * rows_per_token());
    }
    return absl::OkStatus();
  }

  // A phase before prepares the rows of all tokens.
  absl::Status read_prepared(Emitter& e) {
    const bool floats = multiplies_floats(type().format);
    // A GPU reads rows of floats 16 at a time from where they are.
    if (c_.on_gpu() && floats && type().cols() % 16 != 0)
      return absl::UnimplementedError(
          fmt::format("phase \"{}\": experts of {} columns have no kernel; a multiple of 16 has",
                      node_.label, type().cols()));
    Emitter p;
    const auto code = declare_rows(c_, p, node_, input(), kept_, "true", row_of());
    if (!code.ok()) return code.status();
    Buffer prepared = c_.buffer(input());
    if (!floats || code->plain < 0) {
      prepared = c_.temporary({row_bytes() * rows_per_token(), 0});
      p.line("write_rows<{}>(launch, {}, {}, x);", form(), p.pointer(prepared, "unsigned char"),
             rows());
      std::string what = code->ops;
      if (!floats) what += what.empty() ? "quantize" : ", quantize";
      LoweredPhase& phase =
          c_.finish(node_.label + ".input", p, what, fmt::format("rows of {}", type().cols()));
      phase.blocks = rows_per_token();
      phase.rows_per_block = 1;
      phase.shared_bytes = sizes::reduce_bytes();
    }
    e.line("const auto prepared = {}::at({}, {});", form(),
           e.pointer(prepared, "unsigned char", Access::read), rows());
    return absl::OkStatus();
  }

  // The products, what is done to each of them, and to their sum.
  absl::Status multiply(Emitter& e, bool prepares) {
    std::string weights;
    for (size_t i = 0; i < products_.size(); ++i) {
      const ValueId weight = products_[i]->operands[2];
      e.line("const auto w{} = [&]() __attribute__((always_inline)) {{", i);
      e.open();
      if (auto status = c_.declare_weights(e, weight, c_.module.weight(weight).shape[0]);
          !status.ok())
        return status;
      e.line("return w;");
      e.close();
      e.line("}}();");
      weights += fmt::format(", w{}", i);
    }
    const std::string common =
        fmt::format("<{}, {}, {}, {}>(launch, {}, ", form(), chosen_, each_, width_,
                    e.pointer(c_.buffer(products_[0]->operands[1]), "const i32"));
    if (sum_ == nullptr) {
      if (auto status = declare(e, "epilogue", results_, nullptr); !status.ok()) return status;
      e.line("gather_multiply{}{}prepared, {}, epilogue{});", common, meeting(prepares),
             c_.row_count(input()), weights);
      return absl::OkStatus();
    }
    if (auto status = declare(e, "term", {}, sum_); !status.ok()) return status;
    if (auto status = declare(e, "epilogue", results_, sum_); !status.ok()) return status;
    e.line("gather_sum{}{}, {}prepared, {}, term, epilogue{});", common,
           e.pointer(c_.buffer(sum_->operands[1]), "const float"), meeting(prepares),
           c_.row_count(input()), weights);
    return absl::OkStatus();
  }

  // The argument that says where waves meet.
  std::string meeting(bool prepares) const {
    if (!c_.on_gpu()) return "";
    return fmt::format("reinterpret_cast<float*>(shared_memory() + {}), ", meeting_place(prepares));
  }

  // A function of what the products give, or of their sum: it stores some values, or returns what
  // is summed. Where a token has one choice, its row is the token's, and may lie in either shape.
  absl::Status declare(Emitter& e, const std::string& name, const std::vector<ValueId>& stored,
                       const Node* sum) {
    const bool of_products = sum == nullptr || stored.empty();
    const auto leaf = [&](ValueId id, const ir::Runs& at) -> absl::StatusOr<std::string> {
      const Node* made = ir::find_definition(node_.body, id);
      if (made != nullptr && made->op == Op::gather_rows) return row_of_expert(e, *made, at);
      if (!of_products) return id == sum->results[0] ? "y0" : std::string();
      for (size_t i = 0; i < products_.size(); ++i)
        if (id == products_[i]->results[0]) return fmt::format("y{}", i);
      return std::string();
    };
    ElementwiseCode code(
        {c_.module, node_.body, leaf, [this](ValueId id) { return c_.buffer(id); },
         [](ValueId) { return std::string("row"); },
         of_products && chosen_ > 1 ? ir::RowOf::head : ir::RowOf::token, name + "_in"},
        e);
    std::vector<std::string> lines;
    for (const ValueId id : stored) {
      auto value = code.evaluate(id, ir::Runs(1, width_));
      if (!value.ok()) return value.status();
      const std::string out = fmt::format("out{}", lines.size());
      e.line("float* {} = {};", out, e.pointer(c_.buffer(id), "float"));
      lines.push_back(fmt::format("store({} + row * {} + col, {}, n);", out, width_, *value));
    }
    if (stored.empty()) {
      auto value = code.evaluate(sum->operands[0], ir::Runs(1, width_));
      if (!value.ok()) return value.status();
      lines.push_back(fmt::format("return {};", *value));
    }
    std::string ys;
    for (size_t i = 0; i < (of_products ? products_.size() : 1); ++i)
      ys += fmt::format(", Lanes y{}", i);
    e.line("const auto {} = [=](index row, index col, index n{}) __attribute__((always_inline)) {{",
           name, ys);
    e.open();
    for (const std::string& statement : code.statements()) e.line("{}", statement);
    for (const std::string& line : lines) e.line("{}", line);
    e.close();
    e.line("}};");
    return absl::OkStatus();
  }

  // Lanes of the row that the expert of a choice has in a vector.
  absl::StatusOr<std::string> row_of_expert(Emitter& e, const Node& rows, const ir::Runs& at) {
    if (at.offset() != 0 || at.stride() != at.length())
      return absl::UnimplementedError("[gather_rows] is read in parts");
    auto vector = c_.vector_pointer(e, rows.operands[1]);
    if (!vector.ok()) return vector.status();
    return fmt::format("load({} + index{{{}[row]}} * {} + col)", *vector,
                       e.pointer(c_.buffer(rows.operands[0]), "const i32"), rows.integer("width"));
  }

  RegionContext& c_;
  const Node& node_;
  std::vector<const Node*> products_;  // of one input, by one choice, with matrices of one type
  const Node* sum_ = nullptr;          // over a token's choices
  std::vector<ValueId> kept_;          // rows of the prologue that others read too
  std::vector<ValueId> results_;
  int64_t chosen_ = 1;
  int64_t width_ = 0;  // rows of a matrix
  bool each_ = false;  // a row of the input for each choice, not for each token
};

}  // namespace

// Products with the matrices that a router chose, with the work on rows before them, what is done
// to them lane by lane, and their weighted sum.
absl::Status lower_experts(RegionContext& c, const Node& node) {
  return ExpertsLowerer(c, node).run();
}

}  // namespace sinter::codegen
