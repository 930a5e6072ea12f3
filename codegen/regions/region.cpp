#include "codegen/regions/region.h"

namespace sinter::codegen {

LowerRegion lowering_of(ir::RegionKind kind) {
  switch (kind) {
    case ir::RegionKind::attention:
      return lower_attention;
    case ir::RegionKind::embed:
      return lower_embed;
    case ir::RegionKind::experts:
      return lower_experts;
    case ir::RegionKind::matmul:
      return lower_matmul;
    case ir::RegionKind::rope_table:
      return lower_rope_table;
    case ir::RegionKind::rows:
      return lower_rows;
    case ir::RegionKind::router:
      return lower_router;
    case ir::RegionKind::top_k:
      return lower_top_k;
  }
  return nullptr;
}

}  // namespace sinter::codegen
