#include <fmt/format.h>

#include <unordered_map>
#include <utility>

#include "ir/entries.h"
#include "ir/ops.h"
#include "ir/text.h"
#include "ir/text_parser.h"
#include "ir/text_syntax.h"
#include "ir/verifier.h"

namespace sinter::ir {

namespace {

// Nesting is bounded by the grammar (module, func, body of fused), so that recursion is too.
class Parser {
 public:
  Parser(std::string_view text, std::string_view file_name)
      : cursor_(text, file_name), file_name_(file_name) {}

  absl::StatusOr<Module> run() {
    if (!module()) return cursor_.status();
    if (const absl::Status s = verify(module_); !s.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: {}", file_name_, std::string(s.message())));
    }
    return std::move(module_);
  }

 private:
  bool punctuation(std::string_view text) { return cursor_.expect(TokenKind::punctuation, text); }

  bool module() {
    if (!cursor_.expect(TokenKind::word, "module")) return false;
    auto name = cursor_.take(TokenKind::symbol, "the module's name after '@'");
    if (!name || !punctuation("{")) return false;
    module_.name = std::move(name->text);
    while (!cursor_.is(TokenKind::word, "func")) {
      if (cursor_.is(TokenKind::word, "weight")) {
        if (!weight()) return false;
      } else if (cursor_.is(TokenKind::word, "state")) {
        if (!state()) return false;
      } else {
        return cursor_.fail_expected("weight, state or func");
      }
    }
    do {
      if (!function()) return false;
    } while (cursor_.is(TokenKind::word, "func"));
    if (!punctuation("}")) return false;
    return cursor_.is(TokenKind::end) || cursor_.fail_expected("the end of the text");
  }

  bool declare(const Token& name, ValueId id) {
    if (symbols_.emplace(name.text, id).second) return true;
    return cursor_.fail(name.offset, fmt::format("{} is declared twice", describe(name)));
  }

  bool weight() {
    if (!cursor_.advance()) return false;
    const auto name = cursor_.take(TokenKind::symbol, "the weight's name after '@'");
    if (!name || !punctuation(":")) return false;
    auto type = parse_weight_type(cursor_);
    if (!type || !punctuation("=")) return false;
    WeightData data;
    const bool constant = cursor_.is(TokenKind::word, "constant");
    if (!constant && !cursor_.is(TokenKind::word, "source")) {
      return cursor_.fail_expected("source(...) or constant(...)");
    }
    if (!cursor_.advance() || !punctuation("(")) return false;
    do {
      if (constant ? !constant_item(data) : !source_item(data)) return false;
    } while (cursor_.accept(TokenKind::punctuation, ","));
    if (!punctuation(")")) return false;
    return declare(*name, module_.add_weight(name->text, *std::move(type), std::move(data)));
  }

  bool source_item(WeightData& data) {
    auto item = cursor_.take(TokenKind::string, "the name of a tensor in quotes");
    if (!item) return false;
    data.sources.push_back(std::move(item->text));
    return true;
  }

  bool constant_item(WeightData& data) {
    const auto item = cursor_.take(TokenKind::word, "a number");
    if (!item) return false;
    const auto number = parse_float(item->text);
    if (!number) {
      return cursor_.fail(item->offset,
                          fmt::format("found {}, expected a finite f32", describe(*item)));
    }
    data.constant.push_back(*number);
    return true;
  }

  bool state() {
    if (!cursor_.advance()) return false;
    const auto name = cursor_.take(TokenKind::symbol, "the state's name after '@'");
    if (!name || !punctuation(":")) return false;
    auto type = parse_state_type(cursor_);
    return type && declare(*name, module_.add_state(name->text, *std::move(type)));
  }

  bool function() {
    if (!cursor_.advance()) return false;
    const bool first = !std::exchange(has_forward_, true);
    if (first) {
      if (!cursor_.expect(TokenKind::symbol, kForward)) return false;
    } else {
      auto entry = cursor_.take(TokenKind::symbol, "the entry's name after '@'");
      if (!entry) return false;
      module_.further.push_back({std::move(entry->text), {}, {}});
    }
    if (!punctuation("(")) return false;
    std::vector<ValueId> params;
    if (!cursor_.is_punctuation(")")) {
      do {
        if (!param(params)) return false;
      } while (cursor_.accept(TokenKind::punctuation, ","));
    }
    if (!punctuation(")") || !punctuation("{")) return false;
    (first ? module_.params : module_.further.back().params) = std::move(params);
    while (!cursor_.is(TokenKind::word, "return")) {
      Node parsed;
      if (!node(parsed, false)) return false;
      module_.nodes.push_back(std::move(parsed));
    }
    if (!cursor_.advance()) return false;
    do {
      if (!use(first ? module_.returns : module_.further.back().returns)) return false;
    } while (cursor_.accept(TokenKind::punctuation, ","));
    return punctuation("}");
  }

