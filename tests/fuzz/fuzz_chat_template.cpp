// Damages a chat template and renders a conversation with what still parses.
// Usage: fuzz_chat_template CHAT_TEMPLATE COUNT
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "runtime/chat_template.h"
#include "tests/fuzz/mutate.h"

int main(int argc, char** argv) {
  using sinter::runtime::ChatTemplate;
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s CHAT_TEMPLATE COUNT\n", argv[0]);
    return 2;
  }
  std::ifstream in(argv[1], std::ios::binary);
  const std::string seed((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!ChatTemplate::parse(seed).ok()) {
    std::fprintf(stderr, "%s: not a template that parses\n", argv[1]);
    return 2;
  }
  const auto variables = nlohmann::ordered_json::parse(R"({
    "messages": [
      {"role": "system", "content": "Be kind."},
      {"role": "user", "content": "caf\u00e9 \ud83d\ude00"},
      {"role": "assistant", "content": "<think>\na\n</think>\n\nb",
       "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5, null, true]}}}]},
      {"role": "tool", "content": "{}"}],
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})");
  // What templates are made of, to take the place of pieces of the seed.
  static constexpr const char* kPieces[] = {"{%",
                                            "%}",
                                            "{{",
                                            "}}",
                                            "{%- ",
                                            " -%}",
                                            "{#",
                                            "#}",
                                            "|tojson",
                                            "|map('upper')",
                                            "|list",
                                            "|join(',')",
                                            "|sort",
                                            "|groupby('role')",
                                            " is defined",
                                            " not ",
                                            "(",
                                            ")",
                                            "[::-1]",
                                            "[",
                                            "]",
                                            ".items()",
                                            ".split()",
                                            "messages",
                                            "loop",
                                            "loop(loop)",
                                            "namespace()",
                                            "ns.x",
                                            " ~ ",
                                            " * 99",
                                            " ** 9",
                                            " if x else ",
                                            " recursive",
                                            "caller()",
                                            "{% macro m(a=m) %}",
                                            "{% endmacro %}",
                                            "{% set ns = namespace() %}",
                                            "{% set ns.x = ns %}",
                                            "{{ ns }}",
                                            "'%s' % ",
                                            "range(9)",
                                            "{% raw %}",
                                            "{% endraw %}",
                                            "{% call ",
                                            "{% endcall %}",
                                            "{% break %}",
                                            "9223372036854775807"};

  const std::tm now{};
  uint64_t state = 0xC4A7;
  const long long count = std::atoll(argv[2]);
  long long parsed = 0, rendered = 0;
  for (long long i = 0; i < count; ++i) {
    std::string mutant = i % 4 == 0 ? mutate(seed, state) : seed;
    for (uint64_t change = next_random(state) % 3; change > 0; --change) {
      const char* piece = kPieces[next_random(state) % std::size(kPieces)];
      const size_t at = next_random(state) % (mutant.size() + 1);
      mutant.replace(at, next_random(state) % 8, piece);
    }
    const auto result = ChatTemplate::parse(mutant);
    if (!result.ok()) {
      if (result.error().message.empty()) return 1;
      continue;
    }
    ++parsed;
    const auto text = result->render(variables, now);
    if (!text.ok() && text.error().message.empty()) return 1;
    rendered += text.ok() ? 1 : 0;
  }
  std::printf("fuzz_chat_template: %lld mutants, %lld parsed, %lld rendered\n", count, parsed,
              rendered);
  return 0;
}
