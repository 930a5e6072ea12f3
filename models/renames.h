// Names of tensors and fields as families and their converters wrote them, and the one name that
// model definitions know each by: that of Hugging Face's llama, where it has one.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sinter::models {

// A run of whole components of a dotted name and what stands for it: "attention.dense" becomes
// "self_attn.o_proj" wherever it is in a name. `^` before it: at the beginning alone. `*` is any
// one component, kept where the replacement has a `*`, too.
struct Rename {
  std::string from;
  std::string to;
};

// Whether the left side of a rule fits the name; the rest of the name may be anything.
bool matches(std::string_view name, std::string_view from);
// The name with each rule that fits applied once, in order.
std::string rename(std::string_view name, std::span<const Rename> rules);
// The other way round, as far as that can be told: for messages.
std::string rename_back(std::string_view name, std::span<const Rename> rules);

}  // namespace sinter::models
