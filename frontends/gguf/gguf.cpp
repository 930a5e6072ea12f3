#include "frontends/gguf/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kDefaultAlignment = 32;
constexpr uint32_t kMaxAlignment = 1U << 20;
constexpr uint32_t kMaxRank = 4;
constexpr uint64_t kMaxNameLength = 4096;  // of keys and tensors
constexpr int kMaxArrayDepth = 4;
constexpr uint64_t kMaxInlineValues = 1 << 20;  // of all inline arrays
constexpr int64_t kMaxParts = 99999;

enum ValueType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

// Bytes that a value of this type takes at least; 0 for unknown types.
uint64_t min_bytes(uint32_t type) {
  constexpr uint8_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return type < std::size(kBytes) ? kBytes[type] : 0;
}

// A position in a file. Errors complete "FILE: ".
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  std::string_view since(uint64_t begin) const { return bytes_.substr(begin, position_ - begin); }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <class T>
  absl::StatusOr<T> read(std::string_view what) {
    if (remaining() < sizeof(T)) return truncated(what);
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::string_view> read_string(std::string_view what, uint64_t max_length) {
    const auto length = read<uint64_t>(what);
    if (!length.ok()) return length.status();
    if (*length > remaining()) {
      return invalid(
          "{} has the length {}, but only {} bytes follow; the file is truncated or "
          "damaged",
          what, with_commas(*length), with_commas(remaining()));
    }
    if (*length > max_length) {
      return invalid("{} has {} bytes, at most {} are accepted", what, with_commas(*length),
                     with_commas(max_length));
    }
    const std::string_view text = bytes_.substr(position_, *length);
    position_ += *length;
    return text;
  }

  void skip(uint64_t bytes) { position_ += bytes; }

  absl::Status truncated(std::string_view what) const {
    return invalid("ends within {} ({} bytes); the file is truncated", what,
                   with_commas(bytes_.size()));
  }

 private:
  std::string_view bytes_;
  uint64_t position_ = 0;
};

template <class T>
absl::StatusOr<Json> read_number(Reader& reader, std::string_view what) {
  const auto value = reader.read<T>(what);
  if (!value.ok()) return value.status();
  return Json(*value);
}

// A value that is no array.
absl::StatusOr<Json> read_scalar(Reader& reader, uint32_t type, std::string_view what) {
  switch (type) {
    case kUint8:
      return read_number<uint8_t>(reader, what);
    case kInt8:
      return read_number<int8_t>(reader, what);
    case kUint16:
      return read_number<uint16_t>(reader, what);
    case kInt16:
      return read_number<int16_t>(reader, what);
    case kUint32:
      return read_number<uint32_t>(reader, what);
    case kInt32:
      return read_number<int32_t>(reader, what);
    case kFloat32:
      return read_number<float>(reader, what);
    case kUint64:
      return read_number<uint64_t>(reader, what);
    case kInt64:
      return read_number<int64_t>(reader, what);
    case kFloat64:
      return read_number<double>(reader, what);
    case kBool: {
      const auto value = reader.read<uint8_t>(what);
      if (!value.ok()) return value.status();
      if (*value > 1) return invalid("{} is the boolean {}, expected 0 or 1", what, *value);
      return Json(*value == 1);
    }
    case kString: {
      const auto text = reader.read_string(what, reader.remaining());
      if (!text.ok()) return text.status();
      return Json(std::string(*text));
    }
    default:
      return invalid("{} has the unknown value type {}, known are 0 to 12; the file is damaged",
                     what, type);
  }
}

