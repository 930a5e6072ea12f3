// Patterns beside the library whose syntax they have, Oniguruma: the same matches.
#include <gtest/gtest.h>

// The C library has a struct of this name.
#define re_registers onig_re_registers
#include <oniguruma.h>
#undef re_registers

#include <algorithm>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "runtime/text/tokenizer/regex.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

using Matches = std::vector<std::pair<size_t, size_t>>;

const OnigUChar* bytes(const std::string& text) {
  return reinterpret_cast<const OnigUChar*>(text.data());
}

class OnigurumaTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    ASSERT_EQ(onig_initialize(encodings, 1), ONIG_NORMAL);
  }
  static void TearDownTestSuite() { onig_end(); }
};

using Regex = std::unique_ptr<OnigRegexType, decltype(&onig_free)>;

Regex compile(const std::string& pattern) {
  OnigRegex regex = nullptr;
  OnigErrorInfo info;
  EXPECT_EQ(onig_new(&regex, bytes(pattern), bytes(pattern) + pattern.size(), ONIG_OPTION_NONE,
                     ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, &info),
            ONIG_NORMAL)
      << pattern;
  return {regex, onig_free};
}

Matches find_all(const Regex& regex, const std::string& text) {
  const std::unique_ptr<OnigRegion, void (*)(OnigRegion*)> region(
      onig_region_new(), [](OnigRegion* r) { onig_region_free(r, 1); });
  Matches found;
  const OnigUChar* end = bytes(text) + text.size();
  for (size_t from = 0; from <= text.size();) {
    if (onig_search(regex.get(), bytes(text), end, bytes(text) + from, end, region.get(),
                    ONIG_OPTION_NONE) < 0)
      break;
    const auto match =
        std::pair(static_cast<size_t>(region->beg[0]), static_cast<size_t>(region->end[0]));
    if (match.first == match.second && !found.empty() && found.back().second == match.second) {
      if (from == text.size()) break;
      from += next_utf8(std::string_view(text).substr(from)).length;
      continue;
    }
    found.push_back(match);
    from = match.second;
  }
  return found;
}

Matches find_all(const Pattern& pattern, const std::string& text) {
  const auto spans = pattern.find_all(text);
  EXPECT_TRUE(spans.ok()) << spans.error().message;
  Matches found;
  for (const Span& span : *spans)
    if (span.is_match) found.emplace_back(span.begin, span.end);
  return found;
}

// `text` without the characters that the two libraries see otherwise, in a property of Unicode.
std::string without_differences(const std::string& text, const char* property) {
  const auto ours = Pattern::regex(property);
  EXPECT_TRUE(ours.ok());
  Matches differ;
  std::ranges::set_symmetric_difference(find_all(compile(property), text), find_all(*ours, text),
                                        std::back_inserter(differ));
  std::string kept;
  size_t at = 0;
  for (const auto& [begin, end] : differ) {
    kept.append(text, at, begin - at);
    at = end;
  }
  return kept.append(text, at);
}

TEST_F(OnigurumaTest, SetsHaveTheSameCharacters) {
  std::string text;
  // Without most of the ideographs, syllables of Hangul and private characters.
  for (const auto& [begin, end] : {std::pair(0x1u, 0x3500u), std::pair(0x9F00u, 0xAD00u),
                                   std::pair(0xF8F0u, 0x12000u), std::pair(0x1CF00u, 0x20010u)})
    for (uint32_t c = begin; c < end; ++c) append_utf8(c, &text);
  // Libraries of different age know different versions of Unicode: a later one has more characters,
  // and has changed its mind about some.
  const std::string known_to_both = without_differences(text, "\\p{Cn}");
  if (known_to_both != text) text = without_differences(known_to_both, "\\p{Alphabetic}");
  for (const char* set : {"\\w",
                          "\\W",
                          "[\\w]",
                          "\\s",
                          "\\S",
                          "\\d",
                          "\\D",
                          "\\h",
                          "\\H",
                          "\\N",
                          "\\O",
                          ".",
                          "\\R",
                          "[[:alpha:]]",
                          "[[:alnum:]]",
                          "[[:ascii:]]",
                          "[[:blank:]]",
                          "[[:cntrl:]]",
                          "[[:digit:]]",
                          "[[:graph:]]",
                          "[[:lower:]]",
                          "[[:print:]]",
                          "[[:space:]]",
                          "[[:upper:]]",
                          "[[:word:]]",
                          "[[:xdigit:]]",
                          "[[:^alpha:]]",
                          "[^[:alpha:]]",
                          "\\p{L}",
                          "\\P{L}",
                          "\\p{^L}",
                          "\\p{LC}",
                          "\\p{Lu}",
                          "\\p{Letter}",
                          "\\p{Combining_Mark}",
                          "\\p{M}",
                          "\\p{N}",
                          "\\p{Decimal Number}",
                          "\\p{P}",
                          "\\p{S}",
                          "\\p{Z}",
                          "\\p{C}",
                          "\\p{Cn}",
                          "\\p{Any}",
                          "\\p{Assigned}",
                          "\\p{Alpha}",
                          "\\p{Graph}",
                          "\\p{Print}",
                          "\\p{Han}",
                          "\\p{Hiragana}",
                          "\\p{Katakana}",
                          "\\p{Hangul}",
                          "\\p{Latin}",
                          "\\p{Greek}",
                          "\\p{Cyrillic}",
                          "\\p{Arabic}",
                          "\\p{Devanagari}",
                          "\\p{Thai}",
                          "\\p{Common}",
                          "\\p{Inherited}",
                          "\\p{Emoji}",
                          "\\p{Extended_Pictographic}",
                          "\\p{Ideographic}",
                          "\\p{White_Space}",
                          "[\\p{L}&&[^\\p{Han}]]",
                          "[^\\p{L}\\p{N}\\s]",
                          "(?i:k)",
                          "(?i:[a-z])",
                          "(?i:[^a-z])",
                          "(?i:[\\p{L}])",
                          "(?i:[\\w])",
                          "(?i:[\\p{S}])",
                          "(?i:\\p{Lu})"}) {
    const auto pattern = Pattern::regex(set);
    ASSERT_TRUE(pattern.ok()) << pattern.error().message;
    const Matches expected = find_all(compile(set), text), found = find_all(*pattern, text);
    EXPECT_TRUE(found == expected) << set << " " << found.size() << " " << expected.size();
  }
}

