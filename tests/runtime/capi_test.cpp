#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/sinter.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

// Tokens "a".."z" are 4..29; the byte-level alphabet spells them as themselves. Token 3 is special.
std::string tokenizer_json() {
  std::string vocab;
  for (char c = 'a'; c <= 'z'; ++c) {
    vocab += std::string(vocab.empty() ? "" : ",") + "\"" + c + "\":" + std::to_string(c - 'a' + 4);
  }
  // The byte 0xe2 alone, which begins a character of three bytes, in the byte-level alphabet.
  vocab += ",\"\u00e2\":30";
  return R"({"version": "1.0", "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}], "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
            "use_regex": true}, "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": {)" +
         vocab + R"(}, "merges": []}})";
}

class CApiTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_FALSE(toy::kernel_object().empty()) << "no C compiler here";
    ASSERT_EQ(toy::write_plan(path, {}, toy::kernel_object(), tokenizer_json()), "");
    ASSERT_EQ(sinter_load(path.c_str(), 2, &model, &error), SINTER_OK) << error;
    ASSERT_EQ(sinter_create_session(model, 0, &session, &error), SINTER_OK) << error;
  }
  void TearDown() override {
    // The session outlives the model's handle.
    sinter_free_model(model);
    sinter_free_session(session);
    sinter_free_string(error);
  }
  // The message of a call that failed.
  std::string message() {
    const std::string text = error == nullptr ? "" : error;
    sinter_free_string(error);
    error = nullptr;
    return text;
  }
  std::string token_text(int32_t token) {
    const char* text = nullptr;
    size_t bytes = 0;
    EXPECT_EQ(sinter_token_text(session, token, &text, &bytes, &error), SINTER_OK) << message();
    return std::string(text, bytes);
  }

  toy::Folder folder;
  std::string path = folder.file("toy.plan");
  sinter_model* model = nullptr;
  sinter_session* session = nullptr;
  char* error = nullptr;
};

TEST_F(CApiTest, SaysWhatThePlanIs) {
  EXPECT_EQ(sinter_vocab_size(model), 32);
  EXPECT_EQ(sinter_max_context(model), 50);
  EXPECT_EQ(sinter_is_end(model, 2), 1);
  EXPECT_EQ(sinter_is_end(model, 3), 0);
  EXPECT_NE(std::string(sinter_version()), "");
}

TEST_F(CApiTest, TokenizesAndSaysHowManyTokensAreNeeded) {
  size_t count = 0;
  EXPECT_EQ(sinter_tokenize(model, "cab", 0, nullptr, &count, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_tokenize: 3 tokens do not fit into 0");
  ASSERT_EQ(count, 3u);
  std::vector<int32_t> tokens(count);
  ASSERT_EQ(sinter_tokenize(model, "cab", 0, tokens.data(), &count, &error), SINTER_OK);
  EXPECT_EQ(tokens, (std::vector<int32_t>{6, 4, 5}));
}

TEST_F(CApiTest, TextOfTokensHoldsIncompleteCharactersBack) {
  EXPECT_EQ(token_text(6), "c");
  EXPECT_EQ(token_text(3), "");
  EXPECT_EQ(token_text(30), "");
  EXPECT_EQ(token_text(-1), "\xef\xbf\xbd");
  EXPECT_EQ(token_text(4), "a");
}

TEST_F(CApiTest, PrefillsDecodesAndSamples) {
  EXPECT_EQ(sinter_logits(session), nullptr);
  const std::vector<int32_t> tokens = {5, 6, 7, 8, 9, 10};
  ASSERT_EQ(sinter_prefill(session, tokens.data(), 5, &error), SINTER_OK) << error;
  ASSERT_EQ(sinter_decode(session, 10, &error), SINTER_OK) << error;
  EXPECT_EQ(sinter_position(session), 6);
  const std::vector<float> expected = toy::expected_logits(tokens, toy::weights(), 6);
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), sinter_logits(session)));
  int32_t token = -1;
  const sinter_sampling greedy = {0, 0, 1, 0};
  ASSERT_EQ(sinter_sample(session, &greedy, &token, &error), SINTER_OK) << error;
  EXPECT_EQ(token, std::max_element(expected.begin(), expected.end()) - expected.begin());
  sinter_reset(session);
  EXPECT_EQ(sinter_position(session), 0);
  EXPECT_EQ(sinter_logits(session), nullptr);
}

