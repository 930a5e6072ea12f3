#include "runtime/chat_template.h"

#include <fmt/format.h>

#include <exception>

#include "runtime/jinja_evaluator.h"
#include "runtime/jinja_lexer.h"
#include "runtime/jinja_parser.h"
#include "runtime/tokenizer_utf8.h"

namespace sinter::runtime {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxSource = size_t{4} << 20;  // bytes; templates have some ten thousand

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
    if (value.mapping() == nullptr) return Error{"the variables of a chat template are no object"};
    return evaluator.render(tree_->body, *value.mapping());
  } catch (const jinja::Failure& failure) {
    return failure_at(evaluator.line(), failure.message);
  } catch (const std::exception& e) {
    return failure_at(evaluator.line(), e.what());
  }
}

Result<Json> chat_variables(const Json& conversation, std::string_view tokenizer_config_json) {
  if (!conversation.is_object())
    return Error{fmt::format("the conversation is {}, expected an object with messages",
                             conversation.type_name())};
  const auto messages = conversation.find("messages");
  if (messages == conversation.end() || !messages->is_array())
    return Error{"the conversation has no array `messages`"};

  Json variables = Json::object();
  if (!tokenizer_config_json.empty()) {
    const Json config = Json::parse(tokenizer_config_json, nullptr, false);
    if (!config.is_object()) return Error{"tokenizer_config.json: not a JSON object"};
    for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                             "cls_token", "mask_token"}) {
      const auto found = config.find(name);
      if (found == config.end()) continue;
      if (found->is_string()) variables[name] = *found;
      // Some are written with how they match in text.
      if (found->is_object() && found->contains("content")) variables[name] = (*found)["content"];
    }
  }
  variables["messages"] = *messages;
  for (const char* name : {"tools", "documents"}) {
    const auto found = conversation.find(name);
    variables[name] = found == conversation.end() ? Json() : *found;
  }
  variables["add_generation_prompt"] = false;
  if (const auto kwargs = conversation.find("kwargs"); kwargs != conversation.end()) {
    if (!kwargs->is_object() && !kwargs->is_null())
      return Error{
          fmt::format("the conversation's kwargs are {}, expected an object", kwargs->type_name())};
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