// Goes past the elements of an array, which are checked. `*values` grows by how many there are in
// all, nested ones included.
absl::Status skip_array(Reader& reader, std::string_view what, int depth, GgufArray* array,
                        uint64_t* values) {
  const auto element = reader.read<uint32_t>(what);
  if (!element.ok()) return element.status();
  const auto count = reader.read<uint64_t>(what);
  if (!count.ok()) return count.status();
  if (min_bytes(*element) == 0) {
    return invalid(
        "{} is an array of the unknown value type {}, known are 0 to 12; the file is "
        "damaged",
        what, *element);
  }
  if (depth == kMaxArrayDepth) return invalid("{} has arrays nested too deeply", what);
  if (*count > reader.remaining() / min_bytes(*element)) {
    return invalid(
        "{} is an array of {} values, more than the {} bytes that follow can hold; the "
        "file is truncated or damaged",
        what, with_commas(*count), with_commas(reader.remaining()));
  }
  const uint64_t begin = reader.position();
  *values += *count;
  if (*element == kArray) {
    for (uint64_t i = 0; i < *count; ++i) {
      GgufArray nested;
      absl::Status status = skip_array(reader, what, depth + 1, &nested, values);
      if (!status.ok()) return status;
    }
  } else if (*element == kString) {
    for (uint64_t i = 0; i < *count; ++i) {
      const auto text = reader.read_string(what, reader.remaining());
      if (!text.ok()) return text.status();
    }
  } else {
    reader.skip(*count * min_bytes(*element));
  }
  *array = {*element, *count, reader.since(begin)};
  if (*element == kBool) {
    for (const char value : array->bytes)
      if (static_cast<uint8_t>(value) > 1)
        return invalid("{} is the boolean {}, expected 0 or 1", what, static_cast<uint8_t>(value));
  }
  return absl::OkStatus();
}

// The elements of an array that skip_array has checked.
Json read_array(Reader& reader, std::string_view what) {
  const uint32_t element = *reader.read<uint32_t>(what);
  const uint64_t count = *reader.read<uint64_t>(what);
  Json array = Json::array();
  for (uint64_t i = 0; i < count; ++i)
    array.push_back(element == kArray ? read_array(reader, what)
                                      : *read_scalar(reader, element, what));
  return array;
}

// `set` is null for parts of a split file after the first, whose arrays nobody asks for.
absl::StatusOr<Json> read_value(Reader& reader, uint32_t type, std::string_view key,
                                std::string_view what, Gguf* set, uint64_t* inline_left) {
  if (type != kArray) return read_scalar(reader, type, what);
  const Reader begin = reader;
  GgufArray array;
  uint64_t values = 0;
  if (absl::Status status = skip_array(reader, what, 0, &array, &values); !status.ok())
    return status;
  if (set != nullptr) set->arrays.emplace(key, array);
  if (values > std::min(kMaxInlineArray, *inline_left)) return Json::binary({});
  *inline_left -= values;
  Reader again = begin;
  return read_array(again, what);
}

struct Header {
  uint64_t tensors = 0;
  uint64_t keys = 0;
};

absl::StatusOr<Header> read_header(Reader& reader) {
  const auto magic = reader.read<std::array<char, kMagic.size()>>("the header");
  if (!magic.ok()) return magic.status();
  if (std::string_view(magic->data(), magic->size()) != kMagic) {
    return invalid("does not begin with \"GGUF\"; it is not a GGUF file");
  }
  const auto version = reader.read<uint32_t>("the header");
  if (!version.ok()) return version.status();
  if (*version != 2 && *version != 3) {
    const uint32_t swapped = __builtin_bswap32(*version);
    if (swapped == 2 || swapped == 3) {
      return invalid("is a big-endian GGUF file; convert it to little-endian");
    }
    return invalid("is of GGUF version {}, supported are 2 and 3", *version);
  }
  const auto tensors = reader.read<uint64_t>("the header");
  if (!tensors.ok()) return tensors.status();
  const auto keys = reader.read<uint64_t>("the header");
  if (!keys.ok()) return keys.status();
  // The least a description can take: empty name, no extents; empty key, one byte.
  constexpr uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;
  constexpr uint64_t kMinKeyBytes = 8 + 4 + 1;
  if (*tensors > reader.remaining() / kMinTensorBytes ||
      *keys > reader.remaining() / kMinKeyBytes) {
    return invalid(
        "declares {} tensors and {} metadata keys, more than its {} bytes can hold; the "
        "file is truncated or damaged",
        with_commas(*tensors), with_commas(*keys), with_commas(reader.remaining()));
  }
  return Header{*tensors, *keys};
}

