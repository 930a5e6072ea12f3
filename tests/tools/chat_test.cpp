// chat-template: conversations on stdin, prompts on stdout.
#include "command_line.h"

namespace sinter::tools {
namespace {

TEST(ChatTemplateCommand, RendersTheGoldenConversations) {
  const fs::path folder = fs::path(SINTER_GOLDENS) / "chat_llama3";
  const std::string now = Json::parse(read(folder / "case.json"))["now"];
  for (const Json& row : Json::parse(read(folder / "chat.json"))) {
    SCOPED_TRACE(row["name"]);
    const Outcome outcome =
        sinter_run(fmt::format("chat-template '{}' --now {}", folder.string(), now), row.dump());
    if (row.contains("error")) {
      EXPECT_EQ(outcome.code, 2);
      EXPECT_EQ(outcome.out, "");
    } else {
      EXPECT_EQ(outcome.code, 0) << outcome.err;
      EXPECT_EQ(outcome.out, row["rendered"]);
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
  expect_error(sinter(command, "[]"), "expected an object with messages");
  expect_error(sinter(command, "{}"), "no array `messages`");
  expect_error(sinter(command + " --now yesterday", "{\"messages\": []}"), "'yesterday'");
  const std::string bare = (fs::path(SINTER_GOLDENS) / "hf_qwen3").string();
  expect_error(sinter(fmt::format("chat-template '{}'", bare), "{}"), "no chat template");
}

}  // namespace
}  // namespace sinter::tools
