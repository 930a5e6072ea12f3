#include "runtime/text/tokenizer/patterns.h"

namespace sinter::runtime::tokenizer {
namespace {

// Parts that several patterns share.
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define ONE_PREFIX R"([^\r\n\p{L}\p{N}]?)"
#define UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define UPPER_BUT_HAN R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]])"
#define LOWER_BUT_HAN R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]])"
#define SPACES R"(\s*[\r\n]+|\s+(?!\S)|\s+)"
#define SIGNS R"( ?[^\s\p{L}\p{N}]+[\r\n]*|)"
#define CAMEL_CASE(upper, lower, suffix) \
  ONE_PREFIX upper "*" lower "+" suffix "|" ONE_PREFIX upper "+" lower "*" suffix "|"

constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 = CONTRACTIONS "|" ONE_PREFIX R"(\p{L}+|\p{N}{1,3}|)" SIGNS SPACES;
constexpr const char* kQwen2 = CONTRACTIONS "|" ONE_PREFIX R"(\p{L}+|\p{N}|)" SIGNS SPACES;
// As qwen2's, with marks among the letters.
constexpr const char* kQwen35 =
    CONTRACTIONS "|" ONE_PREFIX R"([\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" SPACES;
constexpr const char* kGpt4o =
    CAMEL_CASE(UPPER, LOWER, CONTRACTIONS "?") R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" SPACES;
constexpr const char* kTekken =
    CAMEL_CASE(UPPER, LOWER, "") R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" SPACES;
constexpr const char* kKimi = R"([\p{Han}]+|)" CAMEL_CASE(
    UPPER_BUT_HAN, LOWER_BUT_HAN, CONTRACTIONS "?") R"(\p{N}{1,3}|)" SIGNS SPACES;
// DeepSeek-V3: numbers by three, runs of Chinese and Japanese, then the rest.
constexpr const char* kUpToThreeDigits = R"(\p{N}{1,3})";
constexpr const char* kChineseOrJapanese =
    R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr const char* kDeepSeekRest =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
    R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)" SPACES;
constexpr const char* kSparkRest =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
    R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)";
// DeepSeek's first models: letters of scripts with two cases.
constexpr const char* kDeepSeekLetters =
    R"(\s?[)"
    R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
    R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A})"
    R"(\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556})"
    R"(\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF})"
    R"(\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D})"
    R"(\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D})"
    R"(\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4})"
    R"(\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4})"
    R"(\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F})"
    R"(\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F})"
    R"(\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17})"
    R"(\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3})"
    R"(\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943})"
    R"(]+)";
constexpr const char* kDeepSeekSigns =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";
constexpr const char* kEastAsian = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
constexpr const char* kYoutuEastAsian =
    R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|)"
    R"([\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C})"
    R"(\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+|)"
    R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr const char* kYoutuRest =
    CAMEL_CASE(UPPER, LOWER, CONTRACTIONS "?") R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" SPACES;
// By threes from the right.
constexpr const char* kGroupedDigits =
    R"((?<!\p{N})\p{N}{1,2}(?=(?:\p{N}{3})+(?!\p{N}))|\p{N}{3}|\p{N}{1,2})";
constexpr const char* kAfmoeEastAsian =
    R"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-\x{309F})"
    R"(\x{30A0}-\x{30FF}\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{E40}-\x{E7F}\x{E80}-\x{EFF})"
    R"(\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF})"
    R"(\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+)";
constexpr const char* kBloom =
    R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)";
constexpr const char* kLines = R"([^\n]+|[\n]+)";

struct Row {
  std::vector<std::string_view> names;
  SplitPatterns patterns;
};