absl::StatusOr<Json> read_metadata(Reader& reader, uint64_t count, Gguf* set) {
  Json metadata = Json::object();
  uint64_t inline_left = kMaxInlineValues;
  for (uint64_t i = 0; i < count; ++i) {
    auto key =
        reader.read_string(fmt::format("metadata key {} of {}", i + 1, count), kMaxNameLength);
    if (!key.ok()) return key.status();
    const std::string what = fmt::format("the value of metadata key {}", in_quotes(*key));
    const auto type = reader.read<uint32_t>(what);
    if (!type.ok()) return type.status();
    auto value = read_value(reader, *type, *key, what, set, &inline_left);
    if (!value.ok()) return value.status();
    if (!metadata.emplace(std::string(*key), *std::move(value)).second) {
      return invalid("metadata key {} occurs twice", in_quotes(*key));
    }
  }
  return metadata;
}

absl::StatusOr<uint64_t> read_alignment(const Json& metadata) {
  const Json* value = find_field(metadata, "general.alignment");
  if (value == nullptr) return uint64_t{kDefaultAlignment};
  if (value->is_number_unsigned()) {
    const auto alignment = value->get<uint64_t>();
    if (std::has_single_bit(alignment) && alignment >= 8 && alignment <= kMaxAlignment)
      return alignment;
  }
  return invalid("metadata key \"general.alignment\" is {}, expected a power of two from 8 to {}",
                 describe(*value), kMaxAlignment);
}

// One tensor description; offsets are relative to the data.
struct Entry {
  std::string name;
  GgufTensor tensor;
  uint64_t begin = 0;
  uint64_t bytes = 0;
};

std::string type_text(const GgmlType& type) {
  return fmt::format("{} ({} bytes for {} elements)", type.name, type.block_bytes,
                     type.block_elements);
}

absl::StatusOr<Entry> read_entry(Reader& reader, uint64_t index, uint64_t count,
                                 uint64_t alignment) {
  Entry entry;
  auto name = reader.read_string(fmt::format("the name of tensor {} of {}", index + 1, count),
                                 kMaxNameLength);
  if (!name.ok()) return name.status();
  entry.name = *name;
  const std::string what = "tensor " + in_quotes(entry.name);
  const auto rank = reader.read<uint32_t>(what);
  if (!rank.ok()) return rank.status();
  if (*rank < 1 || *rank > kMaxRank) {
    return invalid("{} has {} dimensions, expected 1 to {}", what, *rank, kMaxRank);
  }
  int64_t elements = 1;
  for (uint32_t i = 0; i < *rank; ++i) {
    const auto extent = reader.read<uint64_t>(what);
    if (!extent.ok()) return extent.status();
    if (*extent == 0 || *extent > uint64_t{1} << 62 ||
        __builtin_mul_overflow(elements, static_cast<int64_t>(*extent), &elements)) {
      return invalid("{} has the dimension {}, which no file can hold", what, *extent);
    }
    entry.tensor.shape.insert(entry.tensor.shape.begin(), static_cast<int64_t>(*extent));
  }
  const auto id = reader.read<uint32_t>(what);
  if (!id.ok()) return id.status();
  const auto offset = reader.read<uint64_t>(what);
  if (!offset.ok()) return offset.status();

  const GgmlType* type = find_ggml_type(*id);
  if (type == nullptr) {
    return invalid("{} has the unknown type id {}; convert the model to a type that is supported",
                   what, *id);
  }
  if (!type->refusal.empty()) {
    return invalid("{} has the type id {}, {}: {}; convert the model to a type that is supported",
                   what, *id, type_text(*type), type->refusal);
  }
  entry.tensor.type = type;
  if (entry.tensor.shape.back() % type->block_elements != 0) {
    return invalid("{} {} has rows of {} elements, which blocks of {} do not divide", what,
                   shape_text(entry.tensor.shape), entry.tensor.shape.back(), type_text(*type));
  }
  uint64_t bytes = static_cast<uint64_t>(elements / type->block_elements);
  if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(type->block_bytes), &bytes) ||
      bytes > uint64_t{1} << 62) {
    return invalid("{} {} has more elements than any file can hold", what,
                   shape_text(entry.tensor.shape));
  }
  if (*offset % alignment != 0) {
    return invalid("{} has the offset {}, which is not a multiple of the alignment {}", what,
                   *offset, alignment);
  }
  entry.begin = *offset;
  entry.bytes = bytes;
  return entry;
}

