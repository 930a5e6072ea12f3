#include "runtime/text/tokenizer/tokenizer.h"

#include <random>
#include <tuple>

#include "tests/runtime/text/tokenizer_test.h"

namespace sinter::runtime {
namespace {

// A byte-level tokenizer of single bytes and a few merges, with nothing around it.
Json byte_tokenizer() {
  Json json = Json::parse(golden("tok_qwen", "tokenizer.json"));
  json["normalizer"] = nullptr;
  json["added_tokens"] = Json::array();
  json["pre_tokenizer"] = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return json;
}

// The words that a pre-tokenizer makes: with ignore_merges, a word of the vocabulary is one token.
std::vector<std::string> words(const Json& pre_tokenizer, const std::string& text,
                               std::vector<std::string> known) {
  Json json = letter_tokenizer();
  json["pre_tokenizer"] = pre_tokenizer;
  json["model"]["ignore_merges"] = true;
  int id = 1000;
  for (const std::string& word : known) json["model"]["vocab"][word] = id++;
  const Tokenizer tokenizer = must_load(json.dump());
  const auto ids = tokenizer.encode(text, false);
  std::vector<std::string> result;
  if (!ids.ok()) return {ids.error().message};
  for (const int32_t token : *ids) result.emplace_back(*tokenizer.id_to_token(token));
  return result;
}

// What a normalizer makes of a text, for results within ASCII.
std::string normalized(const Json& normalizer, const std::string& text) {
  Json json = letter_tokenizer();
  json["normalizer"] = normalizer;
  const auto ids = must_load(json.dump()).encode(text, false);
  if (!ids.ok()) return ids.error().message;
  std::string result;
  for (const int32_t id : *ids) result.push_back(static_cast<char>(id));
  return result;
}

using Words = std::vector<std::string>;

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, EncodesAndDecodesAsHuggingFaceDoes) {
  const Tokenizer tokenizer = load_golden(GetParam());
  const Json entries = Json::parse(golden(GetParam(), "tokens.json"));
  ASSERT_GT(entries.size(), 100u);
  for (const Json& entry : entries) {
    const std::string text = entry["text"];
    SCOPED_TRACE(text);
    const auto ids = tokenizer.encode(text, false);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(*ids, entry["ids"].get<Ids>());
    const auto with_special = tokenizer.encode(text, true);
    ASSERT_TRUE(with_special.ok()) << with_special.error().message;
    EXPECT_EQ(*with_special, entry["ids_special"].get<Ids>());
    // Both decodings are of `ids`.
    EXPECT_EQ(*tokenizer.decode(*ids, false), entry["decoded"].get<std::string>());
    EXPECT_EQ(*tokenizer.decode(*ids, true), entry["decoded_skip_special"].get<std::string>());
  }
}

TEST_P(Golden, StreamsTheSameTextInValidPieces) {
  const Tokenizer tokenizer = load_golden(GetParam());
  for (const Json& entry : Json::parse(golden(GetParam(), "tokens.json"))) {
    const Ids ids = entry["ids"];
    for (const bool skip : {false, true}) {
      EXPECT_EQ(stream(tokenizer, ids, skip), *tokenizer.decode(ids, skip));
      StreamingDecoder decoder(tokenizer, skip);
      for (const int32_t id : ids) {
        // dump() refuses strings that are not UTF-8.
        EXPECT_NO_THROW(Json(decoder.push(id)).dump()) << entry["text"];
      }
    }
  }
}

TEST_P(Golden, FindsTokensByNameAndById) {
  const Tokenizer tokenizer = load_golden(GetParam());
  const Json config = Json::parse(golden(GetParam(), "tokenizer_config.json"));
  for (const auto& [id, token] : config["added_tokens_decoder"].items()) {
    const std::string content = token["content"];
    EXPECT_EQ(tokenizer.find(content), std::stoi(id));
    EXPECT_EQ(tokenizer.id_to_token(std::stoi(id)), content);
    EXPECT_EQ(tokenizer.is_special(std::stoi(id)), token["special"].get<bool>());
  }
  EXPECT_EQ(tokenizer.vocab_size(), Json::parse(golden(GetParam(), "case.json"))["vocab"]);
  EXPECT_FALSE(tokenizer.find("no such token"));
  for (const int32_t id : {-1, tokenizer.vocab_size(), INT32_MAX, INT32_MIN}) {
    EXPECT_FALSE(tokenizer.id_to_token(id));
    EXPECT_FALSE(tokenizer.is_special(id));
    EXPECT_EQ(*tokenizer.decode(Ids{id}, false), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Golden,
                         testing::Values("tok_qwen", "tok_llama3", "tok_gpt2", "tok_llama2_json"));

TEST(Tokenizer, RandomTextComesBackFromAByteLevelTokenizer) {
  const Tokenizer bytes = must_load(byte_tokenizer().dump());
  Json gpt2_json = Json::parse(golden("tok_gpt2", "tokenizer.json"));
  gpt2_json["added_tokens"] = Json::array();  // those that strip white space do not come back
  const Tokenizer gpt2 = must_load(gpt2_json.dump());
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    const size_t length = random() % 40;
    for (size_t i = 0; i < length; ++i) {
      uint32_t c = 0;
      switch (random() % 4) {
        case 0:
          c = random() % 128;
          break;
        case 1:
          c = random() % 0x800;
          break;
        case 2:
          c = random() % 0xD800;
          break;
        default:
          c = 0x10000 + random() % 0x100000;
      }
      // Through UTF-16 escapes, so that the test has an encoder of its own.
      char escape[32];
      if (c < 0x10000) {
        std::snprintf(escape, sizeof escape, "\"\\u%04x\"", c);
      } else {
        std::snprintf(escape, sizeof escape, "\"\\u%04x\\u%04x\"", 0xD800 + ((c - 0x10000) >> 10),
                      0xDC00 + ((c - 0x10000) & 0x3FF));
      }
      text += Json::parse(escape).get<std::string>();
    }
    for (const Tokenizer& tokenizer : {bytes, gpt2}) {
      const auto ids = tokenizer.encode(text, false);
      ASSERT_TRUE(ids.ok()) << ids.error().message;
      EXPECT_EQ(*tokenizer.decode(*ids, false), text);
      EXPECT_EQ(stream(tokenizer, *ids, false), text);
    }
  }
}

TEST(Tokenizer, RandomBytesEncodeAsTheirReplacedText) {
  const Tokenizer tokenizer = must_load(byte_tokenizer().dump());
  std::mt19937 random(2);
  for (int round = 0; round < 500; ++round) {
    std::string bytes;
    for (size_t i = random() % 30; i > 0; --i) {
      // Half of them lead or continuation bytes.
      bytes.push_back(static_cast<char>(random() % 2 == 0 ? random() : 0x80 | random()));
    }
    const auto ids = tokenizer.encode(bytes, false);
    ASSERT_TRUE(ids.ok());
    const std::string text = *tokenizer.decode(*ids, false);
    EXPECT_NO_THROW(Json(text).dump());
    const auto again = tokenizer.encode(text, false);
    EXPECT_EQ(*again, *ids);
  }
}

TEST(Tokenizer, InvalidBytesBecomeOneReplacementForEachMaximalPart) {
  const Tokenizer tokenizer = must_load(byte_tokenizer().dump());
  const std::string r = "\xEF\xBF\xBD";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a\xFFz", "a" + r + "z"},
      {"\xC3", r},
      {"\xE2\x82", r},
      {"\xE2\x82z", r + "z"},
      {"\xF0\x9F\x98", r},
      {"\xF0\x9F\x98\xC3\xA9", r + "\xC3\xA9"},
      {"\xC0\x80", r + r},
      {"\xED\xA0\x80", r + r + r},
      {"\xF4\x90\x80\x80", r + r + r + r},
      {"\x80\x80", r + r},
  };
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(*tokenizer.decode(*tokenizer.encode(bytes, false), false), text);
    // The same bytes as tokens: the decoder meets what the encoder would have replaced.
    Ids ids;
    for (const char c : bytes) {
      const std::string one = *tokenizer.decode(*tokenizer.encode("a", false), false);
      for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
        const auto token = *tokenizer.id_to_token(id);
        const auto byte = static_cast<unsigned char>(c);
        // Bytes from 0x80 on that are not printable in Latin-1 stand at U+0100 + 33 and on; the
        // printable ones and ASCII letters stand for themselves.
        std::string spelled;
        if (byte < 0x80) {
          spelled = std::string(1, c);
        } else {
          const unsigned code = byte <= 0xA0   ? 0x100u + 34u + (byte - 0x80u)
                                : byte == 0xAD ? 0x143u
                                               : byte;
          spelled = {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 63))};
        }
        if (token == spelled) ids.push_back(id);
      }
    }
    ASSERT_EQ(ids.size(), bytes.size());
    EXPECT_EQ(*tokenizer.decode(ids, false), text);
    EXPECT_EQ(stream(tokenizer, ids, false), text);
  }
}

