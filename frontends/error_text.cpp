#include "frontends/error_text.h"

namespace sinter::frontends {

std::string one_line(std::string_view text, size_t max_length) {
  std::string out;
  for (const char c : text) {
    if (out.size() >= max_length) {
      // Do not leave half a UTF-8 sequence behind: drop continuation bytes and their lead byte.
      while (!out.empty() && (static_cast<uint8_t>(out.back()) & 0xC0) == 0x80) out.pop_back();
      if (!out.empty() && static_cast<uint8_t>(out.back()) >= 0xC0) out.pop_back();
      return out + "...";
    }
    const auto byte = static_cast<uint8_t>(c);
    if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

std::string in_quotes(std::string_view text) { return '"' + one_line(text) + '"'; }

std::string with_commas(uint64_t number) {
  std::string out = std::to_string(number);
  for (int64_t i = static_cast<int64_t>(out.size()) - 3; i > 0; i -= 3) out.insert(i, 1, ',');
  return out;
}

std::string shape_text(absl::Span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

std::string file_name(const std::filesystem::path& path) {
  std::string name = path.filename().string();
  return one_line(name.empty() ? path.string() : name);
}

}  // namespace sinter::frontends
