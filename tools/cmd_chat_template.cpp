// chat-template: a conversation to the text that the model reads.
#include <fmt/format.h>

#include <ctime>
#include <memory>

#include "runtime/support/json_text.h"
#include "tools/chat.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::Error;
using runtime::Result;

struct ChatTemplateOptions {
  std::string path;
  std::string now;
};

// "2026-03-14T15:09:26"
Result<std::tm> parse_time(const std::string& text) {
  std::tm time{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &time);
  if (end == nullptr || *end != '\0')
    return Error{fmt::format("'{}' is not a time such as 2026-03-14T15:09:26", printable(text))};
  time.tm_isdst = -1;
  (void)std::mktime(&time);  // fills in the day of the week and of the year
  return time;
}

Result<int> render(const Program& program, const ChatTemplateOptions& options) {
  const auto chat = open_chat_format(program, options.path);
  if (!chat.ok()) return chat.error();
  const auto input = read_file("-");
  if (!input.ok()) return input.error();
  const auto conversation = runtime::read_conversation(*input);
  if (!conversation.ok())
    return Error{fmt::format("stdin: {}; write one object with `messages` in it",
                             conversation.error().message)};
  std::string now = options.now;
  if (const auto found = conversation->find("now");
      now.empty() && found != conversation->end() && !found->is_null()) {
    if (!found->is_string())
      return Error{
          fmt::format("stdin: now is {}, expected a time as a string", runtime::kind_of(*found))};
    now = found->get<std::string>();
  }
  std::tm time = runtime::local_time_now();
  if (!now.empty()) {
    const auto parsed = parse_time(now);
    if (!parsed.ok()) return parsed.error();
    time = *parsed;
  }
  const auto text = chat->render(*conversation, time);
  if (!text.ok()) return text.error();
  write_output(*text);
  return 0;
}

}  // namespace

void add_chat_template(CommandLine& line) {
  auto options = std::make_shared<ChatTemplateOptions>();
  const Program& program = line.program();
  CLI::App& app = line.add(
      "chat-template",
      "Render a conversation with the model's chat template. Reads a JSON object on stdin: "
      "messages, tools, documents, add_generation_prompt, and in kwargs what else the template "
      "takes, such as enable_thinking; or a list of messages alone. Writes the text that the model "
      "reads, and nothing else, to stdout. Of a model folder only the templates, "
      "tokenizer_config.json and special_tokens_map.json are read; with tools, the template named "
      "tool_use is taken where there is one.",
      "echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | " + program.name +
          " chat-template model.plan",
      [&program, options] { return render(program, *options); });
  app.add_option("MODEL|PLAN", options->path,
                 "A plan, a folder with a chat template, or a .gguf file")
      ->required();
  app.add_option("--now", options->now,
                 "The time that templates are told when they ask, such as 2026-03-14T15:09:26; by "
                 "default `now` of the object, or else the clock's");
}

}  // namespace sinter::tools
