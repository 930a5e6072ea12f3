// Classes of characters that normalizers and pre-tokenizers name.
#pragma once

#include <cstdint>

namespace sinter::runtime::tokenizer {

bool is_numeric(uint32_t code_point);          // Nd, Nl, No
bool is_punctuation(uint32_t code_point);      // P*, and what ASCII has beside letters and digits
bool is_mark(uint32_t code_point);             // Mn, Mc, Me
bool is_nonspacing_mark(uint32_t code_point);  // Mn
bool is_other(uint32_t code_point);            // Cc, Cf, Co
// What BERT takes for a Chinese character: a word by itself.
bool is_cjk(uint32_t code_point);

}  // namespace sinter::runtime::tokenizer
