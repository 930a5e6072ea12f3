// Fields of config.json and generation_config.json that nobody needs to read.
#pragma once

#include <string_view>

#include "nlohmann/json.hpp"

namespace sinter::models {

// Whether a field of config.json says nothing about the numbers that a decoder of text computes:
// whatever its value, or with this one.
bool is_neutral_config(std::string_view field, const nlohmann::json& value);

// Whether a field of generation_config.json says nothing about which token is drawn.
bool is_neutral_generation(std::string_view field, const nlohmann::json& value);

}  // namespace sinter::models
