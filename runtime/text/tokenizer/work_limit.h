// A bound on the time that a text may take.
#pragma once

#include <cstddef>

#include "runtime/support/result.h"

namespace sinter::runtime::tokenizer {

// How many bytes may be looked at to encode `bytes` of them: enough for tokens that all overlap and
// are a hundred bytes long, too little for vocabularies that are made to take hours.
class WorkLimit {
 public:
  explicit WorkLimit(size_t bytes) : left_(1000000 + 128 * bytes) {}
  // False: that was too much.
  bool spend(size_t work) {
    if (work > left_) return false;
    left_ -= work;
    return true;
  }
  static Error error() {
    return Error{
        "too many tokens of the tokenizer's vocabulary overlap in the text; it would take too "
        "long"};
  }

 private:
  size_t left_;
};

}  // namespace sinter::runtime::tokenizer
