#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
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

// Columns of a row, for each bit of a weight, from which on it is better that the phase which has
// its heads prepares it for the product. What that phase does last, all wait for: with 4 bits and
// 2,048 columns (Llama-3.2-1B) an H200 made 1 % fewer tokens.
constexpr int64_t kColumnsToShare = 2048;

// Columns of a row from which on it is better that it is rotated before the product than by every
// block of it: the least that was measured (27B). A launch takes as long as rotating some thousand.
constexpr int64_t kColumnsToRotateApart = 5120;

// A product of the phase, and what its epilogue leaves.
struct Product {
  const Node* op = nullptr;
  ValueId result = -1;
  int64_t out_width = 0;
  int64_t parts = 1;  // of the matrix, which meet in the epilogue

  ValueId input() const { return op->operands[0]; }
  ValueId weight() const { return op->operands[1]; }
};

// What a body consists of: work on rows, then products, each followed by its epilogue.
struct Products {
  std::vector<Product> products;
  std::vector<ValueId> kept;  // rows of the prologue that others read too
};

absl::StatusOr<Products> products_of(const RegionContext& c, const Node& node) {
  Products out;
  for (const Node& inner : node.body) {
    if (inner.op == Op::matmul) out.products.push_back({.op = &inner});
    const ValueId id = inner.results[0];
    if (std::find(node.results.begin(), node.results.end(), id) == node.results.end()) continue;
    if (out.products.empty()) {
      out.kept.push_back(id);
      continue;
    }
    Product& product = out.products.back();
    if (product.result >= 0)
      return absl::InternalError(
          fmt::format("phase \"{}\": a product has two results", node.label));
    product.result = id;
    product.out_width = c.width(id);
  }
  if (out.products.empty())
    return absl::InternalError(fmt::format("phase \"{}\" is no product", node.label));
  for (Product& product : out.products) {
    if (product.result < 0 || product.input() != out.products[0].input())
      return absl::InternalError(
          fmt::format("phase \"{}\": its products have no result, or other inputs", node.label));
    if (!c.module.is_weight(product.weight()))
      return absl::UnimplementedError("[matmul] of dequantized weights; run fold_dequantize");
    product.parts = c.module.weight(product.weight()).rows() / product.out_width;
  }
  return out;
}

// Declares `epilogue`, which stores what the ops behind a product make of it.
absl::Status declare_epilogue(RegionContext& c, Emitter& e, const Node& node,
                              const Product& product) {
  const auto leaf = [&](ValueId value, const ir::Runs& at) -> absl::StatusOr<std::string> {
    if (value != product.op->results[0]) return std::string();
    if (at.stride() != at.length())
      return absl::InternalError(
          fmt::format("phase \"{}\": its epilogue reads parts of a row", node.label));
    return fmt::format("y{}", at.offset() / product.out_width);
  };
  ElementwiseCode code({c.module, node.body, leaf, [&c](ValueId id) { return c.buffer(id); },
                        [&c](ValueId id) { return c.row_of(id); }},
                       e);
  auto value = code.evaluate(product.result, ir::Runs(1, product.out_width));
  if (!value.ok()) return value.status();
  e.line("float* out = {};", e.pointer(c.buffer(product.result), "float"));
  const std::string ys = product.parts == 1 ? "Lanes y0" : "Lanes y0, Lanes y1";
  e.line(
      "const auto epilogue = [=](index row, index col, index n, {}) "
      "__attribute__((always_inline)) {{",
      ys);
  e.open();
  for (const std::string& statement : code.statements()) e.line("{}", statement);
  e.line("store(out + {} * {} + col, {}, n);", c.row_of_result(product.result), product.out_width,
         *value);
  e.close();
  e.line("}};");
  return absl::OkStatus();
}

class MatmulLowerer {
 public:
  MatmulLowerer(RegionContext& c, const Node& node, Products products, const EmitMore& then)
      : c_(c),
        node_(node),
        products_(std::move(products)),
        then_(then),
        type_(c.module.weight(products_.products[0].weight())),
        rows_form_(rows_type(type_, c.planes(), rows_together(c))),
        floats_(multiplies_floats(type_.format)),
        row_bytes_(prepared_row_bytes(c, type_)) {}

