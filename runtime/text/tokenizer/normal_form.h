// The normalization forms of Unicode (UAX #15).
#pragma once

#include <string>
#include <string_view>

namespace sinter::runtime::tokenizer {

// NFC (`compose`), NFD, or with `compatibility` NFKC and NFKD, of valid UTF-8. Takes time
// proportional to the text, however long its runs of combining marks are.
std::string normal_form(std::string_view text, bool compose, bool compatibility);

}  // namespace sinter::runtime::tokenizer
