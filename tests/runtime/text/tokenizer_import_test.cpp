// Tokenizers that come in other files than tokenizer.json.
#include "runtime/text/tokenizer/import.h"

#include <filesystem>
#include <fstream>

#include "runtime/support/base64.h"
#include "runtime/text/tokenizer/sentencepiece.h"
#include "runtime/text/tokenizer/tokenizer.h"
#include "tests/runtime/text/tokenizer_test.h"

namespace sinter::runtime {
namespace {

namespace fs = std::filesystem;
using tokenizer::SentencePieceModel;
using PieceType = SentencePieceModel::PieceType;

class Folder {
 public:
  Folder() : path_(fs::path(testing::TempDir()) / "tokenizer_import_test") {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

// Letters, a merge and the pieces that every model has.
SentencePieceModel small_model() {
  SentencePieceModel model;
  model.algorithm = SentencePieceModel::Algorithm::kBpe;
  model.remove_extra_whitespaces = false;
  model.pieces = {{"<unk>", 0, PieceType::kUnknown}, {"<s>", 0, PieceType::kControl},
                  {"</s>", 0, PieceType::kControl},  {"\xE2\x96\x81", -9, PieceType::kNormal},
                  {"a", -8, PieceType::kNormal},     {"b", -7, PieceType::kNormal},
                  {"ab", -1, PieceType::kNormal},    {"[x]", 0, PieceType::kUserDefined}};
  return model;
}

Result<Tokenizer> load(const std::string& model, const tokenizer::SideFiles& side = {}) {
  const auto json = tokenizer::import_sentencepiece(model, side);
  if (!json.ok()) return json.error();
  return Tokenizer::from_json(*json, side.config);
}

std::string load_error(const std::string& model, const tokenizer::SideFiles& side = {}) {
  const auto loaded = load(model, side);
  return loaded.ok() ? "no error" : loaded.error().message;
}

class ImportGolden : public testing::TestWithParam<const char*> {};

TEST_P(ImportGolden, EncodesAndDecodesAsItsOwnLibraryDoes) {
  const auto files = read_tokenizer(std::string(SINTER_TEST_GOLDENS) + "/" + GetParam());
  ASSERT_TRUE(files.ok()) << files.error().message;
  EXPECT_TRUE(files->notes.empty());
  const auto loaded = Tokenizer::from_json(files->tokenizer_json, files->tokenizer_config_json);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const Json entries = Json::parse(golden(GetParam(), "tokens.json"));
  ASSERT_GT(entries.size(), 100u);
  for (const Json& entry : entries) {
    const std::string text = entry["text"];
    SCOPED_TRACE(text);
    const Ids ids = *loaded->encode(text, false);
    EXPECT_EQ(ids, entry["ids"].get<Ids>());
    EXPECT_EQ(*loaded->encode(text, true), entry["ids_special"].get<Ids>());
    EXPECT_EQ(*loaded->decode(ids, false), entry["decoded"].get<std::string>());
    StreamingDecoder decoder(*loaded, false);
    std::string streamed;
    for (const int32_t id : ids) streamed += decoder.push(id);
    EXPECT_EQ(streamed + decoder.flush(), entry["decoded"].get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(All, ImportGolden,
                         testing::Values("tok_spm_bpe", "tok_spm_unigram", "tok_vocab_merges"));

TEST(SentencePiece, ControlPiecesAreFoundInTextOnlyWhereATemplateWroteIt) {
  const auto tokenizer = load(small_model().serialize());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(*tokenizer->encode("<s>ab", false, true), (Ids{1, 3, 6}));
  EXPECT_EQ(*tokenizer->encode("<s>ab", false), (Ids{3, 0, 6}));
  EXPECT_EQ(*tokenizer->encode("ab", true), (Ids{1, 3, 6}));
  EXPECT_EQ(*tokenizer->decode(Ids{1, 3, 6, 2}, false), "ab");
}

TEST(SentencePiece, TheDummyPrefixComesAgainAfterAnAddedTokenOnlyInLegacyMode) {
  tokenizer::SideFiles side;
  side.added = R"({"<x>": 8})";
  side.config = R"({"legacy": true, "add_bos_token": false})";
  EXPECT_EQ(*load(small_model().serialize(), side)->encode("a<x>b", true), (Ids{3, 4, 8, 3, 5}));
  side.config = R"({"legacy": false, "add_bos_token": false})";
  EXPECT_EQ(*load(small_model().serialize(), side)->encode("a<x>b", true), (Ids{3, 4, 8, 5}));
}

TEST(SentencePiece, UserDefinedPiecesAreNeverMerged) {
  EXPECT_EQ(*load(small_model().serialize())->encode("a[x]b", false), (Ids{3, 4, 7, 5}));
}

TEST(SentencePiece, AnUnusedPieceIsTakenApart) {
  SentencePieceModel model = small_model();
  model.pieces[6].type = PieceType::kUnused;
  EXPECT_EQ(*load(model.serialize())->encode("ab", false), (Ids{3, 4, 5}));
}

TEST(SentencePiece, ManySmallPiecesAreRefused) {
  // Ten bytes each, of which a file of some megabytes would make hundreds.
  std::string bytes;
  for (int i = 0; i <= 1 << 21; ++i) bytes += std::string("\n\x03\n\x01x", 5);
  EXPECT_CONTAINS(load_error(bytes), "it has more than 2097152 pieces");
}

TEST(SentencePiece, DamagedModelsAreErrorsThatSayWhat) {
  EXPECT_CONTAINS(load_error(""), "tokenizer.model: the file is damaged");
  EXPECT_CONTAINS(load_error("{}"), "tokenizer.model: the file is damaged");
  const std::string good = small_model().serialize();
  EXPECT_CONTAINS(load_error(good.substr(0, good.size() - 1)), "damaged");
  SentencePieceModel model = small_model();
  model.pieces[5].text.clear();
  EXPECT_CONTAINS(load_error(model.serialize()), "piece 5 is empty");
  model = small_model();
  model.pieces[0].type = PieceType::kNormal;
  EXPECT_CONTAINS(load_error(model.serialize()), "no piece is the unknown one");
  model = small_model();
  model.byte_fallback = true;
  EXPECT_CONTAINS(load_error(model.serialize()), "piece '<0x00>' is missing");
  model = small_model();
  model.charsmap = "abc";
  EXPECT_CONTAINS(load_error(model.serialize()), "normalization table of 3 bytes is damaged");
  model = small_model();
  model.algorithm = static_cast<SentencePieceModel::Algorithm>(3);
  EXPECT_CONTAINS(load_error(model.serialize()), "of kind word, which is not supported");
  EXPECT_CONTAINS(
      load_error(good, {.config = R"({"bos_token": "<bos>"})", .added = "", .special_map = ""}),
      "bos_token is '<bos>', which is not a token of the vocabulary");
}

TEST(ReadTokenizer, TakesTheNextOneWithANoteWhenOneFails) {
  const Folder folder;
  EXPECT_EQ(read_tokenizer(folder.path())->tokenizer_json, "");
  folder.write("tokenizer.json", "{");
  folder.write("tokenizer.model", small_model().serialize());
  const auto files = read_tokenizer(folder.path());
  ASSERT_TRUE(files.ok()) << files.error().message;
  ASSERT_EQ(files->notes.size(), 1u);
  EXPECT_CONTAINS(files->notes[0], "tokenizer.json: ends within its JSON, after 1 bytes");
  EXPECT_CONTAINS(files->notes[0], "using tokenizer.model instead");
  folder.write("tokenizer.model", "?");
  const auto none = read_tokenizer(folder.path());
  ASSERT_FALSE(none.ok());
  EXPECT_CONTAINS(none.error().message, "no tokenizer can be used: tokenizer.json: ends");
  EXPECT_CONTAINS(none.error().message, "; tokenizer.model: the file is damaged");
}

TEST(Base64, EncodesAsTheStandardSays) {
  // RFC 4648, section 10.
  const std::vector<std::pair<std::string, std::string>> vectors = {{"", ""},
                                                                    {"f", "Zg=="},
                                                                    {"fo", "Zm8="},
                                                                    {"foo", "Zm9v"},
                                                                    {"foob", "Zm9vYg=="},
                                                                    {"fooba", "Zm9vYmE="},
                                                                    {"foobar", "Zm9vYmFy"},
                                                                    {"\xFF\xFE\xFB", "//77"}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(to_base64(bytes), text);
    EXPECT_EQ(from_base64(text), bytes);
  }
}

TEST(Base64, RefusesWhatIsNone) {
  for (const char* text : {"Z", "Zg", "Zg=", "Zg==Zg==", "Z===", "====", "Zm9*", "Zm9v\n"})
    EXPECT_EQ(from_base64(text), std::nullopt) << text;
}

TEST(VocabMerges, AClassWhoseSplitIsNotKnownIsRefused) {
  const auto json = tokenizer::import_vocab_merges(
      R"({"a": 0})", "",
      {.config = R"({"tokenizer_class": "Odd"})", .added = "", .special_map = ""});
  ASSERT_FALSE(json.ok());
  EXPECT_CONTAINS(json.error().message, "tokenizer_class is 'Odd'");
}

}  // namespace
}  // namespace sinter::runtime