uint64_t aligned(uint64_t position, uint64_t alignment) {
  return (position + alignment - 1) / alignment * alignment;
}

// Where blocks of 64 would overlap what follows, the file means blocks of 128 by their id.
void tell_q2_apart(std::vector<Entry>& entries, uint64_t data_size) {
  const auto is_q2 = [](const Entry& entry) { return entry.tensor.type->id == kQ2; };
  bool overlaps = false;
  for (size_t i = 0; i < entries.size(); ++i) {
    const uint64_t next = i + 1 < entries.size() ? entries[i + 1].begin : data_size;
    overlaps |= is_q2(entries[i]) && entries[i].begin + entries[i].bytes > next;
  }
  const GgmlType& wide = *find_ggml_type(kPrismQ2);
  const bool fits = std::all_of(entries.begin(), entries.end(), [&](const Entry& entry) {
    return !is_q2(entry) || entry.tensor.shape.back() % wide.block_elements == 0;
  });
  if (!overlaps || !fits) return;
  for (Entry& entry : entries) {
    if (!is_q2(entry)) continue;
    entry.bytes = entry.bytes / static_cast<uint64_t>(entry.tensor.type->block_bytes) / 2 *
                  static_cast<uint64_t>(wide.block_bytes);
    entry.tensor.type = &wide;
  }
}

// Sorts by offset. Tensors fill the data, with only padding between them.
absl::Status check_coverage(std::vector<Entry>& entries, uint64_t data_size, uint64_t alignment) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.bytes) < std::pair(b.begin, b.bytes);
  });
  tell_q2_apart(entries, data_size);
  uint64_t covered = 0;
  const Entry* previous = nullptr;
  std::set<const GgmlType*> sure;  // types of tensors that end where the next one begins
  for (const Entry& entry : entries) {
    const std::string what =
        fmt::format("tensor {} {} of type {}", in_quotes(entry.name),
                    shape_text(entry.tensor.shape), type_text(*entry.tensor.type));
    if (entry.begin > data_size || entry.bytes > data_size - entry.begin) {
      return invalid(
          "{} needs {} bytes from offset {} of the data, which has {}; the file is "
          "truncated, or the program that wrote it means another type by this id",
          what, with_commas(entry.bytes), with_commas(entry.begin), with_commas(data_size));
    }
    if (entry.begin < covered) {
      return invalid("{} at offset {} overlaps tensor {}, which ends at {}", what,
                     with_commas(entry.begin), in_quotes(previous->name), with_commas(covered));
    }
    if (entry.begin >= aligned(covered, alignment) + alignment) {
      if (previous == nullptr) {
        return invalid("{} bytes of the data before {} belong to no tensor",
                       with_commas(entry.begin), what);
      }
      return invalid(
          "tensor {} of type {} needs {} bytes, but {} lie between its offset and the "
          "next tensor's, {}; the program that wrote the file means another type by this id, or "
          "the file is damaged",
          in_quotes(previous->name), type_text(*previous->tensor.type),
          with_commas(previous->bytes), with_commas(entry.begin - previous->begin),
          in_quotes(entry.name));
    }
    if (previous != nullptr) sure.insert(previous->tensor.type);
    covered = entry.begin + entry.bytes;
    previous = &entry;
  }
  // Anything may follow the last tensor, unless it could be the rest of larger blocks: forks have
  // given later ids to blocks of their own.
  constexpr uint32_t kFirstContestedId = 31;
  const bool last_is_sure = previous != nullptr && (previous->tensor.type->id < kFirstContestedId ||
                                                    sure.contains(previous->tensor.type));
  if (previous != nullptr && !last_is_sure &&
      data_size >= aligned(covered, alignment) + alignment) {
    return invalid(
        "{} bytes after the last tensor {} of type {} belong to no tensor; the program that "
        "wrote the file means another type by this id, or the file is damaged",
        with_commas(data_size - covered), in_quotes(previous->name),
        type_text(*previous->tensor.type));
  }
  return absl::OkStatus();
}

