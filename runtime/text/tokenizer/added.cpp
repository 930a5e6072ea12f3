#include "runtime/text/tokenizer/added.h"

#include <algorithm>
#include <utility>

#include "runtime/text/tokenizer/utf8.h"
#include "runtime/text/tokenizer/work_limit.h"

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

void AddedTokenMatcher::add(std::string_view text, Rule rule) {
  entries_.push_back({text, static_cast<int32_t>(rules_.size())});
  rules_.push_back(rule);
}

void AddedTokenMatcher::finish() { trie_ = Trie(std::exchange(entries_, {})); }

Result<std::vector<Segment>> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<Segment> segments;
  WorkLimit limit(text.size());
  size_t covered = 0;
  size_t space_begin = 1, space_end = 0;  // the white space that was looked at last
  size_t at = 0;
  while (at < text.size()) {
    size_t length = 0;
    const Rule* token = nullptr;
    const size_t work = trie_.prefixes_of(text.substr(at), [&](size_t found, int32_t i) {
      length = found;
      token = &rules_[static_cast<size_t>(i)];
    });
    if (!limit.spend(work)) return WorkLimit::error();
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
    if (token->lstrip && begin <= covered) begin = covered;
    if (token->lstrip && begin > covered)
      begin = covered + trailing_space_begin(text.substr(covered, begin - covered));
    if (token->rstrip) {
      if (end < space_begin || end > space_end) {
        space_begin = end;
        space_end = end + leading_space_length(text.substr(end));
      }
      end = space_end;
    }
    if (covered < begin) segments.push_back({-1, text.substr(covered, begin - covered)});
    segments.push_back({token->id, text.substr(begin, end - begin)});
    covered = end;
  }
  if (covered < text.size()) segments.push_back({-1, text.substr(covered)});
  return segments;
}

}  // namespace sinter::runtime::tokenizer
