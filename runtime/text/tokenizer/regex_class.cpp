#include "runtime/text/tokenizer/regex_class.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>
#include <utf8proc.h>

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

constexpr int kMaxClassDepth = 16;  // of classes within classes

// Names as Oniguruma compares them: without case, spaces, '-' and '_'.
struct NamedSet {
  std::string_view name;
  CharacterSet set;
};

// [:name:], and \p{name} where no category, script or property has it.
const std::vector<NamedSet>& posix_sets() {
  static const std::vector<NamedSet> sets = {
      {"alnum", {"\\p{Alphabetic}\\p{Nd}", false, true}},
      {"alpha", {"\\p{Alphabetic}", false, true}},
      {"ascii", {"\\x00-\\x7F"}},
      {"blank", {"\\p{Zs}\\t", false, true}},
      {"cntrl", {"\\p{Cc}", false, true}},
      {"digit", {"\\p{Nd}", false, true}},
      {"graph", {"\\p{White_Space}\\p{Cc}\\p{Cn}\\p{Cs}", true, true}},
      {"lower", {"\\p{Lowercase}"}},
      {"print", {"\\p{Cc}\\p{Cn}\\p{Cs}\\p{Zl}\\p{Zp}", true, true}},
      {"punct", {"\\p{P}\\p{S}", false, true}},
      {"space", {"\\p{White_Space}", false, true}},
      {"upper", {"\\p{Uppercase}"}},
      {"word", {"\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}", false, true}},
      {"xdigit", {"0-9A-Fa-f", false, true}},
  };
  return sets;
}

// What \w and \p{Word} have outside of classes besides [:word:].
constexpr std::string_view kLatin1Numbers = "\\xB2\\xB3\\xB9\\xBC-\\xBE";

// The general categories: short name, long names.
constexpr std::array<std::array<std::string_view, 3>, 38> kCategories = {{
    {"C", "other"},
    {"Cc", "control"},
    {"Cf", "format"},
    {"Cn", "unassigned"},
    {"Co", "privateuse"},
    {"Cs", "surrogate"},
    {"L", "letter"},
    {"L&", "casedletter", "lc"},
    {"Ll", "lowercaseletter"},
    {"Lm", "modifierletter"},
    {"Lo", "otherletter"},
    {"Lt", "titlecaseletter"},
    {"Lu", "uppercaseletter"},
    {"M", "mark", "combiningmark"},
    {"Mc", "spacingmark"},
    {"Me", "enclosingmark"},
    {"Mn", "nonspacingmark"},
    {"N", "number"},
    {"Nd", "decimalnumber"},
    {"Nl", "letternumber"},
    {"No", "othernumber"},
    {"P", "punctuation", "punct"},
    {"Pc", "connectorpunctuation"},
    {"Pd", "dashpunctuation"},
    {"Pe", "closepunctuation"},
    {"Pf", "finalpunctuation"},
    {"Pi", "initialpunctuation"},
    {"Po", "otherpunctuation"},
    {"Ps", "openpunctuation"},
    {"S", "symbol"},
    {"Sc", "currencysymbol"},
    {"Sk", "modifiersymbol"},
    {"Sm", "mathsymbol"},
    {"So", "othersymbol"},
    {"Z", "separator"},
    {"Zl", "lineseparator"},
    {"Zp", "paragraphseparator"},
    {"Zs", "spaceseparator"},
}};

std::string comparable(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return out;
}

// PCRE2 itself is the list of the scripts and of the binary properties.
bool pcre2_knows(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr),
      pcre2_code_free);
  return code != nullptr;
}

