// chat-template: conversations on stdin, prompts on stdout.
#include <unistd.h>

#include "command_line.h"

namespace sinter::tools {
namespace {

TEST(ChatTemplateCommand, RendersTheGoldenConversations) {
  const fs::path folder = fs::path(SINTER_GOLDENS) / "chat_llama3";
  const std::string now = Json::parse(read(folder / "case.json"))["now"];
  // The order of keys matters: templates print tools as they were given.
  using Ordered = nlohmann::ordered_json;
  for (const Ordered& row : Ordered::parse(read(folder / "chat.json"))) {
    SCOPED_TRACE(row["name"].get<std::string>());
    Ordered conversation = row;
    for (const char* field : {"name", "rendered", "error"}) conversation.erase(field);
    const Outcome outcome = sinter_run(
        fmt::format("chat-template '{}' --now {}", folder.string(), now), conversation.dump());
    if (row.contains("error")) {
      EXPECT_EQ(outcome.code, 2);
      EXPECT_EQ(outcome.out, "");
    } else {
      EXPECT_EQ(outcome.code, 0) << outcome.err;
      EXPECT_EQ(outcome.out, row["rendered"].get<std::string>());
    }
  }
}

TEST(ChatTemplateCommand, NamesWhatIsWrong) {
  const auto expect_error = [](const Outcome& outcome, const std::string& words) {
    EXPECT_EQ(outcome.code, 2);
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
  };
  const std::string folder = (fs::path(SINTER_GOLDENS) / "chat_chatml").string();
  const std::string command = fmt::format("chat-template '{}'", folder);
  expect_error(sinter(command, "nope"), "stdin: not JSON");
  expect_error(sinter(command, "5"), "expected an object with messages");
  expect_error(sinter(command, R"({"messages": [], "enable_thinking": true})"),
               "'enable_thinking'");
  expect_error(sinter(command, std::string(100000, '[')), "nests more than 500 levels deep");
  expect_error(sinter(command, "{}"), "no array `messages`");
  expect_error(sinter(command + " --now yesterday", "{\"messages\": []}"), "'yesterday'");
  const std::string bare = (fs::path(SINTER_GOLDENS) / "hf_qwen3").string();
  expect_error(sinter(fmt::format("chat-template '{}'", bare), "{}"), "no chat template");
}

TEST(ChatTemplateCommand, TakesTemplatesByNameAndTokensFromTheMap) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("sinter-named-{}", ::getpid());
  fs::create_directories(folder / "additional_chat_templates");
  const auto rendered = [&](const std::string& conversation) {
    return sinter_run(fmt::format("chat-template '{}'", folder.string()), conversation).out;
  };
  write(folder / "tokenizer_config.json",
        R"({"eos_token": "<E>", "chat_template": [{"name": "default", "template": "D"},
            {"name": "tool_use", "template": "T"}]})");
  const std::string plain = R"({"messages": []})", with_tools = R"({"messages": [], "tools": [1]})";
  EXPECT_EQ(rendered(plain), "D");
  EXPECT_EQ(rendered("[]"), "D");
  EXPECT_EQ(rendered(with_tools), "T");
  write(folder / "additional_chat_templates" / "tool_use.jinja", "{{ bos_token ~ eos_token }}");
  write(folder / "special_tokens_map.json",
        R"({"bos_token": {"content": "<B>", "lstrip": false}, "eos_token": "<other>"})");
  EXPECT_EQ(rendered(with_tools), "<B><E>");
  write(folder / "chat_template.jinja", "J{{ bos_token }}");
  EXPECT_EQ(rendered(plain), "J<B>");
  fs::remove_all(folder);
}

TEST(ChatTemplate, OfAGgufFileIsInItsMetadata) {
  const fs::path goldens = SINTER_GOLDENS;
  const std::string file = (goldens / "gguf_tokenizer" / "model.gguf").string();
  const std::string messages = R"({"messages": [{"role": "user", "content": "Hi"}]})";
  const Outcome outcome = sinter(fmt::format("chat-template '{}'", file), messages);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("<|im_start|>user\nHi<|im_end|>\n"), std::string::npos) << outcome.out;
  expect_refusal(sinter_run(fmt::format("chat-template '{}'", file), messages),
                 {"sinter-run reads no .gguf files"});
  const std::string bare = (goldens / "gguf_llama_q4_0").string();
  expect_refusal(sinter(fmt::format("chat-template '{}'", bare), messages), {"no chat template"});
}

TEST(RunChat, AnswersAMessageInTheFormOfTheTemplate) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("sinter-chat-{}", ::getpid());
  fs::copy(tiny_model(), folder);
  const std::string prefix = "[{{ messages[0].content }}] ";
  write(folder / "chat_template.jinja",
        prefix + "{{ messages[1].content }}:{% if add_generation_prompt %}{{ '\n' }}{% endif %}");
  const std::string model = fmt::format("'{}'", folder.string());
  const Outcome chat = sinter("run " + model + " --chat --system Play -p ROMEO --greedy -n 12", "");
  const Outcome plain = sinter("run " + model + " -p '[Play] ROMEO:\n' --greedy -n 12", "");
  const Outcome no_terminal = sinter("run " + model + " --chat", "ROMEO\n");
  const Outcome no_chat = sinter("run " + model + " --system Play -p ROMEO", "");
  fs::remove_all(folder);
  EXPECT_EQ(chat.code, 0) << chat.err;
  EXPECT_FALSE(chat.out.empty());
  EXPECT_EQ(plain.out, "[Play] ROMEO:\n" + chat.out);
  EXPECT_EQ(no_terminal.code, 2);
  EXPECT_NE(no_terminal.err.find("-p TEXT"), std::string::npos) << no_terminal.err;
  EXPECT_EQ(no_chat.code, 2);
  EXPECT_NE(no_chat.err.find("--chat"), std::string::npos) << no_chat.err;
}

}  // namespace
}  // namespace sinter::tools
