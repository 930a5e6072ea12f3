#include "tests/codegen/attention_models.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "ir/ops.h"

namespace sinter::codegen::test {

using ir::Op;
using ir::ValueId;

namespace {

ValueId table_of(ModelBuilder& b, int64_t dims) {
  std::vector<float> frequencies;
  for (int64_t i = 0; i < dims / 2; ++i)
    frequencies.push_back(static_cast<float>(
        std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(dims))));
  return b.add("table", Op::rope_table, {b.constant("frequencies", frequencies), b.tokens()});
}

ValueId slice(ModelBuilder& b, const std::string& label, ValueId x, int64_t begin, int64_t end) {
  return b.add(label, Op::slice, {x}, {{"begin", begin}, {"end", end}});
}

ValueId attend(ModelBuilder& b, ValueId q, ValueId k, ValueId v, int64_t count, int64_t dim,
               int64_t v_dim, ir::DType format) {
  const ValueId keys = b.state("keys", count, dim, format);
  const ValueId values = b.state("values", count, v_dim, format);
  b.add("append_k", Op::kv_append, {keys, k});
  b.add("append_v", Op::kv_append, {values, v});
  return b.add("attention", Op::attention, {q, keys, values},
               {{"scale", 1 / std::sqrt(static_cast<double>(dim))}});
}
ValueId attend(ModelBuilder& b, ValueId q, ValueId k, ValueId v, int64_t count, int64_t dim) {
  return attend(b, q, k, v, count, dim, dim, ir::DType::f16);
}

}  // namespace

size_t phases_of(const TestModel& model, std::string_view kind) {
  return static_cast<size_t>(
      std::count_if(model.module.nodes.begin(), model.module.nodes.end(),
                    [&](const ir::Node& node) { return node.text("kind", "") == kind; }));
}

std::vector<TestModel> cut_heads() {
  using ir::Dim;
  std::vector<TestModel> models;
  {
    // Of heads of 40 features the last 24, of heads of 31 the middle 24, of rows the end.
    ModelBuilder b("attention_cut_heads");
    const ValueId row = b.rows("row", 3 + 4 * 40 + 2 * 31 + 2 * 24);
    const ValueId q40 = b.reshape("q40", slice(b, "q_row", row, 3, 163), {Dim::of('T'), 4, 40});
    const ValueId k31 = b.reshape("k31", slice(b, "k_row", row, 163, 225), {Dim::of('T'), 2, 31});
    const ValueId v = b.reshape("v", slice(b, "v_row", row, 225, 273), {Dim::of('T'), 2, 24});
    models.push_back(
        b.finish(attend(b, slice(b, "q", q40, 16, 40), slice(b, "k", k31, 5, 29), v, 2, 24)));
  }
  {
    // Each KV head's q, k and v side by side; the slices overlap and the values come first.
    ModelBuilder b("attention_grouped_heads");
    const ValueId heads = b.reshape("heads", b.rows("row", 3 * 50), {Dim::of('T'), 3, 50});
    models.push_back(b.finish(attend(b, slice(b, "q", heads, 32, 48), slice(b, "k", heads, 17, 33),
                                     slice(b, "v", heads, 1, 17), 3, 16)));
  }
  {
    // A slice of a slice, by way of a row: heads 1..2 of 4, features 8..23 of 32; norm and
    // rotation.
    ModelBuilder b("attention_slice_of_slice");
    const ValueId row = b.rows("row", 128);
    const ValueId part = b.reshape("part", row, {Dim::of('T'), 4, 32});
    const ValueId wide = slice(b, "wide", part, 4, 28);
    const ValueId flat = b.reshape("flat", wide, {Dim::of('T'), 96});
    const ValueId two = slice(b, "two", flat, 24, 72);
    const ValueId heads = b.reshape("two_heads", two, {Dim::of('T'), 2, 24});
    const ValueId table = table_of(b, 16);
    const auto turned = [&](const std::string& label) {
      const ValueId x = slice(b, label, heads, 4, 20);
      const ValueId y =
          b.add(label, Op::rms_norm, {x, b.vector(label + "_norm", 16)}, {{"eps", 1e-6}});
      return b.add(label, Op::rope, {y, table});
    };
    models.push_back(
        b.finish(attend(b, turned("q"), turned("k"), slice(b, "v", heads, 0, 16), 2, 16)));
  }
  return models;
}

