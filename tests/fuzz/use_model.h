// What is done with a checkpoint that opens: everything that stands between it and numbers.
#pragma once

#include <filesystem>
#include <optional>

#include "absl/status/status.h"
#include "ir/graph.h"
#include "ir/matrix.h"

namespace sinter::fuzz {

void check_status(const absl::Status& status);

// Verifies the graph and takes it through all passes; the text of what they make must parse back.
// `source` may be null. Nothing when the graph was refused.
std::optional<ir::Module> use_graph(const ir::Module& module, const ir::MatrixSource* source);

// Opens the folder or file, decodes rows of every matrix, loads the tokenizer and the template; of
// a small model that imports, runs the passes and one step of the interpreter before and after
// them.
void use_checkpoint(const std::filesystem::path& path);

}  // namespace sinter::fuzz