TEST(StreamingDecoder, HoldsBackOnlyAnIncompleteSequence) {
  const Tokenizer tokenizer = load_golden("tok_qwen");
  const Ids ids = *tokenizer.encode("a\xE2\x98\xAD", false);  // U+262D: not in the vocabulary
  ASSERT_EQ(ids.size(), 4u);
  StreamingDecoder decoder(tokenizer, false);
  EXPECT_EQ(decoder.push(ids[0]), "a");
  EXPECT_EQ(decoder.push(ids[1]), "");
  EXPECT_EQ(decoder.push(ids[2]), "");
  EXPECT_EQ(decoder.push(ids[3]), "\xE2\x98\xAD");
  EXPECT_EQ(decoder.push(ids[1]), "");
  EXPECT_EQ(decoder.push(ids[0]),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(decoder.push(ids[1]), "");
  EXPECT_EQ(decoder.flush(), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.flush(), "");
}

TEST(Tokenizer, LongWordsTakeLittleTime) {
  const Tokenizer tokenizer = load_golden("tok_qwen");
  std::string word;
  for (int i = 0; i < 300000; ++i) word += "thequickou"[i % 10];
  const auto ids = tokenizer.encode(word, false);
  ASSERT_TRUE(ids.ok()) << ids.error().message;
  EXPECT_EQ(*tokenizer.decode(*ids, false), word);
  const std::string spaces(1000000, ' ');
  const auto space_ids = tokenizer.encode(spaces + "x", false);
  ASSERT_TRUE(space_ids.ok()) << space_ids.error().message;
  EXPECT_EQ(*tokenizer.decode(*space_ids, false), spaces + "x");
}

TEST(Tokenizer, MergesByRankAndThenFromTheLeft) {
  Json json = letter_tokenizer();
  json["model"]["vocab"] = {{"a", 0},  {"b", 1},   {"c", 2}, {"bc", 3},
                            {"ab", 4}, {"abc", 5}, {"aa", 6}};
  json["model"]["merges"] = {"b c", "a b", "a bc", "a a"};
  const Tokenizer strings = must_load(json.dump());
  json["model"]["merges"] = Json::parse(R"([["b", "c"], ["a", "b"], ["a", "bc"], ["a", "a"]])");
  const Tokenizer pairs = must_load(json.dump());
  json["model"]["merges"] = {"#version: 0.2", "b c", "a b", "a bc", "a a"};
  const Tokenizer with_header = must_load(json.dump());
  for (const Tokenizer& tokenizer : {strings, pairs, with_header}) {
    EXPECT_EQ(*tokenizer.encode("abc", false), (Ids{5}));
    EXPECT_EQ(*tokenizer.encode("abab", false), (Ids{4, 4}));
    EXPECT_EQ(*tokenizer.encode("aaa", false), (Ids{6, 0}));
    EXPECT_EQ(*tokenizer.encode("abcbc", false), (Ids{5, 3}));
  }
}

TEST(Tokenizer, IgnoreMergesTakesAWholeWordThatIsAToken) {
  Json json = letter_tokenizer();
  json["model"]["vocab"]["xyz"] = 500;
  EXPECT_EQ(*must_load(json.dump()).encode("xyz", false), (Ids{'x', 'y', 'z'}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(*must_load(json.dump()).encode("xyz", false), (Ids{500}));
  EXPECT_EQ(*must_load(json.dump()).encode("xyzx", false), (Ids{'x', 'y', 'z', 'x'}));
}

TEST(Tokenizer, UnknownCharactersFollowTheModelsOptions) {
  Json json = letter_tokenizer();
  const std::string text = "a\xC3\xA9\xC3\xA9z";
  EXPECT_EQ(*must_load(json.dump()).encode(text, false), (Ids{'a', 'z'}));
  json["model"]["vocab"]["<unk>"] = 0;
  json["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(*must_load(json.dump()).encode(text, false), (Ids{'a', 0, 0, 'z'}));
  json["model"]["fuse_unk"] = true;
  EXPECT_EQ(*must_load(json.dump()).encode(text, false), (Ids{'a', 0, 'z'}));
  json["model"]["byte_fallback"] = true;
  json["model"]["vocab"]["<0xC3>"] = 1;
  json["model"]["vocab"]["<0xA9>"] = 2;
  EXPECT_EQ(*must_load(json.dump()).encode(text, false), (Ids{'a', 1, 2, 1, 2, 'z'}));
}

TEST(PreTokenizer, SplitBehaviours) {
  const auto split = [](const char* behavior, bool invert) {
    return words({{"type", "Split"},
                  {"pattern", {{"String", "-"}}},
                  {"behavior", behavior},
                  {"invert", invert}},
                 "the-final--countdown",
                 {"the", "final", "countdown", "the-", "final-", "-final", "-countdown", "--"});
  };
  EXPECT_EQ(split("Isolated", false), (Words{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split("Removed", false), (Words{"the", "final", "countdown"}));
  EXPECT_EQ(split("MergedWithPrevious", false), (Words{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split("MergedWithNext", false), (Words{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split("Contiguous", false), (Words{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(split("Removed", true), (Words{"-", "-", "-"}));
  EXPECT_EQ(split("Isolated", true), (Words{"the", "-", "final", "-", "-", "countdown"}));
}

TEST(PreTokenizer, DigitsAloneOrInRuns) {
  const Json runs = {{"type", "Digits"}, {"individual_digits", false}};
  const Json single = {{"type", "Digits"}, {"individual_digits", true}};
  EXPECT_EQ(words(runs, "ab12c3", {"ab", "12"}), (Words{"ab", "12", "c", "3"}));
  EXPECT_EQ(words(single, "ab12c3", {"ab", "12"}), (Words{"ab", "1", "2", "c", "3"}));
}

TEST(PreTokenizer, ByteLevelPutsASpaceBeforeEachTextThatHasNone) {
  Json json = Json::parse(golden("tok_gpt2", "tokenizer.json"));
  const Tokenizer plain = must_load(json.dump());
  json["pre_tokenizer"]["add_prefix_space"] = true;
  const Tokenizer prefixed = must_load(json.dump());
  const auto same = [&](const std::string& text, const std::string& as) {
    EXPECT_EQ(*prefixed.encode(text, false), *plain.encode(as, false)) << text;
  };
  same("hello", " hello");
  same(" hello", " hello");
  same("\nhello", " \nhello");
  same("", "");
  same("a<|endoftext|>b", " a<|endoftext|> b");
}

TEST(PreTokenizer, MetaspaceSplitsBeforeSpacesAndPutsOneInFront) {
  const auto split = [](const Json& options, const std::string& text) {
    Json json = {{"type", "Metaspace"}, {"replacement", "_"}};
    json.update(options);
    return words(json, text, {"_ab", "_cd", "ab", "_ab_cd", "ab_cd", "_", "__cd"});
  };
  const Json always = {{"prepend_scheme", "always"}}, never = {{"prepend_scheme", "never"}};
  EXPECT_EQ(split(always, "ab cd"), (Words{"_ab", "_cd"}));
  EXPECT_EQ(split(always, " ab  cd"), (Words{"_ab", "_", "_cd"}));
  EXPECT_EQ(split(never, "ab cd"), (Words{"ab", "_cd"}));
  EXPECT_EQ(split(Json::object(), "ab"), (Words{"_ab"}));
  EXPECT_EQ(split({{"add_prefix_space", false}}, "ab"), (Words{"ab"}));
  EXPECT_EQ(split({{"prepend_scheme", "always"}, {"split", false}}, "ab cd"), (Words{"_ab_cd"}));
  EXPECT_EQ(split({{"prepend_scheme", "never"}, {"split", false}}, "ab cd"), (Words{"ab_cd"}));
  EXPECT_EQ(split(always, ""), Words{});

  // "first" means the text's first word, and no word after an added token.
  Json json = letter_tokenizer();
  json["added_tokens"] = {{{"id", 500}, {"content", "<|x|>"}, {"special", true}}};
  json["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "first"}};
  const Tokenizer first = must_load(json.dump());
  EXPECT_EQ(*first.encode("a<|x|>b", false), (Ids{'_', 'a', 500, 'b'}));
  EXPECT_EQ(*first.encode("<|x|>b c", false), (Ids{500, 'b', '_', 'c'}));
  json["pre_tokenizer"]["prepend_scheme"] = "always";
  EXPECT_EQ(*must_load(json.dump()).encode("a<|x|>b", false), (Ids{'_', 'a', 500, '_', 'b'}));
}

TEST(PreTokenizer, SequenceAppliesStepsToTheWordsOfTheStepBefore) {
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", "\\s+"}}},
                      {"behavior", "Removed"},
                      {"invert", false}};
  const Json sequence = {
      {"type", "Sequence"},
      {"pretokenizers", {split, {{"type", "Digits"}, {"individual_digits", true}}}}};
  EXPECT_EQ(words(sequence, "ab 12 cd", {"ab", "12", "cd"}), (Words{"ab", "1", "2", "cd"}));
}

TEST(Pattern, MeansWhatOnigurumaMeans) {
  const auto isolated = [](const std::string& regex, const std::string& text, Words known) {
    return words({{"type", "Split"},
                  {"pattern", {{"Regex", regex}}},
                  {"behavior", "Isolated"},
                  {"invert", false}},
                 text, std::move(known));
  };
  // An interval followed by + repeats; it is not possessive.
  EXPECT_EQ(isolated("\\d{1,3}+", "a12345b", {"12345", "123", "45"}), (Words{"a", "12345", "b"}));
  EXPECT_EQ(isolated("(?:x|\\d){1,2}+", "a1x1b", {"1x1"}), (Words{"a", "1x1", "b"}));
  EXPECT_EQ(isolated("x{,2}y", "zxxy", {"xxy"}), (Words{"z", "xxy"}));
  // \h is a hexadecimal digit, alone and in a class.
  EXPECT_EQ(isolated("\\h+", "xbeef", {"beef"}), (Words{"x", "beef"}));
  EXPECT_EQ(isolated("[\\hz]+", "xbzf", {"bzf"}), (Words{"x", "bzf"}));
  // (?m) lets the dot match line breaks; ^ matches at every line.
  EXPECT_EQ(isolated("(?m:a.b)", "xa b", {"a b"}), (Words{"x", "a b"}));
  EXPECT_EQ(isolated("\\u0062+", "abb", {"bb"}), (Words{"a", "bb"}));
  // Possessive simple quantifiers, look-ahead, case folding.
  EXPECT_EQ(isolated("(?i:'S)|\\p{L}++", "it's", {"it", "'s"}), (Words{"it", "'s"}));
  // An empty match cuts, and does not loop.
  EXPECT_EQ(isolated("(?=b)", "abab", {"ab", "ba", "bab"}), (Words{"a", "ba", "b"}));
}

TEST(Pattern, HostilePatternsEndInAnError) {
  Json json = letter_tokenizer();
  json["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a|aa)+$"}}}, {"behavior", "Isolated"}};
  const auto ids = must_load(json.dump()).encode(std::string(200, 'a') + "b", false);
  ASSERT_FALSE(ids.ok());
  EXPECT_CONTAINS(ids.error().message, "needs too much work");

  for (const char* regex : {"(", "[a", "a\\", "[a&&]", "\\p{Nothing}", "(?<=a+)", "\\X", "(?~a)",
                            "(?i:ss)", "(?i:[\\p{Lu}])", "\\K", "[[:no:]]", "(*FAIL)", "\\xE4"}) {
    json["pre_tokenizer"]["pattern"]["Regex"] = regex;
    EXPECT_CONTAINS(json_error(json), "tokenizer.json: pre_tokenizer.pattern is wrong: cannot ")
        << regex;
  }
}

TEST(Normalizer, Forms) {
  const std::string text = "\xEF\xAC\x81\xEF\xBC\xA1";  // the fi ligature, a fullwidth A
  EXPECT_EQ(normalized({{"type", "NFKC"}}, text), "fiA");
  EXPECT_EQ(normalized({{"type", "NFKD"}}, text), "fiA");
  EXPECT_EQ(normalized({{"type", "NFC"}}, text), "");
  // U+212A, the Kelvin sign, is canonically K. Of e with acute only NFD leaves the e.
  EXPECT_EQ(normalized({{"type", "NFC"}}, "\xE2\x84\xAA"), "K");
  EXPECT_EQ(normalized({{"type", "NFD"}}, "\xC3\xA9"), "e");
  EXPECT_EQ(normalized({{"type", "NFC"}}, "e\xCC\x81"), "");
}

TEST(Normalizer, LowercaseIsUnicodes) {
  EXPECT_EQ(normalized({{"type", "Lowercase"}}, "HeLLo"), "hello");
  EXPECT_EQ(normalized({{"type", "Lowercase"}}, "\xC4\xB0"), "i");  // and U+0307
}

TEST(Normalizer, ReplacePrependAndStrip) {
  const auto replace = [](const Json& pattern) {
    return Json{{"type", "Replace"}, {"pattern", pattern}, {"content", "_"}};
  };
  EXPECT_EQ(normalized(replace({{"String", "a.b"}}), "a.b axb"), "_ axb");
  EXPECT_EQ(normalized(replace({{"Regex", "a.b"}}), "a.b axb"), "_ _");
  EXPECT_EQ(normalized({{"type", "Prepend"}, {"prepend", "_"}}, "x"), "_x");
  EXPECT_EQ(normalized({{"type", "Prepend"}, {"prepend", "_"}}, ""), "");
  const std::string spaced = " \t\xE3\x80\x80x y\xC2\xA0 ";
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}}, spaced),
            "x y");
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, " x "),
            "x ");
  EXPECT_EQ(normalized({{"type", "Sequence"},
                        {"normalizers",
                         {{{"type", "Lowercase"}}, {{"type", "Prepend"}, {"prepend", "A"}}}}},
                       "BC"),
            "Abc");
}

TEST(Normalizer, ChainsThatBlowTextUpEndInAnError) {
  Json steps = Json::array();
  for (int i = 0; i < 34; ++i) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}});
  }
  EXPECT_CONTAINS(normalized({{"type", "Sequence"}, {"normalizers", steps}}, "a"), "too large");
}

