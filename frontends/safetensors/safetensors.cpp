#include "frontends/safetensors/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "frontends/error_text.h"
#include "frontends/json_file.h"
#include "runtime/support/json_text.h"

namespace sinter::frontends {
namespace {

struct ElementType {
  std::string_view name;
  int bits;
};

constexpr std::array<ElementType, 20> kElementTypes = {{
    {"BOOL", 8},    {"U8", 8},   {"I8", 8},   {"F8_E4M3", 8}, {"F8_E5M2", 8},
    {"F8_E8M0", 8}, {"U16", 16}, {"I16", 16}, {"F16", 16},    {"BF16", 16},
    {"U32", 32},    {"I32", 32}, {"F32", 32}, {"U64", 64},    {"I64", 64},
    {"F64", 64},    {"C64", 64}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6},
}};

// What the header says of one tensor, offsets relative to the start of the data.
struct Entry {
  std::string name;
  StoredTensor tensor;
  int64_t begin = 0;
  int64_t end = 0;
};

// Bytes of a dense array, or an error that ends the sentence "tensor X ...".
absl::StatusOr<int64_t> checked_byte_size(const std::vector<int64_t>& shape, int bits) {
  int64_t total_bits = bits;
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(total_bits, extent, &total_bits)) {
      return absl::InvalidArgumentError("has more elements than any file can hold");
    }
  }
  if (total_bits % 8 != 0) return absl::InvalidArgumentError("does not fill whole bytes");
  return total_bits / 8;
}

absl::StatusOr<std::vector<int64_t>> read_shape(const Json& value) {
  if (!value.is_array()) {
    return invalid("has the shape {}, expected an array of integers", describe(value));
  }
  if (value.size() > kMaxTensorRank) {
    return invalid("has {} dimensions, at most {} are supported", value.size(), kMaxTensorRank);
  }
  std::vector<int64_t> shape;
  for (const Json& extent : value) {
    // The parser stores every integer that is not negative as unsigned.
    if (!extent.is_number_unsigned() ||
        extent.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return invalid("has the dimension {}, expected an integer of 0 or more", describe(extent));
    }
    shape.push_back(extent.get<int64_t>());
  }
  return shape;
}

// One header field `name: value`; errors end the sentence "tensor X ...".
absl::StatusOr<Entry> read_entry(const std::string& name, const Json& value, uint64_t data_size,
                                 uint64_t file_size) {
  if (!value.is_object()) return invalid("is {}, expected an object", describe(value));
  for (const auto& field : value.items()) {
    if (field.key() != "dtype" && field.key() != "shape" && field.key() != "data_offsets") {
      return invalid("has the unknown field {}", in_quotes(field.key()));
    }
  }
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!value.contains(key)) return invalid("lacks the field \"{}\"", key);
  }

  Entry entry;
  entry.name = name;
  const Json& dtype = value["dtype"];
  const auto* type = std::find_if(kElementTypes.begin(), kElementTypes.end(), [&](const auto& t) {
    return dtype.is_string() && dtype.get_ref<const std::string&>() == t.name;
  });
  if (type == kElementTypes.end()) return invalid("has the unknown dtype {}", describe(dtype));
  entry.tensor.dtype = type->name;

  absl::StatusOr<std::vector<int64_t>> shape = read_shape(value["shape"]);
  if (!shape.ok()) return shape.status();
  entry.tensor.shape = *std::move(shape);

  const Json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return invalid("has the data_offsets {}, expected two integers of 0 or more",
                   one_line(runtime::to_line(offsets), 60));
  }
  const auto begin = offsets[0].get<uint64_t>();
  const auto end = offsets[1].get<uint64_t>();
  if (begin > end)
    return invalid("has data_offsets [{}, {}], which end before they begin", begin, end);
  if (end > data_size) {
    return invalid(
        "has data_offsets [{}, {}], beyond the end of the file ({} bytes); the file is truncated "
        "or damaged",
        begin, end, with_commas(file_size));
  }
  entry.begin = static_cast<int64_t>(begin);
  entry.end = static_cast<int64_t>(end);

  absl::StatusOr<int64_t> bytes = checked_byte_size(entry.tensor.shape, type->bits);
  if (!bytes.ok()) {
    return invalid("of shape {} and dtype {} {}", shape_text(entry.tensor.shape), type->name,
                   std::string(bytes.status().message()));
  }
  if (*bytes != entry.end - entry.begin) {
    return invalid("of shape {} and dtype {} needs {} bytes, but its data_offsets [{}, {}] span {}",
                   shape_text(entry.tensor.shape), type->name, with_commas(*bytes), begin, end,
                   with_commas(end - begin));
  }
  return entry;
}

