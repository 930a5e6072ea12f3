#include "models/blocks/state_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace sinter::models {

using ir::Dim;
using ir::Op;
using ir::ValueId;

namespace {

constexpr frontends::IntRange kExtent = {1, 1 << 16};

// Some rows of a projection, one after another.
ValueId rows_of(Importer& m, ValueId x, const std::string& module, const char* label, int64_t first,
                int64_t count, int64_t whole, int64_t in, bool bias) {
  return m.linear(x, {module, whole, {.run = count, .stored_run = whole, .first = first}},
                  module + label, count, in, bias);
}

// A convolution of every channel, its bias and activation.
ValueId convolution(Importer& m, ValueId x, const std::string& layer, const std::string& module,
                    int64_t channels, int64_t taps, bool has_bias, const Activation& act) {
  ir::Builder& g = m.graph();
  const ValueId weights = m.convolution_taps(module + "conv1d", channels, taps);
  const ValueId bias = has_bias ? m.weight(module + "conv1d.bias", {channels}) : -1;
  if (!m.ok()) return -1;
  g.set_label(module + "conv1d");
  const ValueId before = g.state(state_name(layer, "inputs"),
                                 {ir::StateKind::fixed, {ir::DType::f32, {taps - 1, channels}}});
  ValueId y = g.add(Op::short_conv, {x, weights, before});
  if (bias >= 0) y = g.add(Op::add, {y, bias});
  return act(m, y);
}

// The recurrence. x [T,heads,head_dim], b and c [T,groups,columns], steps [T,heads] before what
// makes them positive; files have decay rates, or their logarithms.
struct Scan {
  ValueId x = -1, b = -1, c = -1, steps = -1;
  int64_t heads = 0, head_dim = 0, columns = 0;
  int64_t rates = 0;  // numbers of decay rates
  double least_step = 0, largest_step = std::numeric_limits<double>::infinity();
};

ValueId scanned(Importer& m, const Scan& s, const std::string& layer, const std::string& module) {
  ir::Builder& g = m.graph();
  const ValueId rates = m.has(module + "A_log")
                            ? m.computed(module + "A_log", {s.rates}, "of -exp",
                                         [](double log) { return -std::exp(log); })
                            : m.weight(module + "A", {s.rates});
  const ValueId skip = m.weight(module + "D", {s.heads});
  if (!m.ok()) return -1;
  g.set_label(layer + "scan");
  ValueId steps = g.add(Op::softplus, {s.steps});
  ir::Attributes limits;
  if (s.least_step > 0) limits["min"] = s.least_step;
  if (std::isfinite(s.largest_step)) limits["max"] = s.largest_step;
  if (!limits.empty()) steps = g.add(Op::clamp, {steps}, limits);
  const ValueId state =
      g.state(state_name(layer, "scan"),
              {ir::StateKind::fixed, {ir::DType::f32, {s.heads, s.head_dim, s.columns}}});
  return g.add(Op::selective_scan, {s.x, rates, s.b, s.c, state, steps, skip});
}

}  // namespace

ValueId mamba(Importer& m, const Mamba& s, ValueId x, const std::string& layer, int64_t hidden) {
  ir::Builder& g = m.graph();
  const std::string module = layer + s.module;
  const auto half = [&](int64_t which, const char* label) {
    return rows_of(m, x, module + "in_proj", label, which * s.width, s.width, 2 * s.width, hidden,
                   s.bias);
  };
  const ValueId inner =
      convolution(m, half(0, ".x"), layer, module, s.width, s.taps, s.conv_bias, s.act);
  const ValueId gate = half(1, ".z");
  const int64_t selected = s.rank + 2 * s.columns;
  const auto select = [&](const char* label, int64_t first, int64_t count) {
    return rows_of(m, inner, module + "x_proj", label, first, count, selected, s.width, false);
  };
  const auto normed = [&](ValueId value, const char* name, int64_t size) {
    return s.norm ? apply(m, *s.norm, value, module + name, size) : value;
  };
  const ValueId narrow = normed(select(".dt", 0, s.rank), "dt_layernorm", s.rank);
  const ValueId b = select(".b", s.rank, s.columns);
  const ValueId c = select(".c", s.rank + s.columns, s.columns);
  const ValueId steps = m.linear(narrow, module + "dt_proj", s.width, s.rank, true);
  if (!m.ok()) return -1;
  // All channels share b and c: one head of each.
  const auto head = [&](ValueId value, const char* name) {
    return normed(g.reshape(value, {Dim::of('T'), 1, s.columns}), name, s.columns);
  };
  Scan scan{.b = head(b, "b_layernorm"),
            .c = head(c, "c_layernorm"),
            .steps = steps,
            .heads = s.width,
            .head_dim = 1,
            .columns = s.columns,
            .rates = s.width * s.columns};
  if (!m.ok()) return -1;
  scan.x = g.reshape(inner, {Dim::of('T'), s.width, 1});
  ValueId y = scanned(m, scan, layer, module);
  if (!m.ok()) return -1;
  y = g.reshape(y, {Dim::of('T'), s.width});
  y = g.add(Op::mul, {y, s.act(m, gate)});
  return m.linear(y, module + "out_proj", hidden, s.width, s.bias);
}

