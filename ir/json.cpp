#include "ir/json.h"

#include <fmt/format.h>

#include "ir/ops.h"
#include "ir/text.h"
#include "ir/verifier.h"

namespace sinter::ir {

namespace {

using nlohmann::json;

// Bytes of the UTF-8 character at the start; 0 when there is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0x80                     ? 1
                        : first >= 0xc2 && first <= 0xdf ? 2
                        : first >= 0xe0 && first <= 0xef ? 3
                        : first >= 0xf0 && first <= 0xf4 ? 4
                                                         : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates and numbers above U+10FFFF.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
      (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) {
    return 0;
  }
  return length;
}

// The library throws when it writes anything else.
std::string utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) {
      out += '?';
      text.remove_prefix(1);
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return out;
}

class Writer {
 public:
  explicit Writer(const Module& module) : module_(module), names_(value_names(module)) {}

  json run() const {
    json weights = json::array();
    for (const auto& [id, data] : module_.weights) {
      json w = value(id);
      if (has<WeightType>(id) && verify_type(module_.weight(id)).ok()) {
        w["bytes"] = module_.weight(id).packed_bytes();
      }
      if (data.constant.empty()) {
        w["source"] = json::array();
        for (const std::string& source : data.sources) w["source"].push_back(utf8(source));
      } else {
        w["constant"] = data.constant;
      }
      weights.push_back(std::move(w));
    }
    json states = json::array();
    for (size_t i = 0; i < module_.values.size(); ++i) {
      if (module_.values[i].kind == ValueKind::state) {
        states.push_back(value(static_cast<ValueId>(i)));
      }
    }
    json further = json::array();
    for (const Entry& entry : module_.further)
      further.push_back({{"name", utf8(entry.name)},
                         {"params", values(entry.params)},
                         {"returns", name_list(entry.returns)}});
    return {{"name", utf8(module_.name)},    {"weights", std::move(weights)},
            {"states", std::move(states)},   {"params", values(module_.params)},
            {"nodes", nodes(module_.nodes)}, {"returns", name_list(module_.returns)},
            {"further", std::move(further)}};
  }

 private:
  bool known(ValueId id) const { return id >= 0 && static_cast<size_t>(id) < names_.size(); }
  template <class T>
  bool has(ValueId id) const {
    return known(id) && std::holds_alternative<T>(module_.value(id).type);
  }
  std::string name(ValueId id) const {
    return known(id) ? utf8(names_[static_cast<size_t>(id)]) : fmt::format("%?{}", id);
  }

  json value(ValueId id) const {
    return {{"name", name(id)}, {"type", known(id) ? to_string(module_.value(id).type) : "?"}};
  }

  json values(const std::vector<ValueId>& ids) const {
    json out = json::array();
    for (ValueId id : ids) out.push_back(value(id));
    return out;
  }

  json name_list(const std::vector<ValueId>& ids) const {
    json out = json::array();
    for (ValueId id : ids) out.push_back(name(id));
    return out;
  }

  json nodes(const std::vector<Node>& list) const {
    json out = json::array();
    for (const Node& n : list) {
      json attributes = json::object();
      for (const auto& [key, attribute] : n.attributes) {
        if (const auto* text = std::get_if<std::string>(&attribute)) {
          attributes[utf8(key)] = utf8(*text);
        } else {
          std::visit([&](const auto& value) { attributes[utf8(key)] = value; }, attribute);
        }
      }
      json item = {{"op", info(n.op).name},
                   {"operands", name_list(n.operands)},
                   {"results", values(n.results)},
                   {"attributes", std::move(attributes)},
                   {"label", utf8(n.label)}};
      if (n.op == Op::fused) item["body"] = nodes(n.body);
      out.push_back(std::move(item));
    }
    return out;
  }

  const Module& module_;
  const std::vector<std::string> names_;
};

}  // namespace

nlohmann::json to_json(const Module& module) { return Writer(module).run(); }

}  // namespace sinter::ir
