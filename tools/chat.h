// The chat format of a model: its template and the tokens that the template names.
#pragma once

#include <ctime>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/plan/file.h"
#include "runtime/support/result.h"
#include "runtime/text/chat_template.h"
#include "tools/program.h"

namespace sinter::tools {

struct ChatFormat {
  std::string name;  // of the model, for messages
  runtime::ChatTemplates templates;
  std::string tokenizer_config_json;

  // `conversation` as runtime::chat_variables takes it.
  runtime::Result<std::string> render(const nlohmann::ordered_json& conversation,
                                      const std::tm& now) const;
};

// Error: the plan has no chat template.
runtime::Result<ChatFormat> chat_format_of(const runtime::PlanFile& file);

// Of a plan, of a model folder, whose weights need not be there, or of a .gguf file.
runtime::Result<ChatFormat> open_chat_format(const Program& program, const std::string& path);

}  // namespace sinter::tools
