// Filters about text.
#include <algorithm>
#include <unordered_map>

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/integer.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::jinja {
namespace {

template <std::string (*change)(std::string_view, Budget&)>
Value changed(const Call& call) {
  (void)call.bind({});
  return call.alike(change(call.text(), call.budget()));
}

Value title_filter(const Call& call) {
  (void)call.bind({});
  const std::string text = call.text();
  call.budget().charge(text.size());
  std::string out;
  const auto is_break = [](std::string_view rest) {
    return std::string_view("-({[<").find(rest[0]) != std::string_view::npos ||
           is_space(tokenizer::next_utf8(rest).code_point);
  };
  for (std::string_view rest = text; !rest.empty();) {
    size_t end = 0;
    while (end < rest.size() && !is_break(rest.substr(end)))
      end += tokenizer::next_utf8(rest.substr(end)).length;
    if (end == 0) {
      end = tokenizer::next_utf8(rest).length;
      out += rest.substr(0, end);
    } else {
      const size_t first = tokenizer::next_utf8(rest).length;
      out += upper(rest.substr(0, first), call.budget());
      out += lower(rest.substr(first, end - first), call.budget());
    }
    rest.remove_prefix(end);
  }
  return call.result(std::move(out));
}

Value trim_filter(const Call& call) {
  const auto bound = call.bind({"chars"});
  const std::string text = call.text();
  std::string which;
  const bool some = Call::given(bound[0]);
  if (some) which = call.joining(bound[0], "characters");
  return call.alike(std::string(strip(text, some ? &which : nullptr, true, true, call.budget())));
}

Value replace_filter(const Call& call) {
  const auto bound = call.bind({"old", "new", "count"}, 2);
  const int64_t count = Call::given(bound[2]) ? call.integer(bound[2], -1) : -1;
  if (!call.evaluator.autoescape())
    return call.result(replace(call.text(), call.text_of(bound[0], ""), call.text_of(bound[1], ""),
                               count, call.budget()));
  // Where text is escaped, what is Markup makes the others so.
  const bool escapes = call.value.is_markup() || bound[0]->is_markup() || bound[1]->is_markup();
  const auto shown = [&](const Value& value) {
    return escapes ? escaped_text(value, call.budget()) : call.evaluator.text(value);
  };
  return make_text(
      replace(shown(call.value), shown(*bound[0]), shown(*bound[1]), count, call.budget()), escapes,
      call.budget());
}

Value format_filter(const Call& call) {
  const auto& [positional, keywords] = call.arguments;
  if (!positional.empty() && !keywords.empty())
    throw Failure{"format takes values with names or without, not both"};
  const Value pattern = call.alike(call.text());
  if (keywords.empty())
    return format_percent(pattern, make_tuple(positional, call.budget()), call.budget());
  Mapping named;
  for (const auto& [name, value] : keywords) named.set(call.result(name), value, call.budget());
  return format_percent(pattern, make_dict(std::move(named), call.budget()), call.budget());
}

Value indent_filter(const Call& call) {
  const auto bound = call.bind({"width", "first", "blank"});
  const bool blank = Call::flag(bound[2], false);
  if (call.value.string() == nullptr) {
    require_defined(call.value);
    throw Failure{fmt::format("indent needs a str, not {}", described(call.value))};
  }
  const bool by_text = bound[0] != nullptr && bound[0]->string() != nullptr;
  const std::string indent =
      by_text ? *bound[0]->string() : repeated(" ", call.integer(bound[0], 4), call.budget());
  const std::string text = *call.value.string() + "\n";
  std::string out = Call::flag(bound[1], false) ? indent : "";
  bool first = true;
  for (const std::string_view line : lines_of(text, false, call.budget())) {
    if (!std::exchange(first, false)) {
      out += '\n';
      if (blank || !line.empty()) {
        call.budget().charge(indent.size());
        out += indent;
      }
    }
    out += line;
  }
  return call.alike(std::move(out));
}

Value truncate_filter(const Call& call) {
  const auto bound = call.bind({"length", "killwords", "end", "leeway"});
  const bool endless = bound[0] != nullptr && bound[0]->big_integer() != nullptr;
  if (endless && sign(*bound[0]) > 0 && length(call.value, call.budget())) return call.value;
  const int64_t width = call.integer(bound[0], 255);
  const Value end = bound[2] != nullptr ? *bound[2] : call.result("...");
  const auto end_size = length(end, call.budget());
  const int64_t leeway = Call::given(bound[3]) ? call.integer(bound[3], 5) : 5;
  if (!end_size || width < *end_size || leeway < 0)
    throw Failure{"truncate needs a length of at least that of its end, and no negative leeway"};
  const auto size = length(call.value, call.budget());
  if (size && (*size <= width || *size - width <= leeway)) return call.value;
  if (call.value.string() == nullptr || end.string() == nullptr) {
    require_defined(call.value);
    throw Failure{fmt::format("truncate cannot shorten a {}", type_name(call.value))};
  }
  std::string_view text = *call.value.string();
  text = text.substr(0, byte_at(text, width - *end_size));
  if (!Call::flag(bound[1], false)) text = text.substr(0, text.rfind(' '));
  return arithmetic("+", call.alike(std::string(text)), end, call.budget());
}

Value wordcount_filter(const Call& call) {
  (void)call.bind({});
  int64_t count = 0;
  bool within = false;
  const std::string text = call.text();
  call.budget().charge(text.size(), 4);
  for (std::string_view rest = text; !rest.empty();) {
    const tokenizer::Utf8Unit unit = tokenizer::next_utf8(rest);
    const bool word = unit.code_point == '_' || is_letter_or_number(unit.code_point);
    count += word && !within ? 1 : 0;
    within = word;
    rest.remove_prefix(unit.length);
  }
  return count;
}

Value escape_filter(const Call& call) {
  (void)call.in_order(0, 0);
  return make_text(escaped_text(call.value, call.budget()), true, call.budget());
}

// As in an address, where letters, digits and _.-~ stand for themselves.
std::string quoted_for_url(const Call& call, const Value& value, bool query) {
  const std::string text = call.evaluator.text(value);
  call.budget().charge(text.size(), 3);
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos ||
                       (c == '/' && !query);
    if (plain)
      out += c;
    else if (c == ' ' && query)
      out += '+';
    else
      out += fmt::format("%{:02X}", static_cast<uint8_t>(c));
  }
  return out;
}

Value urlencode_filter(const Call& call) {
  (void)call.bind({});
  if (call.value.string() != nullptr || !is_iterable(call.value))
    return call.result(quoted_for_url(call, call.value, false));
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out += quoted_for_url(call, key, true) + "=" + quoted_for_url(call, value, true);
  };
  if (const Mapping* dict = call.value.mapping()) {
    for (const auto& [key, value] : dict->items()) add(key, value);
    return call.result(std::move(out));
  }
  const Next next = iterator(call.value, call.budget());
  while (const std::optional<Value> pair = next()) {
    const std::vector<Value> parts = iterate(*pair, call.budget());
    if (parts.size() != 2) throw Failure{"urlencode needs pairs"};
    add(parts[0], parts[1]);
  }
  return call.result(std::move(out));
}

