// What a checkpoint says of matrices whose columns were rotated when it was made: a block-wise
// Walsh-Hadamard transform of signed features, which the rows that they are multiplied with need,
// too. Source: PrismML's llama.cpp and the model files of Bonsai 2.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/json_fields.h"

namespace sinter::frontends {

inline constexpr std::string_view kRotationKeys = "prism.hadamard.";

struct Rotation {
  int64_t block = 0;  // columns; 0: nothing is rotated
  // By the width of rows: 1 or -1 for each feature.
  std::map<int64_t, std::vector<float>> signs;
  // Keys of Checkpoint::matrices: those that are multiplied, and tables whose rows are looked up.
  std::set<std::string, std::less<>> matrices;
  std::set<std::string, std::less<>> tables;
  bool grouped_heads = false;  // value heads of delta nets lie grouped where they are summed over
  bool tied_output = false;    // a table is multiplied, too

  bool rotates(std::string_view key) const {
    return matrices.contains(key) || tables.contains(key);
  }
};

// Reads the keys "prism.hadamard.*" of `contract`: metadata of a GGUF file, or hadamard.json.
// `key_of` gives the key in `matrices` of a tensor of the file, or nothing when there is none.
// Errors: a key, version or transform that is not known, a width that is not a multiple of the
// block, that is said twice or of which there are too many features; a name that is not found,
// signs that are no signs.
absl::StatusOr<Rotation> read_rotation(
    const Json& contract, const std::string& file,
    const std::function<std::string(std::string_view tensor)>& key_of);

}  // namespace sinter::frontends
