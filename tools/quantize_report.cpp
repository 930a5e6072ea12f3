#include "tools/quantize_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {

namespace {

std::string table(absl::Span<const frontends::QuantizationError> errors) {
  if (errors.empty()) return "";
  std::vector<frontends::QuantizationError> sorted(errors.begin(), errors.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return std::pair(a.layer, ir::to_string(a.format)) <
           std::pair(b.layer, ir::to_string(b.format));
  });
  size_t width = 5;
  for (const auto& error : sorted) width = std::max(width, error.layer.size());
  std::string text = fmt::format("{:<{}}  {:<22} {:>8} {:>14}  relative error\n", "quantized",
                                 width + 2, "format", "matrices", "parameters");
  frontends::QuantizationError all;
  const auto line = [&](const std::string& what, const std::string& format,
                        const frontends::QuantizationError& error) {
    text +=
        fmt::format("  {:<{}}  {:<22} {:>8} {:>14}  {:.5f}\n", what, width, format, error.matrices,
                    count_text(static_cast<uint64_t>(error.parameters)), error.relative());
  };
  for (const auto& error : sorted) {
    line(error.layer, ir::to_string(error.format), error);
    all.matrices += error.matrices;
    all.parameters += error.parameters;
    all.squared_error += error.squared_error;
    all.squared_norm += error.squared_norm;
  }
  if (sorted.size() > 1) line("all", "", all);
  return text;
}

}  // namespace

std::string quantization_report(absl::Span<const frontends::QuantizationError> errors,
                                absl::Span<const std::string> notes) {
  std::string text = table(errors);
  for (const std::string& line : notes) text += "note: " + printable(line) + "\n";
  return text;
}

std::string quantization_report(const ModelInput& input) {
  if (input.quantized == nullptr) return "";
  return quantization_report(input.quantized->errors(), input.quantized->choice().notes);
}

}  // namespace sinter::tools