Value xmlattr_filter(const Call& call) {
  const auto bound = call.bind({"autospace"});
  const Mapping* dict = call.value.mapping();
  if (dict == nullptr) {
    require_defined(call.value);
    throw Failure{fmt::format("xmlattr needs a dict, not {}", described(call.value))};
  }
  std::string out;
  for (const auto& [key, value] : dict->items()) {
    if (value.is<None>() || value.is<Undefined>()) continue;
    const std::string& name = call.string(&key, "name of an attribute");
    if (name.find_first_of(" \t\n\r\f\v/>=") != std::string::npos)
      throw Failure{fmt::format("'{}' is not a valid attribute name", name.substr(0, 40))};
    if (!out.empty() || Call::flag(bound[0], true)) out += ' ';
    out += escaped_text(key, call.budget()) + "=\"" + escaped_text(value, call.budget()) + "\"";
  }
  return make_text(std::move(out), call.evaluator.autoescape(), call.budget());
}

}  // namespace

const ImplementationTable& text_filters() {
  static const ImplementationTable table = {
      {"capitalize", changed<capitalize>},
      {"center",
       [](const Call& call) {
         const auto bound = call.bind({"width"});
         return call.alike(centered(call.text(), call.integer(bound[0], 80), " ", call.budget()));
       }},
      {"e", escape_filter},
      {"escape", escape_filter},
      {"forceescape",
       [](const Call& call) {
         (void)call.bind({});
         return make_text(escaped(call.text(), call.budget()), true, call.budget());
       }},
      {"format", format_filter},
      {"indent", indent_filter},
      {"lower", changed<lower>},
      {"replace", replace_filter},
      {"safe",
       [](const Call& call) {
         (void)call.bind({});
         return make_text(call.text(), true, call.budget());
       }},
      {"string",
       [](const Call& call) {
         (void)call.in_order(0, 0);
         return call.alike(call.text());
       }},
      {"striptags",
       [](const Call& call) {
         (void)call.bind({});
         return call.result(without_tags(call.text(), call.budget()));
       }},
      {"title", title_filter},
      {"trim", trim_filter},
      {"truncate", truncate_filter},
      {"upper", changed<upper>},
      {"urlencode", urlencode_filter},
      {"wordcount", wordcount_filter},
      {"xmlattr", xmlattr_filter},
  };
  return table;
}

}  // namespace sinter::runtime::jinja