// Adds the tensors of one file to `set` and returns the file's metadata. Errors complete "FILE: ".
absl::StatusOr<Json> read_file(const std::shared_ptr<const MappedFile>& file,
                               const std::string& file_name, Gguf& set) {
  Reader reader(file->text());
  const auto header = read_header(reader);
  if (!header.ok()) return header.status();
  auto metadata = read_metadata(reader, header->keys, set.files.empty() ? &set : nullptr);
  if (!metadata.ok()) return metadata.status();
  const auto alignment = read_alignment(*metadata);
  if (!alignment.ok()) return alignment.status();

  std::vector<Entry> entries;
  for (uint64_t i = 0; i < header->tensors; ++i) {
    auto entry = read_entry(reader, i, header->tensors, *alignment);
    if (!entry.ok()) return entry.status();
    entries.push_back(*std::move(entry));
  }
  if (entries.empty()) return metadata;
  const uint64_t data_begin = aligned(reader.position(), *alignment);
  if (data_begin > file->size()) return reader.truncated("the padding before the data");
  const absl::Span<const uint8_t> data = file->bytes().subspan(data_begin);
  if (absl::Status status = check_coverage(entries, data.size(), *alignment); !status.ok())
    return status;
  for (Entry& entry : entries) {
    entry.tensor.bytes = data.subspan(entry.begin, entry.bytes);
    entry.tensor.file = file_name;
    const auto [known, is_new] = set.tensors.emplace(entry.name, std::move(entry.tensor));
    if (!is_new) {
      return invalid("tensor {} is also in {}; a tensor may be stored only once",
                     in_quotes(entry.name), known->second.file);
    }
  }
  return metadata;
}

absl::StatusOr<Json> add_file(const std::filesystem::path& path, Gguf& set) {
  absl::StatusOr<MappedFile> mapped = MappedFile::open(path);
  if (!mapped.ok()) return mapped.status();
  const auto file = std::make_shared<const MappedFile>(*std::move(mapped));
  const std::string name = file_name(path);
  auto metadata = read_file(file, name, set);
  if (!metadata.ok()) {
    return invalid("{}: {}", name, std::string(metadata.status().message()));
  }
  set.files.push_back(file);
  return metadata;
}

// "model-00002-of-00003.gguf": the name before "-00002", and the count; nullopt for other names.
struct PartName {
  std::string stem;
  int64_t count = 0;
  std::string extension;
};
std::optional<PartName> part_name(const std::string& name) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (name.size() <= kPattern.size()) return std::nullopt;
  const std::string_view tail = std::string_view(name).substr(name.size() - kPattern.size());
  for (size_t i = 0; i < tail.size(); ++i) {
    const bool digit = tail[i] >= '0' && tail[i] <= '9';
    if (kPattern[i] == '0' ? !digit : absl::ascii_tolower(tail[i]) != kPattern[i])
      return std::nullopt;
  }
  PartName part;
  part.stem = name.substr(0, name.size() - kPattern.size());
  part.extension = tail.substr(tail.size() - 5);
  for (const char digit : tail.substr(10, 5)) part.count = part.count * 10 + (digit - '0');
  return part;
}

template <class T>
T element_at(std::string_view bytes, uint64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

// Calls `use` with the number at `index`.
template <class Use>
auto with_number(const GgufArray& array, uint64_t index, Use use) {
  switch (array.type) {
    case kUint8:
    case kBool:
      return use(element_at<uint8_t>(array.bytes, index));
    case kInt8:
      return use(element_at<int8_t>(array.bytes, index));
    case kUint16:
      return use(element_at<uint16_t>(array.bytes, index));
    case kInt16:
      return use(element_at<int16_t>(array.bytes, index));
    case kUint32:
      return use(element_at<uint32_t>(array.bytes, index));
    case kInt32:
      return use(element_at<int32_t>(array.bytes, index));
    case kFloat32:
      return use(element_at<float>(array.bytes, index));
    case kUint64:
      return use(std::min(element_at<uint64_t>(array.bytes, index), uint64_t{INT64_MAX}));
    case kFloat64:
      return use(element_at<double>(array.bytes, index));
    default:
      return use(element_at<int64_t>(array.bytes, index));
  }
}

}  // namespace