  bool param(std::vector<ValueId>& params) {
    auto name = cursor_.take(TokenKind::value, "a parameter after '%'");
    if (!name || !punctuation(":")) return false;
    if (!name->quoted && is_digit(name->text.front())) {
      return cursor_.fail(name->offset,
                          fmt::format("{} is a number, expected a name", describe(*name)));
    }
    auto type = parse_tensor_type(cursor_);
    if (!type) return false;
    const ValueId id = module_.add_value({ValueKind::param, *std::move(type), name->text});
    if (!params_.emplace(name->text, id).second) {
      return cursor_.fail(name->offset, fmt::format("{} is declared twice", describe(*name)));
    }
    params.push_back(id);
    return true;
  }

  // The number of a result; nothing for other tokens.
  static std::optional<int64_t> result_number(const Token& token) {
    if (token.kind != TokenKind::value || token.quoted) return std::nullopt;
    for (char c : token.text) {
      if (!is_digit(c)) return std::nullopt;
    }
    return parse_integer(token.text);
  }

  // Appends the value that the next token names.
  bool use(std::vector<ValueId>& ids) {
    const bool is_symbol = cursor_.is(TokenKind::symbol);
    const auto name =
        cursor_.take(is_symbol ? TokenKind::symbol : TokenKind::value, "a value after '%' or '@'");
    if (!name) return false;
    if (const auto number = result_number(*name)) {
      const auto it = results_.find(*number);
      if (it != results_.end()) {
        if (it->second.hidden) {
          return cursor_.fail(name->offset,
                              fmt::format("{} is local to the body above; list it on the left of "
                                          "the fused node to use it here",
                                          describe(*name)));
        }
        ids.push_back(it->second.id);
        return true;
      }
    } else {
      const auto& table = is_symbol ? symbols_ : params_;
      const auto it = table.find(name->text);
      if (it != table.end()) {
        ids.push_back(it->second);
        return true;
      }
    }
    return cursor_.fail(name->offset,
                        fmt::format("{} is not defined before its use", describe(*name)));
  }

  bool node(Node& out, bool in_body) {
    std::vector<Token> names;
    if (cursor_.is(TokenKind::value)) {
      do {
        auto name = cursor_.take(TokenKind::value, "a result after '%'");
        if (!name) return false;
        if (!result_number(*name)) {
          return cursor_.fail(
              name->offset, fmt::format("found {}, expected a result, e.g. %12", describe(*name)));
        }
        names.push_back(*std::move(name));
      } while (cursor_.accept(TokenKind::punctuation, ","));
      if (!punctuation("=")) return false;
    }
    const auto op_name = cursor_.take(TokenKind::word, "an op");
    if (!op_name) return false;
    const OpInfo* op = find_op(op_name->text);
    if (op == nullptr) {
      return cursor_.fail(op_name->offset,
                          fmt::format("found {}, expected an op or return", describe(*op_name)));
    }
    out.op = op->op;
    if (cursor_.is(TokenKind::value) || cursor_.is(TokenKind::symbol)) {
      do {
        if (!use(out.operands)) return false;
      } while (cursor_.accept(TokenKind::punctuation, ","));
    }
    if (cursor_.is_punctuation("{") && !attributes(out)) return false;
    if (cursor_.accept(TokenKind::word, "label")) {
      auto label = cursor_.take(TokenKind::string, "a label in quotes");
      if (!label) return false;
      out.label = std::move(label->text);
    }
    if (out.op == Op::fused) {
      if (!in_body) return body(out, names, *op_name);
      return cursor_.fail(op_name->offset, "found 'fused' in a body, expected another op");
    }
    return result(out, names, *op_name);
  }

  bool attributes(Node& out) {
    if (!punctuation("{")) return false;
    do {
      auto key = cursor_.take(TokenKind::word, "the name of an attribute");
      if (!key || !punctuation("=")) return false;
      Attribute value;
      if (!attribute(value)) return false;
      const size_t offset = key->offset;
      if (!out.attributes.emplace(key->text, std::move(value)).second) {
        return cursor_.fail(offset, fmt::format("attribute {} is given twice", key->text));
      }
    } while (cursor_.accept(TokenKind::punctuation, ","));
    return punctuation("}");
  }

