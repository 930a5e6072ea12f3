#include "frontends/torch/zip_file.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "frontends/error_text.h"

namespace sinter::frontends {
namespace {

constexpr uint32_t kLocalHeader = 0x04034b50;
constexpr uint32_t kCentralHeader = 0x02014b50;
constexpr uint32_t kEndOfDirectory = 0x06054b50;
constexpr uint32_t kZip64EndOfDirectory = 0x06064b50;
constexpr uint32_t kZip64Locator = 0x07064b50;
constexpr uint64_t kLocalHeaderBytes = 30;
constexpr uint64_t kCentralHeaderBytes = 46;
constexpr uint64_t kEndBytes = 22;
constexpr uint64_t kMaxComment = 65535;

// Little-endian; the caller has checked that the bytes are there.
template <class T>
T load(absl::Span<const uint8_t> bytes, uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

bool fits(absl::Span<const uint8_t> bytes, uint64_t at, uint64_t size) {
  return at <= bytes.size() && size <= bytes.size() - at;
}

struct Directory {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t entries = 0;
};

std::optional<Directory> find_directory(absl::Span<const uint8_t> archive) {
  if (archive.size() < kEndBytes) return std::nullopt;
  // The record is the last thing but for a comment.
  const uint64_t last = archive.size() - kEndBytes;
  const uint64_t first = last - std::min(last, kMaxComment);
  for (uint64_t at = last + 1; at-- > first;) {
    if (load<uint32_t>(archive, at) != kEndOfDirectory ||
        load<uint16_t>(archive, at + 20) != archive.size() - at - kEndBytes) {
      continue;
    }
    Directory directory{load<uint32_t>(archive, at + 16), load<uint32_t>(archive, at + 12),
                        load<uint16_t>(archive, at + 10)};
    if (at >= 20 && load<uint32_t>(archive, at - 20) == kZip64Locator) {
      const auto wide = load<uint64_t>(archive, at - 20 + 8);
      if (!fits(archive, wide, 56) || load<uint32_t>(archive, wide) != kZip64EndOfDirectory)
        return std::nullopt;
      directory = {load<uint64_t>(archive, wide + 48), load<uint64_t>(archive, wide + 40),
                   load<uint64_t>(archive, wide + 32)};
    }
    return directory;
  }
  return std::nullopt;
}

struct Entry {
  std::string name;
  uint64_t header = 0;  // offset of the local header
  uint64_t begin = 0;
  uint64_t size = 0;
};

// Values of 32 bits that are all ones stand in the Zip64 extra field, in this order.
bool read_zip64(absl::Span<const uint8_t> extra, uint64_t& size, uint64_t& stored,
                uint64_t& header) {
  constexpr uint64_t kAllOnes = 0xFFFFFFFF;
  if (size != kAllOnes && stored != kAllOnes && header != kAllOnes) return true;
  for (uint64_t at = 0; fits(extra, at, 4);) {
    const auto id = load<uint16_t>(extra, at);
    const auto length = load<uint16_t>(extra, at + 2);
    if (!fits(extra, at + 4, length)) return false;
    if (id != 1) {
      at += 4 + length;
      continue;
    }
    const auto field = extra.subspan(at + 4, length);
    uint64_t next = 0;
    for (uint64_t* value : {&size, &stored, &header}) {
      if (*value != kAllOnes) continue;
      if (!fits(field, next, 8)) return false;
      *value = load<uint64_t>(field, next);
      next += 8;
    }
    return true;
  }
  return false;
}

// The entry at `at` of the directory, which moves behind it. Errors complete "FILE: ".
absl::StatusOr<Entry> read_entry(absl::Span<const uint8_t> archive,
                                 absl::Span<const uint8_t> directory, uint64_t& at) {
  const auto damaged = [] {
    return invalid("the directory of the archive cannot be read; the file is truncated or damaged");
  };
  if (!fits(directory, at, kCentralHeaderBytes) ||
      load<uint32_t>(directory, at) != kCentralHeader) {
    return damaged();
  }
  const auto flags = load<uint16_t>(directory, at + 8);
  const auto method = load<uint16_t>(directory, at + 10);
  const auto name_size = load<uint16_t>(directory, at + 28);
  const auto extra_size = load<uint16_t>(directory, at + 30);
  const auto comment_size = load<uint16_t>(directory, at + 32);
  const uint64_t tail = uint64_t{name_size} + extra_size + comment_size;
  if (!fits(directory, at + kCentralHeaderBytes, tail)) return damaged();
  Entry entry;
  const auto name = directory.subspan(at + kCentralHeaderBytes, name_size);
  entry.name.assign(name.begin(), name.end());
  uint64_t stored = load<uint32_t>(directory, at + 20);
  entry.size = load<uint32_t>(directory, at + 24);
  entry.header = load<uint32_t>(directory, at + 42);
  const auto extra = directory.subspan(at + kCentralHeaderBytes + name_size, extra_size);
  if (!read_zip64(extra, entry.size, stored, entry.header)) return damaged();
  at += kCentralHeaderBytes + tail;

  const std::string what = "entry " + in_quotes(entry.name);
  if ((flags & 1) != 0) return invalid("{} of the archive is encrypted", what);
  if (method != 0 || stored != entry.size) {
    return invalid(
        "{} of the archive is compressed, expected stored entries; save the model again "
        "with torch.save",
        what);
  }
  if (!fits(archive, entry.header, kLocalHeaderBytes) ||
      load<uint32_t>(archive, entry.header) != kLocalHeader) {
    return invalid("{} of the archive has no header at offset {}; the file is truncated or damaged",
                   what, entry.header);
  }
  entry.begin = entry.header + kLocalHeaderBytes + load<uint16_t>(archive, entry.header + 26) +
                load<uint16_t>(archive, entry.header + 28);
  if (!fits(archive, entry.begin, entry.size)) {
    return invalid(
        "{} of the archive has {} bytes from offset {}, beyond the end of the file ({} "
        "bytes); the file is truncated or damaged",
        what, with_commas(entry.size), with_commas(entry.begin), with_commas(archive.size()));
  }
  return entry;
}

}  // namespace

absl::StatusOr<ZipEntries> read_zip(absl::Span<const uint8_t> archive, std::string_view file) {
  const std::optional<Directory> found = find_directory(archive);
  if (!found || !fits(archive, found->offset, found->bytes) ||
      found->entries > found->bytes / kCentralHeaderBytes) {
    return invalid("{}: has no directory of a zip archive; the file is truncated or not a zip file",
                   file);
  }
  const auto directory = archive.subspan(found->offset, found->bytes);
  std::vector<Entry> entries;
  uint64_t at = 0;
  for (uint64_t i = 0; i < found->entries; ++i) {
    auto entry = read_entry(archive.first(found->offset), directory, at);
    if (!entry.ok()) return invalid("{}: {}", file, std::string(entry.status().message()));
    entries.push_back(*std::move(entry));
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.header < b.header; });
  ZipEntries out;
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    if (i > 0 && entries[i - 1].begin + entries[i - 1].size > entry.header) {
      return invalid("{}: entries {} and {} of the archive overlap", file,
                     in_quotes(entries[i - 1].name), in_quotes(entry.name));
    }
    if (!out.emplace(entry.name, archive.subspan(entry.begin, entry.size)).second) {
      return invalid("{}: entry {} of the archive occurs twice", file, in_quotes(entry.name));
    }
  }
  return out;
}

}  // namespace sinter::frontends
