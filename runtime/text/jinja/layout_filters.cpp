// Filters that lay text out: wordwrap, pprint and urlize.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {
namespace {

// ---- wordwrap: Python's textwrap.

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_word_character(uint32_t c) { return c == '_' || is_letter_or_number(c); }
bool is_word_letter(uint32_t c) { return is_word_character(c) && !is_decimal(c); }
bool is_word_punctuation(uint32_t c) {
  return is_word_character(c) ||
         (c < 0x80 &&
          std::string_view("!\"'&.,?").find(static_cast<char>(c)) != std::string_view::npos);
}

// A line as characters, which can be looked at forwards and backwards.
class Characters {
 public:
  Characters(std::string_view text, Budget& budget) : parts_(characters(text, budget)) {}
  size_t size() const { return parts_.size(); }
  // 0 beyond the ends.
  uint32_t at(size_t i) const {
    return i < parts_.size() ? tokenizer::next_utf8(parts_[i]).code_point : 0;
  }
  bool blank(size_t i) const { return parts_[i].size() == 1 && is_blank(parts_[i][0]); }
  std::string_view part(size_t begin, size_t end) const {
    if (begin == end) return {};
    const char* first = parts_[begin].data();
    const std::string_view last = parts_[end - 1];
    return {first, static_cast<size_t>(last.data() + last.size() - first)};
  }

