#include "runtime/text/tokenizer/normal_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

using CodePoints = std::vector<utf8proc_int32_t>;

uint8_t combining_class(utf8proc_int32_t code_point) {
  return static_cast<uint8_t>(utf8proc_get_property(code_point)->combining_class);
}

// The characters that `code_point` decomposes to, recursively.
void append_decomposed(utf8proc_int32_t code_point, int options, CodePoints* out) {
  if (code_point < 0x80) {
    out->push_back(code_point);
    return;
  }
  std::array<utf8proc_int32_t, 32> parts;  // NFKD makes 18 of one at most
  int boundary = 0;
  const auto count = utf8proc_decompose_char(code_point, parts.data(), parts.size(),
                                             static_cast<utf8proc_option_t>(options), &boundary);
  if (count < 0 || static_cast<size_t>(count) > parts.size()) {
    out->push_back(code_point);
    return;
  }
  out->insert(out->end(), parts.begin(), parts.begin() + count);
}

// Sorts marks by their combining class; those of one class stay in order. Counting keeps it linear.
void sort_marks(std::span<utf8proc_int32_t> marks, CodePoints* scratch) {
  if (marks.size() < 2) return;
  std::array<size_t, 257> begin{};
  for (const utf8proc_int32_t mark : marks) ++begin[combining_class(mark) + size_t{1}];
  for (size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  scratch->resize(marks.size());
  for (const utf8proc_int32_t mark : marks) (*scratch)[begin[combining_class(mark)]++] = mark;
  std::copy(scratch->begin(), scratch->end(), marks.begin());
}

}  // namespace

std::string normal_form(std::string_view text, bool compose, bool compatibility) {
  const auto is_ascii = [](char c) { return static_cast<uint8_t>(c) < 0x80; };
  if (std::all_of(text.begin(), text.end(), is_ascii)) return std::string(text);
  const int options = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatibility ? UTF8PROC_COMPAT : 0);
  CodePoints code_points, scratch;
  code_points.reserve(text.size());
  size_t run = 0;  // where the marks at the end begin
  while (!text.empty()) {
    const Utf8Unit unit = next_utf8(text);
    text.remove_prefix(unit.length);
    const size_t begin = code_points.size();
    append_decomposed(static_cast<utf8proc_int32_t>(unit.code_point), options, &code_points);
    for (size_t i = begin; i < code_points.size(); ++i) {
      if (combining_class(code_points[i]) != 0) continue;
      sort_marks({code_points.begin() + static_cast<ptrdiff_t>(run),
                  code_points.begin() + static_cast<ptrdiff_t>(i)},
                 &scratch);
      run = i + 1;
    }
  }
  sort_marks({code_points.begin() + static_cast<ptrdiff_t>(run), code_points.end()}, &scratch);
  if (compose) {
    const auto count = utf8proc_normalize_utf32(
        code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    if (count >= 0) code_points.resize(static_cast<size_t>(count));
  }
  std::string out;
  for (const utf8proc_int32_t code_point : code_points)
    append_utf8(static_cast<uint32_t>(code_point), &out);
  return out;
}

}  // namespace sinter::runtime::tokenizer