  absl::Status run() {
    if (auto status = c_.declare_vectors(node_); !status.ok()) return status;
    if (auto status = c_.one_row() ? one_row() : many_rows(); !status.ok()) return status;
    if (floats_ && c_.one_row())
      for (const Product& product : products_.products)
        c_.remarks.push_back(
            {"lower", false, c_.module.value(product.weight()).name,
             fmt::format("{} weights: multiplied in float32, whatever the activation mode",
                         type_.format.is_dense() ? "dense" : "fp8")});
    return absl::OkStatus();
  }

 private:
  const ir::WeightType& type(const Product& product) const {
    return c_.module.weight(product.weight());
  }
  GpuShape shape(const Product& product) const {
    return gpu_shape(c_, type(product), product.out_width);
  }

  // Every worker has the rows; the first writes those that are kept.
  absl::Status declare_prologue(Emitter& e) {
    const auto code = declare_rows(c_, e, node_, products_.products[0].input(), products_.kept,
                                   "launch->worker == 0");
    if (!c_.on_gpu()) c_.out.scratch_bytes = std::max(c_.out.scratch_bytes, row_bytes_);
    return code.status();
  }

  absl::Status one_row() {
    Emitter e;
    const std::vector<Product>& products = products_.products;
    const auto prologue = [&]() -> absl::Status {
      if (!prepares_alone()) return declare_prologue(e);
      auto prepared = prepare();
      if (!prepared.ok()) return prepared.status();
      declare_prepared(e, *prepared);
      return absl::OkStatus();
    };
    if (products.size() == 1) {
      if (auto status = c_.declare_weights(e, products[0].weight(), products[0].parts);
          !status.ok())
        return status;
      if (auto status = prologue(); !status.ok()) return status;
      if (auto status = declare_epilogue(c_, e, node_, products[0]); !status.ok()) return status;
      call_one_row(e, products[0], "launch");
    } else if (auto status = several(e, prologue); !status.ok()) {
      return status;
    }
    if (then_)
      if (auto status = then_(e); !status.ok()) return status;
    finish(e, node_.label, products);
    LoweredPhase& phase = c_.lowered.phases.back();
    // With a rotation a thread would take so many registers that half as many blocks fit.
    using Kernel = LoweredPhase::Kernel;
    if (c_.on_gpu() && !then_) phase.kernel = rotated_run() > 0 ? Kernel::paired : Kernel::early;
    if (!c_.on_gpu()) phase.scratch_bytes = row_bytes_;
    return absl::OkStatus();
  }

  void call_one_row(Emitter& e, const Product& product, std::string_view launch) {
    if (c_.on_gpu())
      e.line("static_assert(one_row_shared_bytes<{}> <= {});", rows_form_,
             shape(product).shared_bytes);
    e.line("matmul_one_row<{}, {}, {}>({}, w, x, {}epilogue);", rows_form_, product.parts,
           product.out_width, launch, handed(e, product));
  }

  // Products of one launch have places of their own.
  std::string handed(Emitter& e, const Product& product) {
    const auto number = &product - products_.products.data();
    return handed_sums(c_, e, type(product), product.parts, product.out_width, number);
  }

  void call_many_rows(Emitter& e, const Product& product) {
    if (c_.on_gpu() && c_.few_rows()) {
      const int64_t form = few_rows_form(c_);
      e.line("static_assert(few_shared_bytes<{}, Weights, {}, {}> <= {});", rows_form_, form,
             product.parts, shape(product).shared_bytes);
      e.line("multiply_few<{}, {}, {}>(launch, w, x, {}epilogue);", form, product.parts,
             product.out_width, handed(e, product));
      return;
    }
    if (c_.on_gpu())
      e.line("static_assert(tile_shared_bytes<{}> <= {});", rows_form_,
             shape(product).shared_bytes);
    e.line("multiply<{}, {}>(launch, w, x, epilogue);", product.parts, product.out_width);
  }

