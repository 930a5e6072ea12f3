// A chat template and a conversation to render with it; without one, a conversation that has
// everything.
#include <ctime>

#include "nlohmann/json.hpp"
#include "runtime/text/chat_template.h"
#include "tests/fuzz/fuzz.h"

namespace sinter::fuzz {

void use(std::string_view input) {
  using Json = nlohmann::ordered_json;
  static const Json kConversation = Json::parse(R"({
    "messages": [
      {"role": "system", "content": "Be kind."},
      {"role": "user", "content": "caf\u00e9 \ud83d\ude00"},
      {"role": "assistant", "content": "<think>\na\n</think>\n\nb",
       "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5, null, true]}}}]},
      {"role": "tool", "content": "{}"}],
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})");
  const auto texts = parts(input, 3);
  const auto parsed = runtime::ChatTemplate::parse(texts[0]);
  if (!parsed.ok() && parsed.error().message.empty()) fail("an error without a message");
  Json variables = kConversation;
  if (!texts[1].empty()) {
    const Json conversation = Json::parse(texts[1], nullptr, false);
    if (conversation.is_discarded()) return;
    auto made = runtime::chat_variables(conversation, texts[2]);
    if (!made.ok()) return check_message(made.error().message);
    variables = *std::move(made);
  }
  if (!parsed.ok()) return;
  const auto text = parsed->render(variables, std::tm{});
  if (!text.ok() && text.error().message.empty()) fail("an error without a message");
}

}  // namespace sinter::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return sinter::fuzz::mutate_text(data, size, max_size, seed);
}
