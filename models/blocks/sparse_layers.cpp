#include "models/blocks/sparse_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

namespace sinter::models {

void read_sparse_layers(Importer& m, Decoder& d, const Experts& e) {
  const int64_t step = m.integer("decoder_sparse_step", kSize, 1);
  std::vector<int64_t> dense;
  constexpr const char* kField = "mlp_only_layers";
  if (const auto* list = m.config().find(kField); list != nullptr && !m.config().is_null(kField)) {
    if (!list->is_array())
      return m.fail(m.config().refuse(
          kField, fmt::format("is {}, expected a list of layers", frontends::describe(*list))));
    dense = m.integers(kField, static_cast<int64_t>(list->size()),
                       {0, static_cast<int64_t>(d.layers.size()) - 1});
  }
  for (size_t i = 0; i < d.layers.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    if (std::ranges::find(dense, at) != dense.end() || (at + 1) % step != 0) continue;
    d.layers[i].feed_forward = feed_forward(e, d.hidden);
  }
}

void read_late_experts(Importer& m, Decoder& d, const Experts& e) {
  std::vector<std::string> types;
  if (m.config().find("mlp_layer_types") != nullptr)
    types = m.texts("mlp_layer_types", static_cast<int64_t>(d.layers.size()));
  const int64_t first = m.integer("first_k_dense_replace", {0, 1024});
  const int64_t step = m.integer("moe_layer_freq", {1, 1024}, 1);
  if (!m.ok()) return;
  for (size_t i = 0; i < d.layers.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    if (!types.empty() && types[i] != "dense" && types[i] != "sparse")
      m.fail(m.config().refuse("mlp_layer_types",
                               fmt::format("has {}, which is not supported; supported are "
                                           "\"dense\" and \"sparse\"",
                                           frontends::in_quotes(types[i]))));
    const bool sparse = types.empty() ? at >= first && at % step == 0 : types[i] == "sparse";
    if (sparse) d.layers[i].feed_forward = feed_forward(e, d.hidden);
  }
}

}  // namespace sinter::models