TEST(AddedTokens, TheLeftmostAndThenTheLongestMatches) {
  Json json = letter_tokenizer();
  json["added_tokens"] = {added("<a>", 200), added("<a><b>", 201), added("b><c", 202)};
  const Tokenizer tokenizer = must_load(json.dump());
  EXPECT_EQ(*tokenizer.encode("<a><b><c", false), (Ids{201, '<', 'c'}));
  EXPECT_EQ(*tokenizer.encode("<a><c", false), (Ids{200, '<', 'c'}));
  EXPECT_EQ(*tokenizer.encode("<a><a><b", false), (Ids{200, 200, '<', 'b'}));
}

TEST(AddedTokens, StripTakesWhiteSpaceOnItsSide) {
  Json json = letter_tokenizer();
  json["added_tokens"] = {added("<l>", 200, {{"lstrip", true}}),
                          added("<r>", 201, {{"rstrip", true}})};
  const Tokenizer tokenizer = must_load(json.dump());
  EXPECT_EQ(*tokenizer.encode("a \t\xE3\x80\x80<l> b", false), (Ids{'a', 200, ' ', 'b'}));
  EXPECT_EQ(*tokenizer.encode("a <r> \n b", false), (Ids{'a', ' ', 201, 'b'}));
  EXPECT_EQ(*tokenizer.encode("<r>  <l>", false), (Ids{201, 200}));
}

