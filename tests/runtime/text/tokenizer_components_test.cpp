// The components of a tokenizer.json, with what Hugging Face's tokenizers makes of the same texts.
#include <fmt/format.h>

#include <utility>

#include "runtime/support/base64.h"
#include "runtime/text/tokenizer/sentencepiece.h"
#include "tests/runtime/text/tokenizer_test.h"

namespace sinter::runtime {
namespace {

// A model of bytes (the ids) that puts a bar behind each word.
Json byte_model() {
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = byte;
  return {{"type", "BPE"},
          {"end_of_word_suffix", "|"},
          {"byte_fallback", true},
          {"vocab", vocab},
          {"merges", Json::array()}};
}

std::string bytes_of(const Result<Ids>& ids) {
  if (!ids.ok()) return ids.error().message;
  std::string text;
  for (const int32_t id : *ids) text.push_back(static_cast<char>(id));
  return text;
}

std::string cut(const Json& pre_tokenizer, const std::string& text, const Json& normalizer = {}) {
  const Json json = {
      {"normalizer", normalizer}, {"pre_tokenizer", pre_tokenizer}, {"model", byte_model()}};
  return bytes_of(must_load(json.dump()).encode(text, false));
}

std::string normalized(const Json& normalizer, const std::string& text) {
  std::string result = cut(nullptr, text, normalizer);
  if (result.ends_with('|')) result.pop_back();
  return result;
}

Json sequence(const char* member, const std::vector<Json>& items) {
  return {{"type", "Sequence"}, {member, items}};
}

TEST(PreTokenizer, PunctuationHasAllBehaviours) {
  const auto punctuation = [](const char* behavior) {
    return cut({{"type", "Punctuation"}, {"behavior", behavior}}, "a,,b! c\u3002$");
  };
  EXPECT_EQ(punctuation("Isolated"), "a|,|,|b|!| c|\u3002|$|");
  EXPECT_EQ(punctuation("Removed"), "a|b| c|");
  EXPECT_EQ(punctuation("MergedWithPrevious"), "a,|,|b!| c\u3002|$|");
  EXPECT_EQ(punctuation("MergedWithNext"), "a|,|,b|! c|\u3002|$|");
  EXPECT_EQ(punctuation("Contiguous"), "a|,,|b|!| c|\u3002$|");
  EXPECT_EQ(cut({{"type", "Punctuation"}}, "a,b"), "a|,|b|");
}

TEST(PreTokenizer, SplitsAtCharactersOfAClass) {
  EXPECT_EQ(cut({{"type", "WhitespaceSplit"}}, " a,b \t\u3000c\u00A0d\u200Be "), "a,b|c|d\u200Be|");
  EXPECT_EQ(cut({{"type", "Whitespace"}}, "it's  a b2_\u00E9. \u4E2D\u6587!?"),
            "it|'|s|a|b2_\u00E9|.|\u4E2D\u6587|!?|");
  EXPECT_EQ(cut({{"type", "BertPreTokenizer"}}, "a,b \u4E2D $x\u2026"), "a|,|b|\u4E2D|$|x|\u2026|");
  EXPECT_EQ(cut({{"type", "CharDelimiterSplit"}, {"delimiter", "-"}}, "-a-b--c"), "a|b|c|");
  EXPECT_EQ(cut({{"type", "Digits"}, {"individual_digits", false}}, "a12\u00B2\u2167b"),
            "a|12\u00B2\u2167|b|");
  EXPECT_EQ(cut({{"type", "Digits"}, {"individual_digits", true}}, "a1\u0663b"), "a|1|\u0663|b|");
}

TEST(PreTokenizer, FixedLengthCountsCharacters) {
  EXPECT_EQ(cut({{"type", "FixedLength"}, {"length", 2}}, "abc\u00E9\u4E2D"), "ab|c\u00E9|\u4E2D|");
  EXPECT_EQ(cut({{"type", "FixedLength"}}, "abcdef"), "abcde|f|");
  const Json json = {{"pre_tokenizer", {{"type", "FixedLength"}, {"length", 0}}},
                     {"model", byte_model()}};
  EXPECT_CONTAINS(json_error(json), "pre_tokenizer.length is 0, expected 1 to");
}

// A character beyond ASCII is twice as long after each of them.
TEST(PreTokenizer, ByteLevelsAreFew) {
  Json json = letter_tokenizer();
  Json step = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json(4, step)}};
  EXPECT_EQ(json_error(json), "no error");
  json["pre_tokenizer"]["pretokenizers"].push_back(step);
  EXPECT_CONTAINS(json_error(json), "is one of more than 4 of type ByteLevel");
}

