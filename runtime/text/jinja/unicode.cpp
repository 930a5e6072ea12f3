// Unicode as Python's str sees it: classes of characters and their cases.
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "runtime/text/jinja/text.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {
namespace {

using tokenizer::append_utf8;
using tokenizer::next_utf8;

struct CodeRange {
  uint32_t first, last;
};
struct SpecialCase {
  uint32_t character;
  std::array<uint32_t, 3> upper, title;  // zeros at the end
};

// Lowercase, though not of category Ll.
constexpr CodeRange kOtherLower[] = {
    {0xaa, 0xaa},       {0xba, 0xba},       {0x2b0, 0x2b8},     {0x2c0, 0x2c1},    {0x2e0, 0x2e4},
    {0x345, 0x345},     {0x37a, 0x37a},     {0x1d2c, 0x1d6a},   {0x1d78, 0x1d78},  {0x1d9b, 0x1dbf},
    {0x2071, 0x2071},   {0x207f, 0x207f},   {0x2090, 0x209c},   {0x2170, 0x217f},  {0x24d0, 0x24e9},
    {0x2c7c, 0x2c7d},   {0xa69c, 0xa69d},   {0xa770, 0xa770},   {0xa7f8, 0xa7f9},  {0xab5c, 0xab5f},
    {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}};
// Uppercase, though not of category Lu.
constexpr CodeRange kOtherUpper[] = {
    {0x2160, 0x216f}, {0x24b6, 0x24cf}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};
// Digits that are no decimal digits, such as superscripts.
constexpr CodeRange kOtherDigits[] = {
    {0xb2, 0xb3},       {0xb9, 0xb9},       {0x1369, 0x1371},   {0x19da, 0x19da},
    {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
    {0x2474, 0x247c},   {0x2488, 0x2490},   {0x24ea, 0x24ea},   {0x24f5, 0x24fd},
    {0x24ff, 0x24ff},   {0x2776, 0x277e},   {0x2780, 0x2788},   {0x278a, 0x2792},
    {0x10a40, 0x10a43}, {0x10e60, 0x10e68}, {0x11052, 0x1105a}, {0x1f100, 0x1f10a}};
// Numbers that are letters, such as CJK numerals.
constexpr CodeRange kOtherNumbers[] = {
    {0x3405, 0x3405},   {0x3483, 0x3483},   {0x382a, 0x382a},   {0x3b4d, 0x3b4d},
    {0x4e00, 0x4e00},   {0x4e03, 0x4e03},   {0x4e07, 0x4e07},   {0x4e09, 0x4e09},
    {0x4e5d, 0x4e5d},   {0x4e8c, 0x4e8c},   {0x4e94, 0x4e94},   {0x4e96, 0x4e96},
    {0x4ebf, 0x4ec0},   {0x4edf, 0x4edf},   {0x4ee8, 0x4ee8},   {0x4f0d, 0x4f0d},
    {0x4f70, 0x4f70},   {0x5104, 0x5104},   {0x5146, 0x5146},   {0x5169, 0x5169},
    {0x516b, 0x516b},   {0x516d, 0x516d},   {0x5341, 0x5341},   {0x5343, 0x5345},
    {0x534c, 0x534c},   {0x53c1, 0x53c4},   {0x56db, 0x56db},   {0x58f1, 0x58f1},
    {0x58f9, 0x58f9},   {0x5e7a, 0x5e7a},   {0x5efe, 0x5eff},   {0x5f0c, 0x5f0e},
    {0x5f10, 0x5f10},   {0x62fe, 0x62fe},   {0x634c, 0x634c},   {0x67d2, 0x67d2},
    {0x6f06, 0x6f06},   {0x7396, 0x7396},   {0x767e, 0x767e},   {0x8086, 0x8086},
    {0x842c, 0x842c},   {0x8cae, 0x8cae},   {0x8cb3, 0x8cb3},   {0x8d30, 0x8d30},
    {0x9621, 0x9621},   {0x9646, 0x9646},   {0x964c, 0x964c},   {0x9678, 0x9678},
    {0x96f6, 0x96f6},   {0xf96b, 0xf96b},   {0xf973, 0xf973},   {0xf978, 0xf978},
    {0xf9b2, 0xf9b2},   {0xf9d1, 0xf9d1},   {0xf9d3, 0xf9d3},   {0xf9fd, 0xf9fd},
    {0x20001, 0x20001}, {0x20064, 0x20064}, {0x200e2, 0x200e2}, {0x20121, 0x20121},
    {0x2092a, 0x2092a}, {0x20983, 0x20983}, {0x2098c, 0x2098c}, {0x2099c, 0x2099c},
    {0x20aea, 0x20aea}, {0x20afd, 0x20afd}, {0x20b19, 0x20b19}, {0x22390, 0x22390},
    {0x22998, 0x22998}, {0x23b1b, 0x23b1b}, {0x2626d, 0x2626d}, {0x2f890, 0x2f890}};
// Characters whose capital or title form is several: the unconditional ones of Unicode's
// SpecialCasing.
constexpr SpecialCase kSpecialCases[] = {{0xdf, {0x53, 0x53}, {0x53, 0x73}},
                                         {0x149, {0x2bc, 0x4e}, {0x2bc, 0x4e}},
                                         {0x1f0, {0x4a, 0x30c}, {0x4a, 0x30c}},
                                         {0x390, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
                                         {0x3b0, {0x3a5, 0x308, 0x301}, {0x3a5, 0x308, 0x301}},
                                         {0x587, {0x535, 0x552}, {0x535, 0x582}},
                                         {0x1e96, {0x48, 0x331}, {0x48, 0x331}},
                                         {0x1e97, {0x54, 0x308}, {0x54, 0x308}},
                                         {0x1e98, {0x57, 0x30a}, {0x57, 0x30a}},
                                         {0x1e99, {0x59, 0x30a}, {0x59, 0x30a}},
                                         {0x1e9a, {0x41, 0x2be}, {0x41, 0x2be}},
                                         {0x1f50, {0x3a5, 0x313}, {0x3a5, 0x313}},
                                         {0x1f52, {0x3a5, 0x313, 0x300}, {0x3a5, 0x313, 0x300}},
                                         {0x1f54, {0x3a5, 0x313, 0x301}, {0x3a5, 0x313, 0x301}},
                                         {0x1f56, {0x3a5, 0x313, 0x342}, {0x3a5, 0x313, 0x342}},
                                         {0x1f80, {0x1f08, 0x399}, {0x1f88}},
                                         {0x1f81, {0x1f09, 0x399}, {0x1f89}},
                                         {0x1f82, {0x1f0a, 0x399}, {0x1f8a}},
                                         {0x1f83, {0x1f0b, 0x399}, {0x1f8b}},
                                         {0x1f84, {0x1f0c, 0x399}, {0x1f8c}},
                                         {0x1f85, {0x1f0d, 0x399}, {0x1f8d}},
                                         {0x1f86, {0x1f0e, 0x399}, {0x1f8e}},
                                         {0x1f87, {0x1f0f, 0x399}, {0x1f8f}},
                                         {0x1f88, {0x1f08, 0x399}, {0x1f88}},
                                         {0x1f89, {0x1f09, 0x399}, {0x1f89}},
                                         {0x1f8a, {0x1f0a, 0x399}, {0x1f8a}},
                                         {0x1f8b, {0x1f0b, 0x399}, {0x1f8b}},
                                         {0x1f8c, {0x1f0c, 0x399}, {0x1f8c}},
                                         {0x1f8d, {0x1f0d, 0x399}, {0x1f8d}},
                                         {0x1f8e, {0x1f0e, 0x399}, {0x1f8e}},
                                         {0x1f8f, {0x1f0f, 0x399}, {0x1f8f}},
                                         {0x1f90, {0x1f28, 0x399}, {0x1f98}},
                                         {0x1f91, {0x1f29, 0x399}, {0x1f99}},
                                         {0x1f92, {0x1f2a, 0x399}, {0x1f9a}},
                                         {0x1f93, {0x1f2b, 0x399}, {0x1f9b}},
                                         {0x1f94, {0x1f2c, 0x399}, {0x1f9c}},
                                         {0x1f95, {0x1f2d, 0x399}, {0x1f9d}},
                                         {0x1f96, {0x1f2e, 0x399}, {0x1f9e}},
                                         {0x1f97, {0x1f2f, 0x399}, {0x1f9f}},
                                         {0x1f98, {0x1f28, 0x399}, {0x1f98}},
                                         {0x1f99, {0x1f29, 0x399}, {0x1f99}},
                                         {0x1f9a, {0x1f2a, 0x399}, {0x1f9a}},
                                         {0x1f9b, {0x1f2b, 0x399}, {0x1f9b}},
                                         {0x1f9c, {0x1f2c, 0x399}, {0x1f9c}},
                                         {0x1f9d, {0x1f2d, 0x399}, {0x1f9d}},
                                         {0x1f9e, {0x1f2e, 0x399}, {0x1f9e}},
                                         {0x1f9f, {0x1f2f, 0x399}, {0x1f9f}},
                                         {0x1fa0, {0x1f68, 0x399}, {0x1fa8}},
                                         {0x1fa1, {0x1f69, 0x399}, {0x1fa9}},
                                         {0x1fa2, {0x1f6a, 0x399}, {0x1faa}},
                                         {0x1fa3, {0x1f6b, 0x399}, {0x1fab}},
                                         {0x1fa4, {0x1f6c, 0x399}, {0x1fac}},
                                         {0x1fa5, {0x1f6d, 0x399}, {0x1fad}},
                                         {0x1fa6, {0x1f6e, 0x399}, {0x1fae}},
                                         {0x1fa7, {0x1f6f, 0x399}, {0x1faf}},
                                         {0x1fa8, {0x1f68, 0x399}, {0x1fa8}},
                                         {0x1fa9, {0x1f69, 0x399}, {0x1fa9}},
                                         {0x1faa, {0x1f6a, 0x399}, {0x1faa}},
                                         {0x1fab, {0x1f6b, 0x399}, {0x1fab}},
                                         {0x1fac, {0x1f6c, 0x399}, {0x1fac}},
                                         {0x1fad, {0x1f6d, 0x399}, {0x1fad}},
                                         {0x1fae, {0x1f6e, 0x399}, {0x1fae}},
                                         {0x1faf, {0x1f6f, 0x399}, {0x1faf}},
                                         {0x1fb2, {0x1fba, 0x399}, {0x1fba, 0x345}},
                                         {0x1fb3, {0x391, 0x399}, {0x1fbc}},
                                         {0x1fb4, {0x386, 0x399}, {0x386, 0x345}},
                                         {0x1fb6, {0x391, 0x342}, {0x391, 0x342}},
                                         {0x1fb7, {0x391, 0x342, 0x399}, {0x391, 0x342, 0x345}},
                                         {0x1fbc, {0x391, 0x399}, {0x1fbc}},
                                         {0x1fc2, {0x1fca, 0x399}, {0x1fca, 0x345}},
                                         {0x1fc3, {0x397, 0x399}, {0x1fcc}},
                                         {0x1fc4, {0x389, 0x399}, {0x389, 0x345}},
                                         {0x1fc6, {0x397, 0x342}, {0x397, 0x342}},
                                         {0x1fc7, {0x397, 0x342, 0x399}, {0x397, 0x342, 0x345}},
                                         {0x1fcc, {0x397, 0x399}, {0x1fcc}},
                                         {0x1fd2, {0x399, 0x308, 0x300}, {0x399, 0x308, 0x300}},
                                         {0x1fd3, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
                                         {0x1fd6, {0x399, 0x342}, {0x399, 0x342}},
                                         {0x1fd7, {0x399, 0x308, 0x342}, {0x399, 0x308, 0x342}},
                                         {0x1fe2, {0x3a5, 0x308, 0x300}, {0x3a5, 0x308, 0x300}},
                                         {0x1fe3, {0x3a5, 0x308, 0x301}, {0x3a5, 0x308, 0x301}},
                                         {0x1fe4, {0x3a1, 0x313}, {0x3a1, 0x313}},
                                         {0x1fe6, {0x3a5, 0x342}, {0x3a5, 0x342}},
                                         {0x1fe7, {0x3a5, 0x308, 0x342}, {0x3a5, 0x308, 0x342}},
                                         {0x1ff2, {0x1ffa, 0x399}, {0x1ffa, 0x345}},
                                         {0x1ff3, {0x3a9, 0x399}, {0x1ffc}},
                                         {0x1ff4, {0x38f, 0x399}, {0x38f, 0x345}},
                                         {0x1ff6, {0x3a9, 0x342}, {0x3a9, 0x342}},
                                         {0x1ff7, {0x3a9, 0x342, 0x399}, {0x3a9, 0x342, 0x345}},
                                         {0x1ffc, {0x3a9, 0x399}, {0x1ffc}},
                                         {0xfb00, {0x46, 0x46}, {0x46, 0x66}},
                                         {0xfb01, {0x46, 0x49}, {0x46, 0x69}},
                                         {0xfb02, {0x46, 0x4c}, {0x46, 0x6c}},
                                         {0xfb03, {0x46, 0x46, 0x49}, {0x46, 0x66, 0x69}},
                                         {0xfb04, {0x46, 0x46, 0x4c}, {0x46, 0x66, 0x6c}},
                                         {0xfb05, {0x53, 0x54}, {0x53, 0x74}},
                                         {0xfb06, {0x53, 0x54}, {0x53, 0x74}},
                                         {0xfb13, {0x544, 0x546}, {0x544, 0x576}},
                                         {0xfb14, {0x544, 0x535}, {0x544, 0x565}},
                                         {0xfb15, {0x544, 0x53b}, {0x544, 0x56b}},
                                         {0xfb16, {0x54e, 0x546}, {0x54e, 0x576}},
                                         {0xfb17, {0x544, 0x53d}, {0x544, 0x56d}}};

template <size_t N>
bool is_in(const CodeRange (&ranges)[N], uint32_t c) {
  const CodeRange* range =
      std::lower_bound(std::begin(ranges), std::end(ranges), c,
                       [](const CodeRange& r, uint32_t x) { return r.last < x; });
  return range != std::end(ranges) && range->first <= c;
}

const SpecialCase* special_case(uint32_t c) {
  if (c < 0xdf) return nullptr;
  const auto* found =
      std::lower_bound(std::begin(kSpecialCases), std::end(kSpecialCases), c,
                       [](const SpecialCase& s, uint32_t x) { return s.character < x; });
  return found != std::end(kSpecialCases) && found->character == c ? found : nullptr;
}

utf8proc_category_t category_of(uint32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

void append_all(const std::array<uint32_t, 3>& characters, std::string* out) {
  for (const uint32_t c : characters)
    if (c != 0) append_utf8(c, out);
}
void append_upper(uint32_t c, std::string* out) {
  if (const SpecialCase* special = special_case(c)) return append_all(special->upper, out);
  append_utf8(static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))), out);
}
void append_title(uint32_t c, std::string* out) {
  if (const SpecialCase* special = special_case(c)) return append_all(special->title, out);
  append_utf8(static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))), out);
}