TestModel unequal_heads() {
  using ir::Dim;
  ModelBuilder b("attention_unequal");
  // Two KV heads, each with its three query heads, key and value behind one another.
  const ValueId heads = b.reshape("heads", b.rows("row", 2 * 5 * 16), {Dim::of('T'), 2, 80});
  const ValueId q = b.reshape("q", slice(b, "q_group", heads, 0, 48), {Dim::of('T'), 6, 16});
  return b.finish(attend(b, q, slice(b, "k", heads, 48, 64), slice(b, "v", heads, 64, 80), 2, 16));
}

std::vector<TestModel> norms_of_heads() {
  using ir::Dim;
  std::vector<TestModel> models;
  for (const bool interleaved : {false, true}) {
    ModelBuilder b(fmt::format("attention_norm_after_rope_{}", interleaved));
    const ValueId row = b.rows("row", 3 * 40 + 2 * 40);
    const ValueId table = table_of(b, interleaved ? 40 : 24);
    const auto turned = [&](const std::string& label, int64_t begin, int64_t heads) {
      const ValueId x = b.reshape(label, slice(b, label, row, begin, begin + heads * 40),
                                  {Dim::of('T'), heads, 40});
      const ValueId y = b.add(label, Op::rope, {x, table},
                              {{"style", std::string(interleaved ? "interleaved" : "half")},
                               {"begin", int64_t{interleaved ? 0 : 9}}});
      return b.add(label, Op::rms_norm, {y, b.vector(label + "_norm", 40, ir::DType::f16)},
                   {{"eps", 1e-5}});
    };
    const ValueId v = b.reshape("v", slice(b, "v", row, 160, 200), {Dim::of('T'), 1, 40});
    models.push_back(b.finish(attend(b, turned("q", 0, 3), turned("k", 120, 1), v, 1, 40)));
  }
  {
    ModelBuilder b("attention_row_norms");
    const ValueId row = b.rows("row", 8 + 6 * 24 + 2 * 2 * 24);
    const ValueId table = table_of(b, 24);
    const auto turned = [&](const std::string& label, int64_t begin, int64_t heads) {
      const ValueId x = slice(b, label, row, begin, begin + heads * 24);
      const ValueId y =
          b.add(label, Op::rms_norm, {x, b.vector(label + "_norm", heads * 24)}, {{"eps", 1e-6}});
      return b.add(label, Op::rope, {b.reshape(label, y, {Dim::of('T'), heads, 24}), table});
    };
    const ValueId v = b.reshape("v", slice(b, "v", row, 200, 248), {Dim::of('T'), 2, 24});
    models.push_back(b.finish(attend(b, turned("q", 8, 6), turned("k", 152, 2), v, 2, 24)));
  }
  {
    // One norm over q and k together has two readers: it is a phase of its own.
    ModelBuilder b("attention_norm_of_both");
    const ValueId both =
        b.add("norm", Op::rms_norm,
              {slice(b, "qk", b.rows("row", 70), 3, 67), b.vector("norm", 64)}, {{"eps", 1e-6}});
    const ValueId q = b.reshape("q", slice(b, "q", both, 16, 64), {Dim::of('T'), 3, 16});
    const ValueId k = b.reshape("k", slice(b, "k", both, 0, 16), {Dim::of('T'), 1, 16});
    const ValueId v = b.reshape("v", b.rows("value", 16), {Dim::of('T'), 1, 16});
    models.push_back(b.finish(attend(b, q, k, v, 1, 16)));
  }
  return models;
}