std::optional<CharacterSet> find_property(std::string_view name) {
  const std::string wanted = comparable(name);
  // PCRE2 has names of its own (Xan, Xps, Xsp, Xuc, Xwd) and others with punctuation.
  const auto is_plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (wanted.empty() || !std::all_of(wanted.begin(), wanted.end(), is_plain)) return std::nullopt;
  for (const auto& category : kCategories) {
    if (wanted != comparable(category[0]) && wanted != category[1] && wanted != category[2])
      continue;
    // A mark has the letter iota as its capital; with it, letters are closed.
    const bool letters = category[0] == "L";
    const bool ignores_case =
        letters || std::string_view("CNPSZ").find(category[0].front()) != std::string_view::npos;
    return CharacterSet{fmt::format("\\p{{{}}}", category[0]), false, ignores_case};
  }
  if (wanted == "any") return CharacterSet{"\\x00-\\x{10FFFF}", false, true};
  if (wanted == "assigned") return CharacterSet{"\\P{Cn}", false, true};
  for (const NamedSet& posix : posix_sets())
    if (wanted == posix.name || (wanted == "posixpunct" && posix.name == "punct")) return posix.set;
  if (wanted.size() == 3 && wanted.front() == 'x') return std::nullopt;
  for (const std::string_view prefix : {"sc:", ""}) {
    std::string text = fmt::format("\\p{{{}{}}}", prefix, wanted);
    if (pcre2_knows(text)) return CharacterSet{std::move(text)};
  }
  return std::nullopt;
}

// A union: members of a PCRE2 class, and atoms for what a PCRE2 class cannot hold.
struct Union {
  std::string members;
  std::vector<std::string> atoms;
  bool negated = false;

  bool empty() const { return members.empty() && atoms.empty(); }
  void add(const CharacterSet& set) {
    if (!set.negated) {
      members += set.members;
    } else if (set.members.starts_with("\\p{") && set.members.find('}') + 1 == set.members.size()) {
      members += "\\P" + set.members.substr(2);
    } else {
      atoms.push_back(set.atom());
    }
  }
  void add(const Union& other) {
    if (other.negated) {
      atoms.push_back(other.atom());
      return;
    }
    members += other.members;
    atoms.insert(atoms.end(), other.atoms.begin(), other.atoms.end());
  }
  std::string atom() const {
    if (atoms.empty()) return (negated ? "[^" : "[") + members + "]";
    std::string any = "(?:";
    if (!members.empty()) any += "[" + members + "]|";
    for (const std::string& atom : atoms) any += atom + "|";
    any.back() = ')';
    return negated ? "(?:(?!" + any + ")(?s:.))" : any;
  }
};

// Characters that fold to several, in order, and what they fold to.
struct SeveralFolded {
  std::vector<uint32_t> characters;
  std::vector<std::u32string> strings;
};

const SeveralFolded& several_folded() {
  static const SeveralFolded table = [] {
    SeveralFolded found;
    // The blocks of Unicode that have such characters.
    constexpr std::pair<uint32_t, uint32_t> kBlocks[] = {
        {0xDF, 0x1F0}, {0x390, 0x3B0}, {0x587, 0x587}, {0x1E96, 0x1FFC}, {0xFB00, 0xFB17}};
    for (const auto& [begin, end] : kBlocks) {
      for (uint32_t c = begin; c <= end; ++c) {
        utf8proc_int32_t folded[8];
        int boundary = 0;
        const auto length = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded, 8,
                                                    UTF8PROC_CASEFOLD, &boundary);
        if (length < 2 || length > 8) continue;
        found.characters.push_back(c);
        found.strings.emplace_back(folded, folded + length);
      }
    }
    return found;
  }();
  return table;
}

class ClassReader {
 public:
  ClassReader(PatternReader* in, bool ignore_case) : in_(*in), ignore_case_(ignore_case) {}

  // At "[".
  Union read(int depth) {
    Union whole;
    if (depth == kMaxClassDepth) return fail("its classes are nested too deeply");
    ++in_.at;
    whole.negated = in_.peek() == '^';
    if (whole.negated) ++in_.at;
    std::vector<Union> operands(1);
    bool first = true;
    while (error_.empty()) {
      if (in_.done()) return fail("a character class is not closed");
      Union& operand = operands.back();
      if (in_.peek() == ']' && !(first && closes_later())) {
        ++in_.at;
        break;
      }
      first = false;
      if (in_.starts_with("&&")) {
        if (operand.empty()) return fail("an operand of && is empty");
        in_.at += 2;
        operands.emplace_back();
      } else if (in_.starts_with("[:") && read_posix(&operand)) {
        continue;
      } else if (in_.peek() == '[') {
        const Union nested = read(depth + 1);
        if (nested.negated && ignore_case_)
          return fail("a negated class within a class is not supported under (?i)");
        operand.add(nested);
      } else {
        read_member(&operand);
      }
    }
    if (!error_.empty()) return whole;
    if (operands.back().empty())
      return fail(operands.size() > 1 ? "an operand of && is empty" : "a character class is empty");
    if (operands.size() == 1) {
      whole.add(operands.front());
    } else {
      if (ignore_case_) return fail("an intersection of classes (&&) is not supported under (?i)");
      std::string atom = "(?:";
      for (size_t i = 0; i + 1 < operands.size(); ++i) atom += "(?=" + operands[i].atom() + ")";
      whole.atoms.push_back(atom + operands.back().atom() + ")");
    }
    if (ignore_case_ && !whole.negated && expands_)
      return fail(fmt::format("{} stands for several characters under (?i), which is not supported",
                              shown(*expands_)));
    return whole;
  }

