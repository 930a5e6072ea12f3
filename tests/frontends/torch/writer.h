// Files of torch.save for tests, good and bad ones: a pickle of protocol 2 in a zip of stored
// entries.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sinter::frontends {

struct ZipPart {
  std::string name;
  std::string bytes;
  uint16_t method = 0;
  uint16_t flags = 0;
};

template <class T>
std::string little(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

// Without checksums, which nobody reads.
inline std::string zip_bytes(const std::vector<ZipPart>& parts, bool zip64 = false) {
  std::string out;
  std::string directory;
  for (const ZipPart& part : parts) {
    const auto size = static_cast<uint32_t>(part.bytes.size());
    const auto name_size = static_cast<uint16_t>(part.name.size());
    const uint64_t offset = out.size();
    // PyTorch pads with an extra field, here of 5 bytes.
    out += little(uint32_t{0x04034b50}) + little(uint16_t{20}) + little(part.flags) +
           little(part.method) + std::string(8, '\0') + little(size) + little(size) +
           little(name_size) + little(uint16_t{5}) + part.name + "FB\x01" + std::string(2, '\0') +
           part.bytes;
    std::string extra;
    if (zip64) {
      extra = little(uint16_t{1}) + little(uint16_t{24}) + little(uint64_t{size}) +
              little(uint64_t{size}) + little(offset);
    }
    const uint32_t ones = 0xFFFFFFFF;
    directory += little(uint32_t{0x02014b50}) + little(uint32_t{20}) + little(part.flags) +
                 little(part.method) + std::string(8, '\0') + little(zip64 ? ones : size) +
                 little(zip64 ? ones : size) + little(name_size) +
                 little(static_cast<uint16_t>(extra.size())) + std::string(10, '\0') +
                 little(zip64 ? ones : static_cast<uint32_t>(offset)) + part.name + extra;
  }
  const uint64_t begin = out.size();
  const uint64_t count = parts.size();
  out += directory;
  if (zip64) {
    const uint64_t record = out.size();
    out += little(uint32_t{0x06064b50}) + little(uint64_t{44}) + std::string(12, '\0') +
           little(count) + little(count) + little(uint64_t{directory.size()}) + little(begin);
    out +=
        little(uint32_t{0x07064b50}) + little(uint32_t{0}) + little(record) + little(uint32_t{1});
  }
  const auto narrow_count = static_cast<uint16_t>(zip64 ? 0xFFFF : count);
  out += little(uint32_t{0x06054b50}) + little(uint32_t{0}) + little(narrow_count) +
         little(narrow_count) + little(static_cast<uint32_t>(directory.size())) +
         little(zip64 ? 0xFFFFFFFFU : static_cast<uint32_t>(begin)) + little(uint16_t{0});
  return out;
}

// Opcodes of protocol 2.
inline std::string pickle_text(std::string_view text) {
  return "X" + little(static_cast<uint32_t>(text.size())) + std::string(text);
}
inline std::string pickle_int(int64_t value) {
  return value >= 0 && value < 256 ? "K" + little(static_cast<uint8_t>(value))
                                   : "J" + little(static_cast<int32_t>(value));
}
inline std::string pickle_tuple(const std::vector<int64_t>& values) {
  std::string out = "(";
  for (const int64_t value : values) out += pickle_int(value);
  return out + "t";
}

struct TorchTensor {
  std::string name = {};
  std::string storage_type = {};  // "FloatStorage"
  std::string key = {};           // of the storage
  int64_t storage_elements = 0;
  int64_t offset = 0;
  std::vector<int64_t> shape = {};
  std::vector<int64_t> stride = {};
};

inline std::string pickle_tensor(const TorchTensor& t) {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + pickle_text("storage") + "ctorch\n" +
         t.storage_type + "\n" + pickle_text(t.key) + pickle_text("cpu") +
         pickle_int(t.storage_elements) + "tQ" + pickle_int(t.offset) + pickle_tuple(t.shape) +
         pickle_tuple(t.stride) + "\x89" + "ccollections\nOrderedDict\n)RtR";
}

// An OrderedDict with the attribute "_metadata", as Module.state_dict makes.
inline std::string pickle_state_dict(const std::vector<TorchTensor>& tensors) {
  std::string out =
      "\x80\x02"
      "ccollections\nOrderedDict\n)Rq";
  out += std::string(1, '\0') + "(";
  for (const TorchTensor& tensor : tensors) out += pickle_text(tensor.name) + pickle_tensor(tensor);
  return out + "u}" + pickle_text("_metadata") + "ccollections\nOrderedDict\n)Rsb.";
}

struct TorchStorage {
  std::string key;
  std::string bytes;
};
inline std::string torch_bytes(const std::string& pickle, const std::vector<TorchStorage>& storages,
                               bool zip64 = false) {
  std::vector<ZipPart> parts = {{"archive/data.pkl", pickle}, {"archive/byteorder", "little"}};
  for (const TorchStorage& storage : storages)
    parts.push_back({"archive/data/" + storage.key, storage.bytes});
  parts.push_back({"archive/version", "3\n"});
  return zip_bytes(parts, zip64);
}

}  // namespace sinter::frontends