TEST(AddedTokens, SingleWordsDoNotTouchWordCharacters) {
  Json json = letter_tokenizer();
  json["added_tokens"] = {added("foo", 200, {{"single_word", true}})};
  const Tokenizer tokenizer = must_load(json.dump());
  EXPECT_EQ(*tokenizer.encode("foo.foo", false), (Ids{200, '.', 200}));
  EXPECT_EQ(*tokenizer.encode("foos", false), (Ids{'f', 'o', 'o', 's'}));
  EXPECT_EQ(*tokenizer.encode("_foo", false), (Ids{'_', 'f', 'o', 'o'}));
  EXPECT_EQ(*tokenizer.encode("\xC3\xA9"
                              "foo",
                              false),
            (Ids{'f', 'o', 'o'}));
}

TEST(AddedTokens, NormalizedOnesMatchInNormalizedText) {
  Json json = letter_tokenizer();
  json["normalizer"] = {{"type", "Lowercase"}};
  json["added_tokens"] = {added("<Raw>", 200), added("<Norm>", 201, {{"normalized", true}})};
  const Tokenizer tokenizer = must_load(json.dump());
  EXPECT_EQ(*tokenizer.encode("<Raw><NORM><norm>", false), (Ids{200, 201, 201}));
  EXPECT_EQ(*tokenizer.encode("<RAW>", false), (Ids{'<', 'r', 'a', 'w', '>'}));
}

