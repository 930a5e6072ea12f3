#include "tools/chat.h"

#include <fmt/format.h>

#include "tools/files.h"

namespace sinter::tools {

using runtime::Error;
using runtime::Result;
using Json = nlohmann::ordered_json;

namespace {

Result<ChatFormat> parse(const std::string& name, std::string_view source, std::string config) {
  if (source.empty())
    return Error{
        fmt::format("{}: has no chat template: the model comes without a "
                    "chat_template.jinja, and its tokenizer_config.json names none",
                    name)};
  auto prompt = runtime::ChatTemplate::parse(source);
  if (!prompt.ok()) return Error{fmt::format("{}: {}", name, prompt.error().message)};
  return ChatFormat{*std::move(prompt), std::move(config)};
}

// The template in tokenizer_config.json: a string, or a list of {"name", "template"} of which
// "default" is taken.
std::string template_of_config(const std::string& text) {
  const Json config = Json::parse(text, nullptr, false);
  if (!config.is_object() || !config.contains("chat_template")) return "";
  const Json& found = config["chat_template"];
  if (found.is_string()) return found.get<std::string>();
  if (!found.is_array()) return "";
  for (const Json& entry : found)
    if (entry.is_object() && entry.value("name", Json()) == "default" &&
        entry.value("template", Json()).is_string())
      return entry["template"].get<std::string>();
  return "";
}

}  // namespace

Result<std::string> ChatFormat::render(const Json& conversation, const std::tm& now) const {
  const auto variables = runtime::chat_variables(conversation, tokenizer_config_json);
  if (!variables.ok()) return variables.error();
  return prompt.render(*variables, now);
}

Result<ChatFormat> chat_format_of(const runtime::PlanFile& file) {
  const runtime::Plan& plan = file.plan();
  return parse(plan.model, file.text(plan.chat_template),
               std::string(file.text(plan.tokenizer_config)));
}

Result<ChatFormat> open_chat_format(const std::string& path) {
  const auto kind = kind_of_input(path);
  if (!kind.ok()) return kind.error();
  if (*kind == InputKind::plan) {
    auto file = runtime::PlanFile::open(path, false);
    if (!file.ok()) return file.error();
    return chat_format_of(**file);
  }
  const std::string folder = folder_of(path);
  const auto config = read_if_there(folder + "/tokenizer_config.json");
  if (!config.ok()) return config.error();
  const auto source = read_if_there(folder + "/chat_template.jinja");
  if (!source.ok()) return source.error();
  return parse(folder, *source ? **source : template_of_config(config->value_or("")),
               config->value_or(""));
}

}  // namespace sinter::tools
