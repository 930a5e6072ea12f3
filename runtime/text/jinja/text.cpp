#include "runtime/text/jinja/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {

using tokenizer::next_utf8;

std::string_view strip(std::string_view text, const std::string* which, bool left, bool right,
                       Budget& budget) {
  budget.charge(text.size() / 16 + 1);
  const auto goes = [&](std::string_view character) {
    budget.charge(4);
    if (which == nullptr) return is_space(next_utf8(character).code_point);
    budget.charge(which->size());
    return which->find(character) != std::string::npos;
  };
  while (left && !text.empty()) {
    const size_t length = next_utf8(text).length;
    if (!goes(text.substr(0, length))) break;
    text.remove_prefix(length);
  }
  while (right && !text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) --start;
    if (!goes(text.substr(start))) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

size_t position_of(std::string_view part, std::string_view text, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const void* found = ::memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find(std::string_view text, std::string_view part, size_t from, Budget& budget) {
  const size_t rest = text.size() - std::min(from, text.size());
  // A long part is looked at before the search begins.
  if (part.size() <= rest) budget.charge(part.size(), 2);
  const size_t found = position_of(part, text, from);
  budget.charge((std::min(found, text.size()) - std::min(from, text.size())) / 4 + 1);
  return found;
}

size_t find_last(std::string_view text, std::string_view part, Budget& budget) {
  // Each place may be compared with all of the part.
  budget.charge(text.size(), 1 + part.size() / 32);
  return text.rfind(part);
}

std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t count, Budget& budget) {
  budget.charge(text.size());
  std::string out;
  size_t at = 0;
  if (from.empty()) {  // between all characters
    while (count != 0) {
      budget.charge(to.size() + 8);
      out += to;
      --count;
      if (at >= text.size()) return out;
      const size_t length = next_utf8(text.substr(at)).length;
      out += text.substr(at, length);
      at += length;
    }
    return out += text.substr(at);
  }
  while (count != 0) {
    const size_t found = find(text, from, at, budget);
    budget.charge(to.size());
    if (found == std::string::npos) break;
    out += text.substr(at, found - at);
    out += to;
    at = found + from.size();
    --count;
  }
  return out += text.substr(at);
}

std::vector<std::string_view> lines_of(std::string_view text, bool keep, Budget& budget) {
  budget.charge(text.size(), 2);
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    budget.charge(kValueCost);
    size_t end = 0, length = 0;
    while (end < text.size()) {
      const tokenizer::Utf8Unit unit = next_utf8(text.substr(end));
      if (is_line_end(unit.code_point)) {
        length = text.substr(end).starts_with("\r\n") ? 2 : unit.length;
        break;
      }
      end += unit.length;
    }
    lines.push_back(text.substr(0, keep ? end + length : end));
    text.remove_prefix(end + length);
  }
  return lines;
}

std::vector<std::string_view> words_of(std::string_view text, int64_t most, Budget& budget) {
  budget.charge(text.size(), 4);
  std::vector<std::string_view> words;
  const auto skip = [&](std::string_view* rest, bool space) {
    while (!rest->empty() && is_space(next_utf8(*rest).code_point) == space)
      rest->remove_prefix(next_utf8(*rest).length);
  };
  for (skip(&text, true); !text.empty(); skip(&text, true)) {
    budget.charge(kValueCost);
    if (most >= 0 && static_cast<int64_t>(words.size()) == most) {
      words.push_back(text);
      break;
    }
    std::string_view rest = text;
    skip(&rest, false);
    words.push_back(text.substr(0, text.size() - rest.size()));
    text = rest;
  }
  return words;
}

std::string repeated(std::string_view text, int64_t times, Budget& budget) {
  if (text.empty() || times <= 0) return {};
  budget.charge(text.size(), static_cast<size_t>(times));
  std::string out;
  out.reserve(text.size() * static_cast<size_t>(times));
  for (int64_t i = 0; i < times; ++i) out += text;
  return out;
}

std::string padded(std::string_view text, int64_t width, std::string_view fill, char align,
                   Budget& budget) {
  budget.charge(2 * text.size());
  const int64_t size = static_cast<int64_t>(count_characters(text));
  if (width <= size) return std::string(text);
  const int64_t missing = width - size;
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  return repeated(fill, left, budget) + std::string(text) + repeated(fill, missing - left, budget);
}

std::string centered(std::string_view text, int64_t width, std::string_view fill, Budget& budget) {
  const int64_t size = static_cast<int64_t>(count_characters(text));
  const int64_t missing = std::max<int64_t>(width - size, 0);
  const int64_t left = missing / 2 + (missing & width & 1);
  return repeated(fill, left, budget) +
         padded(text, std::max(width - left, size), fill, '<', budget);
}

}  // namespace sinter::runtime::jinja