  // On a GPU every product has blocks of its own; on the host all workers take their share of one
  // after another, with the row that they prepared once.
  absl::Status several(Emitter& e, const std::function<absl::Status()>& prologue) {
    if (auto status = prologue(); !status.ok()) return status;
    if (!c_.on_gpu()) e.line("const auto prepared = prepare_row<{}>(launch, x);", rows_form_);
    // In proportion to the bytes that they read.
    const auto share = [&](const Product& product) { return type(product).packed_bytes() / 64; };
    int64_t all = 0;
    int64_t before = 0;
    for (const Product& product : products_.products) all += share(product);
    for (const Product& product : products_.products) {
      if (c_.on_gpu()) {
        e.line("if (const Launch mine = part_of(launch, {}, {}, {}); takes_part(mine)) {{", before,
               share(product), all);
      } else {
        e.line("{{");
      }
      e.open();
      if (auto status = c_.declare_weights(e, product.weight(), product.parts); !status.ok())
        return status;
      if (auto status = declare_epilogue(c_, e, node_, product); !status.ok()) return status;
      if (c_.on_gpu()) {
        call_one_row(e, product, "&mine");
        e.line("barrier();  // a block that has several products uses its shared memory again");
      } else {
        e.line("multiply<{}, {}>(launch, w, prepared, epilogue);", product.parts,
               product.out_width);
      }
      e.close();
      e.line("}}");
      before += share(product);
    }
    return absl::OkStatus();
  }

  // Whether one row is prepared before the product, rather than by every block of it: by the phase
  // that has its heads, or by a phase of its own. That pays where there is much to prepare for each
  // weight that a block reads, and blocks can share the work. On an H200, tokens/s with and
  // without: 1 bit, 6,144 columns (Bonsai-1.7B) 1,854, 1,828; 17,408 (27B) 364, 345; 4 bits, 8,192
  // (Llama-3.2-1B) 2,422, 2,450; and rows of 5,120 that are normalized, which one block does, 350
  // for the 364. Rows of 5,120 and more that are rotated: 241 for 232 (ternary 27B), of which a
  // rotation by every block takes 2 us, and 4 us together with a norm.
  bool prepares_alone() const {
    if (!c_.on_gpu() || floats_ || type_.format.group == 0) return false;
    if (c_.prepared.contains(products_.products[0].input())) return true;
    if (rotated_run() > 0 && type_.cols() >= kColumnsToRotateApart) return true;
    for (const Node& inner : node_.body)
      if (ir::is_by_row(inner.op) && inner.op != Op::rotate) return false;
    return type_.cols() >= 2 * kColumnsToShare * type_.format.level_bits();
  }

  void declare_prepared(Emitter& e, const Buffer& prepared) {
    e.line("const auto x = {}::at({}, {});", rows_form_,
           e.pointer(prepared, "unsigned char", Access::read),
           c_.row_count(products_.products[0].result));
  }

  // The input of products of many rows: the prologue is a phase of its own; dense weights read
  // plain rows where they are.
  absl::StatusOr<Buffer> prepare() {
    const ValueId input = products_.products[0].input();
    Emitter p;
    const auto code = declare_rows(c_, p, node_, input, products_.kept, "true");
    if (!code.ok()) return code.status();
    const bool plain = code->plain >= 0;
    if (plain) {
      if (const auto found = c_.prepared.find(input); found != c_.prepared.end())
        return found->second;
      if (floats_) return c_.buffer(input);
    }
    const Buffer prepared = c_.temporary({row_bytes_, 0});
    const int64_t run = c_.one_row() ? rotated_run() : 0;
    if (run > 0) {
      p.line("write_row_by_runs<{}>(launch, {}, x);", rows_form_,
             p.pointer(prepared, "unsigned char"));
    } else {
      p.line("write_rows<{}>(launch, {}, {}, x);", rows_form_, p.pointer(prepared, "unsigned char"),
             c_.row_count(products_.products[0].result));
    }
    std::string what = code->ops;
    if (!floats_) what += plain ? "quantize" : ", quantize";
    LoweredPhase& phase =
        c_.finish(node_.label + ".input", p, what, fmt::format("rows of {}", type_.cols()));
    phase.rows_per_block = c_.one_row() ? 0 : 1;
    phase.shared_bytes = sizes::reduce_bytes() + 4 * run;
    if (c_.on_gpu()) phase.kernel = LoweredPhase::Kernel::early;
    if (c_.on_gpu() && (c_.one_row() || c_.few_rows()) && !floats_)
      phase.blocks = run > 0 ? (type_.cols() + run - 1) / run : parts_of_row(plain);
    return prepared;
  }

  absl::Status many_rows() {
    const auto prepared = prepare();
    if (!prepared.ok()) return prepared.status();
    for (const Product& product : products_.products) {
      Emitter e;
      if (auto status = c_.declare_weights(e, product.weight(), product.parts); !status.ok())
        return status;
      declare_prepared(e, *prepared);
      if (auto status = declare_epilogue(c_, e, node_, product); !status.ok()) return status;
      call_many_rows(e, product);
      finish(e, products_.products.size() == 1 ? node_.label : product.op->label, {product});
      if (c_.on_gpu() && c_.few_rows())
        c_.lowered.phases.back().kernel = LoweredPhase::Kernel::early;
    }
    return absl::OkStatus();
  }

