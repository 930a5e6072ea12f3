// config.json of a model without weights: the graph that `sinter compile --synthetic` makes of it.
#include "frontends/json_file.h"
#include "models/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/use_model.h"

namespace sinter::fuzz {

void use(std::string_view input) {
  keep_if_json(input);
  const auto config = frontends::parse_json(input, "config.json");
  check_status(config.status());
  if (!config.ok() || !config->is_object()) return;
  const auto model = models::import_synthetic(*config);
  check_status(model.status());
  if (model.ok() && model->layers <= 64) use_graph(model->module, nullptr);
}

}  // namespace sinter::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return sinter::fuzz::mutate_text(data, size, max_size, seed);
}
