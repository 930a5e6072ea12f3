// Zip archives whose entries are stored, not compressed: views of a mapped file.
// Format: APPNOTE.TXT of PKWARE, with Zip64.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace sinter::frontends {

using ZipEntries = std::map<std::string, absl::Span<const uint8_t>, std::less<>>;

// Entries by name; they lie in the archive without overlapping. Errors name `file` and the entry:
// compressed or encrypted, repeated, outside of the archive.
absl::StatusOr<ZipEntries> read_zip(absl::Span<const uint8_t> archive, std::string_view file);

}  // namespace sinter::frontends