ValueId mamba2(Importer& m, const Mamba2& s, ValueId x, const std::string& layer, int64_t hidden) {
  ir::Builder& g = m.graph();
  const std::string module = layer + s.module;
  const int64_t width = s.width();
  const int64_t shared = s.groups * s.columns;  // numbers of b, and of c
  const int64_t channels = width + 2 * shared;
  const int64_t projected = width + channels + s.heads;
  x = m.affine(x, s.input_scale);
  const auto project = [&](const char* label, int64_t first, int64_t count) {
    return rows_of(m, x, module + "in_proj", label, first, count, projected, hidden, s.in_bias);
  };
  const ValueId z = m.affine(project(".z", 0, width), s.scales[0]);
  ValueId mixed = project(".xbc", width, channels);
  const ValueId dt = m.affine(project(".dt", width + channels, s.heads), s.scales[4]);
  if (!m.ok()) return -1;
  if (s.scales[1] != 1 || s.scales[2] != 1 || s.scales[3] != 1) {
    std::vector<float> scales(static_cast<size_t>(width), static_cast<float>(s.scales[1]));
    for (const size_t part : {size_t{2}, size_t{3}})
      scales.insert(scales.end(), static_cast<size_t>(shared), static_cast<float>(s.scales[part]));
    const ValueId vector = m.constant(s.module + "in_proj.scales", std::move(scales));
    mixed = g.add(Op::mul, {mixed, vector});
  }
  mixed = convolution(m, mixed, layer, module, channels, s.taps, s.conv_bias, s.act);
  const ValueId dt_bias = m.weight(module + "dt_bias", {s.heads});
  if (!m.ok()) return -1;
  g.set_label(layer + "scan");
  const auto heads = [&](int64_t begin, int64_t count, int64_t dim) {
    const ValueId part =
        g.add(Op::slice, {mixed}, {{"begin", begin}, {"end", begin + count * dim}});
    return g.reshape(part, {Dim::of('T'), count, dim});
  };
  ValueId y = scanned(m,
                      {.x = heads(0, s.heads, s.head_dim),
                       .b = heads(width, s.groups, s.columns),
                       .c = heads(width + shared, s.groups, s.columns),
                       .steps = g.add(Op::add, {dt, dt_bias}),
                       .heads = s.heads,
                       .head_dim = s.head_dim,
                       .columns = s.columns,
                       .rates = s.heads,
                       .least_step = s.least_step,
                       .largest_step = s.largest_step},
                      layer, module);
  if (!m.ok()) return -1;
  y = g.reshape(y, {Dim::of('T'), width});
  const auto gated = [&](ValueId value) { return g.add(Op::mul, {value, g.add(Op::silu, {z})}); };
  if (!s.norm || !s.norm_before_gate) y = gated(y);
  if (s.norm && s.norm_groups == 1) y = apply(m, *s.norm, y, module + "norm", width);
  if (s.norm && s.norm_groups > 1) {
    const ValueId weight = m.weight(module + "norm", {width});
    if (!m.ok()) return -1;
    g.set_label(module + "norm");
    y = g.reshape(y, {Dim::of('T'), s.norm_groups, width / s.norm_groups});
    y = g.add(Op::rms_norm, {y}, {{"eps", s.norm->eps}});
    y = g.add(Op::mul, {g.reshape(y, {Dim::of('T'), width}), weight});
  }
  if (!m.ok()) return -1;
  if (s.norm && s.norm_before_gate) y = gated(y);
  return m.linear(y, module + "out_proj", hidden, width, s.out_bias);
}