  bool attribute(Attribute& value) {
    if (cursor_.is(TokenKind::string)) {
      auto text = cursor_.take(TokenKind::string, "a string");
      if (!text) return false;
      value = std::move(text->text);
      return true;
    }
    if (cursor_.accept(TokenKind::punctuation, "[")) return list(value);
    const auto word = cursor_.take(TokenKind::word, "a number or a string");
    if (!word) return false;
    if (word->text == "true" || word->text == "false") {
      value = word->text == "true";
    } else if (const auto integer = parse_integer(word->text)) {
      value = *integer;
    } else if (const auto real = parse_double(word->text)) {
      value = *real;
    } else {
      return cursor_.fail(word->offset,
                          fmt::format("found {}, expected a number or a string", describe(*word)));
    }
    return true;
  }

  // After its '['.
  bool list(Attribute& value) {
    std::vector<int64_t> items;
    while (!cursor_.is_punctuation("]")) {
      if (!items.empty() && !punctuation(",")) return false;
      const auto word = cursor_.take(TokenKind::word, "an integer");
      if (!word) return false;
      const auto item = parse_integer(word->text);
      if (!item) {
        return cursor_.fail(word->offset,
                            fmt::format("found {}, expected an integer", describe(*word)));
      }
      items.push_back(*item);
    }
    value = std::move(items);
    return punctuation("]");
  }

  // The result of a node without a body: its type is parsed and checked against the shape rule.
  bool result(Node& out, const std::vector<Token>& names, const Token& op) {
    const size_t expected = info(out.op).has_result() ? 1 : 0;
    if (names.size() != expected) {
      return cursor_.fail(op.offset, fmt::format("[{}] found {} results, expected {}", op.text,
                                                 names.size(), expected));
    }
    std::optional<TensorType> declared;
    const size_t colon = cursor_.token().offset;
    if (expected == 1) {
      if (!punctuation(":")) return false;
      declared = parse_tensor_type(cursor_);
      if (!declared) return false;
    }
    const auto type = result_type(module_, out, declared ? &*declared : nullptr);
    if (!type.ok()) return cursor_.fail(op.offset, std::string(type.status().message()));
    if (!declared) return true;
    if (*type != *declared) {
      return cursor_.fail(colon, fmt::format("found the type {}, expected {}", to_string(*declared),
                                             to_string(*type)));
    }
    const ValueId id = module_.add_value({ValueKind::result, *std::move(declared), ""});
    if (!results_.emplace(*result_number(names[0]), Result{id, false}).second) {
      return cursor_.fail(names[0].offset, fmt::format("{} is defined twice", describe(names[0])));
    }
    out.results.push_back(id);
    return true;
  }

  bool body(Node& out, const std::vector<Token>& names, const Token& op) {
    if (const absl::Status s = verify_attributes(out); !s.ok()) {
      return cursor_.fail(op.offset, std::string(s.message()));
    }
    const auto first_local = static_cast<ValueId>(module_.values.size());
    std::vector<int64_t> locals;
    if (!punctuation("{")) return false;
    while (!cursor_.is_punctuation("}")) {
      const Token first = cursor_.token();
      Node inner;
      if (!node(inner, true)) return false;
      if (!inner.results.empty()) locals.push_back(*result_number(first));
      out.body.push_back(std::move(inner));
    }
    if (!punctuation("}")) return false;
    for (int64_t number : locals) results_.at(number).hidden = true;
    for (const Token& name : names) {
      const auto it = results_.find(*result_number(name));
      if (it == results_.end() || it->second.id < first_local) {
        return cursor_.fail(name.offset,
                            fmt::format("{} is not defined in the body", describe(name)));
      }
      if (!it->second.hidden) {
        return cursor_.fail(name.offset, fmt::format("{} is listed twice", describe(name)));
      }
      it->second.hidden = false;
      out.results.push_back(it->second.id);
    }
    for (size_t i = 0; i < out.results.size(); ++i) {
      if (!punctuation(i == 0 ? ":" : ",")) return false;
      const size_t offset = cursor_.token().offset;
      const auto declared = parse_tensor_type(cursor_);
      if (!declared) return false;
      const TensorType& type = module_.tensor(out.results[i]);
      if (*declared != type) {
        return cursor_.fail(offset, fmt::format("found the type {}, expected {}",
                                                to_string(*declared), to_string(type)));
      }
    }
    return true;
  }

  struct Result {
    ValueId id = -1;
    bool hidden = false;  // local to a body that is over
  };

  Cursor cursor_;
  std::string_view file_name_;
  Module module_;
  bool has_forward_ = false;
  std::unordered_map<std::string, ValueId> symbols_;  // weights and states
  std::unordered_map<std::string, ValueId> params_;
  std::unordered_map<int64_t, Result> results_;  // by the number in the text
};

}  // namespace

absl::StatusOr<Module> parse(std::string_view text, std::string_view file_name) {
  return Parser(text, file_name).run();
}

}  // namespace sinter::ir
