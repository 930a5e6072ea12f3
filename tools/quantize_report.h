// What quantizing while compiling or converting did to the weights, as text.
#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "frontends/quantize/checkpoint.h"
#include "tools/model_input.h"

namespace sinter::tools {

// A line per kind of layer and format: matrices, parameters, relative error ||w - q|| / ||w||; then
// the notes. Ends with a newline; empty when there is nothing to say.
std::string quantization_report(absl::Span<const frontends::QuantizationError> errors,
                                absl::Span<const std::string> notes);

// Of an opened model, when all of its matrices were looked at. Empty without --quantize.
std::string quantization_report(const ModelInput& input);

}  // namespace sinter::tools
