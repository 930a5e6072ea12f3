// Conversations to prompts: the Jinja templates that models bring along, as `transformers` renders
// them. Templates are untrusted: what they may read is what they are given, and their work, depth
// and output are bounded.
#pragma once

#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/support/result.h"

namespace sinter::runtime {

// Immutable once parsed: cheap to copy, and safe to use from several threads at once.
class ChatTemplate {
 public:
  // Error: the line, and what is wrong there.
  static Result<ChatTemplate> parse(std::string_view source);

  // `variables`: an object of what the template may read: messages, tools, add_generation_prompt,
  // bos_token, ... `now` is what strftime_now tells, in local time. Error: the line where the
  // template failed or refused (raise_exception), and why.
  Result<std::string> render(const nlohmann::ordered_json& variables, const std::tm& now) const;

 private:
  struct Tree;
  explicit ChatTemplate(std::shared_ptr<const Tree> tree) : tree_(std::move(tree)) {}
  std::shared_ptr<const Tree> tree_;
};

// The templates of a model by name. As a text, which plans carry, it is the one template of most
// models as it is; several are a JSON object from names to templates.
class ChatTemplates {
 public:
  using Texts = std::vector<std::pair<std::string, std::string>>;  // names and templates
  static std::string to_text(const Texts& templates);
  static Texts from_text(std::string_view text);

  // Errors of a template are told when it is taken.
  explicit ChatTemplates(std::string_view text);

  // The one that transformers takes: "tool_use" for a conversation with tools, where there is such
  // a one, else "default".
  Result<ChatTemplate> for_conversation(const nlohmann::ordered_json& conversation) const;

 private:
  Texts texts_;
};

// What is given for a conversation, as JSON: an object with `messages`, optionally `tools`,
// `documents` and `add_generation_prompt`, and in `kwargs` further variables of the template; or
// the list of messages alone. Error: the text is not JSON.
Result<nlohmann::ordered_json> read_conversation(std::string_view json);

// The template's variables for a conversation. `tokenizer_config_json`, which may be empty, gives
// bos_token, eos_token and so on. Error: the conversation has no list of messages, or a field that
// nothing reads; or the configuration is not JSON.
Result<nlohmann::ordered_json> chat_variables(const nlohmann::ordered_json& conversation,
                                              std::string_view tokenizer_config_json);

std::tm local_time_now();

}  // namespace sinter::runtime
