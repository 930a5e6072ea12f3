// Norms of the residual stream, of heads, of what a block leaves.
#pragma once

#include <initializer_list>
#include <string>

#include "models/importer.h"

namespace sinter::models {

struct Norm {
  enum class Kind { rms, layer };
  Kind kind = Kind::rms;
  double eps = 1e-6;
  bool has_weight = true;
  bool has_bias = false;  // of a layer norm
  bool less_one = false;  // the file has weights less 1
};

// x [.., size]: over the last extent, with the weights under `name`.
ir::ValueId apply(Importer& m, const Norm& norm, ir::ValueId x, const std::string& name,
                  int64_t size);

// The same under the first of its names that the file has; without one, x itself.
ir::ValueId apply_first(Importer& m, const Norm& norm, ir::ValueId x, const std::string& layer,
                        std::initializer_list<const char*> names, int64_t size);

}  // namespace sinter::models