  const std::string& error() const { return error_; }

 private:
  Union fail(std::string what) {
    if (error_.empty()) error_ = std::move(what);
    return {};
  }

  // A "]" right after the opening one is a character if another closes the class.
  bool closes_later() const {
    for (size_t i = in_.at + 1; i < in_.text.size(); ++i) {
      if (in_.text[i] == '\\') {
        ++i;
      } else if (in_.text[i] == ']') {
        return true;
      }
    }
    return false;
  }

  // [:name:] or [:^name:]; false, and nothing is read, when it is none.
  bool read_posix(Union* to) {
    const bool negated = in_.peek(2) == '^';
    const size_t begin = in_.at + (negated ? 3 : 2);
    size_t end = begin;
    while (end < in_.text.size() && in_.text[end] >= 'a' && in_.text[end] <= 'z') ++end;
    if (!in_.text.substr(std::min(end, in_.text.size())).starts_with(":]")) return false;
    const std::string_view name = in_.text.substr(begin, end - begin);
    for (const NamedSet& posix : posix_sets()) {
      if (name != posix.name) continue;
      in_.at = end + 2;
      CharacterSet set = posix.set;
      if (negated) set.negated = !set.negated;
      add(set, in_.text.substr(begin - 2, end - begin + 4), to);
      return true;
    }
    fail(fmt::format("[:{}:] is not known", name));
    return true;
  }

  void add(const CharacterSet& set, std::string_view what, Union* to) {
    if (ignore_case_ && !set.ignores_case) {
      fail(fmt::format("{} in a class is not supported under (?i)", what));
      return;
    }
    to->add(set);
    // The one character that is no letter, but a letter's other case.
    if (ignore_case_ && set.members == "\\p{L}") {
      set.negated ? void(fail("\\P{L} in a class is not supported under (?i)"))
                  : void(to->members += "\\x{345}");
    }
  }

  // A character or the set of an escape; nullopt after adding a set.
  std::optional<uint32_t> read_one(Union* to) {
    const size_t begin = in_.at;
    if (in_.peek() != '\\') {
      const Utf8Unit unit = next_utf8(in_.text.substr(in_.at));
      in_.at += unit.length;
      return unit.code_point;
    }
    if (const auto set = set_of_escape(in_.peek(1), /*in_class=*/true)) {
      in_.at += 2;
      add(*set, in_.text.substr(begin, 2), to);
      return std::nullopt;
    }
    if ((in_.peek(1) == 'p' || in_.peek(1) == 'P') && in_.peek(2) == '{') {
      const auto set = read_property(&in_, /*in_class=*/true);
      if (!set.ok()) {
        fail(set.error().message);
      } else {
        add(*set, in_.text.substr(begin, in_.at - begin), to);
      }
      return std::nullopt;
    }
    const auto character = read_escaped_character(&in_, /*in_class=*/true);
    if (!character.ok()) {
      fail(character.error().message);
    } else if (!*character) {
      fail(fmt::format("\\{} in a character class is not supported", in_.peek(1)));
    } else {
      return *character;
    }
    return std::nullopt;
  }