std::vector<TestModel> further_norms() {
  using ir::Dim;
  enum class Norm { of_heads, of_rotated, of_row };
  std::vector<TestModel> models;
  const auto add = [&](Norm norm, int64_t heads, int64_t kv_heads, int64_t dim, int64_t v_dim,
                       ir::DType format, bool weight, bool keys_are_values = false) {
    ModelBuilder b(fmt::format("attention_norms_{}_h{}_kv{}_d{}_{}_{}{}{}", static_cast<int>(norm),
                               heads, kv_heads, dim, v_dim, ir::name(format),
                               weight ? "_weight" : "", keys_are_values ? "_same" : ""));
    const ValueId row = b.rows("row", (heads + kv_heads) * dim + kv_heads * v_dim);
    const ValueId table = table_of(b, 16);
    const auto rms = [&](const std::string& label, ValueId x) {
      return b.add(label, Op::rms_norm, {x}, {{"eps", 1e-6}});
    };
    const auto turned = [&](const std::string& label, int64_t begin, int64_t count) {
      ValueId x = slice(b, label, row, begin, begin + count * dim);
      if (norm == Norm::of_row) x = rms(label, x);
      x = b.reshape(label, x, {Dim::of('T'), count, dim});
      if (norm == Norm::of_heads) x = rms(label, x);
      x = b.add(label, Op::rope, {x, table});
      return norm == Norm::of_rotated ? rms(label, x) : x;
    };
    const ValueId q = turned("q", 0, heads);
    const ValueId k = turned("k", heads * dim, kv_heads);
    const int64_t begin = (heads + (keys_are_values ? 0 : kv_heads)) * dim;
    const ValueId v = b.reshape("v", slice(b, "v", row, begin, begin + kv_heads * v_dim),
                                {Dim::of('T'), kv_heads, v_dim});
    const ValueId normal =
        weight ? b.add("v_norm", Op::rms_norm, {v, b.vector("v_norm", v_dim, ir::DType::bf16)},
                       {{"eps", 1e-6}})
               : rms("v_norm", v);
    models.push_back(b.finish(attend(b, q, k, normal, kv_heads, dim, v_dim, format)));
  };
  add(Norm::of_heads, 4, 2, 64, 64, ir::DType::f16, false);
  add(Norm::of_rotated, 3, 1, 40, 24, ir::DType::q8, true);
  add(Norm::of_row, 4, 2, 16, 37, ir::DType::f32, false);
  add(Norm::of_heads, 2, 1, 144, 144, ir::DType::q4, true);
  add(Norm::of_heads, 2, 1, 32, 32, ir::DType::f16, false, true);
  return models;
}

std::vector<TestModel> concatenated_keys() {
  using ir::Dim;
  struct Case {
    int64_t heads, own, shared, v_dim;
    ir::DType format;
    bool each = false;  // heads have features of their own there, too
    bool rotated = true;
    bool apart = false;  // the shared features come from another phase
  };
  std::vector<TestModel> models;
  for (const Case& of : {Case{4, 16, 16, 24, ir::DType::f16}, Case{3, 24, 8, 32, ir::DType::q8},
                         Case{2, 128, 64, 128, ir::DType::f16, false, true, true},
                         Case{3, 31, 10, 7, ir::DType::f32, true},
                         Case{5, 40, 24, 40, ir::DType::q4, false, false}}) {
    ModelBuilder b(fmt::format("attention_concat_h{}_{}_{}_{}_{}{}{}{}", of.heads, of.own,
                               of.shared, of.v_dim, ir::name(of.format), of.each ? "_each" : "",
                               of.rotated ? "" : "_still", of.apart ? "_apart" : ""));
    const int64_t dim = of.own + of.shared;
    const int64_t shared_heads = of.each ? of.heads : 1;
    const int64_t at_kv = of.heads * dim;
    const int64_t at_shared = at_kv + of.heads * (of.own + of.v_dim);
    const ValueId row = b.rows("row", at_shared + shared_heads * of.shared);
    const ValueId table = table_of(b, of.shared);
    const auto turned = [&](const std::string& label, ValueId x) {
      if (!of.rotated) return x;
      return b.add(label, Op::rope, {x, table},
                   {{"style", std::string("interleaved")}, {"begin", of.own}});
    };
    const ValueId q = b.reshape("q", slice(b, "q", row, 0, at_kv), {Dim::of('T'), of.heads, dim});
    const ValueId kv = b.reshape("kv", slice(b, "kv", row, at_kv, at_shared),
                                 {Dim::of('T'), of.heads, of.own + of.v_dim});
    const int64_t end = at_shared + shared_heads * of.shared;
    const ValueId shared = b.reshape(
        "shared", of.apart ? b.rows("other", of.shared) : slice(b, "shared", row, at_shared, end),
        {Dim::of('T'), shared_heads, of.shared});
    const ValueId k = b.add("k", Op::concat, {slice(b, "k", kv, 0, of.own), shared});
    const ValueId v = slice(b, "v", kv, of.own, of.own + of.v_dim);
    models.push_back(b.finish(attend(b, turned("q_rope", q), turned("k_rope", k), v, of.heads, dim,
                                     of.v_dim, of.format)));
  }
  return models;
}