// Sorts by offset and refuses bytes that belong to two tensors or to none.
absl::Status check_coverage(std::vector<Entry>& entries, int64_t data_size,
                            const std::string& file) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t covered = 0;
  const Entry* previous = nullptr;
  for (const Entry& entry : entries) {
    if (entry.begin < covered) {
      return invalid("{}: tensor {} has data_offsets [{}, {}], which overlap tensor {} at [{}, {}]",
                     file, in_quotes(entry.name), entry.begin, entry.end, in_quotes(previous->name),
                     previous->begin, previous->end);
    }
    if (entry.begin > covered) {
      return invalid(
          "{}: bytes [{}, {}] of the data belong to no tensor; tensor {} begins after them", file,
          covered, entry.begin, in_quotes(entry.name));
    }
    covered = entry.end;
    previous = &entry;
  }
  if (covered != data_size) {
    return invalid("{}: {} bytes after the last tensor{} belong to no tensor", file,
                   with_commas(data_size - covered),
                   previous == nullptr ? std::string() : " " + in_quotes(previous->name));
  }
  return absl::OkStatus();
}

absl::Status check_metadata(const Json& metadata, const std::string& file) {
  if (!metadata.is_object()) {
    return invalid("{}: \"__metadata__\" is {}, expected an object", file, describe(metadata));
  }
  for (const auto& field : metadata.items()) {
    if (!field.value().is_string()) {
      return invalid("{}: \"__metadata__\" field {} is {}, expected a string", file,
                     in_quotes(field.key()), describe(field.value()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status add_safetensors(const std::filesystem::path& path, TensorFiles& set) {
  absl::StatusOr<MappedFile> mapped = MappedFile::open(path);
  if (!mapped.ok()) return mapped.status();
  const auto file = std::make_shared<const MappedFile>(*std::move(mapped));
  const std::string name = file_name(path);

  constexpr uint64_t kLengthBytes = 8;
  if (file->size() < kLengthBytes) {
    return invalid("{}: has {} bytes, too short for a safetensors file", name, file->size());
  }
  uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) header_size = header_size << 8 | file->bytes()[i];
  if (header_size > file->size() - kLengthBytes) {
    return invalid(
        "{}: the header length is {}, beyond the end of the file ({} bytes); the file is truncated "
        "or not a safetensors file",
        name, with_commas(header_size), with_commas(file->size()));
  }
  if (header_size > kMaxSafetensorsHeader) {
    return invalid("{}: the header length is {}, at most {} bytes are accepted", name,
                   with_commas(header_size), with_commas(kMaxSafetensorsHeader));
  }
  absl::StatusOr<Json> header = parse_json(file->text().substr(kLengthBytes, header_size), name);
  if (!header.ok()) {
    return invalid("{} (in the safetensors header)", std::string(header.status().message()));
  }
  if (!header->is_object()) {
    return invalid("{}: the header is {}, expected a JSON object", name, describe(*header));
  }

  const absl::Span<const uint8_t> data = file->bytes().subspan(kLengthBytes + header_size);
  std::vector<Entry> entries;
  for (const auto& field : header->items()) {
    if (field.key() == "__metadata__") {
      if (absl::Status status = check_metadata(field.value(), name); !status.ok()) return status;
      continue;
    }
    absl::StatusOr<Entry> entry = read_entry(field.key(), field.value(), data.size(), file->size());
    if (!entry.ok()) {
      return invalid("{}: tensor {} {}", name, in_quotes(field.key()),
                     std::string(entry.status().message()));
    }
    entries.push_back(*std::move(entry));
  }
  absl::Status status = check_coverage(entries, static_cast<int64_t>(data.size()), name);
  if (!status.ok()) return status;

  for (Entry& entry : entries) {
    entry.tensor.bytes = data.subspan(entry.begin, entry.end - entry.begin);
    entry.tensor.file = name;
    const auto [known, is_new] = set.tensors.emplace(entry.name, std::move(entry.tensor));
    if (!is_new) {
      return invalid("{}: tensor {} is also in {}; a tensor may be stored only once", name,
                     in_quotes(entry.name), known->second.file);
    }
  }
  set.files.push_back(file);
  return absl::OkStatus();
}

absl::StatusOr<TensorFiles> open_safetensors(const std::filesystem::path& file) {
  TensorFiles set;
  if (absl::Status status = add_safetensors(file, set); !status.ok()) return status;
  if (set.tensors.empty()) return invalid("{}: holds no tensors", file_name(file));
  return set;
}

}  // namespace sinter::frontends
