#include "passes/fuse_projections.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "ir/verifier.h"
#include "passes/rewrite.h"

namespace sinter::passes {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

constexpr const char* kName = "fuse_projections";

// y = x w^T, or y = x w^T + bias.
struct Projection {
  size_t matmul = 0;      // positions among the module's nodes
  size_t dequantize = 0;  // == matmul when the weight is used as it is
  size_t add = 0;         // == matmul when there is no bias
  ValueId weight = -1;
  ValueId bias = -1;
  ValueId result = -1;
};

// The weight behind a matmul operand, through `dequantize`.
ValueId weight_of(const ir::Module& module, const std::vector<size_t>& definition, ValueId operand,
                  size_t& node) {
  if (module.is_weight(operand)) return operand;
  const size_t at = definition[static_cast<size_t>(operand)];
  if (at >= module.nodes.size() || module.nodes[at].op != Op::dequantize) return -1;
  node = at;
  return module.nodes[at].operands[0];
}

std::string common_name(const ir::Module& module, const std::vector<ValueId>& weights) {
  std::string name = module.value(weights[0]).name;
  const size_t dot = name.rfind('.', name.ends_with(".bias") ? name.size() - 6 : std::string::npos);
  const std::string prefix = dot == std::string::npos ? "" : name.substr(0, dot + 1);
  for (size_t i = 1; i < weights.size(); ++i) {
    const std::string& next = module.value(weights[i]).name;
    name += "|" + (next.starts_with(prefix) ? next.substr(prefix.size()) : next);
  }
  return name;
}

ValueId concatenate(ir::Module& module, const std::vector<ValueId>& weights) {
  ir::WeightType type = module.weight(weights[0]);
  ir::WeightData data;
  type.shape[0] = 0;
  for (const ValueId w : weights) {
    type.shape[0] += module.weight(w).shape[0];
    const auto& sources = module.weights.at(w).sources;
    data.sources.insert(data.sources.end(), sources.begin(), sources.end());
  }
  return module.add_weight(common_name(module, weights), std::move(type), std::move(data));
}

class Rewriter {
 public:
  Rewriter(ir::Module& module, PassContext& context) : module_(module), context_(context) {
    uses_ = ir::count_uses(module);
    definition_.assign(module.values.size(), module.nodes.size());
    for (size_t i = 0; i < module.nodes.size(); ++i)
      for (const ValueId id : module.nodes[i].results) definition_[static_cast<size_t>(id)] = i;
  }

  void run() {
    // Projections by their input, in order of appearance.
    std::vector<std::pair<ValueId, std::vector<Projection>>> by_input;
    std::map<ValueId, size_t> places;
    for (size_t i = 0; i < module_.nodes.size(); ++i) {
      const Node& node = module_.nodes[i];
      if (node.op != Op::matmul) continue;
      Projection p{.matmul = i, .dequantize = i, .add = i};
      p.weight = weight_of(module_, definition_, node.operands[1], p.dequantize);
      if (p.weight < 0) continue;
      p.result = node.results[0];
      find_bias(p);
      if (is_chosen_among(p.result)) {
        context_.remarks.push_back({kName, false, module_.value(p.weight).name,
                                    "a router's product stays alone: its phase makes the choice"});
        continue;
      }
      const auto [place, is_new] = places.emplace(node.operands[0], by_input.size());
      if (is_new) by_input.push_back({node.operands[0], {}});
      by_input[place->second].second.push_back(p);
    }
    for (auto& [input, projections] : by_input) {
      if (projections.size() < 2) continue;
      for (std::vector<Projection>& group : by_consumer(projections))
        if (group.size() > 1) fuse_agreeing(input, std::move(group));
    }
    apply();
  }

 private:
  // The only user of the product adds a weight vector.
  void find_bias(Projection& p) {
    if (uses_[static_cast<size_t>(p.result)] != 1) return;
    for (size_t i = p.matmul + 1; i < module_.nodes.size(); ++i) {
      const Node& node = module_.nodes[i];
      if (std::find(node.operands.begin(), node.operands.end(), p.result) == node.operands.end())
        continue;
      if (node.op == Op::add && node.operands[0] == p.result &&
          module_.is_weight(node.operands[1])) {
        p.add = i;
        p.bias = node.operands[1];
        p.result = node.results[0];
      }
      return;
    }
  }

