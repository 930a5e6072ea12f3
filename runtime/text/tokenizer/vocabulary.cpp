#include "runtime/text/tokenizer/vocabulary.h"

#include <fmt/format.h>

namespace sinter::runtime::tokenizer {

std::vector<int32_t> byte_token_ids(const TokenTable& vocabulary) {
  std::vector<int32_t> ids;
  for (int byte = 0; byte < 256; ++byte)
    ids.push_back(vocabulary.find(fmt::format("<0x{:02X}>", byte)).value_or(-1));
  return ids;
}

}  // namespace sinter::runtime::tokenizer