bool is_cased(uint32_t c) {
  return is_lower_case(c) || is_upper_case(c) || category_of(c) == UTF8PROC_CATEGORY_LT;
}
// Unicode's Case_Ignorable, which the end of a word is looked for beyond.
bool is_case_ignorable(uint32_t c) {
  switch (category_of(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return c == '\'' || c == '.' || c == ':' || c == 0xb7 || c == 0x2018 || c == 0x2019 ||
             c == 0x2024 || c == 0x2027;
  }
}

// Lower case of the character at `at`: a sigma at a word's end has a form of its own.
void append_lower(std::string_view text, size_t at, uint32_t c, Budget& budget, std::string* out) {
  if (c == 0x130) {
    *out += "i\xCC\x87";
    return;
  }
  if (c != 0x3a3) {
    append_utf8(static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
    return;
  }
  bool before = false, after = false;
  for (size_t i = at; i > 0;) {
    budget.charge(4);
    const uint32_t previous = tokenizer::last_code_point(text.substr(0, i));
    do --i;
    while (i > 0 && (static_cast<uint8_t>(text[i]) & 0xC0) == 0x80);
    if (is_case_ignorable(previous)) continue;
    before = is_cased(previous);
    break;
  }
  for (std::string_view rest = text.substr(at + 2); !rest.empty();) {
    budget.charge(4);
    const tokenizer::Utf8Unit unit = next_utf8(rest);
    rest.remove_prefix(unit.length);
    if (is_case_ignorable(unit.code_point)) continue;
    after = is_cased(unit.code_point);
    break;
  }
  append_utf8(before && !after ? 0x3c2 : 0x3c3, out);
}

// `map` appends what stands for a character: (text, position, character, out).
template <class Map>
std::string map_characters(std::string_view text, Budget& budget, const Map& map) {
  budget.charge(text.size(), 5);
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const tokenizer::Utf8Unit unit = next_utf8(text.substr(at));
    map(at, unit.code_point, &out);
    at += unit.length;
  }
  return out;
}

}  // namespace

