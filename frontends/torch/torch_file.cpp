#include "frontends/torch/torch_file.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "frontends/error_text.h"
#include "frontends/torch/pickle.h"
#include "frontends/torch/zip_file.h"

namespace sinter::frontends {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kRebuildTensor = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils _rebuild_parameter";

struct StorageType {
  std::string_view global;
  std::string_view dtype;  // as safetensors names it
  int64_t bytes;
};
constexpr std::array<StorageType, 9> kStorageTypes = {{
    {"torch FloatStorage", "F32", 4},
    {"torch HalfStorage", "F16", 2},
    {"torch BFloat16Storage", "BF16", 2},
    {"torch DoubleStorage", "F64", 8},
    {"torch LongStorage", "I64", 8},
    {"torch IntStorage", "I32", 4},
    {"torch ShortStorage", "I16", 2},
    {"torch CharStorage", "I8", 1},
    {"torch ByteStorage", "U8", 1},
}};

std::vector<std::string_view> allowed_globals() {
  std::vector<std::string_view> globals = {"collections OrderedDict", "torch BoolStorage",
                                           kRebuildTensor, kRebuildParameter};
  for (const StorageType& type : kStorageTypes) globals.push_back(type.global);
  return globals;
}

// The arguments when `value` calls `global` with at least `count` of them.
const PickleValue* arguments_of(const PickleValue& value, std::string_view global, size_t count) {
  if (value.kind() != Kind::call || value.items()[0]->text() != global ||
      value.items()[1]->items().size() < count) {
    return nullptr;
  }
  return value.items()[1];
}

bool is_integers(const PickleValue& value) {
  return value.kind() == Kind::tuple &&
         std::all_of(value.items().begin(), value.items().end(), [](const PickleValue* item) {
           return item->kind() == Kind::integer && item->integer() >= 0;
         });
}

struct Archive {
  ZipEntries entries;
  std::string prefix;  // the folder that holds all entries, with '/'
  std::string file;
};

// The storage that a persistent id names: ("storage", type, key, device, elements). Errors end the
// sentence "tensor X ...".
struct Storage {
  const StorageType* type = nullptr;
  absl::Span<const uint8_t> bytes;
};
absl::StatusOr<Storage> find_storage(const Archive& archive, const PickleValue& value) {
  if (value.kind() != Kind::persistent)
    return invalid("has {} in place of a storage", describe(value));
  const PickleValue& id = *value.items()[0];
  if (id.kind() != Kind::tuple || id.items().size() < 5 || id.items()[0]->text() != "storage" ||
      id.items()[1]->kind() != Kind::global || id.items()[2]->kind() != Kind::text ||
      id.items()[4]->kind() != Kind::integer) {
    return invalid("has a storage with an id that is not understood, {}", describe(id));
  }
  Storage storage;
  for (const StorageType& type : kStorageTypes)
    if (type.global == id.items()[1]->text()) storage.type = &type;
  if (storage.type == nullptr) {
    return invalid("has the storage type {}, which is not supported", describe(*id.items()[1]));
  }
  const std::string name = fmt::format("{}data/{}", archive.prefix, id.items()[2]->text());
  const auto entry = archive.entries.find(name);
  if (entry == archive.entries.end()) {
    return invalid("is in the storage {}, which the archive lacks", in_quotes(name));
  }
  storage.bytes = entry->second;
  int64_t expected = 0;
  if (__builtin_mul_overflow(id.items()[4]->integer(), storage.type->bytes, &expected) ||
      expected != static_cast<int64_t>(storage.bytes.size())) {
    return invalid("is in a storage of {} elements of {} bytes, but {} has {} bytes",
                   id.items()[4]->integer(), storage.type->bytes, in_quotes(name),
                   with_commas(storage.bytes.size()));
  }
  return storage;
}

// Errors end the sentence "tensor X ...".
absl::StatusOr<StoredTensor> read_tensor(const Archive& archive, const PickleValue& value) {
  // A parameter is (tensor, requires_grad, hooks).
  if (const auto* parameter = arguments_of(value, kRebuildParameter, 1);
      parameter != nullptr && arguments_of(*parameter->items()[0], kRebuildTensor, 1) != nullptr) {
    return read_tensor(archive, *parameter->items()[0]);
  }
  // (storage, offset, size, stride, requires_grad, hooks)
  const PickleValue* arguments = arguments_of(value, kRebuildTensor, 4);
  if (arguments == nullptr) {
    return invalid("is {}, expected a tensor; the file is not a plain state dict", describe(value));
  }
  const auto storage = find_storage(archive, *arguments->items()[0]);
  if (!storage.ok()) return storage.status();
  const PickleValue& offset = *arguments->items()[1];
  const PickleValue& size = *arguments->items()[2];
  const PickleValue& stride = *arguments->items()[3];
  if (offset.kind() != Kind::integer || offset.integer() < 0 || !is_integers(size) ||
      !is_integers(stride) || size.items().size() != stride.items().size()) {
    return invalid(
        "has offset {}, size {} and stride {}, expected an integer and two tuples of as "
        "many integers",
        describe(offset), describe(size), describe(stride));
  }
  if (size.items().size() > kMaxTensorRank) {
    return invalid("has {} dimensions, at most {} are supported", size.items().size(),
                   kMaxTensorRank);
  }
  StoredTensor tensor;
  tensor.dtype = storage->type->dtype;
  tensor.file = archive.file;
  for (const PickleValue* extent : size.items()) tensor.shape.push_back(extent->integer());
  int64_t elements = 1;
  for (size_t i = size.items().size(); i-- > 0;) {
    const int64_t extent = size.items()[i]->integer();
    // The stride of an extent of 0 or 1 is never used.
    if (extent > 1 && stride.items()[i]->integer() != elements) {
      return invalid(
          "of shape {} has the stride {} in dimension {}, expected {}: only contiguous "
          "tensors are supported; save it again after .contiguous()",
          shape_text(tensor.shape), stride.items()[i]->integer(), i, elements);
    }
    if (__builtin_mul_overflow(elements, extent, &elements))
      return invalid("of shape {} has more elements than any file can hold",
                     shape_text(tensor.shape));
  }
  const auto available = static_cast<int64_t>(storage->bytes.size()) / storage->type->bytes;
  if (offset.integer() > available || elements > available - offset.integer()) {
    return invalid("of shape {} lies at element {} of a storage of {} elements, beyond its end",
                   shape_text(tensor.shape), offset.integer(), available);
  }
  tensor.bytes = storage->bytes.subspan(offset.integer() * storage->type->bytes,
                                        elements * storage->type->bytes);
  return tensor;
}

absl::StatusOr<Archive> open_archive(const MappedFile& file, const std::string& name) {
  if (file.size() >= 2 && file.bytes()[0] == 0x80 && file.bytes()[1] == 2) {
    return invalid(
        "{}: is of the PyTorch format before 1.6; load it with PyTorch and save it again "
        "with torch.save",
        name);
  }
  auto entries = read_zip(file.bytes(), name);
  if (!entries.ok()) return entries.status();
  constexpr std::string_view kPickle = "data.pkl";
  Archive archive{*std::move(entries), "", name};
  std::optional<std::string> prefix;
  for (const auto& [entry, bytes] : archive.entries) {
    const size_t slash = entry.find('/');
    if (slash == std::string::npos || entry.substr(slash + 1) != kPickle) continue;
    if (prefix) return invalid("{}: the archive holds two pickles", name);
    prefix = entry.substr(0, slash + 1);
  }
  if (!prefix) {
    return invalid("{}: the archive holds no {}; it was not written by torch.save", name, kPickle);
  }
  archive.prefix = *prefix;
  const auto order = archive.entries.find(archive.prefix + "byteorder");
  if (order != archive.entries.end() &&
      std::string(order->second.begin(), order->second.end()) != "little") {
    return invalid("{}: the archive is not little-endian; save it again on another machine", name);
  }
  return archive;
}

}  // namespace

