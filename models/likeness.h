// Which family a checkpoint of another name looks like, by what its fields and tensors are called:
// for messages, and for the entry that a user starts from. Nothing is run by likeness.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "frontends/checkpoint.h"
#include "models/family.h"

namespace sinter::models {

// How a family takes the checkpoint's names. In names of tensors `*` is a number: of a layer, of an
// expert.
struct Likeness {
  const Family* family = nullptr;
  std::vector<std::string> missing;  // tensors that it asks for, as the file would call them
  std::vector<std::string> unused;   // tensors of the file that it has no use for
  std::vector<std::string> unread;   // fields likewise
  bool is_built = false;             // the configuration is one of the family's

  bool is_complete() const { return is_built && missing.empty() && unused.empty(); }
};

// The family of the registry with the fewest names left over on both sides, those of fields after
// those of tensors; `model_type` of the configuration does not matter.
Likeness most_like(const frontends::Checkpoint& checkpoint);
// The same of one family.
Likeness likeness(const frontends::Checkpoint& checkpoint, const Family& family);

// Whether the configuration has the sizes that every decoder has, under the family's names: a
// likeness without them says little.
bool has_sizes(const frontends::Checkpoint& checkpoint, const Family& family);

}  // namespace sinter::models