TEST(AddedTokens, ComeFromTheConfigToo) {
  const std::string json = letter_tokenizer().dump();
  const Tokenizer tokenizer =
      must_load(json, R"({"added_tokens_decoder": {"300": {"content": "<x>", "special": true}}})");
  EXPECT_EQ(*tokenizer.encode("a<x>", false), (Ids{'a', 300}));
  EXPECT_TRUE(tokenizer.is_special(300));
  EXPECT_CONTAINS(load_error(json, R"({"added_tokens_decoder": {"x": {"content": "<x>"}}})"),
                  "tokenizer_config.json: added_tokens_decoder.x is not a token id");
  EXPECT_CONTAINS(load_error(json, R"({"added_tokens_decoder": 3})"),
                  "tokenizer_config.json: added_tokens_decoder is a number, expected an object");
  EXPECT_CONTAINS(load_error(json, "{"), "tokenizer_config.json: ends within its JSON");
}

TEST(PostProcessor, TemplatesPutTokensAroundTheText) {
  Json json = letter_tokenizer();
  json["added_tokens"] = {added("<s>", 200), added("</s>", 201)};
  const auto special = [](const char* name) {
    return Json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
  };
  const Json a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json names = {
      {"<s>", {{"id", "<s>"}, {"ids", {200}}, {"tokens", {"<s>"}}}},
      {"</s>", {{"id", "</s>"}, {"ids", {201, 201}}, {"tokens", {"</s>", "</s>"}}}}};
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {special("<s>"), a, special("</s>")}},
                            {"special_tokens", names}};
  EXPECT_EQ(*must_load(json.dump()).encode("x", true), (Ids{200, 'x', 201, 201}));
  EXPECT_EQ(*must_load(json.dump()).encode("x", false), (Ids{'x'}));
  json["post_processor"]["single"] = {special("<s>")};
  EXPECT_CONTAINS(json_error(json), "tokenizer.json: post_processor.single has no Sequence A");
  json["post_processor"]["single"] = {special("<pad>"), a};
  EXPECT_CONTAINS(json_error(json), "tokenizer.json: post_processor.special_tokens.<pad>.ids is ");
  json["post_processor"]["single"] = {special("<s>"), a};
  json["post_processor"]["special_tokens"]["<s>"]["ids"] = {999};
  EXPECT_CONTAINS(json_error(json), "is 999, which is not the id of a token");
}

