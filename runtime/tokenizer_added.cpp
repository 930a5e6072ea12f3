#include "runtime/tokenizer_added.h"

#include <algorithm>

#include "runtime/tokenizer_utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

// Where the white space at the end of `text` begins.
size_t trailing_space_begin(std::string_view text) {
  while (!text.empty()) {
    const uint32_t code_point = last_code_point(text);
    if (!is_white_space(code_point)) break;
    text.remove_suffix(code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : 3);
  }
  return text.size();
}

size_t leading_space_length(std::string_view text) {
  size_t length = 0;
  while (length < text.size()) {
    const Utf8Unit unit = next_utf8(text.substr(length));
    if (!is_white_space(unit.code_point)) break;
    length += unit.length;
  }
  return length;
}

}  // namespace

void AddedTokenMatcher::add(std::string_view text, const AddedToken* token) {
  if (text.empty()) return;
  is_first_byte_[static_cast<uint8_t>(text[0])] = true;
  uint32_t node = 0;
  for (const char c : text) {
    const uint64_t edge = (uint64_t{node} << 8) | static_cast<uint8_t>(c);
    const auto [found, is_new] = edges_.emplace(edge, static_cast<uint32_t>(token_at_.size()));
    if (is_new) token_at_.push_back(nullptr);
    node = found->second;
  }
  if (token_at_[node] == nullptr) token_at_[node] = token;
}

const AddedToken* AddedTokenMatcher::longest_match(std::string_view text, size_t* length) const {
  if (!is_first_byte_[static_cast<uint8_t>(text[0])]) return nullptr;
  const AddedToken* longest = nullptr;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto found = edges_.find((uint64_t{node} << 8) | static_cast<uint8_t>(text[i]));
    if (found == edges_.end()) break;
    node = found->second;
    if (token_at_[node] != nullptr) {
      longest = token_at_[node];
      *length = i + 1;
    }
  }
  return longest;
}

std::vector<Segment> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<Segment> segments;
  size_t covered = 0;
  size_t at = 0;
  while (at < text.size()) {
    size_t length = 0;
    const AddedToken* token = longest_match(text.substr(at), &length);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + length;
    at = end;  // a match that is then refused still hides matches inside it
    if (token->single_word) {
      const bool word_before = begin > 0 && is_word(last_code_point(text.substr(0, begin)));
      const bool word_after = end < text.size() && is_word(next_utf8(text.substr(end)).code_point);
      if (word_before || word_after) continue;
    }
    if (token->lstrip) begin = std::max(trailing_space_begin(text.substr(0, begin)), covered);
    if (token->rstrip) end += leading_space_length(text.substr(end));
    if (covered < begin) segments.push_back({nullptr, text.substr(covered, begin - covered)});
    segments.push_back({token, text.substr(begin, end - begin)});
    covered = end;
  }
  if (covered < text.size()) segments.push_back({nullptr, text.substr(covered)});
  return segments;
}

}  // namespace sinter::runtime::tokenizer
