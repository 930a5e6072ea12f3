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

// A document of nlohmann's, whichever of its types, that grows in the order of its text.
template <class Json>
class JsonTree {
 public:
  Json root;
  Json::string_t key;  // of the value that comes next, in an object

  // How many containers are not closed yet, and the last of them.
  size_t depth() const { return open_.size(); }
  Json& top() const { return *open_.back().container; }

  Json& add(Json value) {
    if (open_.empty()) return root = std::move(value);
    if (top().is_array()) {
      top().push_back(std::move(value));
      return top().back();
    }
    return member() = std::move(value);
  }
  void open(Json container) { open_.push_back({&add(std::move(container)), {}}); }
  void close() { open_.pop_back(); }

 private:
  // A container that is not closed yet.
  struct Open {
    Json* container;
    std::unordered_map<typename Json::string_t, size_t> places;  // of members of a large object
  };

  // That of the object on top with the key; of several with one key the last counts. Documents that
  // keep the order of their members look for one by comparing all, so large ones have an index.
  Json& member() {
    if constexpr (std::is_same_v<Json, nlohmann::ordered_json>) {
      constexpr size_t kFewMembers = 16;
      auto& members = top().template get_ref<typename Json::object_t&>();
      if (members.size() >= kFewMembers) {
        auto& places = open_.back().places;
        for (size_t i = places.size(); i < members.size(); ++i)
          places.emplace(members.begin()[static_cast<ptrdiff_t>(i)].first, i);
        const auto [place, is_new] = places.emplace(key, members.size());
        if (is_new) members.emplace_back(key, nullptr);
        return members.begin()[static_cast<ptrdiff_t>(place->second)].second;
      }
    }
    return top()[key];
  }

  std::vector<Open> open_;
};

// Builds a document from the events of nlohmann's parser.
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
    tree_.key = std::move(value);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception&) {
    error_ = fmt::format("not JSON at byte {}", position);
    return false;
  }

  const std::string& error() const { return error_; }
  Json take() { return std::move(tree_.root); }

 private:
  bool add(Json value) {
    tree_.add(std::move(value));
    return true;
  }
  bool open(Json container) {
    if (tree_.depth() == kMaxJsonDepth) {
      error_ = fmt::format("the JSON nests more than {} levels deep", kMaxJsonDepth);
      return false;
    }
    tree_.open(std::move(container));
    return true;
  }
  bool close() {
    tree_.close();
    return true;
  }

  bool keeps_integers_;
  JsonTree<Json> tree_;
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

// JSON text without line breaks. What is not UTF-8 becomes U+FFFD.
template <class Json>
std::string to_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
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