Block mixer(const Mamba& s, int64_t hidden) {
  return [s, hidden](Importer& m, ValueId x, const std::string& layer) {
    return mamba(m, s, x, layer, hidden);
  };
}
Block mixer(const Mamba2& s, int64_t hidden) {
  return [s, hidden](Importer& m, ValueId x, const std::string& layer) {
    return mamba2(m, s, x, layer, hidden);
  };
}

int64_t expanded(Importer& m, int64_t hidden) {
  const double factor = m.number("mamba_expand", {1e-3, 1e3});
  const double width = std::floor(factor * static_cast<double>(hidden));
  if (m.ok() && (width < 1 || width > static_cast<double>(kSize.max)))
    m.fail(m.config().refuse("mamba_expand",
                             fmt::format("is {}, which makes {} channels", factor, width)));
  return m.ok() ? static_cast<int64_t>(width) : 1;
}

Mamba read_mamba(Importer& m, int64_t hidden) {
  Mamba s;
  s.width = expanded(m, hidden);
  s.columns = m.integer("mamba_d_state", kExtent);
  s.taps = m.integer("mamba_d_conv", {2, 64});
  s.conv_bias = m.flag("mamba_conv_bias");
  s.act = find_activation(m, "hidden_act");
  // "auto" is what is meant without it, too.
  const auto* rank = m.config().find("mamba_dt_rank");
  s.rank = rank == nullptr || *rank == "auto" ? (hidden + 15) / 16 : m.integer("mamba_dt_rank");
  return s;
}

namespace {

// [least, largest], of which JSON has no word for the infinity that most files have:
// transformers writes Infinity or {"__float__": "Infinity"}.
void read_step_limits(Importer& m, Mamba2& s) {
  const auto* limits = m.config().find("time_step_limit");
  if (limits == nullptr) return;
  std::vector<double> numbers;
  if (limits->is_array())
    for (const auto& limit : *limits) {
      const nlohmann::json& number =
          limit.is_object() && limit.size() == 1 && limit.contains("__float__")
              ? limit.at("__float__")
              : limit;
      if (number.is_number()) numbers.push_back(number.get<double>());
      if (number == "Infinity" || number == "inf")
        numbers.push_back(std::numeric_limits<double>::infinity());
    }
  if (numbers.size() != 2 || limits->size() != 2 || !(numbers[0] >= 0) ||
      !(numbers[1] >= numbers[0]) || !std::isfinite(numbers[0])) {
    m.fail(m.config().refuse("time_step_limit",
                             fmt::format("is {}, expected the least and the largest step",
                                         frontends::describe(*limits))));
    return;
  }
  s.least_step = numbers[0];
  s.largest_step = numbers[1];
}

}  // namespace

Mamba2 read_mamba2(Importer& m, int64_t width) {
  const Config& config = m.config();
  Mamba2 s;
  s.heads = m.integer("mamba_n_heads", kExtent);
  const auto* dim = config.find("mamba_d_head");
  s.head_dim = dim != nullptr && *dim == "auto"
                   ? std::clamp<int64_t>(width / s.heads, kExtent.min, kExtent.max)
                   : m.integer("mamba_d_head", kExtent);
  s.groups = m.integer("mamba_n_groups", kExtent);
  s.columns = m.integer("mamba_d_state", kExtent);
  s.taps = m.integer("mamba_d_conv", {2, 64});
  s.conv_bias = m.flag("mamba_conv_bias");
  read_step_limits(m, s);
  if (m.ok() && width > 0 && s.width() != width)
    m.fail(config.refuse("mamba_n_heads",
                         fmt::format("is {}, but heads of {} features are not {} channels", s.heads,
                                     s.head_dim, width)));
  if (m.ok() && s.heads % s.groups != 0)
    m.fail(config.refuse("mamba_n_heads",
                         fmt::format("is {}, expected a multiple of {}, which is {}", s.heads,
                                     config.name("mamba_n_groups"), s.groups)));
  return s;
}

}  // namespace sinter::models
