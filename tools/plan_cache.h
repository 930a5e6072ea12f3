// Plans compiled on the way to something else: kept in a cache by content, or gone after use.
#pragma once

#include <optional>
#include <string>

#include "runtime/support/result.h"
#include "tools/model_input.h"
#include "tools/program.h"

namespace sinter::tools {

// $XDG_CACHE_HOME/sinter or ~/.cache/sinter; nothing when neither variable says where. The folder
// need not exist.
std::optional<std::string> cache_folder();
// Creates the folder if needed; whether files can be made in it.
bool make_writable_folder(const std::string& path);

// Compiles the model for `request.targets`, or for this CPU alone. With `request.cached`, a plan of
// the same files, options and compiler is taken from the cache, where a new one is left.
runtime::Result<OpenedPlan> compile_for_device(const PlanRequest& request);

// The plan of an opened model; its file is gone when this returns, its contents stay mapped.
runtime::Result<OpenedPlan> compile_temporary(const ModelInput& input,
                                              codegen::CompileOptions options);

}  // namespace sinter::tools
