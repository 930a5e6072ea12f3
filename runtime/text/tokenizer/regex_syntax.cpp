#include "runtime/text/tokenizer/regex_syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <vector>

#include "runtime/text/tokenizer/regex_class.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {
namespace {

// x{n,} from here on takes work that callouts before it do not see.
constexpr uint32_t kLongInterval = 16;
constexpr uint32_t kMaxInterval = 65535;  // PCRE2's

struct Options {
  bool ignore_case = false;  // (?i)
  bool extended = false;     // (?x): white space and comments are skipped
};

struct Group {
  size_t begin;  // in the output
  Options outside;
  bool is_lookaround = false;
  size_t isolated = 0;  // how many (?i) without a colon opened a group that ends with this one
};

// The differences of the syntaxes:
//   \s \w \d \b and [:posix:]   other sets; \h is a hexadecimal digit, \v a vertical tab
//   \p{Han}                     the property Script (PCRE2: Script_Extensions)
//   [a[b]&&c]                   nested classes and intersections
//   (?m)                        the dot matches a newline; PCRE2 calls that (?s)
//   a(?i)b|c                    a(?i:b|c)
//   x{1,3}+ x{2}? x** x{,3}     a repeated repetition; x{5,3} is possessive
//   (x)(?<n>x)                  beside named groups the others do not capture
class Translator {
 public:
  explicit Translator(std::string_view source) : in_{source} {}

  Result<Pcre2Pattern> run() {
    find_references();
    groups_.push_back({.begin = 0, .outside = {}});
    while (!in_.done() && error_.empty()) step();
    if (error_.empty() && groups_.size() > 1) fail("a group is not closed");
    if (!error_.empty()) return Error{error_};
    out_.append(groups_.front().isolated, ')');
    return Pcre2Pattern{std::move(out_), has_references_, has_long_intervals_};
  }

 private:
  enum class Target { kNone, kAnchor, kAtom, kRepeated };

  void fail(std::string what) {
    if (error_.empty()) error_ = std::move(what);
  }

  // Groups capture only where something refers to them.
  void find_references() {
    for (size_t i = 0; i + 1 < in_.text.size(); ++i) {
      const char c = in_.text[i], next = in_.text[i + 1];
      if (c == '\\') {
        has_references_ |= next == 'k' || (next >= '1' && next <= '9');
        ++i;
      } else if (in_.text.substr(i).starts_with("(?<") || in_.text.substr(i).starts_with("(?'")) {
        const char after = i + 3 < in_.text.size() ? in_.text[i + 3] : '\0';
        has_names_ |= next == '?' && (in_.text[i + 2] == '\'' || (after != '=' && after != '!'));
      }
    }
  }

  void atom(std::string_view text) {
    target_ = Target::kAtom;
    target_begin_ = out_.size();
    out_ += text;
  }
  void anchor(std::string_view text) {
    target_ = Target::kAnchor;
    out_ += text;
  }

  void step() {
    const char c = in_.peek();
    if (options_.extended && skip_extended()) return;
    const size_t literals = run_.size();
    switch (c) {
      case '\\':
        escape();
        break;
      case '[': {
        const auto set = read_class(&in_, options_.ignore_case);
        set.ok() ? atom(*set) : fail(set.error().message);
        break;
      }
      case '(':
        open_group();
        break;
      case ')':
        close_group();
        break;
      case '*':
      case '+':
      case '?':
        ++in_.at;
        repeat(std::string(1, c), /*fixed=*/false, /*possessive=*/false);
        break;
      case '{':
        if (!interval()) character('{', 1);
        break;
      case '|':
        ++in_.at;
        out_ += '|';
        target_ = Target::kNone;
        break;
      case '^':
      case '$':
        ++in_.at;
        anchor(std::string_view(&c, 1));
        break;
      case '.':
        ++in_.at;
        atom(".");
        break;
      default: {
        const Utf8Unit unit = next_utf8(in_.text.substr(in_.at));
        if (unit.kind != Utf8Unit::Kind::kValid) return fail("it is not UTF-8");
        character(unit.code_point, unit.length);
      }
    }
    if (run_.size() == literals) run_.clear();
  }

  bool skip_extended() {
    const Utf8Unit unit = next_utf8(in_.text.substr(in_.at));
    if (unit.kind != Utf8Unit::Kind::kValid) return false;
    if (in_.peek() == '#') {
      in_.at = std::min(in_.text.find('\n', in_.at), in_.text.size());
      return true;
    }
    if (!is_white_space(unit.code_point)) return false;
    in_.at += unit.length;
    return true;
  }

  // A literal of `length` bytes of the source.
  void character(uint32_t code_point, size_t length) {
    in_.at += length;
    atom(literal(code_point));
    if (!options_.ignore_case) return;
    if (folds_to_several(code_point))
      return fail(
          fmt::format("U+{:04X} stands for several characters under (?i), which is not "
                      "supported",
                      code_point));
    const char next = in_.peek();
    const bool is_repeated = next == '*' || next == '+' || next == '?' || next == '{';
    if (is_repeated) return;
    run_.push_back(static_cast<char32_t>(fold_case(code_point)));
    if (!ends_in_several_folded(run_)) return;
    std::string text;
    for (const char32_t c : run_) append_utf8(static_cast<uint32_t>(c), &text);
    fail(fmt::format("'{}' under (?i) also stands for a ligature, which is not supported", text));
  }

