// Changes of a JSON document that leave it one: other values, copies, keys that go or get another
// name.
#pragma once

#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/fuzz/mutate.h"

namespace sinter::fuzz {

using OrderedJson = nlohmann::ordered_json;

inline void collect_values(OrderedJson& value, std::vector<OrderedJson*>& all) {
  constexpr size_t kMost = 20'000;
  if (all.size() >= kMost) return;
  all.push_back(&value);
  if (value.is_structured())
    for (OrderedJson& inner : value) collect_values(inner, all);
}

// A number that is like `number`, or that is often wrong.
inline OrderedJson other_number(const OrderedJson& number, uint64_t& state) {
  static constexpr int64_t kIntegers[] = {0,
                                          1,
                                          2,
                                          -1,
                                          3,
                                          4,
                                          7,
                                          8,
                                          16,
                                          31,
                                          32,
                                          33,
                                          64,
                                          128,
                                          255,
                                          4096,
                                          65536,
                                          INT32_MAX,
                                          int64_t{1} << 32,
                                          INT64_MAX,
                                          INT64_MIN};
  static constexpr double kDoubles[] = {0.5, -0.5, 1e-6, -1e-6, 1e308, -0.0, 1.5, 1e-320, 4.0};
  switch (next_random(state) % 6) {
    case 0:
      return kDoubles[next_random(state) % std::size(kDoubles)];
    case 1:
      if (number.is_number_integer() && !number.is_number_unsigned()) return OrderedJson(0);
      if (number.is_number_integer()) return number.get<uint64_t>() + next_random(state) % 3 - 1;
      return -number.get<double>();
    case 2:
      if (number.is_number_integer()) return number.get<uint64_t>() * 2;
      return number.get<double>() * 1e6;
    case 3:
      if (number.is_number_integer()) return number.get<uint64_t>() / 2;
      return number.get<double>() * 1e-6;
    default:
      return kIntegers[next_random(state) % std::size(kIntegers)];
  }
}

// One change, sometimes two or three: most make a configuration one that is refused early. Not a
// document: the text as it is.
inline std::string mutate_json(const std::string& text, uint64_t& state) {
  OrderedJson document = OrderedJson::parse(text, nullptr, false);
  if (document.is_discarded()) return text;
  const uint64_t changes = next_random(state) % 4 == 0 ? 2 + next_random(state) % 2 : 1;
  for (uint64_t change = 0; change < changes; ++change) {
    std::vector<OrderedJson*> values;
    collect_values(document, values);
    OrderedJson& value = *values[next_random(state) % values.size()];
    const OrderedJson other = *values[next_random(state) % values.size()];
    switch (next_random(state) % 8) {
      case 0:
        value = nullptr;
        break;
      case 1:
        value = next_random(state) % 2 == 0;
        break;
      case 2:
        value = other;
        break;
      case 3: {  // a key or an element goes
        if (!value.is_structured() || value.empty()) break;
        const auto at = std::next(value.begin(),
                                  static_cast<std::ptrdiff_t>(next_random(state) % value.size()));
        value.erase(at);
        break;
      }
      case 4: {  // one more, under a key of another object
        if (value.is_array()) value.push_back(other);
        if (!value.is_object() || !other.is_object() || other.empty()) break;
        const auto at = std::next(other.begin(),
                                  static_cast<std::ptrdiff_t>(next_random(state) % other.size()));
        value[at.key()] = at.value();
        break;
      }
      default: {
        OrderedJson* number = &value;
        for (int tries = 0; tries < 8 && !number->is_number(); ++tries)
          number = values[next_random(state) % values.size()];
        if (number->is_number()) *number = other_number(*number, state);
        break;
      }
    }
  }
  return document.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace sinter::fuzz