absl::Status add_torch_file(const std::filesystem::path& path, TensorFiles& set) {
  absl::StatusOr<MappedFile> mapped = MappedFile::open(path);
  if (!mapped.ok()) return mapped.status();
  const auto file = std::make_shared<const MappedFile>(*std::move(mapped));
  const std::string name = file_name(path);
  const auto archive = open_archive(*file, name);
  if (!archive.ok()) return archive.status();
  const auto globals = allowed_globals();
  const auto pickle =
      read_pickle(archive->entries.find(archive->prefix + "data.pkl")->second, name, globals);
  if (!pickle.ok()) return pickle.status();
  const PickleValue& root = *pickle->root;
  if (root.kind() != Kind::dict) {
    return invalid("{}: holds {}, expected a state dict", name, describe(root));
  }
  for (size_t i = 0; i < root.items().size(); i += 2) {
    if (root.items()[i]->kind() != Kind::text) {
      return invalid("{}: the state dict has the key {}, expected a name", name,
                     describe(*root.items()[i]));
    }
    const std::string key(root.items()[i]->text());
    auto tensor = read_tensor(*archive, *root.items()[i + 1]);
    if (!tensor.ok()) {
      return invalid("{}: tensor {} {}", name, in_quotes(key),
                     std::string(tensor.status().message()));
    }
    const auto [known, is_new] = set.tensors.emplace(key, *std::move(tensor));
    if (!is_new) {
      return invalid("{}: tensor {} is also in {}; a tensor may be stored only once", name,
                     in_quotes(key), known->second.file);
    }
  }
  set.files.push_back(file);
  return absl::OkStatus();
}

absl::StatusOr<TensorFiles> open_torch_file(const std::filesystem::path& file) {
  TensorFiles set;
  if (absl::Status status = add_torch_file(file, set); !status.ok()) return status;
  if (set.tensors.empty()) return invalid("{}: holds no tensors", file_name(file));
  return set;
}

}  // namespace sinter::frontends
