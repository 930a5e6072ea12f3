// Matrices for tests, by name; owns their bytes.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "ir/matrix.h"

namespace sinter::ir {

inline std::string message(const absl::Status& status) { return std::string(status.message()); }

class MapSource : public MatrixSource {
 public:
  void dense(const std::string& name, std::vector<int64_t> shape, const std::vector<float>& data) {
    Entry& entry = entries_[name];
    entry.type.shape = std::move(shape);
    entry.codes.resize(data.size() * sizeof(float));
    std::memcpy(entry.codes.data(), data.data(), entry.codes.size());
  }

  // Scales and biases are f16 bits.
  void affine(const std::string& name, WeightType type, std::vector<uint8_t> codes,
              const std::vector<uint16_t>& scales, const std::vector<uint16_t>& biases) {
    entries_[name] = {std::move(type), std::move(codes), bytes(scales), bytes(biases)};
  }

  absl::StatusOr<Matrix> matrix(std::string_view name) const override {
    const auto it = entries_.find(std::string(name));
    if (it == entries_.end()) return absl::NotFoundError("no matrix " + std::string(name));
    const Entry& e = it->second;
    return Matrix{e.type, e.codes, e.scales, e.biases};
  }

 private:
  struct Entry {
    WeightType type;
    std::vector<uint8_t> codes, scales, biases;
  };

  static std::vector<uint8_t> bytes(const std::vector<uint16_t>& halves) {
    std::vector<uint8_t> out(halves.size() * 2);
    std::memcpy(out.data(), halves.data(), out.size());
    return out;
  }

  std::map<std::string, Entry> entries_;
};

}  // namespace sinter::ir