  // Columns that are rotated together, at least as many as a wave has; 0: none are.
  int64_t rotated_run() const {
    int64_t run = 0;
    for (const Node& inner : node_.body)
      if (inner.op == Op::rotate) run = std::max({run, int64_t{256}, inner.integer("block")});
    return c_.on_gpu() ? run : 0;
  }

  // Blocks that a row of codes is divided among (QuantizedRows::parts), on the GPU with the most: a
  // plain one in parts of 2,048 columns; one that is only rotated, in blocks that take a wave
  // several rounds, in parts of one to each of four waves.
  int64_t parts_of_row(bool plain) const {
    if (plain) return (type_.cols() + 2047) / 2048;
    int64_t block = 0;
    for (const Node& inner : node_.body) {
      if (!ir::is_by_row(inner.op)) continue;
      if (inner.op != Op::rotate) return 1;
      block = std::max(block, inner.integer("block"));
    }
    return block < 512 || type_.format.group == 0 ? 1
                                                  : (type_.cols() + 4 * block - 1) / (4 * block);
  }

  // Appends the phase of some of the products.
  void finish(const Emitter& e, const std::string& label, const std::vector<Product>& products) {
    std::string summary;
    for (const Product& product : products)
      summary += fmt::format("{}{} x {} {}", summary.empty() ? "" : " and ", type(product).rows(),
                             type(product).cols(), ir::to_string(type(product).format));
    LoweredPhase& phase = c_.finish(label, e, ops_of(node_), std::move(summary));
    if (c_.on_gpu()) phase.blocks = 0;
    for (const Product& product : products) {
      phase.weight_bytes += type(product).packed_bytes();
      phase.macs += static_cast<double>(type(product).elements());
      if (!c_.on_gpu()) continue;
      phase.blocks += shape(product).blocks;
      phase.rows_per_block = shape(product).rows_per_block;
      phase.shared_bytes = std::max(phase.shared_bytes, shape(product).shared_bytes);
    }
  }

  RegionContext& c_;
  const Node& node_;
  const Products products_;
  const EmitMore& then_;        // for one row: what the phase goes on with
  const ir::WeightType& type_;  // of the first: all multiply rows of one form
  const std::string rows_form_;
  const bool floats_;
  const int64_t row_bytes_;
};

}  // namespace

std::optional<RowsForm> rows_form_of_readers(const RegionContext& c, ValueId value, int64_t span) {
  std::optional<RowsForm> form;
  for (const Node& node : c.module.nodes) {
    const std::vector<ValueId> inputs = ir::inputs_of(node);
    if (std::find(inputs.begin(), inputs.end(), value) == inputs.end()) continue;
    if (!ir::is_region(node, ir::RegionKind::matmul)) return std::nullopt;
    const auto products = products_of(c, node);
    if (!products.ok() || products->products[0].input() != value) return std::nullopt;
    for (const Node& inner : node.body)
      for (size_t i = 0; i < inner.operands.size(); ++i)
        if (inner.operands[i] == value && (inner.op != Op::matmul || i != 0)) return std::nullopt;
    const ir::WeightType& type = c.module.weight(products->products[0].weight());
    const int64_t columns = kernel_type(type).cols();
    if (multiplies_floats(type.format) || type.format.group == 0 || columns != c.width(value) ||
        columns % sizes::gpu_block != 0 || span % dot_group(kernel_type(type)) != 0 ||
        (c.one_row() && columns < kColumnsToShare * type.format.level_bits()))
      return std::nullopt;
    RowsForm its{rows_type(type, c.planes(), rows_together(c)), prepared_row_bytes(c, type)};
    if (form && *form != its) return std::nullopt;
    form = std::move(its);
  }
  return form;
}

absl::Status lower_products(RegionContext& c, const Node& node, const EmitMore& then) {
  auto products = products_of(c, node);
  if (!products.ok()) return products.status();
  return MatmulLowerer(c, node, *std::move(products), then).run();
}

absl::Status lower_matmul(RegionContext& c, const Node& node) {
  return lower_products(c, node, {});
}

}  // namespace sinter::codegen
