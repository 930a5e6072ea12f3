// tokenize against encodings of Hugging Face tokenizers.
#include "command_line.h"

namespace sinter::tools {
namespace {

class TokenizeGolden : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    folder_ = (fs::path(SINTER_GOLDENS) / GetParam()).string();
    tokens_ = Json::parse(read(fs::path(folder_) / "tokens.json"));
  }
  // Feeds field `from` of every entry and expects field `to`.
  void expect(const std::string& options, const char* from, const char* to) const {
    std::string input;
    for (const Json& entry : tokens_) input += entry[from].dump() + "\n";
    const Outcome outcome = sinter(fmt::format("tokenize '{}' {}", folder_, options), input);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    std::istringstream lines(outcome.out);
    std::string line;
    for (const Json& entry : tokens_) {
      ASSERT_TRUE(std::getline(lines, line));
      EXPECT_EQ(Json::parse(line), entry[to]) << entry["text"];
    }
    EXPECT_FALSE(std::getline(lines, line));
  }
  std::string folder_;
  Json tokens_;
};

TEST_P(TokenizeGolden, Encodes) { expect("", "text", "ids"); }
TEST_P(TokenizeGolden, EncodesWithSpecialTokens) { expect("--special", "text", "ids_special"); }
TEST_P(TokenizeGolden, Decodes) { expect("--decode", "ids", "decoded"); }
TEST_P(TokenizeGolden, DecodesWithoutSpecialTokens) {
  expect("--decode --skip-special", "ids", "decoded_skip_special");
}
INSTANTIATE_TEST_SUITE_P(All, TokenizeGolden,
                         testing::Values("tok_qwen", "tok_llama3", "tok_gpt2", "tok_vocab_merges",
                                         "gguf_tokenizer"));

TEST(Tokenize, WorksOnPlans) {
  const std::string input = "\"ROMEO:\\n\"\n";
  const Outcome of_plan = sinter_run(fmt::format("tokenize '{}'", tiny_plan()), input);
  EXPECT_EQ(of_plan.out, sinter(fmt::format("tokenize '{}'", tiny_model().string()), input).out);
  EXPECT_EQ(sinter_run(fmt::format("tokenize '{}' --decode", tiny_plan()), of_plan.out).out, input);
}

TEST(Tokenize, NamesTheLineThatIsWrong) {
  const std::string model = fmt::format("tokenize '{}' ", tiny_model().string());
  const auto expect_error = [&](const Outcome& outcome, const std::string& words) {
    EXPECT_EQ(outcome.code, 2);
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
  };
  expect_error(sinter(model, "\"a\"\nnope\n"), "stdin:2: not JSON");
  expect_error(sinter(model, "[1]\n"), "stdin:1: found an array, expected a string");
  expect_error(sinter(model + "--decode", "\"a\"\n"), "stdin:1: found a string");
  expect_error(sinter(model + "--decode", "[1, -1]\n"), "stdin:1: found -1");
  expect_error(sinter(model + "--decode", "[1.5]\n"), "stdin:1: found 1.5");
  expect_error(sinter(model + "--decode", "[1]\n[2, 1000000]\n"), "stdin:2: found 1000000");
  expect_error(sinter(model + "--decode", "[18446744073709551616]\n"), "stdin:1: found 1.8");
  expect_error(sinter(model + "--decode", std::string(100000, '[') + std::string(100000, ']')),
               "stdin:1: the JSON nests more than 500 levels deep");
  expect_error(sinter(model + "--skip-special", ""), "--decode");
  expect_error(sinter("tokenize /nowhere", ""), "/nowhere");
}

}  // namespace
}  // namespace sinter::tools
