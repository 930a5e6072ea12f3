#include "models/model_fields.h"

namespace sinter::models {

ModelFields read_fields(const nlohmann::json& config, const std::string& file,
                        const FieldNames& names, const Family& family) {
  ModelFields out{config, file, names};
  if (const auto inner = config.find("text_config"); inner != config.end() && inner->is_object()) {
    out.values.erase("text_config");
    for (const auto& [field, value] : inner->items()) {
      out.values[field] = value;
      out.names[field] = "text_config." + field;
    }
  }
  for (const Rename& rule : family.fields) {
    const auto found = out.values.find(rule.from);
    if (found == out.values.end() || out.values.contains(rule.to)) continue;
    out.values[rule.to] = *found;
    out.values.erase(rule.from);
    const auto shown = out.names.find(rule.from);
    out.names[rule.to] = shown == out.names.end() ? rule.from : shown->second;
  }
  return out;
}

}  // namespace sinter::models