 private:
  std::vector<std::string_view> parts_;
};

// Where the dashes end that begin at `i`, when there are two at least and a word follows; else 0.
size_t end_of_dash(const Characters& line, size_t i) {
  size_t end = i;
  while (end < line.size() && line.at(end) == '-') ++end;
  return end - i >= 2 && end < line.size() && is_word_character(line.at(end)) ? end : 0;
}

// The end of the piece that begins at `begin`: white space, a dash between words, or a word or a
// part of it up to a hyphen.
size_t end_of_piece(const Characters& line, size_t begin, bool on_hyphens) {
  size_t end = begin;
  if (line.blank(begin)) {
    while (end < line.size() && line.blank(end)) ++end;
    return end;
  }
  if (!on_hyphens) {
    while (end < line.size() && !line.blank(end)) ++end;
    return end;
  }
  if (begin > 0 && is_word_punctuation(line.at(begin - 1)))
    if (const size_t dash = end_of_dash(line, begin)) return dash;
  for (end = begin + 1; end < line.size(); ++end) {
    if (line.blank(end)) return end;
    if (line.at(end) != '-') continue;
    const bool letters_before =
        (end >= 2 && is_word_letter(line.at(end - 1)) && is_word_letter(line.at(end - 2))) ||
        (end >= 3 && is_word_punctuation(line.at(end - 1)) && line.at(end - 2) == '-' &&
         is_word_letter(line.at(end - 3)));
    const size_t next = end + 1;
    const bool letters_after = next < line.size() && is_word_letter(line.at(next)) &&
                               (is_word_letter(line.at(next + 1)) ||
                                (line.at(next + 1) == '-' && is_word_letter(line.at(next + 2))));
    if (letters_before && letters_after) return next;
    if (is_word_punctuation(line.at(end - 1)) && end_of_dash(line, end) != 0) return end;
  }
  return end;
}

struct Wrapping {
  int64_t width;
  bool break_long, on_hyphens;
};

std::vector<std::string> wrapped(std::string_view text, const Wrapping& wrapping, Budget& budget) {
  const Characters line(text, budget);
  struct Piece {
    size_t begin, end;
    int64_t size() const { return static_cast<int64_t>(end - begin); }
  };
  std::vector<Piece> pieces;  // the next one is the last
  for (size_t at = 0; at < line.size();) {
    budget.charge(kValueCost);
    const size_t end = end_of_piece(line, at, wrapping.on_hyphens);
    pieces.push_back({at, end});
    at = end;
  }
  std::reverse(pieces.begin(), pieces.end());
  const auto all_blank = [&](const Piece& piece) {
    for (size_t i = piece.begin; i < piece.end; ++i)
      if (!is_space(line.at(i))) return false;
    return true;
  };
  std::vector<std::string> lines;
  while (!pieces.empty()) {
    std::vector<Piece> current;
    int64_t size = 0;
    if (!lines.empty() && all_blank(pieces.back())) pieces.pop_back();
    while (!pieces.empty() && size + pieces.back().size() <= wrapping.width) {
      size += pieces.back().size();
      current.push_back(pieces.back());
      pieces.pop_back();
    }
    if (!pieces.empty() && pieces.back().size() > wrapping.width) {
      Piece& piece = pieces.back();
      if (wrapping.break_long) {
        const auto room = static_cast<size_t>(wrapping.width - size);
        size_t cut = piece.begin + room;
        if (wrapping.on_hyphens) {
          // The last hyphen that fits, if anything but hyphens is before it.
          size_t hyphen = piece.begin + room;
          while (hyphen > piece.begin && line.at(hyphen - 1) != '-') --hyphen;
          bool other = false;
          for (size_t i = piece.begin; i + 1 < hyphen; ++i) other |= line.at(i) != '-';
          if (hyphen > piece.begin + 1 && other) cut = hyphen;
        }
        current.push_back({piece.begin, cut});
        piece.begin = cut;
      } else if (current.empty()) {
        current.push_back(piece);
        pieces.pop_back();
      }
    }
    if (!current.empty() && all_blank(current.back())) current.pop_back();
    if (current.empty()) continue;
    std::string out;
    for (const Piece& piece : current) out += line.part(piece.begin, piece.end);
    budget.charge(out.size() + kValueCost);
    lines.push_back(std::move(out));
  }
  return lines;
}

Value wordwrap_filter(const Call& call) {
  const auto bound = call.bind({"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  const Wrapping wrapping{call.integer(bound[0], 79), Call::flag(bound[1], true),
                          Call::flag(bound[3], true)};
  const std::string between =
      Call::given(bound[2]) ? call.string(bound[2], "wrapstring") : std::string("\n");
  const auto lines = lines_of(call.string(&call.value, "text"), false, call.budget());
  std::string out;
  bool first = true;
  for (const std::string_view line : lines) {
    if (wrapping.width <= 0) throw Failure{"wordwrap needs a width above zero"};
    if (!std::exchange(first, false)) out += between;
    const std::vector<std::string> parts = wrapped(line, wrapping, call.budget());
    for (size_t i = 0; i < parts.size(); ++i) {
      call.budget().charge(between.size());
      out += (i != 0 ? between : "") + parts[i];
    }
  }
  return call.result(std::move(out));
}

// ---- pprint: Python's pprint.pformat.

// A dict's keys in order: those that have no order by their types' names.
std::vector<std::pair<Value, Value>> in_order(const Mapping& dict, Budget& budget) {
  const auto& items = dict.items();
  const auto before = [&](size_t a, size_t b) {
    const Value &x = items[a].first, &y = items[b].first;
    const bool comparable =
        (x.is_number() && y.is_number()) || (x.string() != nullptr && y.string() != nullptr);
    if (comparable) return less(x, y, budget);
    return type_name(x) < type_name(y);
  };
  std::vector<std::pair<Value, Value>> sorted;
  for (const size_t i : sorted_order(items.size(), before)) sorted.push_back(items[i]);
  return sorted;
}

class PrettyPrinter {
 public:
  explicit PrettyPrinter(Budget& budget) : budget_(budget) {}

  void write(const Value& value, int64_t indent, int64_t allowance, int level) {
    const std::string whole = repr(value);
    if (static_cast<int64_t>(count_characters(whole)) <= kWidth - indent - allowance)
      return add(whole);
    if (const Mapping* dict = value.mapping())
      return write_dict(*dict, indent, allowance + 1, level);
    if (value.items() != nullptr) return write_items(value, indent, allowance + 1, level);
    if (value.string() != nullptr && !value.is_markup())
      return write_string(*value.string(), indent, allowance, level);
    add(whole);
  }
  std::string take() { return std::move(out_); }

 private:
  static constexpr int64_t kWidth = 80;

  void add(std::string_view text) {
    budget_.charge(text.size());
    out_ += text;
  }
  void new_line(int64_t indent) { add("\n" + repeated(" ", indent, budget_)); }

  // With the keys of dicts in order.
  std::string repr(const Value& value) {
    budget_.charge(kNodeCost);
    std::string out;
    if (const Mapping* dict = value.mapping()) {
      for (const auto& [key, item] : in_order(*dict, budget_))
        out += (out.empty() ? "" : ", ") + repr(key) + ": " + repr(item);
      out = "{" + out + "}";
    } else if (const std::vector<Value>* items = value.items()) {
      for (const Value& item : *items) out += (out.empty() ? "" : ", ") + repr(item);
      if (value.is_list())
        out = "[" + out + "]";
      else
        out = "(" + out + (items->size() == 1 ? ",)" : ")");
    } else {
      return to_repr(value, budget_);
    }
    budget_.charge(out.size());
    return out;
  }

  void write_dict(const Mapping& dict, int64_t indent, int64_t allowance, int level) {
    add("{");
    const auto items = in_order(dict, budget_);
    for (size_t i = 0; i < items.size(); ++i) {
      if (i != 0) {
        add(",");
        new_line(indent + 1);
      }
      const std::string key = repr(items[i].first);
      add(key + ": ");
      write(items[i].second, indent + 3 + static_cast<int64_t>(count_characters(key)),
            i + 1 == items.size() ? allowance : 1, level + 1);
    }
    add("}");
  }

  void write_items(const Value& value, int64_t indent, int64_t allowance, int level) {
    const std::vector<Value>& items = *value.items();
    const std::string_view close = value.is_list() ? "]" : items.size() == 1 ? ",)" : ")";
    allowance += static_cast<int64_t>(close.size()) - 1;
    add(value.is_list() ? "[" : "(");
    for (size_t i = 0; i < items.size(); ++i) {
      if (i != 0) {
        add(",");
        new_line(indent + 1);
      }
      write(items[i], indent + 1, i + 1 == items.size() ? allowance : 1, level + 1);
    }
    add(close);
  }

  // Lines and words that fit, each quoted.
  void write_string(std::string_view text, int64_t indent, int64_t allowance, int level) {
    if (level == 1) {
      ++indent;
      ++allowance;
    }
    const auto size_of = [](std::string_view t) {
      return static_cast<int64_t>(count_characters(t));
    };
    std::vector<std::string> chunks;
    const auto lines = lines_of(text, true, budget_);
    for (size_t i = 0; i < lines.size(); ++i) {
      const bool last_line = i + 1 == lines.size();
      const std::string whole = quoted(lines[i], false);
      budget_.charge(whole.size(), 2);
      if (size_of(whole) <= kWidth - indent - (last_line ? allowance : 0)) {
        chunks.push_back(whole);
        continue;
      }
      std::string current;
      for (std::string_view rest = lines[i]; !rest.empty();) {
        size_t end = 0;
        for (const bool space : {false, true})
          while (end < rest.size() &&
                 is_space(tokenizer::next_utf8(rest.substr(end)).code_point) == space)
            end += tokenizer::next_utf8(rest.substr(end)).length;
        const std::string candidate = current + std::string(rest.substr(0, end));
        budget_.charge(candidate.size(), 4);
        const bool last = last_line && end == rest.size();
        if (size_of(quoted(candidate, false)) > kWidth - indent - (last ? allowance : 0)) {
          if (!current.empty()) chunks.push_back(quoted(current, false));
          current = rest.substr(0, end);
        } else {
          current = candidate;
        }
        rest.remove_prefix(end);
      }
      if (!current.empty()) chunks.push_back(quoted(current, false));
    }
    if (chunks.size() == 1) return add(chunks[0]);
    if (level == 1) add("(");
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (i != 0) new_line(indent);
      add(chunks[i]);
    }
    if (level == 1) add(")");
  }

  Budget& budget_;
  std::string out_;
};

Value pprint_filter(const Call& call) {
  (void)call.bind({});
  PrettyPrinter printer(call.budget());
  printer.write(call.value, 0, 0, 1);
  return call.result(printer.take());
}

// ---- urlize

// A pattern with bounds on what a match may cost.
class Pattern {
 public:
  explicit Pattern(const char* pattern) {
    int error = 0;
    size_t at = 0;
    code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_CASELESS, &error, &at, nullptr);
    context_ = pcre2_match_context_create(nullptr);
    data_ = pcre2_match_data_create(1, nullptr);
    pcre2_set_match_limit(context_, kSteps);
  }
  ~Pattern() {
    pcre2_match_data_free(data_);
    pcre2_match_context_free(context_);
    pcre2_code_free(code_);
  }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  bool matches(std::string_view text, Budget& budget) const {
    budget.charge(kSteps / 16 + text.size());
    const int found = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                                  0, data_, context_);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
      throw Failure{"urlize finds a word that is too long to tell what it is"};
    return found >= 0;
  }

 private:
  static constexpr uint32_t kSteps = 100000;
  pcre2_code* code_ = nullptr;
  pcre2_match_context* context_ = nullptr;
  pcre2_match_data* data_ = nullptr;
};