  // Whether [top_k] chooses among the columns of the rows, or of what work on them gives.
  bool is_chosen_among(ValueId rows) const {
    std::set<ValueId> reached = {rows};
    for (const Node& node : module_.nodes) {
      if (std::none_of(node.operands.begin(), node.operands.end(),
                       [&](ValueId id) { return reached.contains(id); }))
        continue;
      if (node.op == Op::top_k) return true;
      if (ir::is_elementwise(node.op) || ir::is_by_row(node.op)) reached.insert(node.results[0]);
    }
    return false;
  }

  // Projections whose results meet in an elementwise op, as gate and up do, stay among themselves:
  // the op becomes their product's epilogue. All others are one group.
  std::vector<std::vector<Projection>> by_consumer(const std::vector<Projection>& projections) {
    std::vector<std::set<size_t>> consumers;
    for (const Projection& p : projections) consumers.push_back(elementwise_consumers(p.result));
    std::vector<std::vector<Projection>> groups(1);
    std::vector<bool> grouped(projections.size(), false);
    for (size_t i = 0; i < projections.size(); ++i) {
      if (grouped[i]) continue;
      std::vector<Projection> meeting = {projections[i]};
      std::set<size_t> reached = consumers[i];
      for (size_t j = i + 1; j < projections.size(); ++j) {
        if (grouped[j] || std::none_of(consumers[j].begin(), consumers[j].end(),
                                       [&](size_t node) { return reached.contains(node); }))
          continue;
        grouped[j] = true;
        reached.insert(consumers[j].begin(), consumers[j].end());
        meeting.push_back(projections[j]);
      }
      if (meeting.size() > 1) {
        groups.push_back(std::move(meeting));
      } else {
        groups[0].push_back(projections[i]);
      }
    }
    for (size_t i = 1; i < groups.size() && !groups[0].empty(); ++i)
      context_.remarks.push_back(
          {kName, false, module_.value(groups[i][0].weight).name,
           fmt::format("not one product with {}: its result meets that of {} in an elementwise op",
                       module_.value(groups[0][0].weight).name,
                       module_.value(groups[i][1].weight).name)});
    return groups;
  }

  // Elementwise ops of several tensors that a value reaches through others and through views.
  std::set<size_t> elementwise_consumers(ValueId value) const {
    std::set<size_t> found;
    std::set<ValueId> reached = {value};
    for (size_t i = 0; i < module_.nodes.size(); ++i) {
      const Node& node = module_.nodes[i];
      if (!ir::is_elementwise(node.op) && !ir::is_view(node.op)) continue;
      const auto uses = [&](ValueId id) { return reached.contains(id); };
      if (std::none_of(node.operands.begin(), node.operands.end(), uses)) continue;
      reached.insert(node.results[0]);
      if (node.operands.size() > 1 && !module_.is_weight(node.operands[1])) found.insert(i);
    }
    return found;
  }

  std::string refusal(const Projection& first, const Projection& other) const {
    const auto& a = module_.weight(first.weight);
    const auto& b = module_.weight(other.weight);
    if (!(a.format == b.format))
      return fmt::format("format is {}, but {} has {}", ir::to_string(b.format),
                         module_.value(first.weight).name, ir::to_string(a.format));
    if (a.rotated != b.rotated)
      return fmt::format("rotated in blocks of {}, but {} of {} (0: not rotated)", b.rotated,
                         module_.value(first.weight).name, a.rotated);
    if ((first.bias < 0) != (other.bias < 0))
      return fmt::format("one of it and {} has a bias, the other has none",
                         module_.value(first.weight).name);
    if (first.bias >= 0 &&
        !(module_.weight(first.bias).format == module_.weight(other.bias).format))
      return fmt::format("its bias is stored otherwise than that of {}",
                         module_.value(first.weight).name);
    for (const Projection& p : {first, other})
      for (const ValueId id : {p.weight, p.bias})
        if (const std::string why = refusal(p, id); !why.empty()) return why;
    return "";
  }

  // Why the numbers of one projection, its matrix or its bias (-1: none), cannot become part of a
  // larger weight.
  std::string refusal(const Projection& p, ValueId id) const {
    if (id < 0) return "";
    const std::string& name = module_.value(id).name;
    if (module_.weights.at(id).sources.empty())
      return fmt::format("{} is a constant, not rows of a checkpoint", name);
    // With `dequantize` between them, the users of the matrix are those of what it yields.
    const bool shared =
        used_elsewhere(id) || (id == p.weight && p.dequantize != p.matmul &&
                               used_elsewhere(module_.nodes[p.dequantize].results[0]));
    return shared ? fmt::format("{} is also used elsewhere", name) : "";
  }

