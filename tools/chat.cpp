#include "tools/chat.h"

#include <fmt/format.h>

#include "runtime/text/tokenizer/import.h"
#include "tools/files.h"
#include "tools/model_options.h"

namespace sinter::tools {

using runtime::Error;
using runtime::Result;
using Json = nlohmann::ordered_json;

namespace {

Result<ChatFormat> parse(const std::string& name, std::string_view source, std::string config) {
  if (source.empty())
    return Error{
        fmt::format("{}: has no chat template: the model comes without a "
                    "chat_template.jinja, and neither its tokenizer_config.json nor its .gguf file "
                    "has one",
                    name)};
  return ChatFormat{name, runtime::ChatTemplates(source), std::move(config)};
}

}  // namespace

Result<std::string> ChatFormat::render(const Json& conversation, const std::tm& now) const {
  const auto variables = runtime::chat_variables(conversation, tokenizer_config_json);
  if (!variables.ok()) return variables.error();
  const auto prompt = templates.for_conversation(conversation);
  if (!prompt.ok()) return Error{fmt::format("{}: {}", name, prompt.error().message)};
  auto text = prompt->render(*variables, now);
  if (!text.ok()) return Error{fmt::format("{}: {}", name, text.error().message)};
  return text;
}

Result<ChatFormat> chat_format_of(const runtime::PlanFile& file) {
  const runtime::Plan& plan = file.plan();
  return parse(plan.model, file.text(plan.chat_template),
               std::string(file.text(plan.tokenizer_config)));
}

Result<ChatFormat> open_chat_format(const Program& program, const std::string& path) {
  const auto kind = kind_of_input(path);
  if (!kind.ok()) return kind.error();
  if (*kind == InputKind::plan) {
    auto file = runtime::PlanFile::open(path, false);
    if (!file.ok()) return file.error();
    return chat_format_of(**file);
  }
  auto files = read_model_text(program, path, runtime::read_chat_template);
  if (!files.ok()) return files.error();
  return parse(folder_of(path), files->chat_template, std::move(files->tokenizer_config_json));
}

}  // namespace sinter::tools
