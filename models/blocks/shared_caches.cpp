#include "models/blocks/shared_caches.h"

#include <fmt/format.h>

namespace sinter::models {

size_t read_shared_caches(Importer& m, Decoder& d, const std::vector<std::string>& types) {
  const size_t count = d.layers.size();
  const int64_t shared = m.integer("num_kv_shared_layers", {0, static_cast<int64_t>(count) - 1});
  if (!m.ok()) return count;
  const size_t first = count - static_cast<size_t>(shared);
  for (size_t i = first; i < count; ++i) {
    size_t owner = first;
    while (owner > 0 && types[owner - 1] != types[i]) --owner;
    if (owner == 0) {
      m.fail(
          m.config().refuse("num_kv_shared_layers",
                            fmt::format("is {}, but no layer before these has \"{}\" like layer {}",
                                        shared, types[i], i)));
      return count;
    }
    Attention& a = d.layers[i].attention;
    a.cached_by = layer_name(owner - 1);
    // Some checkpoints still have what nothing reads.
    for (const std::string& module : {a.k, a.v, a.k_norm, a.v_norm_module})
      for (const char* suffix : {"", ".bias"}) m.ignore(layer_name(i) + module + suffix);
  }
  return first;
}

}  // namespace sinter::models