std::vector<TestModel> growing_queries() {
  using ir::Dim;
  std::vector<TestModel> models;
  for (const bool turns : {true, false}) {
    ModelBuilder b(fmt::format("attention_growing_{}", turns));
    const ValueId row = b.rows("row", 3 * 40 + 2 * 40);
    const ValueId frequencies = b.constant(
        "growing", turns ? std::vector<float>{1.0F, 0.1F, 0.01F} : std::vector<float>(20, 0.0F));
    const ValueId growing = b.add(
        "growing", Op::rope_table, {frequencies, b.tokens()},
        {{"log_scale", 0.5}, {"log_period", int64_t{5}}, {"log_offset", int64_t{turns ? 0 : 1}}});
    ValueId q = b.reshape("q", slice(b, "q", row, 0, 120), {Dim::of('T'), 3, 40});
    q = b.add("q", Op::rms_norm, {q, b.vector("q_norm", 40)}, {{"eps", 1e-6}});
    q = b.add("q", Op::rope, {q, growing});
    ValueId k = b.reshape("k", slice(b, "k", row, 120, 160), {Dim::of('T'), 1, 40});
    if (turns) {
      const ValueId plain =
          b.add("plain", Op::rope_table, {b.constant("plain", {1.0F, 0.1F, 0.01F}), b.tokens()});
      k = b.add("k", Op::rope, {k, plain});
    }
    const ValueId v = b.reshape("v", slice(b, "v", row, 160, 200), {Dim::of('T'), 1, 40});
    models.push_back(b.finish(attend(b, q, k, v, 1, 40)));
  }
  return models;
}

std::vector<TestModel> shared_caches() {
  using ir::Dim;
  struct Case {
    int64_t heads, kv_heads, dim, v_dim;
    ir::DType format;
    int64_t window;  // in a ring; 0: none
  };
  std::vector<TestModel> models;
  for (const Case& of :
       {Case{4, 2, 64, 64, ir::DType::f16, 0}, Case{5, 1, 40, 24, ir::DType::q8, 0},
        Case{2, 1, 144, 144, ir::DType::f32, 37}, Case{3, 1, 48, 48, ir::DType::q4, 20}}) {
    ModelBuilder b(fmt::format("attention_shared_h{}_kv{}_d{}_{}_{}_w{}", of.heads, of.kv_heads,
                               of.dim, of.v_dim, ir::name(of.format), of.window));
    const int64_t q_width = of.heads * of.dim;
    const int64_t row_width = 2 * q_width + of.kv_heads * (of.dim + of.v_dim);
    const ValueId row = b.rows("row", row_width);
    const ValueId table = table_of(b, 16);
    const auto turned = [&](const std::string& label, ValueId x, int64_t heads) {
      const ValueId y = b.reshape(label, x, {Dim::of('T'), heads, of.dim});
      const ValueId z =
          b.add(label, Op::rms_norm, {y, b.vector(label + "_norm", of.dim)}, {{"eps", 1e-6}});
      return b.add(label, Op::rope, {z, table});
    };
    const int64_t at_k = 2 * q_width;
    const int64_t at_v = at_k + of.kv_heads * of.dim;
    const ValueId k = turned("k", slice(b, "k", row, at_k, at_v), of.kv_heads);
    const ValueId v =
        b.reshape("v", slice(b, "v", row, at_v, row_width), {Dim::of('T'), of.kv_heads, of.v_dim});
    const auto cache = [&](const char* name, int64_t width) {
      return of.window > 0 ? b.ring(name, of.kv_heads, of.window, width, of.format)
                           : b.state(name, of.kv_heads, width, of.format);
    };
    const ValueId keys = cache("keys", of.dim);
    const ValueId values = cache("values", of.v_dim);
    b.add("append_k", Op::kv_append, {keys, k});
    b.add("append_v", Op::kv_append, {values, v});
    const auto attention = [&](const std::string& label, ValueId q) {
      return b.add(label, Op::attention, {q, keys, values},
                   {{"scale", 1 / std::sqrt(static_cast<double>(of.dim))}, {"window", of.window}});
    };
    const ValueId first = attention("first", turned("q", slice(b, "q", row, 0, q_width), of.heads));
    const ValueId second =
        attention("second", turned("r", slice(b, "r", row, q_width, 2 * q_width), of.heads));
    const ValueId both = b.add("both", Op::add, {first, second});
    const ValueId product =
        b.add("product", Op::matmul,
              {both, b.matrix("product", q_width, of.heads * of.v_dim, dense(ir::DType::f16))});
    models.push_back(b.finish(attention("third", turned("s", product, of.heads))));
  }
  return models;
}

namespace {

// Products, norms and residuals around attention, as families of models arrange them.
class Layer {
 public:
  explicit Layer(const std::string& name) : b(name) {}

