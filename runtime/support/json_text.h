// JSON that comes from outside. Everything that walks a document recurses: one that nests deep is
// refused while it is read.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/support/result.h"

namespace sinter::runtime {

inline constexpr size_t kMaxJsonDepth = 500;

// Builds a document of nlohmann's, whichever of its types, from the events of its parser.
template <class Json>
class JsonBuilder {
 public:
  // `keeps_integers`: an integer of more than 64 bits becomes a binary value that holds its digits,
  // which no JSON text has, rather than a float that is near it.
  explicit JsonBuilder(bool keeps_integers) : keeps_integers_(keeps_integers) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(Json::number_integer_t value) { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
  bool number_float(Json::number_float_t value, const Json::string_t& text) {
    if (!keeps_integers_ || text.find_first_not_of("-0123456789") != text.npos) return add(value);
    return add(Json::binary(typename Json::binary_t::container_type(text.begin(), text.end())));
  }
  bool string(Json::string_t& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }  // JSON text has none
  bool start_object(size_t) { return open(Json::object()); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(Json::string_t& value) {
    key_ = std::move(value);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception&) {
    error_ = fmt::format("not JSON at byte {}", position);
    return false;
  }

  const std::string& error() const { return error_; }
  Json take() { return std::move(root_); }

 private:
  // A container that is not closed yet.
  struct Open {
    Json* container;
    std::unordered_map<typename Json::string_t, size_t> places;  // of members of a large object
  };

  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back().container;
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    Json& member = member_of(open_.back());
    member = std::move(value);
    return &member;
  }
  // The member with the key that was read; of several with one key the last counts. Documents that
  // keep the order of their members look for one by comparing all, so large ones have an index.
  Json& member_of(Open& open) {
    Json& object = *open.container;
    if constexpr (std::is_same_v<Json, nlohmann::ordered_json>) {
      constexpr size_t kFewMembers = 16;
      auto& members = object.template get_ref<typename Json::object_t&>();
      if (members.size() >= kFewMembers) {
        for (size_t i = open.places.size(); i < members.size(); ++i)
          open.places.emplace(members.begin()[static_cast<ptrdiff_t>(i)].first, i);
        const auto [place, is_new] = open.places.emplace(key_, members.size());
        if (is_new) members.emplace_back(key_, nullptr);
        return members.begin()[static_cast<ptrdiff_t>(place->second)].second;
      }
    }
    return object[key_];
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json container) {
    if (open_.size() == kMaxJsonDepth) {
      error_ = fmt::format("the JSON nests more than {} levels deep", kMaxJsonDepth);
      return false;
    }
    open_.push_back({place(std::move(container)), {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  bool keeps_integers_;
  Json root_;
  std::vector<Open> open_;
  Json::string_t key_;
  std::string error_;
};

// What a value is, for messages: "an array".
template <class Json>
std::string_view kind_of(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "a boolean";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a string";
  if (value.is_array()) return "an array";
  return value.is_object() ? "an object" : "a large number";
}

// Error: the text is not JSON, at which byte; or it nests too deep.
template <class Json>
Result<Json> read_json(std::string_view text, bool keeps_integers = false) {
  JsonBuilder<Json> builder(keeps_integers);
  if (!Json::sax_parse(text.data(), text.data() + text.size(), &builder))
    return Error{builder.error()};
  return builder.take();
}

}  // namespace sinter::runtime