  bool used_elsewhere(ValueId id) const { return uses_[static_cast<size_t>(id)] > 1; }

  void fuse_agreeing(ValueId input, std::vector<Projection> rest) {
    while (!rest.empty()) {
      const Projection first = rest.front();
      std::vector<Projection> agreeing = {first};
      std::vector<Projection> others;
      ir::WeightType together = module_.weight(first.weight);
      for (size_t i = 1; i < rest.size(); ++i) {
        std::string why = refusal(first, rest[i]);
        ir::WeightType with_it = together;
        with_it.shape[0] += module_.weight(rest[i].weight).shape[0];
        if (why.empty() && !ir::verify_type(with_it).ok())
          why = "the product would be larger than a weight may be";
        if (why.empty()) {
          together = std::move(with_it);
          agreeing.push_back(rest[i]);
        } else {
          others.push_back(rest[i]);
          context_.remarks.push_back({kName, false, module_.value(rest[i].weight).name, why});
        }
      }
      if (agreeing.size() > 1) fuse(input, agreeing);
      rest = std::move(others);
    }
  }

  void fuse(ValueId input, const std::vector<Projection>& projections) {
    std::vector<ValueId> weights;
    std::vector<ValueId> biases;
    for (const Projection& p : projections) {
      weights.push_back(p.weight);
      if (p.bias >= 0) biases.push_back(p.bias);
      removed_.insert({p.matmul, p.dequantize, p.add});
    }
    const ValueId weight = concatenate(module_, weights);
    std::vector<Node>& out = inserted_[projections[0].matmul];
    const std::string label = module_.value(weight).name;
    const ir::DType dtype = module_.tensor(input).dtype;
    const ir::TensorType product{dtype,
                                 {module_.tensor(input).shape[0], module_.weight(weight).shape[0]}};
    const auto append = [&](Op op, std::vector<ValueId> operands, ir::Attributes attributes,
                            ir::Type type) {
      Node node;
      node.op = op;
      node.operands = std::move(operands);
      node.attributes = std::move(attributes);
      node.label = label;
      node.results = {module_.add_value({ir::ValueKind::result, std::move(type), ""})};
      out.push_back(std::move(node));
      return out.back().results[0];
    };
    ValueId matrix = weight;
    if (!module_.weight(weight).format.is_dense()) {
      const auto& shape = module_.weight(weight).shape;
      matrix = append(Op::dequantize, {weight}, {},
                      ir::TensorType{ir::DType::f32, {shape[0], shape[1]}});
    }
    ValueId y = append(Op::matmul, {input, matrix}, {}, product);
    if (!biases.empty()) y = append(Op::add, {y, concatenate(module_, biases)}, {}, product);
    int64_t begin = 0;
    for (const Projection& p : projections) {
      const int64_t end = begin + module_.weight(p.weight).shape[0];
      const ValueId part = append(Op::slice, {y}, {{"begin", begin}, {"end", end}},
                                  ir::TensorType{dtype, {product.shape[0], end - begin}});
      replaced_[p.result] = part;
      begin = end;
    }
    context_.remarks.push_back(
        {kName, true, label,
         fmt::format("one product of {} rows for {} matrices", begin, projections.size()),
         ir::row_bytes(module_, input) * static_cast<int64_t>(projections.size() - 1),
         static_cast<int64_t>(projections.size()) - 1});
  }

  void apply() {
    std::vector<Node> nodes;
    for (size_t i = 0; i < module_.nodes.size(); ++i) {
      if (const auto at = inserted_.find(i); at != inserted_.end())
        for (Node& node : at->second) nodes.push_back(std::move(node));
      if (!removed_.contains(i)) nodes.push_back(std::move(module_.nodes[i]));
    }
    module_.nodes = std::move(nodes);
    replace_uses(module_, replaced_);
    erase_dead(module_);
  }

  ir::Module& module_;
  PassContext& context_;
  std::vector<int> uses_;
  std::vector<size_t> definition_;  // of each value: the position of its node
  std::map<size_t, std::vector<Node>> inserted_;
  std::set<size_t> removed_;
  std::map<ValueId, ValueId> replaced_;
};

}  // namespace

absl::StatusOr<ir::Module> fuse_projections(ir::Module module, PassContext& context) {
  Rewriter(module, context).run();
  return module;
}

}  // namespace sinter::passes