TEST_F(CApiTest, GeneratesWhatSampleAndDecodeGive) {
  const int32_t tokens[] = {5, 6};
  const sinter_sampling sampling = {60, 0, 1, 7};
  std::vector<int32_t> expected;
  ASSERT_EQ(sinter_prefill(session, tokens, 2, &error), SINTER_OK);
  for (int i = 0; i < 8; ++i) {
    expected.push_back(-1);
    ASSERT_EQ(sinter_sample(session, &sampling, &expected.back(), &error), SINTER_OK) << error;
    ASSERT_EQ(sinter_decode(session, expected.back(), &error), SINTER_OK) << error;
  }
  sinter_reset(session);
  ASSERT_EQ(sinter_prefill(session, tokens, 2, &error), SINTER_OK);
  std::vector<int32_t> generated;
  const auto sink = [](int32_t token, void* data) -> int32_t {
    auto* all = static_cast<std::vector<int32_t>*>(data);
    all->push_back(token);
    return all->size() < 8 ? 1 : 0;
  };
  ASSERT_EQ(sinter_generate(session, &sampling, 40, sink, &generated, &error), SINTER_OK) << error;
  EXPECT_EQ(generated, expected);
  EXPECT_EQ(sinter_position(session), 9);
  EXPECT_EQ(sinter_generate(session, &sampling, 1, nullptr, nullptr, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_generate: sink is NULL");
}

// No argument that C can give is read beyond, and none brings the caller down.
TEST_F(CApiTest, RefusesArgumentsThatCannotBe) {
  const int32_t tokens[] = {5, 6};
  for (const size_t count : {size_t{51}, size_t{1} << 31, size_t{1} << 32, size_t{1} << 62,
                             size_t{1} << 63, (size_t{1} << 63) + 2, ~size_t{0}}) {
    EXPECT_EQ(sinter_prefill(session, tokens, count, &error), SINTER_ERROR);
    EXPECT_EQ(message(),
              "sinter_prefill: " + std::to_string(count) +
                  " tokens do not fit: the session holds 0 of 50 positions; make a longer "
                  "context");
  }
  EXPECT_EQ(sinter_prefill(session, nullptr, 0, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_prefill: no tokens to run");
  EXPECT_EQ(sinter_prefill(session, nullptr, 1, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_prefill: tokens is NULL");
  for (const int32_t token : {-1, 32, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(sinter_decode(session, token, &error), SINTER_ERROR);
    EXPECT_EQ(message(), "sinter_decode: token " + std::to_string(token) +
                             " at index 0 is outside the vocabulary of 32");
  }
  for (const int32_t token : {32, INT32_MAX}) {
    const char* text = nullptr;
    size_t bytes = 0;
    EXPECT_EQ(sinter_token_text(session, token, &text, &bytes, &error), SINTER_ERROR);
    EXPECT_NE(message().find(std::to_string(token)), std::string::npos);
  }
  // Negative ones end the text.
  for (const int32_t token : {INT32_MIN, -1}) EXPECT_EQ(token_text(token), "");
  EXPECT_EQ(sinter_is_end(model, INT32_MIN), 0);

  for (const int64_t context : {int64_t{-1}, int64_t{51}, INT64_MAX, INT64_MIN}) {
    sinter_session* other = session;
    EXPECT_EQ(sinter_create_session(model, context, &other, &error), SINTER_ERROR);
    EXPECT_EQ(other, nullptr);
    EXPECT_NE(message().find("is outside 1..50"), std::string::npos);
  }
  for (const int32_t threads : {-1, 1025, INT32_MAX, INT32_MIN}) {
    sinter_model* other = model;
    EXPECT_EQ(sinter_load(path.c_str(), threads, &other, &error), SINTER_ERROR);
    EXPECT_EQ(other, nullptr);
    EXPECT_NE(message().find("threads is " + std::to_string(threads)), std::string::npos);
  }
  ASSERT_EQ(sinter_decode(session, 5, &error), SINTER_OK);
  const auto sink = [](int32_t, void*) -> int32_t { return 0; };
  const sinter_sampling greedy = {0, 0, 1, 0};
  for (const int64_t count : {int64_t{0}, int64_t{-1}, INT64_MIN, int64_t{51}, INT64_MAX}) {
    EXPECT_EQ(sinter_generate(session, &greedy, count, sink, nullptr, &error), SINTER_ERROR);
    EXPECT_NE(message().find(count < 1 ? "expected 1 or more" : "do not fit"), std::string::npos);
  }
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const sinter_sampling& bad :
       {sinter_sampling{kNan, 0, 1, 0}, sinter_sampling{-1, 0, 1, 0}, sinter_sampling{1, -1, 1, 0},
        sinter_sampling{1, 0, kNan, 0}, sinter_sampling{1, 0, 2, 0}}) {
    int32_t token = 7;
    EXPECT_EQ(sinter_sample(session, &bad, &token, &error), SINTER_ERROR);
    EXPECT_EQ(token, -1);
    EXPECT_NE(message().find("sampling: "), std::string::npos);
  }
  size_t room = ~size_t{0};
  EXPECT_EQ(sinter_tokenize(model, "cab", 0, nullptr, &room, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_tokenize: tokens is NULL");
  // Without a place for the message.
  EXPECT_EQ(sinter_decode(session, -1, nullptr), SINTER_ERROR);
  // Nothing to look at.
  EXPECT_EQ(sinter_vocab_size(nullptr), 0);
  EXPECT_EQ(sinter_max_context(nullptr), 0);
  EXPECT_EQ(sinter_is_end(nullptr, 1), 0);
  EXPECT_EQ(sinter_position(nullptr), 0);
  EXPECT_EQ(sinter_logits(nullptr), nullptr);
  sinter_reset(nullptr);
  EXPECT_EQ(sinter_decode(nullptr, 1, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_decode: session is NULL");
  EXPECT_EQ(sinter_generate(nullptr, &greedy, 1, sink, nullptr, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_generate: session is NULL");
  EXPECT_EQ(sinter_generate(session, nullptr, 1, sink, nullptr, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_generate: sampling is NULL");
  EXPECT_EQ(sinter_sample(session, &greedy, nullptr, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_sample: token is NULL");
  EXPECT_EQ(sinter_tokenize(nullptr, "cab", 0, nullptr, &room, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_tokenize: model is NULL");
  EXPECT_EQ(sinter_create_session(nullptr, 0, nullptr, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_create_session: session is NULL");
  // The session is none the worse.
  EXPECT_EQ(sinter_decode(session, 6, &error), SINTER_OK) << message();
  EXPECT_EQ(sinter_position(session), 2);
}

TEST_F(CApiTest, LogitsThatAreNotFiniteAreAnError) {
  const std::string spoiled = folder.file("spoiled.plan");
  ASSERT_EQ(
      toy::write_plan(spoiled, {}, toy::spoiled_kernel_object(2, "0.0f / 0.0f"), tokenizer_json()),
      "");
  sinter_model* bad = nullptr;
  sinter_session* own = nullptr;
  ASSERT_EQ(sinter_load(spoiled.c_str(), 2, &bad, &error), SINTER_OK) << error;
  ASSERT_EQ(sinter_create_session(bad, 0, &own, &error), SINTER_OK) << error;
  const std::string wanted = "the logit of token 0 at position 1 is NaN";
  const int32_t tokens[] = {5, 6};
  EXPECT_EQ(sinter_prefill(own, tokens, 2, &error), SINTER_ERROR);
  EXPECT_NE(message().find("sinter_prefill: " + wanted), std::string::npos);
  EXPECT_EQ(sinter_logits(own), nullptr);
  sinter_reset(own);
  ASSERT_EQ(sinter_decode(own, 5, &error), SINTER_OK) << error;
  EXPECT_EQ(sinter_decode(own, 5, &error), SINTER_ERROR);
  EXPECT_NE(message().find("sinter_decode: " + wanted), std::string::npos);
  sinter_reset(own);
  ASSERT_EQ(sinter_decode(own, 5, &error), SINTER_OK) << error;
  const sinter_sampling greedy = {0, 0, 1, 0};
  const auto sink = [](int32_t, void*) -> int32_t { return 1; };
  EXPECT_EQ(sinter_generate(own, &greedy, 9, sink, nullptr, &error), SINTER_ERROR);
  EXPECT_NE(message().find("sinter_generate: " + wanted), std::string::npos);
  sinter_free_session(own);
  sinter_free_model(bad);
}

TEST_F(CApiTest, LoadsOnADevice) {
  sinter_model* other = nullptr;
  ASSERT_EQ(sinter_load_on(path.c_str(), "host", 1, &other, &error), SINTER_OK) << error;
  sinter_free_model(other);
  EXPECT_EQ(sinter_load_on(path.c_str(), "moon:0", 1, &other, &error), SINTER_ERROR);
  EXPECT_EQ(other, nullptr);
  EXPECT_EQ(message(),
            "sinter_load_on: \"moon:0\" is not a device; devices are host, hip:N (AMD) and cuda:N "
            "(NVIDIA), N from 0");
  EXPECT_EQ(sinter_load_on(path.c_str(), nullptr, 1, &other, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_load_on: device is NULL");
}

// The program in C, linked with the shared library, prints what the same calls give here.
TEST_F(CApiTest, TheExampleProgramPrintsTheGreedyText) {
  std::string expected;
  std::vector<int32_t> tokens(5);
  size_t count = tokens.size();
  ASSERT_EQ(sinter_tokenize(model, "hello", 1, tokens.data(), &count, &error), SINTER_OK);
  ASSERT_EQ(sinter_prefill(session, tokens.data(), count, &error), SINTER_OK);
  const sinter_sampling greedy = {0, 0, 1, 0};
  for (int i = 0; i < 20; ++i) {
    int32_t token = -1;
    ASSERT_EQ(sinter_sample(session, &greedy, &token, &error), SINTER_OK);
    if (sinter_is_end(model, token) != 0) break;
    expected += token_text(token);
    ASSERT_EQ(sinter_decode(session, token, &error), SINTER_OK);
  }
  expected += token_text(-1);
  ASSERT_NE(expected, "");
  const std::string command =
      std::string(SINTER_C_EXAMPLE) + " " + path + " hello 20 >" + folder.file("out");
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(toy::read_file(folder.file("out")), expected + "\n");
}

TEST_F(CApiTest, TheSameDrawsComeAfterAReset) {
  const int32_t tokens[] = {5, 6};
  const sinter_sampling sampling = {1000, 0, 1, 7};
  std::vector<int32_t> draws[2];
  for (auto& drawn : draws) {
    sinter_reset(session);
    ASSERT_EQ(sinter_prefill(session, tokens, 2, &error), SINTER_OK);
    for (int i = 0; i < 20; ++i) {
      drawn.push_back(-1);
      ASSERT_EQ(sinter_sample(session, &sampling, &drawn.back(), &error), SINTER_OK) << error;
    }
  }
  EXPECT_EQ(draws[0], draws[1]);
  EXPECT_NE(std::count(draws[0].begin(), draws[0].end(), draws[0][0]), 20);
}

TEST_F(CApiTest, ErrorsHaveMessagesThatNameTheCall) {
  sinter_model* other = model;
  EXPECT_EQ(sinter_load(folder.file("absent").c_str(), 0, &other, &error), SINTER_ERROR);
  EXPECT_EQ(other, nullptr);
  EXPECT_EQ(message(), "sinter_load: " + folder.file("absent") +
                           ": cannot open the plan: No such file or directory");
  EXPECT_EQ(sinter_decode(session, 99, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_decode: token 99 at index 0 is outside the vocabulary of 32");
  sinter_session* long_session = session;
  EXPECT_EQ(sinter_create_session(model, 51, &long_session, &error), SINTER_ERROR);
  EXPECT_EQ(long_session, nullptr);
  EXPECT_NE(message().find("outside 1..50"), std::string::npos);
  int32_t token = 0;
  const sinter_sampling greedy = {0, 0, 1, 0};
  EXPECT_EQ(sinter_sample(session, &greedy, &token, &error), SINTER_ERROR);
  EXPECT_NE(message().find("prefill first"), std::string::npos);
  const int32_t tokens[] = {1};
  ASSERT_EQ(sinter_prefill(session, tokens, 1, &error), SINTER_OK);
  const sinter_sampling wrong = {1, 0, 2, 0};
  EXPECT_EQ(sinter_sample(session, &wrong, &token, &error), SINTER_ERROR);
  EXPECT_NE(message().find("top_p"), std::string::npos);
}

TEST_F(CApiTest, NullArgumentsAreErrorsAndErrorMayBeNull) {
  sinter_model* none = nullptr;
  EXPECT_EQ(sinter_load(nullptr, 0, &none, nullptr), SINTER_ERROR);
  EXPECT_EQ(sinter_load(path.c_str(), 0, nullptr, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_load: model is NULL");
  EXPECT_EQ(sinter_prefill(nullptr, nullptr, 0, nullptr), SINTER_ERROR);
  EXPECT_EQ(sinter_prefill(session, nullptr, 3, &error), SINTER_ERROR);
  EXPECT_EQ(message(), "sinter_prefill: tokens is NULL");
  EXPECT_EQ(sinter_tokenize(nullptr, "a", 0, nullptr, nullptr, nullptr), SINTER_ERROR);
  EXPECT_EQ(sinter_token_text(session, 1, nullptr, nullptr, nullptr), SINTER_ERROR);
  const char* text = nullptr;
  size_t bytes = 0;
  EXPECT_EQ(sinter_token_text(session, 1000000, &text, &bytes, &error), SINTER_ERROR);
  EXPECT_NE(message().find("there is no token 1000000: ids end at"), std::string::npos);
  EXPECT_EQ(sinter_sample(session, nullptr, nullptr, nullptr), SINTER_ERROR);
  EXPECT_EQ(sinter_logits(nullptr), nullptr);
  sinter_reset(nullptr);
  sinter_free_session(nullptr);
  sinter_free_model(nullptr);
  sinter_free_string(nullptr);
}

TEST_F(CApiTest, SeveralSequencesInOneSession) {
  sinter_free_session(session);
  session = nullptr;
  // State by position alone, which can be cut anywhere.
  ASSERT_EQ(
      toy::write_plan(path, toy::without_fixed_state, toy::paged_kernel_object(), tokenizer_json()),
      "");
  sinter_free_model(model);
  ASSERT_EQ(sinter_load(path.c_str(), 2, &model, &error), SINTER_OK) << error;
  const sinter_session_options options = {40, 4, 0};
  ASSERT_EQ(sinter_create_session_of(model, &options, &session, &error), SINTER_OK) << error;
  const std::vector<int32_t> prompt = {5, 9, 2, 7, 1};
  ASSERT_EQ(sinter_prefill(session, prompt.data(), prompt.size(), &error), SINTER_OK);
  int32_t other = -1, copy = -1;
  ASSERT_EQ(sinter_add_sequence(session, &other, &error), SINTER_OK);
  ASSERT_EQ(sinter_fork(session, 0, &copy, &error), SINTER_OK);
  sinter_snapshot* snapshot = nullptr;
  ASSERT_EQ(sinter_take_snapshot(session, 0, &snapshot, &error), SINTER_OK);

  const auto expect_logits = [&](int32_t sequence, const std::vector<int32_t>& tokens) {
    const float* logits = nullptr;
    ASSERT_EQ(sinter_logits_of(session, sequence, 1, &logits, &error), SINTER_OK) << message();
    const auto wanted =
        toy::expected_logits(tokens, toy::weights(), static_cast<int64_t>(tokens.size()));
    EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), logits)) << "sequence " << sequence;
    EXPECT_EQ(sinter_position_of(session, sequence), static_cast<int64_t>(tokens.size()));
  };
  const std::vector<int32_t> first = {3}, second = {8, 4}, third = {6};
  const sinter_part parts[] = {
      {0, first.data(), 1, 1}, {other, second.data(), 2, 1}, {copy, third.data(), 1, 0}};
  ASSERT_EQ(sinter_step(session, parts, 2, &error), SINTER_OK) << message();
  expect_logits(0, {5, 9, 2, 7, 1, 3});
  expect_logits(other, {8, 4});
  expect_logits(copy, prompt);

  // Draws of a sequence are those that it makes alone.
  const sinter_sampling sampling = {0.7F, 0, 1.0F, 21};
  const auto draws_of = [&](std::vector<sinter_draw> draws) {
    std::vector<std::vector<int32_t>> drawn(draws.size());
    EXPECT_EQ(sinter_generate_many(
                  session, draws.data(), draws.size(),
                  [](size_t draw, int32_t token, void* data) {
                    (*static_cast<std::vector<std::vector<int32_t>>*>(data))[draw].push_back(token);
                    return 1;
                  },
                  &drawn, &error),
              SINTER_OK)
        << message();
    return drawn;
  };
  const auto together = draws_of({{0, sampling, 5}, {copy, sampling, 7}});
  ASSERT_EQ(sinter_restore(session, 0, snapshot, &error), SINTER_OK) << message();
  EXPECT_EQ(draws_of({{0, sampling, 7}})[0], together[1]);

  ASSERT_EQ(sinter_truncate(session, 0, 2, &error), SINTER_OK) << message();
  EXPECT_EQ(sinter_position_of(session, 0), 2);

  // Misuse is one error each.
  const auto refused = [&](sinter_status status, const std::string& wanted) {
    EXPECT_EQ(status, SINTER_ERROR);
    EXPECT_EQ(message(), wanted);
  };
  refused(sinter_step(session, parts, 0, &error), "sinter_step: no tokens to run");
  refused(sinter_truncate(session, 0, -1, &error),
          "sinter_truncate: sequence 0 has 2 tokens and cannot be cut to -1");
  refused(sinter_add_sequence(session, &copy, &error),
          "sinter_add_sequence: all 4 sequences of the session are in use; remove one or make a "
          "session of more");
  ASSERT_EQ(sinter_remove_sequence(session, other, &error), SINTER_OK);
  refused(sinter_step(session, parts + 1, 1, &error), "sinter_step: there is no sequence " +
                                                          std::to_string(other) +
                                                          ": it was never added, or removed");
  sinter_session* another = nullptr;
  ASSERT_EQ(sinter_create_session(model, 0, &another, &error), SINTER_OK);
  refused(sinter_restore(another, 0, snapshot, &error),
          "sinter_restore: the snapshot is of another session");
  sinter_free_session(another);
  sinter_free_snapshot(snapshot);
  const sinter_session_options none = {40, 0, 0};
  refused(sinter_create_session_of(model, &none, &another, &error),
          "sinter_create_session_of: 0 sequences are outside 1..1024");
}

TEST_F(CApiTest, WrongCallsAboutSequencesAreOneErrorEachAndChangeNothing) {
  sinter_free_session(session);
  sinter_free_model(model);
  session = nullptr;
  model = nullptr;
  sinter_model* other_model = nullptr;
  const std::string other_path = folder.file("other.plan");
  for (const auto& [plan, to] : {std::pair{path, &model}, std::pair{other_path, &other_model}}) {
    ASSERT_EQ(toy::write_plan(plan, toy::without_fixed_state, toy::paged_kernel_object(),
                              tokenizer_json()),
              "");
    ASSERT_EQ(sinter_load(plan.c_str(), 2, to, &error), SINTER_OK) << error;
  }
  const sinter_session_options options = {20, 4, 0};
  ASSERT_EQ(sinter_create_session_of(model, &options, &session, &error), SINTER_OK) << error;
  sinter_session* others = nullptr;
  ASSERT_EQ(sinter_create_session_of(other_model, &options, &others, &error), SINTER_OK) << error;

  // Sequences of 5 and of 17 tokens, one that was freed, a snapshot; and one of another model.
  const std::vector<int32_t> tokens = {5, 9, 2, 7, 1, 8, 3, 4, 6, 5, 9, 2, 7, 1, 8, 3, 4};
  int32_t copy = -1, freed = -1;
  sinter_snapshot *snapshot = nullptr, *foreign = nullptr;
  ASSERT_EQ(sinter_prefill(session, tokens.data(), 5, &error), SINTER_OK) << error;
  ASSERT_EQ(sinter_fork(session, 0, &copy, &error), SINTER_OK) << error;
  const sinter_part rest[] = {{copy, tokens.data() + 5, 4, 0}};
  ASSERT_EQ(sinter_step(session, rest, 1, &error), SINTER_OK) << error;
  for (size_t done = 9; done < 17; done += 4) {
    const sinter_part part = {copy, tokens.data() + done, 4, 1};
    ASSERT_EQ(sinter_step(session, &part, 1, &error), SINTER_OK) << error;
  }
  ASSERT_EQ(sinter_take_snapshot(session, 0, &snapshot, &error), SINTER_OK) << error;
  const int32_t place = 2;  // of the snapshot: the lowest that was free
  ASSERT_EQ(sinter_add_sequence(session, &freed, &error), SINTER_OK) << error;
  ASSERT_EQ(sinter_remove_sequence(session, freed, &error), SINTER_OK) << error;
  ASSERT_EQ(sinter_prefill(others, tokens.data(), 3, &error), SINTER_OK) << error;
  ASSERT_EQ(sinter_take_snapshot(others, 0, &foreign, &error), SINTER_OK) << error;

  const auto expect_unchanged = [&] {
    for (const auto& [sequence, length] : {std::pair{0, 5}, std::pair{copy, 17}}) {
      EXPECT_EQ(sinter_position_of(session, sequence), length);
      const float* logits = nullptr;
      ASSERT_EQ(sinter_logits_of(session, sequence, 1, &logits, &error), SINTER_OK) << message();
      const auto wanted = toy::expected_logits(std::span(tokens).first(static_cast<size_t>(length)),
                                               toy::weights(), length);
      EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), logits));
    }
    EXPECT_EQ(sinter_position_of(session, freed), 0);
  };
  const auto refused = [&](sinter_status status, const std::string& wanted) {
    EXPECT_EQ(status, SINTER_ERROR) << wanted;
    EXPECT_EQ(message(), wanted);
    expect_unchanged();
  };
  const std::string gone =
      "there is no sequence " + std::to_string(freed) + ": it was never added, or removed";
  const std::string is_snapshot =
      std::to_string(place) + " is a snapshot; restore it into a sequence";
  const auto step = [&](std::vector<sinter_part> parts) {
    return sinter_step(session, parts.data(), parts.size(), &error);
  };
  // The good part of a bad step is not run either.
  const sinter_part good = {0, tokens.data(), 1, 1};
  refused(step({}), "sinter_step: no tokens to run");
  refused(step({good, {copy, tokens.data(), 0, 0}}), "sinter_step: no tokens to run");
  refused(step({good, {copy, nullptr, 1, 1}}), "sinter_step: tokens is NULL");
  refused(step({{0, tokens.data(), 3, 1}, {copy, tokens.data(), 2, 1}}),
          "sinter_step: a step of 5 rows: the plan's schedules serve at most 4");
  refused(step({good, {copy, tokens.data(), 4, 1}}),
          "sinter_step: 4 tokens do not fit: the session holds 17 of 20 positions; make a longer "
          "context");
  refused(step({good, {copy, tokens.data(), SIZE_MAX, 1}}),
          "sinter_step: 18446744073709551615 tokens do not fit: the session holds 17 of 20 "
          "positions; make a longer context");
  refused(step({good, {freed, tokens.data(), 1, 1}}), "sinter_step: " + gone);
  refused(step({good, {place, tokens.data(), 1, 1}}), "sinter_step: " + is_snapshot);
  refused(step({good, good}), "sinter_step: sequence 0 is named twice");
  refused(step({good, {copy, tokens.data(), 1, 2}}),
          "sinter_step: 2 rows of logits were asked for, outside 0..1");
  refused(step({good, {copy, tokens.data(), 1, -1}}),
          "sinter_step: -1 rows of logits were asked for, outside 0..1");
  for (const int64_t length : {int64_t{-1}, INT64_MIN, int64_t{6}, INT64_MAX})
    refused(
        sinter_truncate(session, 0, length, &error),
        "sinter_truncate: sequence 0 has 5 tokens and cannot be cut to " + std::to_string(length));
  refused(sinter_truncate(session, freed, 0, &error), "sinter_truncate: " + gone);
  refused(sinter_truncate(session, place, 0, &error), "sinter_truncate: " + is_snapshot);
  int32_t made = 7;
  refused(sinter_fork(session, freed, &made, &error), "sinter_fork: " + gone);
  EXPECT_EQ(made, -1);
  sinter_snapshot* taken = snapshot;
  refused(sinter_take_snapshot(session, freed, &taken, &error), "sinter_take_snapshot: " + gone);
  EXPECT_EQ(taken, nullptr);
  refused(sinter_restore(session, freed, snapshot, &error), "sinter_restore: " + gone);
  refused(sinter_restore(session, 0, foreign, &error),
          "sinter_restore: the snapshot is of another session");
  refused(sinter_remove_sequence(session, freed, &error), "sinter_remove_sequence: " + gone);
  refused(sinter_remove_sequence(session, place, &error),
          "sinter_remove_sequence: " + std::to_string(place) +
              " is a snapshot, which goes by sinter_free_snapshot");
  const float* logits = sinter_logits(session);
  refused(sinter_logits_of(session, freed, 1, &logits, &error), "sinter_logits_of: " + gone);
  EXPECT_EQ(logits, nullptr);
  refused(sinter_logits_of(session, 0, 2, &logits, &error),
          "sinter_logits_of: 2 rows of logits were asked for, outside 1..1");
  const sinter_sampling greedy = {0, 0, 1, 0};
  const auto generate = [&](std::vector<sinter_draw> draws) {
    const auto sink = [](size_t, int32_t, void*) -> int32_t {
      ADD_FAILURE() << "drew for a wrong call";
      return 0;
    };
    return sinter_generate_many(session, draws.data(), draws.size(), sink, nullptr, &error);
  };
  refused(generate({}), "sinter_generate_many: no sequence to draw for");
  refused(generate({{0, greedy, 1}, {freed, greedy, 1}}), "sinter_generate_many: " + gone);
  refused(generate({{0, greedy, 1}, {0, greedy, 1}}),
          "sinter_generate_many: sequence 0 is named twice");
  refused(generate({{0, greedy, 1}, {copy, greedy, 5}}),
          "sinter_generate_many: 4 tokens do not fit: the session holds 17 of 20 positions; make "
          "a longer context");
  refused(generate({{0, greedy, 1}, {copy, greedy, 0}}),
          "sinter_generate_many: 0 tokens were asked for, expected 1 or more");

  // The snapshot is what it was.
  ASSERT_EQ(sinter_restore(session, copy, snapshot, &error), SINTER_OK) << error;
  EXPECT_EQ(sinter_position_of(session, copy), 5);
  sinter_free_snapshot(snapshot);
  sinter_free_snapshot(foreign);
  sinter_free_session(others);
  sinter_free_model(other_model);
}

// A plan with the entry of a head.
class CApiDrafts : public CApiTest {
 protected:
  void SetUp() override {
    ASSERT_FALSE(toy::kernel_object().empty()) << "no C compiler here";
    ASSERT_EQ(toy::write_plan(path, toy::with_mtp, toy::kernel_object(), tokenizer_json()), "");
    ASSERT_EQ(sinter_load(path.c_str(), 2, &model, &error), SINTER_OK) << error;
    const sinter_session_options options = {0, 2, 0};
    ASSERT_EQ(sinter_create_session_of(model, &options, &session, &error), SINTER_OK) << error;
  }
  // Logit 0 of each of the rows that the last draft gave logits.
  std::vector<float> drafted(int64_t rows) {
    const float* logits = nullptr;
    EXPECT_EQ(sinter_draft_logits(session, 0, rows, &logits, &error), SINTER_OK) << message();
    std::vector<float> first;
    for (int64_t r = 0; logits != nullptr && r < rows; ++r) first.push_back(logits[r * toy::vocab]);
    return first;
  }
  // What the kernels make of a token, the one before it and its position.
  static float expected(int token, int before, int position, int counted) {
    return static_cast<float>((31 * (100 * token + 10 * before + position) + counted) % 1009);
  }
};

TEST_F(CApiDrafts, ContinueTheModelsStatesAndThenTheirOwn) {
  EXPECT_EQ(sinter_has_mtp(model), 1);
  const int32_t tokens[] = {5, 9, 11, 2};
  const sinter_part part = {0, tokens, 3, 1};
  ASSERT_EQ(sinter_step(session, &part, 1, &error), SINTER_OK) << message();
  const sinter_draft_part first = {0, 0, tokens + 1, 3, 2};
  ASSERT_EQ(sinter_draft(session, &first, 1, &error), SINTER_OK) << message();
  EXPECT_EQ(drafted(2), (std::vector<float>{expected(11, 9, 2, 3), expected(2, 11, 3, 3)}));
  EXPECT_EQ(sinter_drafted(session, 0), 3);
  EXPECT_EQ(sinter_position(session), 3);
  const int32_t next = 7;
  const sinter_draft_part second = {0, 3, &next, 1, 1};
  ASSERT_EQ(sinter_draft(session, &second, 1, &error), SINTER_OK) << message();
  EXPECT_EQ(drafted(1), (std::vector<float>{expected(7, 2, 3, 3)}));
  // The model reads on, and the head follows its states.
  ASSERT_EQ(sinter_decode(session, 2, &error), SINTER_OK) << message();
  EXPECT_EQ(sinter_drafted(session, 0), 3);
  ASSERT_EQ(sinter_draft(session, &second, 1, &error), SINTER_OK) << message();
  EXPECT_EQ(drafted(1), (std::vector<float>{expected(7, 2, 4, 4)}));
}

TEST_F(CApiDrafts, MisuseIsOneErrorEach) {
  const auto refused = [&](sinter_status status, const std::string& wanted) {
    EXPECT_EQ(status, SINTER_ERROR);
    EXPECT_EQ(message(), wanted);
  };
  const int32_t token = 4;
  const sinter_draft_part part = {0, 0, &token, 1, 1};
  const float* logits = nullptr;
  refused(sinter_draft(nullptr, &part, 1, &error), "sinter_draft: session is NULL");
  refused(sinter_draft(session, nullptr, 1, &error), "sinter_draft: parts is NULL");
  refused(sinter_draft(session, nullptr, 0, &error), "sinter_draft: no tokens to run");
  const sinter_draft_part none = {0, 0, nullptr, 1, 1};
  refused(sinter_draft(session, &none, 1, &error), "sinter_draft: tokens is NULL");
  refused(sinter_draft_logits(session, 0, 1, &logits, &error),
          "sinter_draft_logits: there are no logits of a draft");
  refused(sinter_draft_logits(session, 0, 1, nullptr, &error),
          "sinter_draft_logits: logits is NULL");
  refused(sinter_draft(session, &part, 1, &error),
          "sinter_draft: sequence 0: there is no hidden state of position 0: the model has read 0 "
          "positions, and those of its last step are at hand, each for one draft");
  ASSERT_EQ(sinter_decode(session, 3, &error), SINTER_OK) << message();
  const sinter_draft_part twice[] = {part, part};
  refused(sinter_draft(session, twice, 2, &error), "sinter_draft: sequence 0 is named twice");
  EXPECT_EQ(sinter_has_mtp(nullptr), 0);
  EXPECT_EQ(sinter_drafted(nullptr, 0), 0);
}

TEST_F(CApiTest, PlansWithoutAHeadSaySo) {
  EXPECT_EQ(sinter_has_mtp(model), 0);
  const int32_t token = 4;
  ASSERT_EQ(sinter_decode(session, 3, &error), SINTER_OK) << message();
  const sinter_draft_part part = {0, 0, &token, 1, 1};
  EXPECT_EQ(sinter_draft(session, &part, 1, &error), SINTER_ERROR);
  EXPECT_EQ(message(),
            "sinter_draft: the plan has no multi-token-prediction head; compile a model that has "
            "one with --mtp");
}

}  // namespace
}  // namespace sinter::runtime
