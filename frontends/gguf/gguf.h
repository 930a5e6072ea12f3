// The GGUF container, versions 2 and 3: one file, or the parts `name-00001-of-0000N.gguf`.
// Format: "GGUF", version, counts, metadata key-value pairs, tensor descriptions, then the data,
// aligned. Source: docs/gguf.md of ggml-org/ggml.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "frontends/gguf/blocks.h"
#include "frontends/json_file.h"
#include "frontends/mapped_file.h"

namespace sinter::frontends {

inline constexpr uint64_t kMaxInlineArray = 4096;

struct GgufTensor {
  const GgmlType* type = nullptr;   // of ggml_types()
  std::vector<int64_t> shape;       // the fastest extent last: [out, in]
  absl::Span<const uint8_t> bytes;  // into one of Gguf::files
  std::string file;                 // name without folder, for messages
};

// An array of the metadata, where it lies in the file: large ones are decoded when they are asked
// for.
struct GgufArray {
  uint32_t type = 0;  // of the elements: GGUF's id of a value type
  uint64_t count = 0;
  std::string_view bytes;  // into one of Gguf::files

  bool is_text() const;
  bool is_integer() const;
  bool is_number() const;  // integers and floats
  // Of arrays of texts (any bytes), integers and numbers. `index` < count. Integers beyond 63 bits
  // come out as the greatest that fits.
  std::vector<std::string_view> texts() const;
  int64_t integer(uint64_t index) const;
  double number(uint64_t index) const;
};

struct Gguf {
  std::string file;  // the name of the (first) file, for messages
  // Key to value, as JSON: integers, floats, booleans, strings (any bytes) and arrays of up to
  // kMaxInlineArray values; longer ones are JSON's binary values without content. Of split files:
  // the first one's.
  Json metadata = Json::object();
  std::map<std::string, GgufArray, std::less<>> arrays;  // all of them, but for nested ones
  std::map<std::string, GgufTensor, std::less<>> tensors;
  std::vector<std::shared_ptr<const MappedFile>> files;
};

// Whether it is a regular file whose first bytes are those of GGUF, whatever its name.
bool begins_as_gguf(const std::filesystem::path& path);

// Any part of a split file stands for all of them, which lie in one folder. Tensors lie one after
// another, padded to the alignment: a gap means that a type id was given to other blocks than those
// of the table. Bytes may follow the last tensor when its type is sure. Errors name the file and
// the tensor or key.
absl::StatusOr<Gguf> open_gguf(const std::filesystem::path& path);

// The same of a file that need not hold tensors: what it is good for lies in its metadata.
absl::StatusOr<Gguf> open_gguf_metadata(const std::filesystem::path& path);

}  // namespace sinter::frontends