  void escape() {
    const char letter = in_.peek(1);
    if (const auto set = set_of_escape(letter, /*in_class=*/false)) {
      in_.at += 2;
      return atom(set->atom());
    }
    const std::string word = set_of_escape('w', /*in_class=*/false)->atom();
    switch (letter) {
      case 'p':
      case 'P': {
        if (in_.peek(2) != '{')
          return fail(fmt::format("\\{} is not followed by a name in braces", letter));
        const auto set = read_property(&in_, /*in_class=*/false);
        if (!set.ok()) return fail(set.error().message);
        // Under (?i) PCRE2 10.46 takes \p{Lu} for \p{Ll}, too; 10.42 does not.
        const bool same = !options_.ignore_case || set->ignores_case;
        return atom(same ? set->atom() : fmt::format("(?-i:{})", set->atom()));
      }
      case 'b':
        in_.at += 2;
        return anchor(fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word));
      case 'B':
        in_.at += 2;
        return anchor(fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word));
      case 'A':
      case 'z':
      case 'Z':
      case 'G':
        in_.at += 2;
        return anchor(fmt::format("\\{}", letter));
      case 'K':
        return fail("\\K is not supported");
      case 'R':
      case 'N':
        in_.at += 2;
        return atom(fmt::format("\\{}", letter));
      case 'O':
        in_.at += 2;
        return atom("(?s:.)");
      case 'X':  // PCRE2 10.42 takes two emoji for one
      case 'y':
      case 'Y':
        return fail(fmt::format("the text segment \\{} is not supported", letter));
      case 'g':
        return fail("the call of a group with \\g is not supported");
      case 'k':
        return named_reference();
      default:
        break;
    }
    if (letter >= '1' && letter <= '9') return numbered_reference();
    const auto code_point = read_escaped_character(&in_, /*in_class=*/false);
    if (!code_point.ok()) return fail(code_point.error().message);
    if (!*code_point) return fail(fmt::format("\\{} is not supported", letter));
    character(**code_point, 0);
  }

  void numbered_reference() {
    size_t digits = 1;
    while (in_.peek(1 + digits) >= '0' && in_.peek(1 + digits) <= '9') ++digits;
    if (digits > 1) return fail("a reference or octal escape of several digits is not supported");
    if (has_names_) return fail("a numbered reference beside named groups is not supported");
    atom(fmt::format("\\g{{{}}}", in_.peek(1)));
    in_.at += 2;
  }

  static bool is_name(std::string_view name) {
    const auto is_letter = [](char c) {
      return c == '_' || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    };
    return !name.empty() && name.size() <= 32 && is_letter(name.front()) &&
           std::all_of(name.begin(), name.end(),
                       [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
  }

  void named_reference() {
    const char end = in_.peek(2) == '\'' ? '\'' : '>';
    const size_t close = in_.text.find(end, std::min(in_.at + 3, in_.text.size()));
    if ((in_.peek(2) != '<' && in_.peek(2) != '\'') || close == std::string_view::npos)
      return fail("\\k is not followed by <name>");
    const std::string_view name = in_.text.substr(in_.at + 3, close - in_.at - 3);
    if (!is_name(name)) return fail(fmt::format("the reference \\k<{}> is not supported", name));
    in_.at = close + 1;
    atom(fmt::format("\\k<{}>", name));
  }

  void push_group(std::string_view text, bool is_lookaround = false) {
    groups_.push_back({.begin = out_.size(), .outside = options_, .is_lookaround = is_lookaround});
    out_ += text;
    target_ = Target::kNone;
  }

  void open_group() {
    if (in_.starts_with("(*")) return fail("a callout (*...) is not supported");
    if (!in_.starts_with("(?")) {
      ++in_.at;
      return push_group(has_references_ && !has_names_ ? "(" : "(?:");
    }
    if (in_.starts_with("(?#")) return skip_comment();
    for (const std::string_view kind : {"(?:", "(?>", "(?=", "(?!", "(?<=", "(?<!"}) {
      if (!in_.starts_with(kind)) continue;
      in_.at += kind.size();
      return push_group(kind, /*is_lookaround=*/kind.back() == '=' || kind.back() == '!');
    }
    const char kind = in_.peek(2);
    if (kind == '<' || kind == '\'') return open_named_group(kind == '<' ? '>' : '\'');
    if (kind == '~') return fail("the absent operator (?~...) is not supported");
    if (kind == '(') return fail("a condition (?(...)...) is not supported");
    if (kind == '{') return fail("a callout (?{...}) is not supported");
    open_options();
  }

  void skip_comment() {
    for (in_.at += 3; !in_.done(); ++in_.at) {
      if (in_.peek() == '\\') {
        ++in_.at;
      } else if (in_.peek() == ')') {
        ++in_.at;
        return;
      }
    }
    fail("a comment (?#...) is not closed");
  }

  void open_named_group(char end) {
    const size_t close = in_.text.find(end, in_.at + 3);
    if (close == std::string_view::npos) return fail("the name of a group is not closed");
    const std::string_view name = in_.text.substr(in_.at + 3, close - in_.at - 3);
    if (!is_name(name)) return fail(fmt::format("the group name '{}' is not supported", name));
    in_.at = close + 1;
    push_group(has_references_ ? fmt::format("(?<{}>", name) : "(?:");
  }

  // (?imx-imx) or (?imx-imx: : without the colon it reaches to the end of the group around it.
  void open_options() {
    const Options outside = options_;
    std::string on, off;
    bool turns_on = true;
    size_t at = in_.at + 2;
    for (; at < in_.text.size(); ++at) {
      const char c = in_.text[at];
      if (c == '-' && turns_on) {
        turns_on = false;
      } else if (c == 'i' || c == 'm') {
        (turns_on ? on : off) += c == 'm' ? 's' : 'i';
        if (c == 'i') options_.ignore_case = turns_on;
      } else if (c == 'x') {
        options_.extended = turns_on;
      } else {
        break;
      }
    }
    const char end = at < in_.text.size() ? in_.text[at] : '\0';
    if (end != ':' && end != ')') {
      return fail(fmt::format("the group {} is not supported",
                              in_.text.substr(in_.at, std::min<size_t>(at + 1 - in_.at, 12))));
    }
    in_.at = at + 1;
    const std::string text =
        off.empty() ? fmt::format("(?{}:", on) : fmt::format("(?{}-{}:", on, off);
    if (end == ':') {
      push_group(text);
      groups_.back().outside = outside;
      return;
    }
    ++groups_.back().isolated;
    out_ += text;
    target_ = Target::kNone;
  }

  void close_group() {
    if (groups_.size() == 1) return fail("a ')' has no '('");
    ++in_.at;
    const Group& group = groups_.back();
    out_.append(1 + group.isolated, ')');
    options_ = group.outside;
    target_ = group.is_lookaround ? Target::kAnchor : Target::kAtom;
    target_begin_ = group.begin;
    groups_.pop_back();
  }

  void repeat(std::string_view operation, bool fixed, bool possessive) {
    if (target_ == Target::kNone) return fail("a repetition has nothing to repeat");
    if (target_ == Target::kAnchor)
      return fail("a repeated anchor, lookahead or lookbehind is not supported");
    if (target_ == Target::kRepeated) {
      out_.insert(target_begin_, "(?:");
      out_ += ')';
    }
    target_ = Target::kRepeated;
    out_ += operation;
    if (possessive) {
      out_ += '+';
    } else if (in_.peek() == '?' && !fixed) {
      ++in_.at;
      out_ += '?';
    } else if (in_.peek() == '+' && operation.size() == 1) {
      ++in_.at;
      out_ += '+';
    }
  }

  // At '{': false, and nothing is read, when it is no interval but a character.
  bool interval() {
    size_t at = in_.at + 1;
    bool too_large = false;
    const auto number = [&]() -> std::optional<uint32_t> {
      uint32_t value = 0;
      const size_t begin = at;
      for (; at < in_.text.size() && in_.text[at] >= '0' && in_.text[at] <= '9'; ++at)
        value = std::min<uint32_t>(value * 10 + static_cast<uint32_t>(in_.text[at] - '0'), 1000000);
      too_large |= value > kMaxInterval;
      return at == begin ? std::nullopt : std::optional(value);
    };
    const auto low = number();
    const bool comma = at < in_.text.size() && in_.text[at] == ',';
    if (comma) ++at;
    const auto high = comma ? number() : low;
    if ((!low && !high) || at >= in_.text.size() || in_.text[at] != '}') return false;
    in_.at = at + 1;
    if (too_large) {
      fail(fmt::format("a repetition of more than {} times is not supported", kMaxInterval));
      return true;
    }
    uint32_t least = low.value_or(0);
    uint32_t most = high.value_or(0);
    const bool possessive = high && most < least;
    if (possessive) std::swap(least, most);
    has_long_intervals_ |= least >= kLongInterval;
    repeat(!comma  ? fmt::format("{{{}}}", least)
           : !high ? fmt::format("{{{},}}", least)
                   : fmt::format("{{{},{}}}", least, most),
           /*fixed=*/!comma, possessive);
    return true;
  }

  PatternReader in_;
  std::string out_;
  Options options_;
  std::vector<Group> groups_;  // the first is the whole pattern
  Target target_ = Target::kNone;
  size_t target_begin_ = 0;  // in out_
  std::u32string run_;       // under (?i): the literals just before, folded
  bool has_references_ = false;
  bool has_names_ = false;
  bool has_long_intervals_ = false;
  std::string error_;
};

}  // namespace

Result<Pcre2Pattern> to_pcre2(std::string_view oniguruma) { return Translator(oniguruma).run(); }

}  // namespace sinter::runtime::tokenizer
