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

// Two hashes of differently arranged text: 128 bits against accidents.
std::string key_of(std::string_view source, const Target& target) {
  std::string all = compile_fingerprint(target);
  for (const DeviceSource& device : device_sources()) {
    all += device.name;
    all += device.text;
  }
  all += source;
  const uint64_t first = hash(all);
  return fmt::format("{}-{:016x}{:016x}", target.name, first,
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

}  // namespace

absl::StatusOr<std::vector<uint8_t>> compile_shared(std::string_view source, const Target& target) {
  const char* folder = std::getenv("SINTER_OBJECT_CACHE");
  const bool cached = folder != nullptr && *folder != '\0';
  const fs::path path = cached ? fs::path(folder) / key_of(source, target) : fs::path();
  if (cached)
    if (auto object = read_object(path); !object.empty()) return object;
  const auto object = compile_to_object(source, target);
  if (!object.ok()) return object.status();
  auto shared = link_shared(*object, target);
  if (shared.ok() && cached) write_object(path, *shared);
  return shared;
}

}  // namespace sinter::codegen
