#include "ir/heads.h"

#include <fmt/format.h>

#include "ir/ops.h"

namespace sinter::ir {

namespace {

class Follower {
 public:
  Follower(const Module& module, ValueId value, HeadsOf whose)
      : module_(module), head_dim_(module.tensor(value).shape[2].value), whose_(whose) {
    source_.first = {value, Runs(module.tensor(value).shape[1].value, head_dim_)};
  }

  HeadSource run(const FindDefinition& definition) {
    HeadPlace& first = source_.first;
    while (const Node* node = definition(first.base)) {
      source_.stopped = refusal(*node);
      if (!source_.stopped.empty()) break;
      source_.chain.push_back(node);
      if (node->op == Op::concat) {
        first = place_of(node->operands[0], definition);
        source_.rest = place_of(node->operands[1], definition);
        return std::move(source_);
      }
      first.base = node->operands[0];
    }
    if (source_.norm_of == NormOf::row) source_.norm_begin = norm_row_.offset();
    return std::move(source_);
  }

 private:
  // Takes a node along; or why not.
  std::string refusal(const Node& node) {
    switch (node.op) {
      case Op::reshape:
      case Op::slice:
        return follow(node);
      case Op::rms_norm:
        return norm(node);
      case Op::concat:
        if (whose_ == HeadsOf::values) return "attention does not concatenate values";
        if (source_.norm_of == NormOf::row || !by_head(node))
          return "what is concatenated are not its heads";
        return "";
      case Op::rope:
        return whose_ == HeadsOf::values ? "attention does not rotate values" : rope(node);
      default:
        return fmt::format("attention does not take [{}] along", info(node.op).name);
    }
  }

  // Of a tensor of heads that is concatenated: back through views, as far as its heads lie at equal
  // distances.
  HeadPlace place_of(ValueId value, const FindDefinition& definition) {
    const auto& shape = module_.tensor(value).shape;
    HeadPlace place{value, Runs(shape[1].value, shape[2].value)};
    for (const Node* node = definition(value); node != nullptr && is_view(node->op);
         node = definition(place.base)) {
      Runs heads = place.heads;
      if (node->op == Op::last_rows || !heads.follow(module_, *node).ok() ||
          heads.length() != shape[2].value || !heads.stride().has_value())
        break;
      source_.chain.push_back(node);
      place = {node->operands[0], std::move(heads)};
    }
    return place;
  }

  std::string follow(const Node& view) {
    Runs heads = source_.first.heads;
    Runs row = norm_row_;
    if (const absl::Status status = heads.follow(module_, view); !status.ok())
      return std::string(status.message());
    if (heads.length() != head_dim_ || !heads.stride().has_value())
      return "its heads do not lie at equal distances";
    const int64_t length = row.length();
    if (source_.norm_of == NormOf::row &&
        (!row.follow(module_, view).ok() || row.length() != length))
      return "the row that the norm goes over does not lie together";
    source_.first.heads = std::move(heads);
    norm_row_ = std::move(row);
    return "";
  }

  // Whether the node works on the heads of the query one by one.
  bool by_head(const Node& node) const {
    return module_.tensor(node.results[0]).shape.back().value == head_dim_ &&
           source_.first.heads.aligned_to(head_dim_);
  }

  std::string norm(const Node& node) {
    if (source_.norm != nullptr) return "attention takes one norm of a head along";
    if (by_head(node)) {
      source_.norm_of = NormOf::head;
    } else if (whose_ == HeadsOf::values) {
      return "of values attention takes norms of single heads along";
    } else if (module_.tensor(node.results[0]).shape.size() == 2) {
      source_.norm_of = NormOf::row;
      source_.norm_weights = source_.first.heads;
      norm_row_ = Runs(1, module_.tensor(node.results[0]).shape.back().value);
    } else {
      return "its norm goes over other runs than heads or rows";
    }
    source_.norm = &node;
    return "";
  }

  std::string rope(const Node& node) {
    if (source_.rope != nullptr) return "attention takes one rotation of a head along";
    if (!by_head(node)) return "what is rotated are not its heads";
    if (source_.norm != nullptr) {
      if (source_.norm_of == NormOf::row)
        return "a norm over all heads comes after the rotation of each";
      source_.norm_of = NormOf::rotated_head;
    }
    source_.rope = &node;
    return "";
  }

  const Module& module_;
  int64_t head_dim_;
  HeadsOf whose_;
  HeadSource source_;
  Runs norm_row_{1, 1};  // of a norm over a row: where that row is
};

}  // namespace

HeadSource follow_heads(const Module& module, ValueId value, HeadsOf whose,
                        const FindDefinition& definition) {
  return Follower(module, value, whose).run(definition);
}

}  // namespace sinter::ir
