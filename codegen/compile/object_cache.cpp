#include "codegen/compile/object_cache.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

#include "codegen/compile/clang_compile.h"
#include "codegen/compile/device_sources.h"
#include "runtime/plan/checksum.h"
#include "runtime/support/source_files.h"
#include "runtime/support/temporary_file.h"

namespace sinter::codegen {

namespace {

namespace fs = std::filesystem;

// `kind`: what is made of the source.
std::string file_name(std::string_view kind, std::string_view source, const Target& target) {
  runtime::Checksum all;
  const auto add = [&](std::string_view text) {
    all.update(fmt::format("{}:", text.size()));
    all.update(text);
  };
  add(compile_fingerprint(target));
  for (const DeviceSource& device : device_sources()) {
    add(device.name);
    add(device.text);
  }
  add(source);
  return fmt::format("{}-{}{}", target.name, kind, all.key());
}

// A file is the checksum of the object, then the object. Empty when there is no good one.
std::vector<uint8_t> read_object(const fs::path& path) {
  const auto read = runtime::read_source(path.string());
  uint64_t checksum = 0;
  if (!read.ok() || !*read || (*read)->size() <= sizeof(checksum)) return {};
  std::memcpy(&checksum, (*read)->data(), sizeof(checksum));
  std::vector<uint8_t> object((*read)->begin() + sizeof(checksum), (*read)->end());
  return runtime::checksum_of(object) == checksum ? object : std::vector<uint8_t>();
}

void write_object(const fs::path& path, const std::vector<uint8_t>& object) {
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  // Whatever fails, there is no object the next time; nothing else depends on it.
  runtime::TemporaryFile file;
  const uint64_t checksum = runtime::checksum_of(object);
  if (file.create(path.string()) == 0 &&
      file.append({reinterpret_cast<const uint8_t*>(&checksum), sizeof(checksum)}) == 0 &&
      file.append(object) == 0)
    file.finish();
}

// What `make` makes, or made another time.
template <class Make>
absl::StatusOr<std::vector<uint8_t>> remembered(std::string_view kind, std::string_view source,
                                                const Target& target, const Make& make) {
  const char* folder = std::getenv("SINTER_OBJECT_CACHE");
  if (folder == nullptr || *folder == '\0') return make();
  const fs::path path = fs::path(folder) / file_name(kind, source, target);
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
