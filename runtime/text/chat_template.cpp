#include "runtime/text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "runtime/support/json_text.h"
#include "runtime/text/jinja/evaluator.h"
#include "runtime/text/jinja/lexer.h"
#include "runtime/text/jinja/parser.h"
#include "runtime/text/tokenizer/utf8.h"

namespace sinter::runtime {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxSource = size_t{4} << 20;  // bytes; templates have some ten thousand
constexpr size_t kMaxVariables = 1000;          // that a conversation gives to a template

constexpr std::string_view kDefaultTemplate = "default", kToolTemplate = "tool_use";

// What transformers gives to templates of a tokenizer's special tokens.
constexpr const char* kSpecialTokenNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                              "pad_token", "cls_token", "mask_token"};

// Some tokens are written with how they match in text.
Json token_text(const Json& token) {
  return token.is_object() && token.contains("content") ? token["content"] : token;
}

// On one line, and short.
std::string printable_name(std::string name) {
  for (char& c : name)
    if (static_cast<uint8_t>(c) < 0x20) c = ' ';
  return name.substr(0, 100);
}

Error failure_at(int line, std::string_view what) {
  std::string message = fmt::format("chat template, line {}: {}", line, what);
  for (char& c : message)
    if (c == '\n' || c == '\r') c = ' ';
  return Error{std::move(message)};
}

}  // namespace

struct ChatTemplate::Tree {
  jinja::Body body;
};

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  if (source.size() > kMaxSource)
    return Error{fmt::format("the chat template has {} bytes, at most {} are read", source.size(),
                             kMaxSource)};
  try {
    return ChatTemplate(
        std::make_shared<const Tree>(Tree{jinja::parse(tokenizer::replace_invalid_utf8(source))}));
  } catch (const jinja::SyntaxFailure& failure) {
    return failure_at(failure.line, failure.message);
  } catch (const std::exception& e) {
    return Error{fmt::format("the chat template cannot be read: {}", e.what())};
  }
}

Result<std::string> ChatTemplate::render(const Json& variables, const std::tm& now) const {
  jinja::Evaluator evaluator(now);
  try {
    const jinja::Value value = jinja::from_json(variables, evaluator.budget());
    if (value.mapping() == nullptr)
      return Error{"the variables of a chat template are not an object"};
    evaluator.budget().end_input();
    return evaluator.render(tree_->body, *value.mapping());
  } catch (const jinja::Failure& failure) {
    return failure_at(evaluator.line(), failure.message);
  } catch (const std::exception& e) {
    return failure_at(evaluator.line(), e.what());
  }
}

std::string ChatTemplates::to_text(const Texts& templates) {
  if (templates.empty()) return {};
  const auto& [name, text] = templates.front();
  // A template that could be taken for several is written as one of several.
  if (templates.size() == 1 && name == kDefaultTemplate && from_text(text) == templates)
    return text;
  Json object = Json::object();
  // Names are distinct; operator[] would compare each with all before it.
  auto& members = object.get_ref<Json::object_t&>();
  for (const auto& [key, source] : templates) members.emplace_back(key, source);
  return to_line(object);
}

ChatTemplates::Texts ChatTemplates::from_text(std::string_view text) {
  if (text.empty()) return {};
  Texts templates;
  const size_t start = text.find_first_not_of(" \t\r\n");
  if (start != text.npos && text.substr(start).starts_with('{')) {
    const auto object = read_json<Json>(text);
    if (object.ok() && object->is_object() &&
        std::all_of(object->begin(), object->end(), [](const Json& v) { return v.is_string(); }))
      for (const auto& [name, source] : object->items())
        templates.emplace_back(name, source.get<std::string>());
  }
  if (templates.empty()) templates.emplace_back(kDefaultTemplate, text);
  return templates;
}

ChatTemplates::ChatTemplates(std::string_view text) : texts_(from_text(text)) {}

Result<ChatTemplate> ChatTemplates::for_conversation(const Json& conversation) const {
  const auto tools = conversation.is_object() ? conversation.find("tools") : conversation.end();
  const bool has_tools = tools != conversation.end() && !tools->is_null();
  for (const std::string_view wanted : {kToolTemplate, kDefaultTemplate}) {
    if (wanted == kToolTemplate && !has_tools) continue;
    for (const auto& [name, text] : texts_)
      if (name == wanted) return ChatTemplate::parse(text);
  }
  std::string names;
  for (const auto& [name, text] : texts_) names += (names.empty() ? "" : ", ") + name;
  return Error{fmt::format("none of the chat templates is called default: there are {}", names)};
}

Result<Json> read_conversation(std::string_view json) {
  auto conversation = read_json<Json>(json, /*keeps_integers=*/true);
  if (!conversation.ok() || !conversation->is_array()) return conversation;
  return Json{{"messages", *std::move(conversation)}};
}

Result<Json> chat_variables(const Json& conversation, std::string_view tokenizer_config_json) {
  if (!conversation.is_object())
    return Error{fmt::format("the conversation is {}, expected an object with messages",
                             kind_of(conversation))};
  const auto messages = conversation.find("messages");
  if (messages == conversation.end() || !messages->is_array())
    return Error{"the conversation has no array `messages`"};

  Json variables = Json::object();
  if (!tokenizer_config_json.empty()) {
    const auto config = read_json<Json>(tokenizer_config_json);
    if (!config.ok() || !config->is_object())
      return Error{"tokenizer_config.json: not a JSON object"};
    for (const char* name : kSpecialTokenNames)
      if (const auto found = config->find(name); found != config->end())
        if (const Json text = token_text(*found); text.is_string()) variables[name] = text;
    constexpr const char* kMoreTokens = "additional_special_tokens";
    if (const auto found = config->find(kMoreTokens);
        found != config->end() && found->is_array() && !found->empty()) {
      variables[kMoreTokens] = Json::array();
      for (const Json& token : *found) variables[kMoreTokens].push_back(token_text(token));
    }
  }
  variables["messages"] = *messages;
  variables["tools"] = variables["documents"] = Json();
  variables["add_generation_prompt"] = false;
  for (const auto& [name, value] : conversation.items()) {
    if (name == "messages" || name == "now") continue;
    if (name == "tools" || name == "documents") {
      variables[name] = value;
    } else if (name == "add_generation_prompt") {
      if (!value.is_boolean())
        return Error{fmt::format(
            "the conversation's add_generation_prompt is {}, expected a boolean", kind_of(value))};
      variables[name] = value;
    } else if (name != "kwargs" && name != "chat_template_kwargs") {
      return Error{fmt::format(
          "the conversation has a field '{}' that nothing reads; variables of the template belong "
          "in kwargs",
          printable_name(name))};
    }
  }
  for (const char* field : {"chat_template_kwargs", "kwargs"}) {
    const auto kwargs = conversation.find(field);
    if (kwargs == conversation.end() || kwargs->is_null()) continue;
    if (!kwargs->is_object())
      return Error{
          fmt::format("the conversation's {} is {}, expected an object", field, kind_of(*kwargs))};
    if (kwargs->size() > kMaxVariables)
      return Error{fmt::format("the conversation's {} has {} fields, at most {} are read", field,
                               kwargs->size(), kMaxVariables)};
    for (const auto& [name, value] : kwargs->items()) variables[name] = value;
  }
  return variables;
}

std::tm local_time_now() {
  const std::time_t now = std::time(nullptr);
  std::tm result{};
  (void)::localtime_r(&now, &result);
  return result;
}

}  // namespace sinter::runtime
