// What strings can do: Python's str, for methods, filters and operators.
#pragma once

#include "runtime/text/jinja/value.h"

namespace sinter::runtime::jinja {

// Classes of characters, as the methods of str of these names see them.
bool is_printable(uint32_t c);
bool is_letter(uint32_t c);   // isalpha
bool is_decimal(uint32_t c);  // isdecimal
bool is_digit(uint32_t c);    // isdigit
bool is_numeric(uint32_t c);  // isnumeric
bool is_letter_or_number(uint32_t c);
bool is_space(uint32_t c);
bool is_lower_case(uint32_t c);
bool is_upper_case(uint32_t c);
bool is_line_end(uint32_t c);

std::string upper(std::string_view text, Budget& budget);
std::string lower(std::string_view text, Budget& budget);
std::string capitalize(std::string_view text, Budget& budget);
std::string swap_case(std::string_view text, Budget& budget);
std::string title_case(std::string_view text, Budget& budget);
std::string case_fold(std::string_view text, Budget& budget);

// Whether there are characters and `is` holds for all of them.
bool all_characters(std::string_view text, bool (*is)(uint32_t), Budget& budget);
// Whether there are cased characters, all of that case.
bool is_upper(std::string_view text, Budget& budget);
bool is_lower(std::string_view text, Budget& budget);
bool is_title(std::string_view text, Budget& budget);

// Without the characters of `which` (white space when null) at the chosen ends.
std::string_view strip(std::string_view text, const std::string* which, bool left, bool right,
                       Budget& budget);
std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t count, Budget& budget);
// The position of `part` at or after `from`, npos when it is not there: in time proportional to the
// text, however it repeats itself.
size_t position_of(std::string_view part, std::string_view text, size_t from);
// The same, charged.
size_t find(std::string_view text, std::string_view part, size_t from, Budget& budget);
// The last position of `part`.
size_t find_last(std::string_view text, std::string_view part, Budget& budget);
// The lines, with their ends if `keep`.
std::vector<std::string_view> lines_of(std::string_view text, bool keep, Budget& budget);
// Words between white space, at most `most` cuts unless it is negative.
std::vector<std::string_view> words_of(std::string_view text, int64_t most, Budget& budget);
// `text` at the left, right ('>') or middle ('^') of at least `width` characters.
std::string padded(std::string_view text, int64_t width, std::string_view fill, char align,
                   Budget& budget);
// In the middle as str.center has it, which rounds otherwise.
std::string centered(std::string_view text, int64_t width, std::string_view fill, Budget& budget);
std::string repeated(std::string_view text, int64_t times, Budget& budget);

// With &, <, >, " and ' as HTML's entities.
std::string escaped(std::string_view text, Budget& budget);
// str() of a value as Markup holds it: escaped unless it is Markup already.
std::string escaped_text(const Value& value, Budget& budget);
// With entities as the characters that they name.
std::string unescaped(std::string_view text, Budget& budget);
// Without comments and tags, white space as one space, entities as characters.
std::string without_tags(std::string_view text, Budget& budget);

}  // namespace sinter::runtime::jinja
