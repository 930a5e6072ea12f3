// Deterministic damage to a seed: byte flips, cut ends, repeated and removed spans, other numbers,
// other JSON tokens.
#pragma once

#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

// xorshift64*: the next number of the sequence that `state` (any start but 0) stands for.
inline uint64_t next_random(uint64_t& state) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545F4914F6CDD1DULL;
}

// The seed with one to four changes; equal states give equal results.
inline std::string mutate(const std::string& seed, uint64_t& rng_state) {
  std::string text = seed;
  const auto below = [&](size_t n) {
    return n == 0 ? size_t{0} : static_cast<size_t>(next_random(rng_state) % n);
  };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };

  // A token that starts at or after a random place: a number, or else a string with its quotes.
  const auto find_token = [&](bool number, size_t& begin, size_t& end) {
    begin = below(text.size());
    const auto starts = [&](char c) { return number ? is_digit(c) : c == '"'; };
    while (begin < text.size() && !starts(text[begin])) ++begin;
    end = begin + 1;
    while (end < text.size() && (number ? is_digit(text[end]) : text[end] != '"')) ++end;
    if (!number && end < text.size()) ++end;
    return begin < text.size();
  };

  static constexpr const char* kNumbers[] = {"0",
                                             "1",
                                             "-1",
                                             "7",
                                             "2147483648",
                                             "4294967296",
                                             "9223372036854775807",
                                             "9223372036854775808",
                                             "18446744073709551615",
                                             "18446744073709551616",
                                             "1e308",
                                             "1e999",
                                             "0.5",
                                             "-0"};
  static constexpr const char* kTokens[] = {"null", "true",  "false",       "[]",     "{}",
                                            "\"\"", "\"x\"", "\"\\u0000\"", "[[[]]]", "{\"a\": 1}"};

  const size_t changes = 1 + below(4);
  for (size_t change = 0; change < changes; ++change) {
    size_t begin = 0;
    size_t end = 0;
    switch (below(9)) {
      case 0:
        if (!text.empty()) text[below(text.size())] ^= static_cast<char>(1 << below(8));
        break;
      case 1:
        if (!text.empty()) text[below(text.size())] = static_cast<char>(below(256));
        break;
      case 2:
        text.resize(below(text.size() + 1));
        break;
      case 3: {
        begin = below(text.size());
        const std::string span = text.substr(begin, 1 + below(64));
        text.insert(below(text.size() + 1), span);
        break;
      }
      case 4:
        if (!text.empty()) text.erase(below(text.size()), 1 + below(16));
        break;
      case 5:
        if (find_token(true, begin, end)) {
          text.replace(begin, end - begin, kNumbers[below(std::size(kNumbers))]);
        }
        break;
      case 6: {  // one number takes the place of another
        size_t other_begin = 0;
        size_t other_end = 0;
        if (find_token(true, begin, end) && find_token(true, other_begin, other_end)) {
          const std::string other = text.substr(other_begin, other_end - other_begin);
          text.replace(begin, end - begin, other);
        }
        break;
      }
      case 7: {  // one string takes the place of another: repeated keys, other dtypes
        size_t other_begin = 0;
        size_t other_end = 0;
        if (find_token(false, begin, end) && find_token(false, other_begin, other_end)) {
          const std::string other = text.substr(other_begin, other_end - other_begin);
          text.replace(begin, end - begin, other);
        }
        break;
      }
      default:
        if (find_token(below(2) == 0, begin, end)) {
          text.replace(begin, end - begin, kTokens[below(std::size(kTokens))]);
        }
        break;
    }
  }
  return text;
}