bool is_printable(uint32_t c) {
  if (c == ' ') return true;
  switch (category_of(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}
bool is_letter(uint32_t c) {
  const auto category = category_of(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(uint32_t c) { return category_of(c) == UTF8PROC_CATEGORY_ND; }
bool is_digit(uint32_t c) { return is_decimal(c) || is_in(kOtherDigits, c); }
bool is_numeric(uint32_t c) {
  const auto category = category_of(c);
  return (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) ||
         is_in(kOtherNumbers, c);
}
bool is_letter_or_number(uint32_t c) { return is_letter(c) || is_numeric(c); }
bool is_space(uint32_t c) { return tokenizer::is_white_space(c) || (c >= 0x1c && c <= 0x1f); }
bool is_lower_case(uint32_t c) {
  return category_of(c) == UTF8PROC_CATEGORY_LL || is_in(kOtherLower, c);
}
bool is_upper_case(uint32_t c) {
  return category_of(c) == UTF8PROC_CATEGORY_LU || is_in(kOtherUpper, c);
}
bool is_line_end(uint32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

std::string upper(std::string_view text, Budget& budget) {
  return map_characters(text, budget,
                        [](size_t, uint32_t c, std::string* out) { append_upper(c, out); });
}

std::string lower(std::string_view text, Budget& budget) {
  return map_characters(text, budget, [&](size_t at, uint32_t c, std::string* out) {
    append_lower(text, at, c, budget, out);
  });
}

std::string swap_case(std::string_view text, Budget& budget) {
  return map_characters(text, budget, [&](size_t at, uint32_t c, std::string* out) {
    if (is_upper_case(c))
      append_lower(text, at, c, budget, out);
    else if (is_lower_case(c))
      append_upper(c, out);
    else
      append_utf8(c, out);
  });
}

std::string capitalize(std::string_view text, Budget& budget) {
  return map_characters(text, budget, [&](size_t at, uint32_t c, std::string* out) {
    if (at == 0)
      append_title(c, out);
    else
      append_lower(text, at, c, budget, out);
  });
}

std::string title_case(std::string_view text, Budget& budget) {
  bool within = false;  // a word
  return map_characters(text, budget, [&](size_t at, uint32_t c, std::string* out) {
    if (within)
      append_lower(text, at, c, budget, out);
    else
      append_title(c, out);
    within = is_cased(c);
  });
}

std::string case_fold(std::string_view text, Budget& budget) {
  return map_characters(text, budget, [](size_t, uint32_t c, std::string* out) {
    std::array<utf8proc_int32_t, 8> folded{};
    int last_class = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded.data(),
                                               folded.size(), UTF8PROC_CASEFOLD, &last_class);
    for (utf8proc_ssize_t i = 0; i < count && i < static_cast<utf8proc_ssize_t>(folded.size()); ++i)
      append_utf8(static_cast<uint32_t>(folded[static_cast<size_t>(i)]), out);
  });
}

bool all_characters(std::string_view text, bool (*is)(uint32_t), Budget& budget) {
  budget.charge(text.size(), 2);
  if (text.empty()) return false;
  while (!text.empty()) {
    const tokenizer::Utf8Unit unit = next_utf8(text);
    if (!is(unit.code_point)) return false;
    text.remove_prefix(unit.length);
  }
  return true;
}

namespace {

bool has_case(std::string_view text, bool (*wanted)(uint32_t), bool (*other)(uint32_t),
              Budget& budget) {
  budget.charge(text.size(), 5);
  bool seen = false;
  while (!text.empty()) {
    const tokenizer::Utf8Unit unit = next_utf8(text);
    if (other(unit.code_point) || category_of(unit.code_point) == UTF8PROC_CATEGORY_LT)
      return false;
    seen |= wanted(unit.code_point);
    text.remove_prefix(unit.length);
  }
  return seen;
}

}  // namespace

bool is_upper(std::string_view text, Budget& budget) {
  return has_case(text, is_upper_case, is_lower_case, budget);
}
bool is_lower(std::string_view text, Budget& budget) {
  return has_case(text, is_lower_case, is_upper_case, budget);
}

bool is_title(std::string_view text, Budget& budget) {
  budget.charge(text.size(), 5);
  bool seen = false, within = false;
  while (!text.empty()) {
    const tokenizer::Utf8Unit unit = next_utf8(text);
    const uint32_t c = unit.code_point;
    const bool capital = is_upper_case(c) || category_of(c) == UTF8PROC_CATEGORY_LT;
    if (capital ? within : is_lower_case(c) && !within) return false;
    within = capital || is_lower_case(c);
    seen |= within;
    text.remove_prefix(unit.length);
  }
  return seen;
}

}  // namespace sinter::runtime::jinja
