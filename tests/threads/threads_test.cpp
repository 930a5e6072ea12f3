// Threads of an application on one model: sessions at once, made and freed while others run, and
// tokenizers and templates that are shared.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "runtime/session/session.h"
#include "runtime/sinter.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/tokenizer/tokenizer.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

constexpr int kThreads = 4;
constexpr int kRounds = 10;

constexpr const char* kTokenizer =
    R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";

void on_threads(const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

class Threads : public testing::Test {
 protected:
  void SetUp() override {
    path_ = folder_.file("toy.plan");
    ASSERT_EQ(toy::write_plan(path_, toy::with_probes, toy::kernel_object(), kTokenizer), "");
  }

  toy::Folder folder_;
  std::string path_;
};

// The logits of a sequence do not depend on what other threads do with the model.
TEST_F(Threads, RunSessionsOfOneModel) {
  for (const Executor executor : {Executor::persistent, Executor::eager}) {
    auto file = PlanFile::open(path_, true);
    ASSERT_TRUE(file.ok()) << file.error().message;
    LoadOptions options;
    options.threads = 3;
    const auto model = Model::load(*file, options);
    ASSERT_TRUE(model.ok()) << model.error().message;
    std::atomic<int> wrong{0};
    on_threads([&](int thread) {
      for (int round = 0; round < kRounds; ++round) {
        auto session = Session::create(*model, 32, executor);
        if (!session.ok()) {
          ++wrong;
          return;
        }
        std::vector<int32_t> tokens;
        for (int i = 0; i < 5 + thread; ++i) tokens.push_back((7 * thread + 3 * i) % toy::vocab);
        bool good = (*session)->prefill(tokens).ok();
        tokens.push_back(thread);
        good = good && (*session)->decode(thread).ok();
        const std::span<const float> logits = (*session)->logits();
        const auto expected =
            toy::expected_logits(tokens, toy::weights(), static_cast<int64_t>(tokens.size()));
        if (!good || !std::equal(logits.begin(), logits.end(), expected.begin(), expected.end()))
          ++wrong;
      }
    });
    EXPECT_EQ(wrong, 0);
  }
}

TEST_F(Threads, LoadTheSamePlan) {
  std::atomic<int> wrong{0};
  on_threads([&](int thread) {
    for (int round = 0; round < 3; ++round) {
      char* error = nullptr;
      sinter_model* model = nullptr;
      sinter_session* session = nullptr;
      const int32_t tokens[] = {1, 2, 3};
      if (sinter_load(path_.c_str(), 1 + thread % 2, &model, &error) != SINTER_OK ||
          sinter_create_session(model, 16, &session, &error) != SINTER_OK ||
          sinter_prefill(session, tokens, 3, &error) != SINTER_OK)
        ++wrong;
      sinter_free_string(error);
      sinter_free_session(session);
      sinter_free_model(model);
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST_F(Threads, ShareATokenizerAndATemplate) {
  const auto tokenizer = Tokenizer::from_json(kTokenizer);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto chat = ChatTemplate::parse(
      "{% for m in messages %}{{ m.role|upper }}{{ m.content|tojson }}{% endfor %}");
  ASSERT_TRUE(chat.ok()) << chat.error().message;
  const auto variables =
      nlohmann::ordered_json::parse(R"({"messages": [{"role": "user", "content": "abab"}]})");
  const auto alone_ids = tokenizer->encode("abab", false);
  ASSERT_TRUE(alone_ids.ok());
  const std::string alone_text = *tokenizer->decode(*alone_ids, false);
  std::atomic<int> wrong{0};
  on_threads([&](int) {
    const Tokenizer mine = *tokenizer;
    for (int round = 0; round < kRounds; ++round) {
      const auto ids = mine.encode("abab", false);
      if (!ids.ok() || *ids != *alone_ids || *mine.decode(*ids, false) != alone_text) ++wrong;
      const auto text = chat->render(variables, std::tm{});
      if (!text.ok() || *text != "USER\"abab\"") ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace sinter::runtime