  ValueId product(const std::string& label, ValueId x, int64_t rows, int64_t cols) {
    const ir::WeightFormat format = affine(4, 32, ir::DType::f16);
    return b.add(label, Op::matmul, {x, b.matrix(label + "_w", rows, cols, format)});
  }
  ValueId norm(const std::string& label, ValueId x, int64_t width) {
    return b.add(label, Op::rms_norm, {x, b.vector(label + "_w", width)}, {{"eps", 1e-6}});
  }
  ValueId heads(const std::string& label, ValueId x, int64_t count) {
    return b.reshape(label, x, {ir::Dim::of('T'), count, kDim});
  }
  ValueId rope(const std::string& label, ValueId x) {
    if (table_ < 0) table_ = table_of(b, kDim);
    return b.add(label, Op::rope, {x, table_});
  }
  ValueId add(const std::string& label, ValueId x, ValueId y) {
    return b.add(label, Op::add, {x, y});
  }
  ValueId gated(ValueId x) {
    const ValueId gate = product("gate", x, 160, kWidth);
    const ValueId up = product("up", x, 160, kWidth);
    return b.add("act", Op::mul, {b.add("silu", Op::silu, {gate}), up});
  }

  static constexpr int64_t kDim = 24, kWidth = 96;
  ModelBuilder b;

 private:
  ValueId table_ = -1;
};

// Post-norms, and norms of q and k over the whole row (OLMo 2): five phases.
TestModel post_norms() {
  Layer l("layer_post_norms");
  const ValueId x = l.b.rows("x", Layer::kWidth);
  const auto turned = [&](const std::string& label, int64_t count) {
    const ValueId y = l.norm(label + "_norm", l.product(label, x, count * 24, 96), count * 24);
    return l.rope(label, l.heads(label, y, count));
  };
  const ValueId q = turned("q", 4);
  const ValueId k = turned("k", 2);
  const ValueId v = l.heads("v", l.product("v", x, 48, 96), 2);
  const ValueId o = l.product("o", attend(l.b, q, k, v, 2, 24), 96, 96);
  const ValueId h = l.add("h", x, l.norm("o_norm", o, 96));
  const ValueId down = l.product("down", l.gated(h), 96, 160);
  const ValueId end = l.add("end", h, l.norm("down_norm", down, 96));
  return l.b.finish(l.product("next", end, 33, 96));
}

// Attention and MLP of the same norm (Cohere, Phi): four phases.
TestModel parallel() {
  Layer l("layer_parallel");
  const ValueId x = l.b.rows("x", Layer::kWidth);
  const ValueId n = l.norm("norm", x, 96);
  const ValueId q = l.rope("q", l.heads("q", l.product("q", n, 96, 96), 4));
  const ValueId k = l.rope("k", l.heads("k", l.product("k", n, 48, 96), 2));
  const ValueId v = l.heads("v", l.product("v", n, 48, 96), 2);
  const ValueId o = l.product("o", attend(l.b, q, k, v, 2, 24), 96, 96);
  const ValueId down = l.product("down", l.gated(n), 96, 160);
  return l.b.finish(l.add("end", l.add("h", x, o), down));
}

// q's product has [q | gate] for each head, norms come after the rotation: three phases.
TestModel gated_query() {
  Layer l("layer_gated_query");
  const ValueId x = l.b.rows("x", Layer::kWidth);
  const ValueId both = l.b.reshape("both", l.product("q", x, 192, 96), {ir::Dim::of('T'), 4, 48});
  const ValueId q_rope = l.rope("q", slice(l.b, "q", both, 0, 24));
  const ValueId q =
      l.b.add("q_norm", Op::rms_norm, {q_rope, l.b.vector("q_norm_w", 24)}, {{"eps", 1e-6}});
  const ValueId k_rope = l.rope("k", l.heads("k", l.product("k", x, 48, 96), 2));
  const ValueId k =
      l.b.add("k_norm", Op::rms_norm, {k_rope, l.b.vector("k_norm_w", 24)}, {{"eps", 1e-6}});
  const ValueId v = l.heads("v", l.product("v", x, 48, 96), 2);
  const ValueId attention = attend(l.b, q, k, v, 2, 24);
  const ValueId gates =
      l.b.reshape("gates", slice(l.b, "gates", both, 24, 48), {ir::Dim::of('T'), 96});
  const ValueId gate = l.b.add("gate", Op::sigmoid, {gates});
  const ValueId o = l.product("o", l.b.add("gated", Op::mul, {attention, gate}), 96, 96);
  return l.b.finish(l.add("end", x, o));
}

}  // namespace

std::vector<TestModel> arranged_layers() { return {post_norms(), parallel(), gated_query()}; }

}  // namespace sinter::codegen::test
