// Encodings of SentencePiece models beside those of the SentencePiece library, which trains the
// models here.
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/tokenizer/import.h"
#include "runtime/text/tokenizer/sentencepiece.h"
#include "runtime/text/tokenizer/tokenizer.h"

namespace sinter::runtime {
namespace {

using Json = nlohmann::json;

// Plays, and texts of many scripts.
std::vector<std::string> corpus() {
  std::vector<std::string> lines;
  std::ifstream plays(SINTER_TEST_PLAYS);
  for (std::string line; std::getline(plays, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  std::ifstream tokens(SINTER_TEST_GOLDENS "/tok_spm_bpe/tokens.json");
  for (const Json& entry : Json::parse(tokens)) lines.push_back(entry["text"]);
  return lines;
}

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return next_ == lines_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return lines_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  size_t next_ = 0;
};

std::string train(const std::string& options, const std::vector<std::string>& lines) {
  Lines sentences(lines);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      "--vocab_size=700 --character_coverage=0.995 --minloglevel=2 --num_threads=1 "
      "--hard_vocab_limit=false " +
          options,
      &sentences, &model);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return model;
}

std::string random_text(std::mt19937& random, const std::vector<std::string>& lines) {
  static const std::vector<std::string> odd = {" ",
                                               "  ",
                                               "\t",
                                               "\n",
                                               "\xE3\x80\x80",
                                               "\xC2\xA0",
                                               "\xE2\x96\x81",
                                               "<s>",
                                               "</s>",
                                               "<unk>",
                                               "[x]",
                                               "[xy]",
                                               "\xEF\xAC\x81",
                                               "\xEF\xBC\xA1",
                                               "e\xCC\x81",
                                               "\xC3\xA9",
                                               "\xE2\x84\xA2",
                                               "\xF0\x9F\x98\x80",
                                               "\xEF\xBF\xBD",
                                               "\xE2\x80\x8B",
                                               "\xC2\xAD",
                                               "<0x41>",
                                               "12345",
                                               "\xD9\xA1",
                                               "\xE0\xA4\x95\xE0\xA5\x8D",
                                               "\x01"};
  std::string text;
  for (size_t parts = random() % 12; parts > 0; --parts) {
    if (random() % 2 == 0) {
      text += odd[random() % odd.size()];
    } else {
      const std::string& line = lines[random() % lines.size()];
      const auto at_character = [&line](size_t at) {
        while (at < line.size() && (line[at] & 0xC0) == 0x80) ++at;
        return at;
      };
      const size_t begin = at_character(random() % (line.size() + 1));
      const size_t end = at_character(begin + random() % (line.size() + 1 - begin));
      text += line.substr(begin, end - begin);
    }
  }
  return text;
}

// Two ways to take a text apart that a unigram model likes equally well. Releases of the library
// differ in which of them they take: sums of scores are float in some and double in others.
bool are_tied(const sentencepiece::SentencePieceProcessor& library, const std::vector<int>& a,
              const std::vector<int>& b) {
  double difference = 0, size = 0;
  std::string text_a, text_b;
  for (const int id : a) {
    difference += library.GetScore(id), size -= library.GetScore(id);
    text_a += library.IdToPiece(id);
  }
  for (const int id : b) {
    difference -= library.GetScore(id);
    text_b += library.IdToPiece(id);
  }
  return text_a == text_b && std::abs(difference) <= size * static_cast<double>(a.size()) * 0x1p-24;
}

class SentencePieceLibrary : public testing::TestWithParam<const char*> {};

TEST_P(SentencePieceLibrary, GivesTheSameIdsAndTexts) {
  const std::vector<std::string> lines = corpus();
  const std::string bytes = train(GetParam(), lines);
  sentencepiece::SentencePieceProcessor library;
  ASSERT_TRUE(library.LoadFromSerializedProto(bytes).ok());
  const auto json = tokenizer::import_sentencepiece(bytes, {});
  ASSERT_TRUE(json.ok()) << json.error().message;
  const auto ours = Tokenizer::from_json(*json);
  ASSERT_TRUE(ours.ok()) << ours.error().message;
  ASSERT_EQ(ours->vocab_size(), library.GetPieceSize());
  const bool is_unigram = std::string_view(GetParam()).starts_with("--model_type=unigram");
  std::mt19937 random(3);
  int ties = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string text = random_text(random, lines);
    std::vector<int> expected;
    ASSERT_TRUE(library.Encode(text, &expected).ok());
    const auto ids = ours->encode(text, false);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    if (*ids != expected) {
      ASSERT_TRUE(is_unigram && are_tied(library, *ids, expected))
          << Json(text).dump(-1, ' ', true, Json::error_handler_t::replace) << "\n"
          << Json(*ids) << "\n"
          << Json(expected);
      ++ties;
    }
    std::string decoded;
    ASSERT_TRUE(library.Decode(expected, &decoded).ok());
    ASSERT_EQ(*ours->decode(expected, false), decoded);
  }
  EXPECT_LE(ties, 10);
}

// What is written where the source is no tokenizer.model: a GGUF file says the same in other ways.
TEST(WrittenModel, IsReadByTheLibraryAndEncodesTheSame) {
  const std::vector<std::string> lines = corpus();
  for (const char* options : {"--model_type=bpe --byte_fallback --normalization_rule_name=identity "
                              "--remove_extra_whitespaces=false --user_defined_symbols=[x]",
                              "--model_type=unigram"}) {
    auto model = tokenizer::SentencePieceModel::parse(train(options, lines));
    ASSERT_TRUE(model.ok()) << model.error().message;
    using PieceType = tokenizer::SentencePieceModel::PieceType;
    // The library refuses a second piece with the same text.
    model->pieces.push_back(model->pieces.back());
    model->pieces.push_back({"<|end|>", 0, PieceType::kControl});
    const auto end = static_cast<int32_t>(model->pieces.size()) - 1;
    const tokenizer::Around around{.bos = 1, .eos = {}};
    const std::string json = tokenizer::sentencepiece_json(
        model->serialize(), "[" + tokenizer::added_token_json("<|end|>", end, true) + "]",
        /*legacy=*/true, around);
    const auto ours = Tokenizer::from_json(json);
    ASSERT_TRUE(ours.ok()) << ours.error().message;
    const auto files =
        tokenizer::tokenizer_folder_files(json, R"({"bos_token":"<s>","eos_token":"</s>"})");
    ASSERT_TRUE(files.ok()) << files.error().message;
    ASSERT_EQ(files->size(), 2u);
    ASSERT_EQ((*files)[0].first, "tokenizer.model");
    ASSERT_EQ((*files)[1].first, "tokenizer_config.json");

    sentencepiece::SentencePieceProcessor library;
    const auto status = library.LoadFromSerializedProto((*files)[0].second);
    ASSERT_TRUE(status.ok()) << status.ToString();
    EXPECT_EQ(library.GetPieceSize(), ours->vocab_size());
    EXPECT_EQ(library.bos_id(), 1);
    EXPECT_EQ(library.eos_id(), 2);
    EXPECT_EQ(library.unk_id(), 0);
    EXPECT_TRUE(library.IsControl(end));
    const auto again = tokenizer::import_sentencepiece(
        (*files)[0].second, {.config = (*files)[1].second, .added = {}, .special_map = {}});
    ASSERT_TRUE(again.ok()) << again.error().message;
    const auto read = Tokenizer::from_json(*again, (*files)[1].second);
    ASSERT_TRUE(read.ok()) << read.error().message;
    std::mt19937 random(5);
    int ties = 0;
    for (int round = 0; round < 500; ++round) {
      const std::string text = random_text(random, lines);
      std::vector<int> expected;
      ASSERT_TRUE(library.Encode(text, &expected).ok());
      const auto ids = ours->encode(text, false);
      if (*ids != expected) {
        ASSERT_TRUE(are_tied(library, *ids, expected)) << Json(*ids) << Json(expected);
        ++ties;
      }
      EXPECT_EQ(*ours->encode(text + "<|end|>", true), *read->encode(text + "<|end|>", true));
    }
    EXPECT_LE(ties, 4);
    EXPECT_EQ(read->encode("<|end|>", true)->back(), end);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, SentencePieceLibrary,
    testing::Values(
        // As llama-2, T5 and Gemma have it, and what none of them uses.
        "--model_type=bpe --byte_fallback --split_digits --normalization_rule_name=identity "
        "--remove_extra_whitespaces=false --allow_whitespace_only_pieces",
        "--model_type=unigram",
        "--model_type=bpe --byte_fallback --add_dummy_prefix=false "
        "--user_defined_symbols=[x],[xy],12",
        "--model_type=unigram --byte_fallback --normalization_rule_name=nmt_nfkc_cf "
        "--user_defined_symbols=[x],[xy]",
        "--model_type=unigram --normalization_rule_name=nfkc --split_by_whitespace=false "
        "--add_dummy_prefix=false",
        "--model_type=bpe --normalization_rule_name=nfkc_cf --control_symbols=[x]"));

}  // namespace
}  // namespace sinter::runtime