TEST(Decoder, TextDecodersJoinBytesAndStripTheStart) {
  Json json = letter_tokenizer();
  json["model"]["vocab"] = {{"_a", 0}, {"_", 1}, {"<0xC3>", 2}, {"<0xA9>", 3}, {"z", 4}};
  json["decoder"] = {{"type", "Sequence"},
                     {"decoders",
                      {{{"type", "Replace"}, {"pattern", {{"String", "_"}}}, {"content", " "}},
                       {{"type", "ByteFallback"}},
                       {{"type", "Fuse"}},
                       {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}};
  const Tokenizer tokenizer = must_load(json.dump());
  const std::string r = "\xEF\xBF\xBD";
  const std::vector<std::pair<Ids, std::string>> cases = {
      {{0, 0}, "a a"}, {{1, 0}, " a"},         {{2, 3}, "\xC3\xA9"}, {{4, 2, 3, 4}, "z\xC3\xA9z"},
      {{2}, r},        {{2, 3, 3}, r + r + r}, {{4, 1}, "z "},       {{2, 4}, r + "z"}};
  for (const auto& [ids, text] : cases) {
    EXPECT_EQ(*tokenizer.decode(ids, false), text);
    EXPECT_EQ(stream(tokenizer, ids, false), text);
  }
}

TEST(Decoder, MetaspaceDropsTheSpacesOfTheFirstToken) {
  Json json = letter_tokenizer();
  json["model"]["vocab"] = {{"_a", 0}, {"_", 1}, {"b", 2}};
  json["decoder"] = {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "always"}};
  const Tokenizer dropping = must_load(json.dump());
  json["decoder"]["prepend_scheme"] = "never";
  const Tokenizer keeping = must_load(json.dump());
  const std::vector<std::tuple<Ids, std::string, std::string>> cases = {
      {{0, 0}, "a a", " a a"}, {{1, 0}, " a", "  a"}, {{2, 0, 2}, "b ab", "b ab"}};
  for (const auto& [ids, dropped, kept] : cases) {
    EXPECT_EQ(*dropping.decode(ids, false), dropped);
    EXPECT_EQ(stream(dropping, ids, false), dropped);
    EXPECT_EQ(*keeping.decode(ids, false), kept);
  }
}

TEST(Decoder, NoDecoderPutsSpacesBetweenTokens) {
  const Tokenizer tokenizer = must_load(letter_tokenizer().dump());
  EXPECT_EQ(*tokenizer.decode(Ids{'a', 'b'}, false), "a b");
  EXPECT_EQ(stream(tokenizer, Ids{'a', 'b'}, false), "a b");
}

}  // namespace
}  // namespace sinter::runtime