size_t count_parts(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

struct Urlizer {
  std::optional<int64_t> limit;
  std::string attributes;  // rel and target
  std::vector<std::string> schemes;
  Budget& budget;
  Pattern http{
      R"(^((https?://|www\.)(([\w%-]+\.)+)?([a-z]{2,63}|xn--[\w%]{2,59})|([\w%-]{2,63}\.)+(com|net|int|edu|gov|org|info|mil)|(https?://)((([\d]{1,3})(\.[\d]{1,3}){3})|(\[([\da-f]{0,4}:){2}([\da-f]{0,4}:?){1,6}])))(?::[\d]{1,5})?(?:[/?#]\S*)?$)"};
  Pattern email{R"(^\S+@\w[\w.-]*\.\w+$)"};

  std::string shortened(std::string_view address) const {
    if (!limit || static_cast<int64_t>(count_characters(address)) <= *limit)
      return std::string(address);
    int64_t size = *limit;
    if (size < 0)
      size = std::max<int64_t>(size + static_cast<int64_t>(count_characters(address)), 0);
    return std::string(address.substr(0, byte_at(address, size))) + "...";
  }

  std::string link(std::string_view address, std::string_view shown, bool plain) const {
    return fmt::format("<a href=\"{}\"{}>{}</a>", address, plain ? "" : attributes, shown);
  }

  // A word with what is around it, such as brackets and full stops.
  std::string word(std::string_view text) const {
    std::string_view middle = text;
    const auto skip_any = [](std::string_view rest, std::initializer_list<std::string_view> parts) {
      for (const std::string_view part : parts)
        if (rest.starts_with(part)) return part.size();
      return size_t{0};
    };
    size_t at = 0;
    while (const size_t size = skip_any(middle.substr(at), {"(", "<", "&lt;"})) at += size;
    const std::string head(middle.substr(0, at));
    middle.remove_prefix(at);
    size_t end = middle.size();
    const auto last = [&]() -> size_t {
      const std::string_view rest = middle.substr(0, end);
      if (rest.ends_with("&gt;")) return 4;
      return !rest.empty() && std::string_view(")>.,\n").find(rest.back()) != rest.npos ? 1 : 0;
    };
    while (const size_t size = last()) end -= size;
    std::string tail(middle.substr(end));
    std::string body(middle.substr(0, end));
    constexpr std::pair<std::string_view, std::string_view> kBrackets[] = {
        {"(", ")"}, {"<", ">"}, {"&lt;", "&gt;"}};
    for (const auto& [open, close] : kBrackets) {
      const size_t opened = count_parts(body, open);
      if (opened <= count_parts(body, close)) continue;
      for (size_t i = std::min(opened, count_parts(tail, close)); i > 0; --i) {
        const size_t taken = tail.find(close) + close.size();
        budget.charge(tail.size());
        body += tail.substr(0, taken);
        tail.erase(0, taken);
      }
    }
    return head + linked(body) + tail;
  }

  std::string linked(const std::string& body) const {
    if (http.matches(body, budget)) {
      const bool has_scheme = body.starts_with("https://") || body.starts_with("http://");
      return link(has_scheme ? body : "https://" + body, shortened(body), false);
    }
    if (body.starts_with("mailto:") && email.matches(body.substr(7), budget))
      return link(body, body.substr(7), true);
    if (body.find('@') != body.npos && !body.starts_with("www.") && body.find(':') == body.npos &&
        email.matches(body, budget))
      return link("mailto:" + body, body, true);
    std::string result = body;
    for (const std::string& scheme : schemes)
      if (result != scheme && result.starts_with(scheme)) result = link(result, result, false);
    return result;
  }
};

Value urlize_filter(const Call& call) {
  const auto bound = call.bind({"trim_url_limit", "nofollow", "target", "rel", "extra_schemes"});
  std::vector<std::string> relations = {"noopener"};
  if (Call::given(bound[3]) && is_true(*bound[3]))
    for (const std::string_view word : words_of(call.string(bound[3], "rel"), -1, call.budget()))
      relations.emplace_back(word);
  if (Call::flag(bound[1], false)) relations.emplace_back("nofollow");
  std::sort(relations.begin(), relations.end());
  relations.erase(std::unique(relations.begin(), relations.end()), relations.end());
  std::string relation;
  for (const std::string& word : relations) relation += (relation.empty() ? "" : " ") + word;
  Urlizer urlizer{std::nullopt,
                  fmt::format(" rel=\"{}\"", escaped(relation, call.budget())),
                  {},
                  call.budget()};
  if (Call::given(bound[0])) urlizer.limit = call.integer(bound[0], 0);
  if (Call::given(bound[2]) && is_true(*bound[2]))
    urlizer.attributes += fmt::format(" target=\"{}\"", escaped_text(*bound[2], call.budget()));
  if (Call::given(bound[4])) {
    const Pattern scheme_form(R"(^[\w.+-]{2,}:/{0,2}\z)");
    for (const Value& scheme : iterate(*bound[4], call.budget())) {
      urlizer.schemes.push_back(call.string(&scheme, "scheme"));
      if (!scheme_form.matches(urlizer.schemes.back(), call.budget()))
        throw Failure{"urlize needs schemes such as 'ftp://'"};
    }
  }
  const std::string text = escaped_text(call.value, call.budget());
  std::string out;
  for (std::string_view rest = text; !rest.empty();) {
    size_t end = 0;
    const auto blank = [&] { return is_space(tokenizer::next_utf8(rest.substr(end)).code_point); };
    while (end < rest.size() && !blank()) end += tokenizer::next_utf8(rest.substr(end)).length;
    out += urlizer.word(rest.substr(0, end));
    rest.remove_prefix(end);
    end = 0;
    while (end < rest.size() && blank()) end += tokenizer::next_utf8(rest.substr(end)).length;
    out += rest.substr(0, end);
    rest.remove_prefix(end);
  }
  call.budget().charge(out.size());
  return make_text(std::move(out), call.evaluator.autoescape(), call.budget());
}

}  // namespace

const ImplementationTable& layout_filters() {
  static const ImplementationTable table = {
      {"pprint", pprint_filter}, {"urlize", urlize_filter}, {"wordwrap", wordwrap_filter}};
  return table;
}

}  // namespace sinter::runtime::jinja