TEST_F(OnigurumaTest, PatternsFindTheSame) {
  const char* patterns[] = {
      // Splits of published tokenizers.
      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
      "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
      "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*"
      "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+(?i:'s|'t)?|\\p{N}{1,3}",
      " ?[^(\\s|.,!?…。，、।۔،)]+", "\\d{1,3}(?=(?:\\d{3})*\\b)", "(?=(\\d{3})+(?!\\d))",
      // One construct each.
      "a*", "a+?b", "a??b", "(?:ab)*+", "a{2}", "a{2}?", "a{2}+", "a{1,2}+", "a{,2}b", "a{2,}?b",
      "a{2,1}a", "a**b", "(?:a|b)+?1", "(?>a+)b", "(?>ab|a)b", "(a|b)\\1", "(?<x>a|b)\\k<x>",
      "(?<x>a)(b)", "(?i:aB)", "(?i)ab|c", "a(?i)b|c", "(?:a(?i)b|c)d", "(?i-m:a)(?m:.)", "(?m).",
      "(?-i:a)", "(?x) a b # c\n +", "(?x: a [ ] )b", "(?#x)a", "^a", "a$", "^", "$", "\\Aa",
      "a\\z", "a\\Z", "\\Ga", "\\b", "\\B", "\\ba", "a\\B", "(?=a)", "(?!a).", "(?<=a)b", "(?<!a)b",
      "(?<=a|bc)1", "\\R", ".+", "\\O+", "\\N+", "[ab]", "[^ab]+", "[a-c]+", "[]a]", "[^]a]+",
      "[a-]+", "[-a]+", "[a\\-c]+", "[\\w-]+", "[a-b-1]+", "[1-2-a-b]+", " ?[^(\\s|[.,!?…])]+",
      "[\\n ]+", "[a&&b]", "[a-c&&b-d]", "[\\w&&[^a]]+", "[^a&&b]+", "[^a[b]]+", "[a[^b]]+",
      "[[a]]", "[a[bc]1]+", "[^[^a]]+", "[\\W\\d]+", "[^\\W]+", "[&]", "[a&]", "[\\x{61}-\\x{63}]+",
      "[\\141]", "[\\b]", "\\x61", "\\u0061", "\\o{141}", "\\t", "\\v", "\\e", "\\a", "\\0", "\\.",
      "\\-", "\\ ", "\\q", "[\\q]", "a|", "|a", "a||b", "()", "(?:)", "(?:)*a", "{", "a{", "a{,}",
      "a{x}", "}", "]", "é+", "[é中]+", "中|é", "(?i:é)", "(?i:[é])", "[[:alpha:]1]+",
      "[^[:space:]]+", "[[:^digit:]]+", "\\p{Lu}|\\p{Ll}{2}", "\\P{L}+", "\\h+", "[^\\h]+", "\\H+",
      "(?:a?)*b", "(?:a*)*", "(a*)+", "(?:a|ab)(?:c|bcd)?", "(?=(a+))a*b", "((a)|b)+",
      "(?:(?=a)a|b)*"};
  const char* characters[] = {"a", "b",  "A",         "B",    "c",  "d",       "1",  "2",
                              " ", "\n", "-",         "\r\n", "é",  "中",      "。", "'s",
                              "_", "{",  "e\xCC\x81", "\t",   "É",  "]",       "&",  "q",
                              "³", ".",  "#",         "x",    "\v", "\xC2\x85"};
  std::mt19937 random(1);
  for (const char* source : patterns) {
    const auto pattern = Pattern::regex(source);
    ASSERT_TRUE(pattern.ok()) << pattern.error().message;
    const Regex regex = compile(source);
    if (regex == nullptr) continue;
    for (int round = 0; round < 400; ++round) {
      std::string text;
      for (size_t length = 1 + random() % 16; length > 0; --length)
        text += characters[random() % (round % 2 == 0 ? 10 : std::size(characters))];
      EXPECT_EQ(find_all(*pattern, text), find_all(regex, text)) << source << "\n" << text;
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace sinter::runtime::tokenizer
