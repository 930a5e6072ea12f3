#include "codegen/regions/region.h"

namespace sinter::codegen {

const std::vector<Region>& regions() {
  static const std::vector<Region> table = {
      {"attention", lower_attention}, {"embed", lower_embed},           {"experts", lower_experts},
      {"matmul", lower_matmul},       {"rope_table", lower_rope_table}, {"rows", lower_rows},
      {"top_k", lower_top_k},
  };
  return table;
}

}  // namespace sinter::codegen
