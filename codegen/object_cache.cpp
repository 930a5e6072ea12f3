#include "codegen/object_cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

#include "codegen/clang_compile.h"
#include "codegen/device_sources.h"
#include "runtime/checksum.h"

namespace sinter::codegen {

namespace {

namespace fs = std::filesystem;

uint64_t hash(std::string_view text) {
  runtime::Checksum checksum;
  checksum.update(text);
  return checksum.value();
}

// Two hashes of differently arranged text: 128 bits against accidents. `kind`: what is made of it.
std::string key_of(std::string_view kind, std::string_view source, const Target& target) {
  std::string all = compile_fingerprint(target);
  for (const DeviceSource& device : device_sources()) {
    all += device.name;
    all += device.text;
  }
  all += source;
  const uint64_t first = hash(all);
  return fmt::format("{}-{}{:016x}{:016x}", target.name, kind, first,
                     hash(fmt::format("{} {}", first, all)));
}

// A file is the checksum of the object, then the object. Empty when there is no good one.
std::vector<uint8_t> read_object(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(file)),
                             std::istreambuf_iterator<char>());
  uint64_t checksum = 0;
  if (bytes.size() <= sizeof(checksum)) return {};
  std::memcpy(&checksum, bytes.data(), sizeof(checksum));
  bytes.erase(bytes.begin(), bytes.begin() + sizeof(checksum));
  return runtime::checksum_of(bytes) == checksum ? bytes : std::vector<uint8_t>();
}

void write_object(const fs::path& path, const std::vector<uint8_t>& object) {
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  const fs::path temporary = fmt::format("{}.{}", path.string(), ::getpid());
  {
    std::ofstream file(temporary, std::ios::binary);
    const uint64_t checksum = runtime::checksum_of(object);
    file.write(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
    file.write(reinterpret_cast<const char*>(object.data()),
               static_cast<std::streamsize>(object.size()));
  }
  fs::rename(temporary, path, ignored);
  fs::remove(temporary, ignored);
}

// What `make` makes, or made another time.
template <class Make>
absl::StatusOr<std::vector<uint8_t>> remembered(std::string_view kind, std::string_view source,
                                                const Target& target, const Make& make) {
  const char* folder = std::getenv("SINTER_OBJECT_CACHE");
  if (folder == nullptr || *folder == '\0') return make();
  const fs::path path = fs::path(folder) / key_of(kind, source, target);
  if (auto object = read_object(path); !object.empty()) return object;
  absl::StatusOr<std::vector<uint8_t>> made = make();
  if (made.ok()) write_object(path, *made);
  return made;
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> compile_shared(std::string_view source, const Target& target) {
  return remembered("", source, target, [&]() -> absl::StatusOr<std::vector<uint8_t>> {
    const auto object = compile_to_object(source, target);
    if (!object.ok()) return object.status();
    return link_shared(*object, target);
  });
}

absl::StatusOr<std::string> compile_assembly(std::string_view source, const Target& target) {
  const auto bytes =
      remembered("asm-", source, target, [&]() -> absl::StatusOr<std::vector<uint8_t>> {
        const auto text = compile_to_assembly(source, target);
        if (!text.ok()) return text.status();
        return std::vector<uint8_t>(text->begin(), text->end());
      });
  if (!bytes.ok()) return bytes.status();
  return std::string(bytes->begin(), bytes->end());
}

}  // namespace sinter::codegen
