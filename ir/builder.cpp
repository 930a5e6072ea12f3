#include "ir/builder.h"

#include <fmt/format.h>

#include "ir/verifier.h"

namespace sinter::ir {

namespace {

absl::Status with_place(const absl::Status& status, std::string_view place) {
  if (place.empty()) return status;
  return absl::Status(status.code(),
                      fmt::format("{} (in {})", std::string(status.message()), place));
}

}  // namespace

Builder::Builder(std::string module_name) { module_.name = std::move(module_name); }

ValueId Builder::param(std::string name, TensorType type) {
  if (!status_.ok()) return -1;
  status_ = with_place(verify_type(type), name);
  if (!status_.ok()) return -1;
  const ValueId id = module_.add_value({ValueKind::param, std::move(type), std::move(name)});
  (module_.further.empty() ? module_.params : module_.further.back().params).push_back(id);
  return id;
}

ValueId Builder::weight(std::string name, WeightType type, WeightData data) {
  if (!status_.ok()) return -1;
  status_ = with_place(verify_type(type), name);
  if (!status_.ok()) return -1;
  return module_.add_weight(std::move(name), std::move(type), std::move(data));
}

ValueId Builder::state(std::string name, StateType type) {
  if (!status_.ok()) return -1;
  status_ = with_place(verify_type(type), name);
  if (!status_.ok()) return -1;
  return module_.add_state(std::move(name), std::move(type));
}

ValueId Builder::add(Op op, std::vector<ValueId> operands, Attributes attributes) {
  Node node;
  node.op = op;
  node.operands = std::move(operands);
  node.attributes = std::move(attributes);
  return append(std::move(node), nullptr);
}

ValueId Builder::reshape(ValueId x, std::vector<Dim> shape) {
  if (!status_.ok()) return -1;
  TensorType wanted;
  wanted.shape = std::move(shape);
  // An operand that is no tensor is reported by the shape rule.
  if (x >= 0 && static_cast<size_t>(x) < module_.values.size()) {
    if (const auto* type = std::get_if<TensorType>(&module_.value(x).type)) {
      wanted.dtype = type->dtype;
    }
  }
  Node node;
  node.op = Op::reshape;
  node.operands = {x};
  return append(std::move(node), &wanted);
}

ValueId Builder::append(Node node, const TensorType* wanted) {
  if (!status_.ok()) return -1;
  node.label = label_;
  absl::StatusOr<TensorType> type = result_type(module_, node, wanted);
  if (!type.ok()) {
    status_ = with_place(type.status(), label_);
    return -1;
  }
  ValueId id = -1;
  if (info(node.op).has_result()) {
    id = module_.add_value({ValueKind::result, *std::move(type), ""});
    node.results.push_back(id);
  }
  module_.nodes.push_back(std::move(node));
  return id;
}

void Builder::begin_entry(std::vector<ValueId> returns, std::string name) {
  if (!status_.ok()) return;
  (module_.further.empty() ? module_.returns : module_.further.back().returns) = std::move(returns);
  module_.further.push_back({std::move(name), {}, {}});
}

absl::StatusOr<Module> Builder::finish(std::vector<ValueId> returns) {
  if (!status_.ok()) return status_;
  (module_.further.empty() ? module_.returns : module_.further.back().returns) = std::move(returns);
  if (const absl::Status s = verify(module_); !s.ok()) return s;
  return module_;
}

}  // namespace sinter::ir