  // A character, a range of characters or an escape's set.
  void read_member(Union* to) {
    const auto low = read_one(to);
    const auto ends_range = [&](size_t ahead) {
      return in_.peek(ahead) == ']' || (in_.peek(ahead) == '&' && in_.peek(ahead + 1) == '&');
    };
    if (!error_.empty()) return;
    if (!low) {
      if (in_.peek() == '-' && !ends_range(1))
        fail("a '-' after a set of characters is not supported; write \\-");
      return;
    }
    uint32_t high = *low;
    if (in_.peek() == '-' && !ends_range(1) && !in_.done()) {
      if (in_.peek(1) == '[') {
        fail("a '-' before a nested class is not supported; write \\-");
        return;
      }
      ++in_.at;
      Union none;
      const auto end = read_one(&none);
      if (!error_.empty()) return;
      if (!end) {
        fail("a range of characters ends in a set");
        return;
      }
      high = *end;
      if (high < *low) {
        fail(fmt::format("the range {}-{} is empty", shown(*low), shown(high)));
        return;
      }
    }
    to->members += literal(*low);
    if (high != *low) to->members += "-" + literal(high);
    // After a range it is a character.
    if (high != *low && in_.peek() == '-' && !ends_range(1)) {
      if (in_.peek(1) == '-' || in_.peek(1) == '[')
        return void(fail("a '-' after a range of characters is not supported; write \\-"));
      ++in_.at;
      to->members += literal('-');
    }
    if (!ignore_case_) return;
    const auto& several = several_folded().characters;
    const auto found = std::lower_bound(several.begin(), several.end(), *low);
    if (found != several.end() && *found <= high) expands_ = *found;
  }

  static std::string shown(uint32_t code_point) {
    return code_point > 0x20 && code_point < 0x7F ? std::string(1, static_cast<char>(code_point))
                                                  : fmt::format("U+{:04X}", code_point);
  }

  PatternReader& in_;
  bool ignore_case_;
  std::optional<uint32_t> expands_;
  std::string error_;
};

// Hexadecimal or octal digits at `*at`, at most `most` of them; nullopt when there is none.
std::optional<uint32_t> read_digits(const PatternReader& in, size_t* at, size_t most,
                                    uint32_t base) {
  uint64_t value = 0;
  size_t count = 0;
  for (; count < most && *at < in.text.size(); ++count, ++*at) {
    const char c = in.text[*at];
    const uint32_t digit = c >= '0' && c <= '9'   ? static_cast<uint32_t>(c - '0')
                           : c >= 'a' && c <= 'f' ? static_cast<uint32_t>(c - 'a' + 10)
                           : c >= 'A' && c <= 'F' ? static_cast<uint32_t>(c - 'A' + 10)
                                                  : 16;
    if (digit >= base) break;
    value = std::min<uint64_t>(value * base + digit, UINT32_MAX);
  }
  if (count == 0) return std::nullopt;
  return static_cast<uint32_t>(value);
}

Result<std::optional<uint32_t>> read_numbered_character(PatternReader* in) {
  const auto wrong = [&](std::string_view what) {
    return Error{fmt::format("the escape {} {}", in->text.substr(in->at, 10), what)};
  };
  const char kind = in->peek(1);
  const bool braces = in->peek(2) == '{';
  const bool digit = kind >= '0' && kind <= '7';
  size_t at = in->at + (digit ? 1 : braces ? 3 : 2);
  const size_t most = kind == 'u' ? 4 : braces ? 11 : digit ? 3 : 2;
  const size_t begin = at;
  const auto value = read_digits(*in, &at, most, digit || kind == 'o' ? 8 : 16);
  if (!value || (kind == 'u' && at != begin + 4)) return wrong("lacks digits");
  if (braces && !digit && kind != 'u') {
    if (at >= in->text.size() || in->text[at] != '}') return wrong("is not one code point");
    ++at;
  } else if (kind != 'u' && *value >= 0x80) {
    return wrong("is a raw byte, which is not supported; write \\x{...}");
  }
  if (*value > 0x10FFFF || (*value >= 0xD800 && *value < 0xE000))
    return wrong("is not a character");
  in->at = at;
  return value;
}

}  // namespace