TEST(PreTokenizer, ScriptsAreApartAndSpacesStayWithWhatIsBefore) {
  const Json scripts = {{"type", "UnicodeScripts"}};
  EXPECT_EQ(cut(scripts, "ab \u6F22\u5B57\u304B\u30CA\u30FC\u043A\u0438\u0440 12c"),
            "ab |\u6F22\u5B57\u304B\u30CA\u30FC|\u043A\u0438\u0440 |12|c|");
  // At the start of a text they go.
  EXPECT_EQ(cut(scripts, "  ab"), "ab|");
  EXPECT_EQ(cut(scripts, "  "), "");
}

TEST(PreTokenizer, MetaspaceFirstMeansTheStartOfTheOriginalText) {
  const Json first = {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "first"}};
  const Json strip = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}};
  const auto replace = [](const char* from, const char* to) {
    return Json{{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  EXPECT_EQ(cut(first, "a b"), "_a|_b|");
  EXPECT_EQ(cut(first, " a", strip), "a|");
  EXPECT_EQ(cut(first, "a ", strip), "_a|_|");
  EXPECT_EQ(cut(first, "xa", replace("x", "")), "a|");
  EXPECT_EQ(cut(first, "xa", replace("x", "yy")), "_yya|");
  EXPECT_EQ(cut(first, "xa", {{"type", "Prepend"}, {"prepend", "y"}}), "_yxa|");
  EXPECT_EQ(cut(first, "\u00E9a", {{"type", "NFD"}}), "_e\u0301a|");
  EXPECT_EQ(cut(first, "\u0301a", {{"type", "StripAccents"}}), "a|");
  // Of the words of a step before, those that were made of the first character.
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const Json pieces = sequence("pretokenizers", {digits, first});
  EXPECT_EQ(cut(pieces, "1a2"), "_1|a|2|");
  EXPECT_EQ(cut(pieces, "a1", {{"type", "Prepend"}, {"prepend", "5"}}), "_5|_a|1|");
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", false}};
  EXPECT_EQ(cut(sequence("pretokenizers", {bytes, first}), "a"), "_\u0120a|");
  // Nor does a word behind an added token begin the text.
  Json json = {{"pre_tokenizer", first}, {"model", byte_model()}};
  json["added_tokens"] = {added("<x>", 300, {{"normalized", true}}),
                          added("<y>", 301, {{"lstrip", true}})};
  const Tokenizer tokenizer = must_load(json.dump());
  EXPECT_EQ(*tokenizer.encode("a<x>b", false), (Ids{'_', 'a', '|', 300, 'b', '|'}));
  EXPECT_EQ(*tokenizer.encode(" <y>b", false), (Ids{301, 'b', '|'}));
}

TEST(Normalizer, StripsAccentsAndCleansUpForTranslation) {
  EXPECT_EQ(normalized({{"type", "StripAccents"}}, "e\u0301\u00E9\u0915\u093F\u20DD"),
            "e\u00E9\u0915");
  EXPECT_EQ(normalized({{"type", "Nmt"}},
                       "a\x01\x7F\u008F"
                       "b\tc\u200Bd\u2581\uFFFD\u0085"),
            "ab c d  \u0085");
}

TEST(Normalizer, BertCleansSeparatesStripsAndLowers) {
  const auto bert = [](bool clean, bool cjk, const Json& accents, bool lower) {
    return Json{{"type", "BertNormalizer"},
                {"clean_text", clean},
                {"handle_chinese_chars", cjk},
                {"strip_accents", accents},
                {"lowercase", lower}};
  };
  const std::string text = "H\u00C9\u00E7\u200B\x01\t\u4E2Dx\uFFFD";
  EXPECT_EQ(normalized(bert(true, false, false, false), text), "H\u00C9\u00E7 \u4E2Dx");
  EXPECT_EQ(normalized(bert(false, true, false, false), "a\u4E2D\u6587"), "a \u4E2D  \u6587 ");
  EXPECT_EQ(normalized(bert(false, false, true, false), "H\u00C9\u00E7"), "HEc");
  EXPECT_EQ(normalized(bert(false, false, nullptr, true), "H\u00C9\u00E7"), "hec");
  EXPECT_EQ(normalized(bert(false, false, false, true), "H\u00C9\u00E7"), "h\u00E9\u00E7");
  EXPECT_EQ(normalized(bert(true, true, nullptr, true), text), "hec  \u4E2D x");
}

TEST(Normalizer, ByteLevelGivesTheAlphabetOfBytes) {
  EXPECT_EQ(normalized({{"type", "ByteLevel"}}, "a \u00E9"), "a\u0120\u00C3\u00A9");
}

// The table of NFKC with SentencePiece's own rules, from a model's file.
TEST(Normalizer, PrecompiledTablesApplyToShortClusters) {
  const auto model =
      tokenizer::SentencePieceModel::parse(golden("tok_spm_unigram", "tokenizer.model"));
  ASSERT_TRUE(model.ok()) << model.error().message;
  const Json table = {{"type", "Precompiled"},
                      {"precompiled_charsmap", to_base64(model->charsmap)}};
  EXPECT_EQ(normalized(table, "\uFB01\uFF21\u2460\u200Bx\u3000y"), "fiA1 x y");
  EXPECT_EQ(normalized(table, "e\u0301"), "\u00E9");
  // A cluster of more than five bytes goes character by character.
  EXPECT_EQ(normalized(table, "e\u0301\u0327\u0315"), "e\u0301\u0327\u0315");
  // Of a short one that begins with an entry the rest is lost.
  EXPECT_EQ(normalized(table, "\u2460\u0301"), "1");
  EXPECT_EQ(normalized(table, "plain"), "plain");
}

TEST(Model, BpeDecoratesCharactersByTheirPlaceInTheWord) {
  const Json model = {{"type", "BPE"},
                      {"continuing_subword_prefix", "##"},
                      {"end_of_word_suffix", "</w>"},
                      {"vocab",
                       {{"a", 0},
                        {"##b", 1},
                        {"##c</w>", 2},
                        {"ab", 3},
                        {"abc</w>", 4},
                        {"a</w>", 5},
                        {"##b</w>", 6}}},
                      {"merges", {"a ##b", "ab ##c</w>"}}};
  const Tokenizer tokenizer =
      must_load(Json{{"pre_tokenizer", {{"type", "WhitespaceSplit"}}}, {"model", model}}.dump());
  EXPECT_EQ(*tokenizer.encode("abc a ab abb", false), (Ids{4, 5, 0, 6, 3, 6}));
}

TEST(Model, WordPieceTakesTheLongestPieceFromTheLeft) {
  Json json = {{"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
               {"model",
                {{"type", "WordPiece"},
                 {"unk_token", "[UNK]"},
                 {"continuing_subword_prefix", "##"},
                 {"max_input_chars_per_word", 6},
                 {"vocab",
                  {{"[UNK]", 0},
                   {"un", 1},
                   {"##aff", 2},
                   {"##able", 3},
                   {"##a", 4},
                   {"a", 5},
                   {"\u4E2D", 6},
                   {"##", 7}}}}}};
  const Tokenizer tokenizer = must_load(json.dump());
  EXPECT_EQ(*tokenizer.encode("unaffa unable", false), (Ids{1, 2, 4, 1, 3}));
  EXPECT_EQ(*tokenizer.encode("unaffable", false), (Ids{0}));  // too long
  EXPECT_EQ(*tokenizer.encode("unx una x \u4E2Da ##", false), (Ids{0, 1, 4, 0, 6, 4, 0, 0}));
  json["model"]["unk_token"] = "<none>";
  const auto ids = must_load(json.dump()).encode("a x", false);
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().message,
            "the text has 'x', which is not in model.vocab, nor is the unknown "
            "token (<none>)");
}

TEST(Model, WordLevelKnowsWholeWords) {
  const Json json = {{"pre_tokenizer", {{"type", "Whitespace"}}},
                     {"model",
                      {{"type", "WordLevel"},
                       {"unk_token", "<unk>"},
                       {"vocab", {{"<unk>", 0}, {"to", 1}, {"be", 2}}}}}};
  EXPECT_EQ(*must_load(json.dump()).encode("to be tobe", false), (Ids{1, 2, 0}));
}

TEST(Model, UnigramMaximizesTheSumAndBreaksTiesLikeSentencePiece) {
  const auto encode = [](const Json& pieces, const std::string& text, bool bytes = false) {
    const Json model = {
        {"type", "Unigram"}, {"unk_id", 0}, {"vocab", pieces}, {"byte_fallback", bytes}};
    return *must_load(Json{{"model", model}}.dump()).encode(text, false);
  };
  const Json pieces = Json::parse(
      R"([["<unk>", 0], ["a", 0], ["b", 0], ["c", 0], ["d", 0], ["cd", 1], ["ab", 2], ["abc", 5],
          ["abcd", 10]])");
  EXPECT_EQ(encode(pieces, "abcdacdxx"), (Ids{8, 1, 5, 0}));
  EXPECT_EQ(encode(pieces, "xaxx"), (Ids{0, 1, 0}));
  // Equal sums: the way that was found first stays.
  EXPECT_EQ(encode(Json::parse(R"([["<unk>", 0], ["a", -1], ["aa", -2], ["aaa", -3]])"), "aaaa"),
            (Ids{1, 3}));
  // Scores are double: as float these two ways would be equal.
  EXPECT_EQ(encode(Json::parse(R"([["<unk>", 0], ["a", -1], ["aa", -1.99999999]])"), "aa"),
            (Ids{2}));
  // Of equal pieces the last counts.
  EXPECT_EQ(encode(Json::parse(R"([["<unk>", 0], ["a", -1], ["a", -2]])"), "a"), (Ids{2}));
  const Json bytes =
      Json::parse(R"([["<unk>", 0], ["a", -1], ["<0xC3>", -9], ["<0xA9>", -9], ["<0x78>", -9]])");
  EXPECT_EQ(encode(bytes, "a\u00E9xa", true), (Ids{1, 2, 3, 4, 1}));
  EXPECT_EQ(encode(bytes, "a\u00E9ya", true), (Ids{1, 0, 1}));
  EXPECT_EQ(encode(bytes, "a\u00E9xa", false), (Ids{1, 0, 1}));
}

TEST(Model, AMissingUnknownTokenIsAnErrorOfTheTextThatNeedsIt) {
  Json json = {{"model", {{"type", "Unigram"}, {"vocab", Json::parse(R"([["a", 0]])")}}}};
  EXPECT_EQ(*must_load(json.dump()).encode("aa", false), (Ids{0, 0}));
  EXPECT_CONTAINS(must_load(json.dump()).encode("ab", false).error().message,
                  "the text has 'b', which is not in model.vocab");
  json = letter_tokenizer();
  json["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(*must_load(json.dump()).encode("ab", false), (Ids{'a', 'b'}));
  EXPECT_CONTAINS(must_load(json.dump()).encode("\u00E9", false).error().message,
                  "nor is the unknown token (<unk>)");
}

TEST(Model, OldFilesWithoutATypeAreRecognized) {
  const auto encode = [](const Json& model) {
    return *must_load(Json{{"model", model}}.dump()).encode("ab", false);
  };
  const Json vocab = {{"a", 0}, {"b", 1}, {"##b", 2}, {"ab", 3}};
  EXPECT_EQ(encode({{"vocab", vocab}, {"merges", Json::array()}}), (Ids{0, 1}));
  EXPECT_EQ(encode({{"vocab", vocab}, {"unk_token", "a"}}), (Ids{3}));
  EXPECT_EQ(encode({{"vocab", {{"a", 0}, {"##b", 2}}},
                    {"unk_token", "a"},
                    {"continuing_subword_prefix", "##"},
                    {"max_input_chars_per_word", 100}}),
            (Ids{0, 2}));
  EXPECT_EQ(encode({{"vocab", Json::parse(R"([["a", 0], ["b", 0]])")}}), (Ids{0, 1}));
}

TEST(PostProcessor, BertAndRobertaPutClsAndSepAround) {
  for (const char* type : {"BertProcessing", "RobertaProcessing"}) {
    Json json = letter_tokenizer();
    json["added_tokens"] = {added("<s>", 200), added("</s>", 201)};
    json["post_processor"] = {{"type", type}, {"cls", {"<s>", 200}}, {"sep", {"</s>", 201}}};
    EXPECT_EQ(*must_load(json.dump()).encode("x", true), (Ids{200, 'x', 201}));
    EXPECT_EQ(*must_load(json.dump()).encode("", true), (Ids{200, 201}));
    EXPECT_EQ(*must_load(json.dump()).encode("x", false), (Ids{'x'}));
    json["post_processor"]["sep"] = {"</s>", 999};
    EXPECT_CONTAINS(json_error(json),
                    "post_processor.sep[1] is 999, which is not the id of a token");
    json["post_processor"]["sep"] = {"</s>"};
    EXPECT_CONTAINS(json_error(json), "post_processor.sep is not [\"token\", id]");
  }
}

TEST(PostProcessor, SomeClassesRebuildItFromTheirFlags) {
  const auto special = [](const char* name) {
    return Json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
  };
  const auto encode = [&](bool bos, bool eos, const Json& config) {
    Json json = letter_tokenizer();
    json["added_tokens"] = {added("<s>", 200), added("</s>", 201), added("<bos>", 202)};
    Json single = Json::array();
    if (bos) single.push_back(special("<s>"));
    single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    if (eos) single.push_back(special("</s>"));
    if (bos || eos) {
      json["post_processor"] = {
          {"type", "TemplateProcessing"},
          {"single", single},
          {"special_tokens", {{"<s>", {{"ids", {200}}}}, {"</s>", {{"ids", {201}}}}}}};
    }
    const auto tokenizer = Tokenizer::from_json(json.dump(), config.dump());
    return tokenizer.ok() ? *tokenizer->encode("x", true) : Ids{};
  };
  const auto config = [](const char* name, Json more = Json::object()) {
    more["tokenizer_class"] = name;
    return more;
  };
  const Ids none = {'x'}, with_bos = {200, 'x'}, with_both = {200, 'x', 201};
  // Llama's: BOS unless it is switched off, EOS if it is switched on; whatever the file says.
  EXPECT_EQ(encode(false, false, config("LlamaTokenizerFast")), with_bos);
  EXPECT_EQ(encode(false, false, config("LlamaTokenizer", {{"add_bos_token", true}})), with_bos);
  EXPECT_EQ(encode(true, false, config("LlamaTokenizer", {{"add_bos_token", false}})), none);
  EXPECT_EQ(encode(true, false, config("LlamaTokenizer", {{"add_eos_token", true}})), with_both);
  EXPECT_EQ(encode(true, true, config("LlamaTokenizerFast")), with_bos);
  EXPECT_EQ(encode(true, true, config("CodeLlamaTokenizer", {{"add_bos_token", nullptr}})),
            with_bos);
  EXPECT_EQ(encode(false, false, config("LlamaTokenizer", {{"bos_token", {{"content", "</s>"}}}})),
            (Ids{201, 'x'}));
  EXPECT_EQ(encode(false, false, config("GemmaTokenizerFast")), (Ids{202, 'x'}));
  EXPECT_EQ(encode(true, true, config("GPTNeoXTokenizerFast")), none);
  EXPECT_EQ(encode(true, true, config("CohereTokenizerFast")), none);  // has no <BOS_TOKEN> here
  // The others leave it alone.
  EXPECT_EQ(encode(false, false, config("PreTrainedTokenizerFast", {{"add_bos_token", true}})),
            none);
  EXPECT_EQ(encode(true, false, config("PreTrainedTokenizerFast", {{"add_bos_token", false}})),
            with_bos);
  EXPECT_EQ(encode(true, true, config("Qwen2Tokenizer", {{"add_bos_token", false}})), with_both);
  EXPECT_EQ(encode(true, true, Json{{"add_bos_token", false}}), with_both);
  EXPECT_EQ(
      load_error(letter_tokenizer().dump(),
                 R"({"tokenizer_class": "LlamaTokenizer", "bos_token": "<begin>"})"),
      "tokenizer_config.json: bos_token is '<begin>', which is not a token of the vocabulary");
  EXPECT_EQ(load_error(letter_tokenizer().dump(),
                       R"({"tokenizer_class": "LlamaTokenizer", "add_eos_token": 1})"),
            "tokenizer_config.json: add_eos_token is a number, expected true or false");
}

// transformers takes both off before it encodes, unless a call asks for them.
TEST(Tokenizer, TruncationAndPaddingOfTheFileAreTheCallersToAskFor) {
  Json json = letter_tokenizer();
  json["truncation"] = {{"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
  json["padding"] = {{"strategy", {{"Fixed", 8}}}, {"pad_id", 0}};
  EXPECT_EQ(*must_load(json.dump()).encode("abc", true), (Ids{'a', 'b', 'c'}));
}

TEST(AddedTokens, TheConfigsDescriptionCountsAndTheNormalizedFormIsDecoded) {
  Json json = letter_tokenizer();
  json["normalizer"] = {{"type", "Lowercase"}};
  json["added_tokens"] = {added("<A>", 200), added("<B>", 201, {{"normalized", true}})};
  const Tokenizer plain = must_load(json.dump());
  EXPECT_EQ(*plain.encode("x <A>", false), (Ids{'x', ' ', 200}));
  EXPECT_EQ(*plain.decode(Ids{200, 201}, false), "<A> <b>");
  const Tokenizer stripping =
      must_load(json.dump(), R"({"added_tokens_decoder": {"200": {"content": "<A>", "lstrip": true,
                                                        "normalized": false}}})");
  EXPECT_EQ(*stripping.encode("x <A>", false), (Ids{'x', 200}));
}

TEST(AddedTokens, WhiteSpaceThatIsStrippedAgainAndAgainTakesLittleTime) {
  Json json = letter_tokenizer();
  json["added_tokens"] = {added(" ", ' ', {{"lstrip", true}, {"rstrip", true}})};
  const std::string spaces(1000000, ' ');
  EXPECT_EQ(must_load(json.dump()).encode(spaces, false)->size(), spaces.size());
}

class DecoderChains : public testing::Test {
 protected:
  static std::string decode(const Json& decoder, const std::vector<std::string>& tokens) {
    Json vocab = {{"?", 0}};
    Ids ids;
    for (const std::string& token : tokens) {
      if (!vocab.contains(token)) vocab[token] = static_cast<int>(vocab.size());
      ids.push_back(vocab[token]);
    }
    const Json json = {{"decoder", decoder},
                       {"model", {{"type", "WordLevel"}, {"vocab", vocab}, {"unk_token", "?"}}}};
    const Tokenizer tokenizer = must_load(json.dump());
    const std::string text = *tokenizer.decode(ids, false);
    EXPECT_EQ(stream(tokenizer, ids, false), text);
    return text;
  }
};

TEST_F(DecoderChains, WordPieceJoinsAndCleansUp) {
  const Json plain = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", false}};
  const Json clean = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  const std::vector<std::string> tokens = {"##do", "##n't", "it", "'s", ".", "do not", "!"};
  EXPECT_EQ(decode(plain, tokens), "##don't it 's . do not !");
  EXPECT_EQ(decode(clean, tokens), "##don't it's. don't!");
}

TEST_F(DecoderChains, BpeSuffixesAreSpacesButAtTheEnd) {
  const Json bpe = {{"type", "BPEDecoder"}, {"suffix", "</w>"}};
  EXPECT_EQ(decode(bpe, {"he", "llo</w>", "you</w>"}), "hello you");
  EXPECT_EQ(decode(bpe, {"a</w>b</w>", "c"}), "a b c");
  EXPECT_EQ(decode(bpe, {}), "");
}

TEST_F(DecoderChains, CtcMergesRepetitions) {
  const Json ctc = {
      {"type", "CTC"}, {"pad_token", "<pad>"}, {"word_delimiter_token", "|"}, {"cleanup", true}};
  EXPECT_EQ(decode(ctc, {"<pad>", "h", "h", "<pad>", "h", "i", "|", "|", "y"}), "hhi y");
  Json raw = ctc;
  raw["cleanup"] = false;
  EXPECT_EQ(decode(raw, {"h", "h", "|", "y"}), "h|y");
}

TEST_F(DecoderChains, StripCutsEachTokenOrBehindFuseTheText) {
  const Json strip = {{"type", "Strip"}, {"content", "_"}, {"start", 1}, {"stop", 1}};
  EXPECT_EQ(decode(strip, {"__a__", "b_", "_"}), "_a_b");
  const Json fuse = {{"type", "Fuse"}};
  EXPECT_EQ(decode(sequence("decoders", {fuse, strip}), {"_", "_a_", "_b", "_"}), "_a__b");
  const Json start = {{"type", "Strip"}, {"content", "_"}, {"start", 2}, {"stop", 0}};
  EXPECT_EQ(decode(sequence("decoders", {fuse, start}), {"_", "__a", "_b"}), "_a_b");
}

TEST_F(DecoderChains, StepsWorkOnWhatTheStepsBeforeMake) {
  const Json bytes = {{"type", "ByteFallback"}}, fuse = {{"type", "Fuse"}};
  const Json metaspace = {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "first"}};
  const Json word_piece = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", false}};
  const auto replace = [](const Json& pattern, const char* content) {
    return Json{{"type", "Replace"}, {"pattern", pattern}, {"content", content}};
  };
  EXPECT_EQ(decode(sequence("decoders", {bytes, word_piece}), {"<0xC3>", "<0xA9>", "x", "<0xFF>"}),
            "\u00E9 x \uFFFD");
  EXPECT_EQ(decode(sequence("decoders", {fuse, metaspace}), {"_a", "_b"}), "ab");
  EXPECT_EQ(decode(metaspace, {"_a", "_b", "_"}), "a b ");
  EXPECT_EQ(decode(sequence("decoders", {fuse, replace({{"Regex", "ab"}}, "c")}), {"a", "b", "a"}),
            "ca");
  EXPECT_EQ(decode(sequence("decoders", {replace({{"String", "<"}}, "<0x4"), bytes}), {"<1>"}),
            "A");
  const Json byte_level = {{"type", "ByteLevel"}};
  EXPECT_EQ(decode(sequence("decoders", {byte_level, metaspace}), {"\u00C3", "\u00A9_", "_"}),
            "\u00E9");
  EXPECT_EQ(decode(sequence("decoders", {}), {"a", "b"}), "ab");
}

// While a Fuse that only has its start cut goes on, text comes out.
TEST(StreamingDecoder, GoesOnBehindFuse) {
  Json json = letter_tokenizer();
  json["decoder"] = sequence(
      "decoders",
      {{{"type", "Fuse"}}, {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}});
  StreamingDecoder decoder(must_load(json.dump()), false);
  EXPECT_EQ(decoder.push(' '), "");
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_EQ(decoder.push(' '), " ");
  EXPECT_EQ(decoder.flush(), "");
  EXPECT_EQ(decoder.push(' '), "");
}

}  // namespace
}  // namespace sinter::runtime
