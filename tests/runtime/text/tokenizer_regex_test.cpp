// Patterns, their budget, and the normalization forms.
#include "runtime/text/tokenizer/regex.h"

#include <utf8proc.h>

#include <cstdlib>
#include <ctime>
#include <random>

#include "runtime/text/tokenizer/normal_form.h"
#include "runtime/text/tokenizer/utf8.h"
#include "tests/runtime/text/tokenizer_test.h"

namespace sinter::runtime::tokenizer {
namespace {

using Words = std::vector<std::string>;

// The matches of `regex` in `text`.
Words matches(const std::string& regex, const std::string& text) {
  const auto pattern = Pattern::regex(regex);
  if (!pattern.ok()) return {pattern.error().message};
  const auto spans = pattern->find_all(text);
  if (!spans.ok()) return {spans.error().message};
  Words words;
  for (const Span& span : *spans)
    if (span.is_match) words.push_back(text.substr(span.begin, span.end - span.begin));
  return words;
}

TEST(Pattern, ScriptsAreNotTheirExtensions) {
  // The ideographic full stop is used with Han, Hiragana and others, and belongs to none.
  EXPECT_EQ(matches("\\p{Han}", "中。"), (Words{"中"}));
  EXPECT_EQ(matches("\\p{Katakana}+|\\p{Hiragana}+", "カー、ひら。"), (Words{"カ", "ひら"}));
  EXPECT_EQ(matches("\\p{Arabic}+", "ع،"), (Words{"ع"}));
  EXPECT_EQ(matches("[^\\p{Han}]+", "中。"), (Words{"。"}));
  EXPECT_EQ(matches("\\p{script_that_is_none}", "a").front().find("cannot read pattern"), 0u);
}

TEST(Pattern, ClassesAreSets) {
  EXPECT_EQ(matches("[\\p{L}&&[^a-z]]", "aBé"), (Words{"B", "é"}));
  EXPECT_EQ(matches("[a-d&&c-f&&[^d]]+", "abcdef"), (Words{"c"}));
  EXPECT_EQ(matches("[a[xy]]+", "axbya"), (Words{"ax", "ya"}));
  EXPECT_EQ(matches("[^a[xy]]+", "axbya"), (Words{"b"}));
  EXPECT_EQ(matches("[^a-z&&[^e]]+", "aef1"), (Words{"e", "1"}));
  EXPECT_EQ(matches("[\\W_]+", "a_ b"), (Words{"_ "}));
  EXPECT_EQ(matches("[^\\W_]+", "a_ b"), (Words{"a", "b"}));
  EXPECT_EQ(matches("[]a]+", "[]a"), (Words{"]a"}));
  EXPECT_EQ(matches("[a\\]b-]+", "x]-b"), (Words{"]-b"}));
  EXPECT_EQ(matches("[\\b]", "\b"), (Words{"\b"}));
}

TEST(Pattern, NamedSetsAreUnicodes) {
  EXPECT_EQ(matches("[[:alpha:]]+", "a\u0345é1"), (Words{"a\u0345é"}));
  EXPECT_EQ(matches("[[:^alpha:]]+", "aé1_"), (Words{"1_"}));
  EXPECT_EQ(matches("[[:punct:]]+", "a+!€"), (Words{"+!€"}));
  EXPECT_EQ(matches("[[:word:]]+", "é\u0301_²"), (Words{"é\u0301_"}));
  EXPECT_EQ(matches("\\w+", "é\u0301_²½"), (Words{"é\u0301_²½"}));
  EXPECT_EQ(matches("\\bb", "éb b"), (Words{"b"}));
  EXPECT_EQ(matches("\\p{^L}+|\\P{^Lu}", "aB12"), (Words{"B", "12"}));
  EXPECT_EQ(matches("\\p{Uppercase Letter}\\p{lowercase_letter}", "aBc"), (Words{"Bc"}));
}

TEST(Pattern, OptionsWithoutAColonReachToTheEndOfTheGroup) {
  EXPECT_EQ(matches("(?:a(?i)b|c)d", "aBd aCd cd"), (Words{"aBd", "aCd"}));
  EXPECT_EQ(matches("(?x) a b # c \n +", "abb"), (Words{"abb"}));
  EXPECT_EQ(matches("(?i:k)", "\u212Ak"), (Words{"\u212A", "k"}));
}

TEST(Pattern, RepetitionsAreRepeated) {
  EXPECT_EQ(matches("a{2}?b", "aab b"), (Words{"aab", "b"}));
  EXPECT_EQ(matches("a{2,1}a", "aaa"), (Words{"aaa"}));
  EXPECT_EQ(matches("a{2,1}a", "aa"), Words{});  // possessive
  EXPECT_EQ(matches("(?:ab)?+*c", "ababc"), (Words{"ababc"}));
  EXPECT_EQ(matches("a{,}|{", "a{,}{"), (Words{"a{,}", "{"}));
}

TEST(Pattern, ErrorsShowItOnOneLineAndNotAllOfALongOne) {
  const auto broken = Pattern::regex("a\n(b");
  ASSERT_FALSE(broken.ok());
  EXPECT_CONTAINS(broken.error().message, "pattern 'a\\x0a(b': a group is not closed");
  const auto longer =
      Pattern::regex(std::string(159, 'a') + "\u00e9" + std::string(999, 'a') + "(");
  ASSERT_FALSE(longer.ok());
  EXPECT_CONTAINS(longer.error().message, std::string(159, 'a') + "...': a group is not closed");
}

double seconds_of(const std::string& regex, const std::string& text, bool* failed) {
  const auto pattern = Pattern::regex(regex);
  EXPECT_TRUE(pattern.ok()) << pattern.error().message;
  const std::clock_t begin = std::clock();
  const auto spans = pattern->find_all(text);
  *failed = !spans.ok();
  if (*failed) {
    EXPECT_CONTAINS(spans.error().message, "needs too much");
  }
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

TEST(MatchBudget, PatternsThatBacktrackEndInAnErrorSoon) {
  const std::string text(1'000'000, 'a');
  for (const char* regex : {"(?=a*a*b)a|a", "a++b|a", "(?:a|a)*b", "(a*)\\1b|a", "a{60000}b|a"}) {
    bool failed = false;
    EXPECT_LT(seconds_of(regex, text, &failed), 2.0) << regex;
    EXPECT_TRUE(failed) << regex;
  }
}

TEST(MatchBudget, LongRunsOfOneKindAreNoTrouble) {
  for (const char c : {'a', ' ', '\n', '1', '.'}) {
    bool failed = true;
    EXPECT_LT(seconds_of("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
                         std::string(1'000'000, c), &failed),
              1.0)
        << c;
    EXPECT_FALSE(failed) << c;
  }
}

TEST(MatchBudget, IsOneForAllOfAText) {
  const auto pattern = Pattern::regex("(?=a*b)a|a");
  ASSERT_TRUE(pattern.ok());
  MatchBudget budget(1);
  const std::string text(4000, 'a');
  size_t calls = 0;
  while (pattern->find_all(text, &budget).ok()) ++calls;
  EXPECT_GT(calls, 10u);
  EXPECT_LT(calls, 1000u);
  EXPECT_TRUE(pattern->find_all(text).ok());
}

TEST(Pattern, LiteralsTakeLinearTime) {
  const auto pattern = Pattern::literal(std::string(8000, 'a') + "b");
  const std::clock_t begin = std::clock();
  EXPECT_EQ(pattern->find_all(std::string(1'000'000, 'a'))->size(), 1u);
  EXPECT_LT(std::clock() - begin, CLOCKS_PER_SEC);
}

std::string of_library(const std::string& text, int options) {
  utf8proc_uint8_t* out = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &out,
                                   static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE));
  std::string result(reinterpret_cast<const char*>(out), static_cast<size_t>(length));
  std::free(out);  // NOLINT: utf8proc allocates with malloc
  return result;
}

TEST(NormalForm, IsThatOfUtf8proc) {
  std::mt19937 random(1);
  const std::pair<uint32_t, uint32_t> blocks[] = {
      {0x20, 0x7E},     {0xA0, 0x24F},    {0x300, 0x36F},   {0x591, 0x5F4},
      {0x900, 0xDFF},   {0x1100, 0x11FF}, {0x1DC0, 0x1FFF}, {0x2000, 0x206F},
      {0xAC00, 0xAC80}, {0xF900, 0xFB4F}, {0xFF00, 0xFFEF}, {0x1109A, 0x110BA}};
  for (int round = 0; round < 4000; ++round) {
    std::string text;
    for (size_t length = 1 + random() % 12; length > 0; --length) {
      const auto [begin, end] = blocks[random() % std::size(blocks)];
      append_utf8(static_cast<uint32_t>(begin + random() % (end - begin + 1)), &text);
    }
    EXPECT_EQ(normal_form(text, true, false), of_library(text, UTF8PROC_COMPOSE));
    EXPECT_EQ(normal_form(text, false, false), of_library(text, UTF8PROC_DECOMPOSE));
    EXPECT_EQ(normal_form(text, true, true), of_library(text, UTF8PROC_COMPOSE | UTF8PROC_COMPAT));
    EXPECT_EQ(normal_form(text, false, true),
              of_library(text, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT));
  }
}

TEST(NormalForm, LongRunsOfMarksTakeLinearTime) {
  constexpr size_t kPairs = 200'000;
  std::string text = "x", sorted = "x";
  for (size_t i = 0; i < kPairs; ++i) text += "\u0301\u0316";
  for (size_t i = 0; i < kPairs; ++i) sorted += "\u0316";
  for (size_t i = 0; i < kPairs; ++i) sorted += "\u0301";
  const std::clock_t begin = std::clock();
  EXPECT_TRUE(normal_form(text, false, false) == sorted);
  EXPECT_TRUE(normal_form(text, true, true) == sorted);
  EXPECT_LT(std::clock() - begin, CLOCKS_PER_SEC);
}

}  // namespace
}  // namespace sinter::runtime::tokenizer
