// What the float32 interpreter computes for a model.
#pragma once

#include <string_view>

#include "ir/graph.h"
#include "passes/pass.h"
#include "runtime/support/result.h"
#include "tools/model_input.h"
#include "tools/program.h"

namespace sinter::tools {

runtime::Result<Logits> reference_logits(const ReferenceRequest& request);

// The graph as the pass leaves it. Error: lists the passes when `pass` is none of them.
runtime::Result<ir::Module> module_after_pass(const ModelInput& input, std::string_view pass);

}  // namespace sinter::tools