bool begins_as_gguf(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  std::array<char, kMagic.size()> start{};
  std::ifstream file(path, std::ios::binary);
  file.read(start.data(), start.size());
  return file.gcount() == static_cast<std::streamsize>(start.size()) &&
         std::string_view(start.data(), start.size()) == kMagic;
}

bool GgufArray::is_text() const { return type == kString; }
bool GgufArray::is_integer() const { return is_number() && type != kFloat32 && type != kFloat64; }
bool GgufArray::is_number() const { return type != kString && type != kArray && type != kBool; }

std::vector<std::string_view> GgufArray::texts() const {
  std::vector<std::string_view> texts;
  texts.reserve(count);
  std::string_view rest = bytes;
  for (uint64_t i = 0; i < count; ++i) {
    const auto length = element_at<uint64_t>(rest, 0);
    texts.push_back(rest.substr(sizeof length, length));
    rest.remove_prefix(sizeof length + length);
  }
  return texts;
}

int64_t GgufArray::integer(uint64_t index) const {
  return with_number(*this, index, [](auto value) { return static_cast<int64_t>(value); });
}

double GgufArray::number(uint64_t index) const {
  return with_number(*this, index, [](auto value) { return static_cast<double>(value); });
}

absl::StatusOr<Gguf> open_gguf(const std::filesystem::path& path) {
  auto set = open_gguf_metadata(path);
  if (set.ok() && set->tensors.empty()) return invalid("{}: holds no tensors", set->file);
  return set;
}

absl::StatusOr<Gguf> open_gguf_metadata(const std::filesystem::path& path) {
  constexpr IntRange kParts{0, kMaxParts};
  const std::optional<PartName> part = part_name(path.filename().string());
  const int64_t count = part ? part->count : 1;
  if (part && count < 1) {
    return invalid("{}: the file name says that the model has 0 parts", file_name(path));
  }
  Gguf set;
  for (int64_t i = 0; i < count; ++i) {
    const std::filesystem::path here =
        part ? path.parent_path() /
                   fmt::format("{}-{:05}-of-{:05}{}", part->stem, i + 1, count, part->extension)
             : path;
    const std::string name = file_name(here);
    auto metadata = add_file(here, set);
    if (part && absl::IsNotFound(metadata.status())) {
      return absl::NotFoundError(fmt::format(
          "{}: part {} of {} is missing; all parts belong in one folder", name, i + 1, count));
    }
    if (!metadata.ok()) return metadata.status();
    const auto stored_count = get_int_or(*metadata, "split.count", name, 1, kParts);
    if (!stored_count.ok()) return stored_count.status();
    const auto stored_number = get_int_or(*metadata, "split.no", name, 0, kParts);
    if (!stored_number.ok()) return stored_number.status();
    if (std::max<int64_t>(*stored_count, 1) != count || *stored_number != i) {
      return invalid(
          "{}: is part {} of {} by its metadata (\"split.no\", \"split.count\"), but "
          "{} of {} by its name; give the file its first name back",
          name, *stored_number + 1, *stored_count, i + 1, count);
    }
    if (i == 0) {
      set.file = name;
      set.metadata = *std::move(metadata);
    }
  }
  const auto total = get_int_or(set.metadata, "split.tensors.count", set.file,
                                static_cast<int64_t>(set.tensors.size()), kNotNegative);
  if (!total.ok()) return total.status();
  if (*total != static_cast<int64_t>(set.tensors.size())) {
    return invalid("{}: \"split.tensors.count\" is {}, but the parts hold {} tensors", set.file,
                   *total, set.tensors.size());
  }
  return set;
}

}  // namespace sinter::frontends
