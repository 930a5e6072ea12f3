#include "passes/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "ir/verifier.h"
#include "passes/fold_dequantize.h"
#include "passes/form_kernels.h"
#include "passes/fuse_attention.h"
#include "passes/fuse_epilogues.h"
#include "passes/fuse_experts.h"
#include "passes/fuse_projections.h"
#include "passes/fuse_prologues.h"
#include "passes/fuse_recurrences.h"
#include "passes/fuse_routers.h"
#include "passes/join_products.h"
#include "passes/prove_weight_structure.h"

namespace sinter::passes {

const std::vector<Pass>& pipeline() {
  static const std::vector<Pass> passes = {
      {"prove_weight_structure",
       "affine weights whose bias is a constant multiple of the scale drop their biases",
       prove_weight_structure, true},
      {"fuse_projections", "products of the same input become one product", fuse_projections, true},
      {"fold_dequantize", "products and embeddings read packed weights", fold_dequantize},
      {"fuse_routers", "a router's product and its choice become one phase", fuse_routers, true},
      {"fuse_experts", "two products with the chosen experts' matrices become one phase",
       fuse_experts, true},
      {"fuse_epilogues",
       "bias, residual, activation and gating move into the product that feeds them",
       fuse_epilogues},
      {"join_products", "products of the same input that are ready together become one phase",
       join_products, true},
      {"fuse_recurrences",
       "work on heads and channels becomes one phase with the delta rule or scan that it is around",
       fuse_recurrences, true},
      {"fuse_prologues", "norms and other work on rows move into the products that read them",
       fuse_prologues, true},
      {"fuse_attention", "head norms, RoPE, cache append and attention become one phase",
       fuse_attention},
      {"form_kernels", "what is left becomes phases of its own", form_kernels},
  };
  return passes;
}

const Pass* find_pass(std::string_view name) {
  for (const Pass& pass : pipeline())
    if (pass.name == name) return &pass;
  return nullptr;
}

absl::StatusOr<ir::Module> run_pipeline(
    ir::Module module, PassContext& context,
    const std::function<void(const Pass&, const ir::Module&)>& after,
    const std::vector<std::string>& without) {
  for (const Pass& pass : pipeline()) {
    if (std::ranges::find(without, pass.name) != without.end()) {
      context.remarks.push_back({std::string(pass.name), false, module.name, "left out"});
      continue;
    }
    auto next = pass.run(std::move(module), context);
    if (!next.ok()) return next.status();
    module = *std::move(next);
    if (const absl::Status status = ir::verify(module); !status.ok())
      return absl::InternalError(
          fmt::format("after {}: {}; this is a bug in sinter, please report it", pass.name,
                      status.message().data()));
    if (after) after(pass, module);
  }
  return module;
}

}  // namespace sinter::passes
