// Layers at the end of a decoder that read the keys and values which earlier ones cache.
#pragma once

#include <string>
#include <vector>

#include "models/blocks/decoder.h"

namespace sinter::models {

// The last num_kv_shared_layers layers read those of the last layer before them with the same type
// of attention. `types`: of each layer. The number of the first such layer.
size_t read_shared_caches(Importer& m, Decoder& d, const std::vector<std::string>& types);

}  // namespace sinter::models
