// What every fuzz target is made of. A target is one function, `use`, which treats its input as
// users of the code under test would; libFuzzer finds the inputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace sinter::fuzz {

// Defined by each target.
void use(std::string_view input);

// Of processor time, so that a busy machine fails no test: what the programs may take for one
// input, and what this process has taken so far.
inline constexpr double kMostSeconds = 2;
double processor_seconds();

// Ends the program with a report; libFuzzer keeps the input.
[[noreturn]] void fail(std::string_view what, std::string_view detail = {});

// An error must be one line of text. With SINTER_FUZZ_SHOW in the environment it is printed: what
// becomes of an input.
void check_message(std::string_view message);

// Does not keep the input to make others of it unless `text` is JSON: what is not would soon be
// most of the corpus, and hardly anything that is made of it gets past the parser.
void keep_if_json(std::string_view text);

// The parts of an input of several texts, which stand between lines "---"; those that it lacks are
// empty.
std::vector<std::string_view> parts(std::string_view input, size_t count);

// Changes of text that libFuzzer does not make by itself: of tokens (mutate.h) and of whole JSON
// documents (mutate_json.h), half of the changes. The body of LLVMFuzzerCustomMutator.
size_t mutate_text(uint8_t* data, size_t size, size_t max_size, unsigned seed);

}  // namespace sinter::fuzz