std::optional<CharacterSet> set_of_escape(char letter, bool in_class) {
  const auto named = [](std::string_view name) {
    for (const NamedSet& posix : posix_sets())
      if (posix.name == name) return posix.set;
    return CharacterSet{};
  };
  CharacterSet set;
  switch (letter) {
    case 's':
    case 'S':
      set = named("space");
      break;
    case 'w':
    case 'W':
      set = named("word");
      if (!in_class) set.members += kLatin1Numbers;
      break;
    case 'd':
    case 'D':
      set = named("digit");
      break;
    case 'h':
    case 'H':
      set = named("xdigit");
      break;
    default:
      return std::nullopt;
  }
  set.negated = letter < 'a';
  return set;
}

Result<CharacterSet> read_property(PatternReader* in, bool in_class) {
  const size_t close = in->text.find('}', in->at);
  if (close == std::string_view::npos) return Error{"a property \\p{...} is not closed"};
  const std::string_view whole = in->text.substr(in->at, close + 1 - in->at);
  std::string_view name = whole.substr(3, whole.size() - 4);
  bool negated = in->peek(1) == 'P';
  if (name.starts_with('^')) {
    negated = !negated;
    name.remove_prefix(1);
  }
  auto set = find_property(name);
  if (!set) return Error{fmt::format("the property {} is not known", whole)};
  if (negated) set->negated = !set->negated;
  if (!in_class && comparable(name) == "word") set->members += kLatin1Numbers;
  in->at = close + 1;
  return *std::move(set);
}

Result<std::optional<uint32_t>> read_escaped_character(PatternReader* in, bool in_class) {
  constexpr std::string_view kControls = "nrtfvae";
  constexpr std::string_view kControlCodes = "\n\r\t\f\v\a\x1B";
  // What else a letter after a backslash is: a set, an anchor, a reference.
  constexpr std::string_view kOther = "wWdDsShHpPRXKNObBAzZGkgyY";
  if (in->at + 1 >= in->text.size()) return Error{"it ends in a lone backslash"};
  const char letter = in->peek(1);
  if (letter == 'b' && in_class) {
    in->at += 2;
    return std::optional<uint32_t>(8);
  }
  if (const size_t i = kControls.find(letter); i != std::string_view::npos) {
    in->at += 2;
    return std::optional<uint32_t>(static_cast<uint8_t>(kControlCodes[i]));
  }
  if (kOther.find(letter) != std::string_view::npos) return std::optional<uint32_t>();
  if (letter == 'c' || letter == 'C' || letter == 'M')
    return Error{fmt::format("the control character \\{} is not supported", letter)};
  if (letter == 'x' || letter == 'u' || (letter >= '0' && letter <= '7') ||
      (letter == 'o' && in->peek(2) == '{'))
    return read_numbered_character(in);
  const Utf8Unit unit = next_utf8(in->text.substr(in->at + 1));
  in->at += 1 + unit.length;
  return std::optional(unit.code_point);
}

Result<std::string> read_class(PatternReader* in, bool ignore_case) {
  ClassReader reader(in, ignore_case);
  const Union set = reader.read(0);
  if (!reader.error().empty()) return Error{reader.error()};
  return set.atom();
}

std::string literal(uint32_t code_point) {
  std::string text;
  const bool alphanumeric = (code_point >= '0' && code_point <= '9') ||
                            ((code_point | 0x20) >= 'a' && (code_point | 0x20) <= 'z');
  if (alphanumeric || code_point > 0xA0) {
    append_utf8(code_point, &text);
  } else {
    text = fmt::format("\\x{{{:X}}}", code_point);
  }
  return text;
}

bool folds_to_several(uint32_t code_point) {
  const auto& several = several_folded().characters;
  return std::binary_search(several.begin(), several.end(), code_point);
}

bool ends_in_several_folded(std::u32string_view folded) {
  const auto& strings = several_folded().strings;
  return std::any_of(strings.begin(), strings.end(),
                     [&](const std::u32string& text) { return folded.ends_with(text); });
}

uint32_t fold_case(uint32_t code_point) {
  utf8proc_int32_t folded[8];
  int boundary = 0;
  const auto length = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), folded, 8,
                                              UTF8PROC_CASEFOLD, &boundary);
  return length == 1 ? static_cast<uint32_t>(folded[0]) : code_point;
}

}  // namespace sinter::runtime::tokenizer
