#include "runtime/text/tokenizer/json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "runtime/support/json_text.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime::tokenizer {

std::string class_of(const Json& config) {
  if (!config.is_object()) return {};
  const auto found = config.find("tokenizer_class");
  if (found == config.end() || !found->is_string()) return {};
  std::string name = found->get<std::string>();
  if (name.ends_with("Fast")) name.erase(name.size() - 4);
  return name;
}

void JsonField::fail(std::string_view what) const {
  if (error_->empty()) *error_ = fmt::format("{} {}", path_, what);
}

std::string_view JsonField::kind() const {
  return value_ == nullptr ? "missing" : kind_of(*value_);
}

JsonField JsonField::member(std::string_view key) const {
  const char* separator = path_.ends_with(':') ? " " : ".";
  std::string path = fmt::format("{}{}{}", path_, separator, key);
  if (is_null()) return {nullptr, std::move(path), error_};
  if (!value_->is_object()) {
    fail(fmt::format("is {}, expected an object", kind()));
    return {nullptr, std::move(path), error_};
  }
  const auto found = value_->find(std::string(key));
  return {found == value_->end() ? nullptr : &*found, std::move(path), error_};
}

std::vector<JsonField> JsonField::items() const {
  std::vector<JsonField> fields;
  if (array() == nullptr) return fields;
  for (size_t i = 0; i < value_->size(); ++i) {
    fields.push_back(item(i));
  }
  return fields;
}

JsonField JsonField::item(size_t index) const {
  return {&(*value_)[index], fmt::format("{}[{}]", path_, index), error_};
}

const Json* JsonField::object() const {
  if (value_ != nullptr && value_->is_object()) return value_;
  fail(fmt::format("is {}, expected an object", kind()));
  return nullptr;
}

const Json* JsonField::array() const {
  if (value_ != nullptr && value_->is_array()) return value_;
  fail(fmt::format("is {}, expected an array", kind()));
  return nullptr;
}

std::string JsonField::string() const {
  if (is_string()) return value_->get_ref<const std::string&>();
  fail(fmt::format("is {}, expected a string", kind()));
  return {};
}

std::string JsonField::character() const {
  std::string text = string();
  if (!failed() && (text.empty() || next_utf8(text).length != text.size()))
    fail("is not one character");
  return text;
}

bool JsonField::boolean(bool if_null) const {
  if (is_null()) return if_null;
  if (value_->is_boolean()) return value_->get<bool>();
  fail(fmt::format("is {}, expected true or false", kind()));
  return if_null;
}

double JsonField::number() const {
  if (value_ != nullptr && value_->is_number()) return value_->get<double>();
  fail(fmt::format("is {}, expected a number", kind()));
  return 0;
}

int64_t JsonField::integer(int64_t low, int64_t high) const {
  if (value_ == nullptr || !value_->is_number_integer()) {
    const bool fraction = value_ != nullptr && value_->is_number_float();
    fail(fmt::format("is {}, expected an integer", fraction ? "a fraction" : kind()));
    return low;
  }
  const bool too_large = value_->is_number_unsigned() && value_->get<uint64_t>() > INT64_MAX;
  if (too_large || value_->get<int64_t>() < low || value_->get<int64_t>() > high) {
    fail(fmt::format("is {}, expected {} to {}", value_->dump(), low, high));
    return low;
  }
  return value_->get<int64_t>();
}

size_t JsonField::one_of(std::initializer_list<std::string_view> names) const {
  const std::string text = string();
  const auto* const found = std::find(names.begin(), names.end(), text);
  if (found != names.end()) return static_cast<size_t>(found - names.begin());
  fail(fmt::format("is '{}', expected {}", text, fmt::join(names, ", ")));
  return 0;
}

Result<Pattern> JsonField::pattern() const {
  const JsonField regex = member("Regex");
  const JsonField literal = member("String");
  if (!regex.is_null() && literal.is_null()) {
    auto compiled = Pattern::regex(regex.string());
    if (!compiled.ok()) fail(fmt::format("is wrong: {}", compiled.error().message));
    return compiled;
  }
  if (!literal.is_null() && regex.is_null()) {
    auto compiled = Pattern::literal(literal.string());
    if (!compiled.ok()) fail(compiled.error().message);
    return compiled;
  }
  fail("has neither a Regex nor a String");
  return Error{"no pattern"};
}

}  // namespace sinter::runtime::tokenizer
