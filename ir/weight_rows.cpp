#include "ir/weight_rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/verifier.h"

namespace sinter::ir {

namespace {

absl::Status error(const Value& weight, const std::string& message) {
  return absl::InvalidArgumentError(
      fmt::format("weight @{}, {}: {}", weight.name, to_string(weight.type), message));
}

}  // namespace

absl::StatusOr<WeightRows> WeightRows::open(const Module& module, ValueId weight,
                                            const MatrixSource& source) {
  const Value& value = module.value(weight);
  const WeightType& type = module.weight(weight);
  if (const absl::Status s = verify_type(type); !s.ok()) return s;
  const auto data = module.weights.find(weight);
  if (data == module.weights.end()) return error(value, "it has no numbers");
  const std::vector<float>& constant = data->second.constant;
  if (data->second.sources.empty()) {
    if (static_cast<int64_t>(constant.size()) == type.elements()) {
      return WeightRows(type.rows(), type.cols(), constant);
    }
    return error(value, fmt::format("it has {} constants", constant.size()));
  }

  WeightRows result(type.rows(), type.cols(), {});
  const bool is_vector = type.shape.size() == 1;
  int64_t found = 0;  // rows, or elements of a vector
  for (const std::string& name : data->second.sources) {
    absl::StatusOr<Matrix> matrix = source.matrix(name);
    if (!matrix.ok()) return matrix.status();
    if (const absl::Status s = verify_type(matrix->type); !s.ok()) {
      return error(value, fmt::format("source {}: {}", name, std::string(s.message())));
    }
    if (!is_complete(*matrix)) {
      return error(value, fmt::format("source {}, {}, has fewer bytes than its type needs", name,
                                      to_string(matrix->type)));
    }
    if (is_vector ? matrix->type.rows() != 1 : matrix->type.cols() != type.cols()) {
      return error(
          value,
          fmt::format("source {} is {}; it must have {}", name, to_string(matrix->type),
                      is_vector ? std::string("one row") : fmt::format("{} columns", type.cols())));
    }
    found += is_vector ? matrix->type.cols() : matrix->type.rows();
    result.parts_.push_back(*std::move(matrix));
  }
  const int64_t expected = is_vector ? type.cols() : type.rows();
  if (found != expected) {
    return error(value, fmt::format("its sources have {} {} together, it needs {}", found,
                                    is_vector ? "elements" : "rows", expected));
  }
  return result;
}

void WeightRows::row(int64_t index, float* out) const {
  if (parts_.empty()) {
    std::copy_n(dense_.begin() + index * cols_, cols_, out);
    return;
  }
  for (const Matrix& part : parts_) {
    // Parts of a vector follow one another along its only row, and there a part has all columns
    // otherwise.
    if (part.type.cols() != cols_) {
      decode_row(part, 0, out);
      out += part.type.cols();
    } else if (index < part.type.rows()) {
      decode_row(part, index, out);
      return;
    } else {
      index -= part.type.rows();
    }
  }
}

}  // namespace sinter::ir
