// Entries that describe architectures: read, and a small model imported by each without weights.
#include "models/import.h"
#include "models/user/entries.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/use_model.h"

namespace sinter::fuzz {

void use(std::string_view input) {
  keep_if_json(input);
  const auto own = models::parse_entries(input, "entries.json");
  check_status(own.status());
  if (!own.ok()) return;
  size_t left = 4;
  for (const models::Family& family : *own) {
    if (left-- == 0) return;
    const nlohmann::json config = {
        {"model_type", family.model_type}, {"vocab_size", 32},         {"hidden_size", 32},
        {"num_hidden_layers", 2},          {"num_attention_heads", 2}, {"intermediate_size", 32}};
    const auto model = models::import_synthetic(config, *own);
    check_status(model.status());
    if (model.ok() && model->layers <= 64) use_graph(model->module, nullptr);
  }
}

}  // namespace sinter::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return sinter::fuzz::mutate_text(data, size, max_size, seed);
}