// Source of the names: what each of them means to ggml-org/llama.cpp.
const std::vector<Row>& rows() {
  static const std::vector<Row> table = {
      {{"default"},
       {.patterns = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", R"([0-9][0-9][0-9])"}}},
      {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "jina-es", "jina-de", "roberta-bpe", "jina-v2-es",
        "jina-v2-de", "jina-v1-en", "jina-v2-code", "gigachat", "a.x-4.0", "mellum", "exaone4",
        "trillion", "granite-docling", "modern-bert"},
       {.patterns = {kGpt2}}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "midm-2.0",
        "jina-v5-nano", "falcon_e"},
       {.patterns = {kLlama3}, .ignore_merges = true, .add_bos = true}},
      {{"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, {.patterns = {kLlama3}}},
      {{"jais-2"},
       {.patterns = {CONTRACTIONS
                     "|" ONE_PREFIX R"(\p{L}+|\p{N}{1,3}|)" SIGNS
                     R"(\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|)"
                     R"(\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})"}}},
      {{"qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "kormo", "solar-open",
        "grok-2", "f2llmv2"},
       {.patterns = {kQwen2}}},
      {{"qwen35"}, {.patterns = {kQwen35}}},
      {{"ufakzeka"}, {.patterns = {ONE_PREFIX R"(\p{L}+|\p{N}|)" SIGNS SPACES}}},
      {{"bailingmoe", "bailingmoe2", "llada-moe"},
       {.patterns = {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}|)"
                     R"( ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"}}},
      {{"seed-coder"},
       {.patterns = {CONTRACTIONS "|" ONE_PREFIX
                                  R"(\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|)" SPACES}}},
      {{"exaone-moe"},
       {.patterns = {CONTRACTIONS
                     "|" ONE_PREFIX
                     R"((?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|)"
                     R"(\s*[\r\n]|\s+(?!\S)|\s+)"}}},
      {{"laguna"}, {.patterns = {kLines, kQwen2}}},
      {{"minicpm5"},
       {.patterns = {kUpToThreeDigits,
                     CONTRACTIONS "|" ONE_PREFIX R"(\p{L}+|\p{N}+|)" SIGNS SPACES},
        .ignore_merges = true}},
      {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b",
        "mellum2"},
       {.patterns = {R"(\p{N})", kGpt2}}},
      {{"falcon"}, {.patterns = {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, R"([0-9][0-9][0-9])"}}},
      {{"chameleon"},
       {.patterns = {R"(<sentinel:[0-9]+>)", R"((IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z)",
                     R"(([\t\n]|    |  ))", R"(\p{N})", R"([\p{P}!-/:-@\[-`{-~])", kGpt2},
        .add_bos = true}},
      {{"gpt-4o", "llama4", "kanana2", "minimax-m2", "talkie"}, {.patterns = {kGpt4o}}},
      {{"granite-embed-multi", "granite-embed-multi-97m"},
       {.patterns = {kGpt4o}, .ignore_merges = true}},
      {{"tiny_aya", "cohere2moe"}, {.patterns = {R"(\d{1,3}(?=(?:\d{3})*\b))", kGpt4o}}},
      {{"tekken"}, {.patterns = {kTekken}, .ignore_merges = true, .add_bos = true}},
      {{"kimi-k2"}, {.patterns = {kKimi}}},
      {{"superbpe"}, {.patterns = {R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"}}},
      {{"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"},
       {.patterns = {kUpToThreeDigits, kChineseOrJapanese, kDeepSeekRest}}},
      {{"spark2_5"}, {.patterns = {kUpToThreeDigits, kChineseOrJapanese, kSparkRest, R"(\p{N})"}}},
      {{"deepseek-llm"},
       {.patterns = {R"([\r\n])", kDeepSeekLetters, kDeepSeekSigns, R"(\s+$)", kEastAsian,
                     R"(\p{N}+)"}}},
      {{"deepseek-coder"},
       {.patterns = {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kEastAsian, R"(\p{N})"}}},
      {{"youtu"}, {.patterns = {kYoutuEastAsian, kYoutuRest}, .ignore_merges = true}},
      {{"afmoe"}, {.patterns = {kGroupedDigits, kAfmoeEastAsian, kDeepSeekRest}}},
      {{"bloom", "poro-chat", "gpt3-finnish"}, {.patterns = {kBloom}}},
      {{"viking"}, {.patterns = {kBloom, R"(\p{N})"}}},
      {{"gemma4", "granite-embed-multi-311m"},
       {.patterns = {kLines}, .add_bos = true, .alphabet = Alphabet::kSpaceSymbols}},
      {{"sarvam-moe"}, {.patterns = {kLines}, .alphabet = Alphabet::kSpaceSymbols}},
      {{"whitespace"}, {.patterns = {R"(\s+)"}, .alphabet = Alphabet::kWords}},
  };
  return table;
}

}  // namespace

const SplitPatterns* find_split_patterns(std::string_view pre) {
  for (const Row& row : rows())
    for (const std::string_view name : row.names)
      if (name == pre) return &row.patterns;
  return nullptr;
}

std::vector<std::string_view> known_split_patterns() {
  std::vector<std::string_view> names;
  for (const Row& row : rows()) names.insert(names.end(), row.names.begin(), row.names.end());
  return names;
}

}  // namespace sinter::runtime::tokenizer
