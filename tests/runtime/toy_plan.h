// A small plan made by hand for tests of the runtime: a "model" whose logits depend on every token
// so far, on the weights, on state that grows with the context and on state that does not. Its
// kernels are compiled from C by the machine's compiler.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "runtime/host/device.h"
#include "runtime/plan/file.h"

namespace sinter::runtime::toy {

inline constexpr int64_t vocab = 32, chunk = 4, logits_rows = 2, max_context = 50,
                         weight_count = 1024;

inline constexpr const char* kernel_source = R"(
struct StepRow { int token, position, sequence, logits; };
struct StepParams { int rows, logits_rows, most_rows, unused; };
struct Launch {
  void* const* args; const struct StepParams* step; const int* pages; long pages_per_sequence; unsigned char* scratch;
  int worker, workers;
};
static const struct StepRow* rows(const struct Launch* l) { return (const struct StepRow*)(l->step + 1); }
#ifdef PAGED_COUNTER
enum { page_numbers = 128 };  /* 64 positions of the history, then of the counter */
#else
enum { page_numbers = 64 };
#endif
static int* remembered(const struct Launch* l, int* state, int sequence, int position) {
  return state + page_numbers * l->pages[sequence * l->pages_per_sequence + position / 64] + position % 64;
}
// The number of tokens that the sequence has after the step.
static int* count_of(const struct Launch* l, int* counter, int sequence) {
#ifdef PAGED_COUNTER
  int last = 0;
  for (int r = 0; r < l->step->rows; ++r)
    if (rows(l)[r].sequence == sequence) last = rows(l)[r].position;
  return remembered(l, counter, sequence, last);
#else
  return counter + 16 * sequence;  /* fixed state of sequences is 64 bytes apart */
#endif
}

// (history state, counter state): remembers the tokens and counts them.
void toy_remember(const struct Launch* l) {
  for (int r = l->worker; r < l->step->rows; r += l->workers)
    *remembered(l, l->args[0], rows(l)[r].sequence, rows(l)[r].position) = rows(l)[r].token;
  if (l->worker != 0) return;
  for (int r = 0; r < l->step->rows; ++r) {
    int* count = count_of(l, l->args[1], rows(l)[r].sequence);
#ifdef PAGED_COUNTER
    *count = rows(l)[r].position + 1;
#else
    ++*count;
#endif
  }
}

// (history state, weights, sums): sums[r] = sum over the positions s of the row's sequence up to its own of
// (history[s] + 1) * weights[s % 1024].
void toy_sum(const struct Launch* l) {
  const unsigned char* weights = l->args[1];
  int* sums = l->args[2];
  for (int i = 0; i < 64; ++i) l->scratch[i] = (unsigned char)l->worker;
  for (int r = l->worker; r < l->step->rows; r += l->workers) {
    int sum = 0;
    for (int s = 0; s <= rows(l)[r].position; ++s)
      sum += (*remembered(l, l->args[0], rows(l)[r].sequence, s) + 1) * weights[s % 1024];
    for (int i = 0; i < 64; ++i) sum += l->scratch[i] != (unsigned char)l->worker;
    sums[r] = sum;
  }
}

// (weights, out): out[r] = sum over k < 16 of (k + 1) * weights[16 r + k], for two rows.
void toy_probe(const struct Launch* l) {
  const unsigned char* weights = l->args[0];
  float* out = l->args[1];
  for (int r = l->worker; r < 2; r += l->workers) {
    out[r] = 0;
    for (int k = 0; k < 16; ++k) out[r] += (float)((k + 1) * weights[16 * r + k]);
  }
}

// (sums, counter state, logits): logits[v] = (31 * sum + 7 * v + counter) % 1009, for rows that have logits.
void toy_logits(const struct Launch* l) {
  const int* sums = l->args[0];
  float* logits = l->args[2];
  for (int r = 0; r < l->step->rows; ++r) {
    const struct StepRow row = rows(l)[r];
    const int* counter = count_of(l, l->args[1], row.sequence);
    const int sum = sums[r];
    if (row.logits < 0) continue;
    for (int v = l->worker; v < 32; v += l->workers) logits[row.logits * 32 + v] = (float)((31 * sum + 7 * v + *counter) % 1009);
  }
}

// The row's hidden state.
static float* state_of(const struct Launch* l, float* hidden, int r) {
  const int* numbers = (const int*)(rows(l) + l->step->most_rows) + l->step->most_rows;
  return hidden + 4 * numbers[r];
}
// (hidden states): leaves the token and the number of tokens up to it.
void toy_leave(const struct Launch* l) {
  for (int r = l->worker; r < l->step->rows; r += l->workers) {
    float* state = state_of(l, l->args[0], r);
    state[0] = (float)rows(l)[r].token;
    state[1] = (float)(rows(l)[r].position + 1);
  }
}
// (hidden states, sums): sums[r] = 100 times the token and what the state has.
void toy_continue(const struct Launch* l) {
  int* sums = l->args[1];
  for (int r = l->worker; r < l->step->rows; r += l->workers) {
    const float* state = state_of(l, l->args[0], r);
    sums[r] = 100 * rows(l)[r].token + 10 * (int)state[0] + (int)state[1];
  }
}
)";

// A folder that goes away with the object.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sinter-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::string path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

inline void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Kernels in C as a shared object; empty when the machine has no C compiler.
inline std::string compile_kernels(std::string_view source) {
  const Folder folder;
  write_file(folder.file("toy.c"), source);
  for (const char* compiler : {"cc", "clang++-22 -x c", "clang -x c"}) {
    const std::string command = std::string(compiler) + " -shared -fPIC -O1 -o " +
                                folder.file("toy.so") + " " + folder.file("toy.c") + " 2>/dev/null";
    if (std::system(command.c_str()) == 0) return read_file(folder.file("toy.so"));
  }
  return {};
}
inline const std::string& kernel_object() {
  static const std::string object = compile_kernels(kernel_source);
  return object;
}

// Kernels for plans whose counter is by position, too: without_fixed_state.
inline const std::string& paged_kernel_object() {
  static const std::string object =
      compile_kernels(std::string("#define PAGED_COUNTER\n") + kernel_source);
  return object;
}
// The kernels, but the logits of steps after which the sequence has `count` tokens or more are this
// expression in C.
inline std::string spoiled_kernel_object(int count, const std::string& expression) {
  std::string source = kernel_source;
  const std::string logit = "(float)((31 * sum + 7 * v + *counter) % 1009)";
  const size_t at = source.find(logit);
  if (at == std::string::npos) std::abort();
  source.replace(at, logit.size(),
                 "*counter >= " + std::to_string(count) + " ? " + expression + " : " + logit);
  return compile_kernels(source);
}

inline Argument argument(Argument::Region region, uint64_t offset = 0, uint32_t index = 0) {
  return {.region = region, .offset = offset, .index = index};
}

// What the kernels do with their arguments.
inline constexpr auto access_read = Parameter::Access::read,
                      access_write = Parameter::Access::write,
                      access_update = Parameter::Access::update;
inline constexpr Parameter history_update{access_update, 0, 0, 0, 4},
    history_read{access_read, 0, 0, 0, 4}, counter_update{access_update, 4, 0, 0, 0},
    counter_read{access_read, 4, 0, 0, 0}, weights_read{access_read, weight_count, 0, 0, 0},
    sums_written{access_write, 0, 4, 0, 0}, sums_read{access_read, 0, 4, 0, 0},
    logits_written{access_write, 0, 0, vocab * 4, 0};

inline void without_fixed_state(Plan& plan) {
  DevicePlan& device = plan.device_plans[0];
  device.states[1] = {"counter", PlanState::Kind::paged, "i32", 4, 0};
  for (Kernel& kernel : device.kernels)
    for (Parameter& parameter : kernel.parameters)
      if (parameter.bytes == counter_update.bytes) parameter = {parameter.access, 0, 0, 0, 4};
}

// The plan without its sections.
inline Plan description() {
  using Region = Argument::Region;
  Plan plan;
  DevicePlan device;
  device.device = "host";
  plan.model = "toy \"model\"";
  plan.architecture = "toy";
  plan.activations = "a16";
  plan.compiler = "by hand";
  plan.vocab_size = vocab;
  plan.max_context = max_context;
  device.chunk = chunk;
  device.logits_rows = logits_rows;
  plan.layers = 1;
  plan.parameters = weight_count;
  plan.eos_ids = {1, 2};
  plan.ends = {{1, "<end>", "eos_token_id of config.json"}};
  plan.bos_id = 0;
  plan.temperature = 0.75;
  device.kernels = {{"toy_remember", "keeps tokens", {history_update, counter_update}},
                    {"toy_sum", "sums", {history_read, weights_read, sums_written}, 64},
                    {"toy_logits", "logits", {sums_read, counter_read, logits_written}}};
  device.states = {{"history", PlanState::Kind::paged, "i32", 4, 0},
                   {"counter", PlanState::Kind::fixed, "i32", 0, 4}};
  device.weights = {{"w", "weight<1024, i8>", "plain", 0, weight_count}};
  device.weight_bytes = weight_count;
  device.arena_bytes = 64 + chunk * 4;
  device.scratch_bytes = 64;
  std::vector<Phase> phases = {
      {"remember", "keep", 0, {argument(Region::state), argument(Region::state, 0, 1)}, 0, 1, 0.5},
      {"sum",
       "sum",
       1,
       {argument(Region::state), argument(Region::weights), argument(Region::arena, 64)},
       weight_count,
       2,
       1},
      {"logits",
       "map",
       2,
       {argument(Region::arena, 64), argument(Region::state, 0, 1), argument(Region::logits)},
       0,
       3,
       1}};
  device.schedules = {{"decode", Schedule::Entry::main, 1, phases},
                      {"prefill", Schedule::Entry::main, chunk, phases}};
  plan.device_plans = {device};
  plan.remarks = {{"by_hand", true, "w", "because", 12, -1}};
  return plan;
}

inline std::vector<uint8_t> weights() {
  std::vector<uint8_t> bytes(weight_count);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + 11);
  return bytes;
}

// For write_plan, with a tokenizer of 64 bytes: they become a section of weights before the others.
inline void with_two_sections(Plan& plan) {
  DevicePlan& device = plan.device_plans[0];
  if (plan.tokenizer.bytes != 0)
    device.weights_sections.insert(device.weights_sections.begin(), plan.tokenizer);
  plan.tokenizer = {};
  device.weights[0].offset += 64;
  device.weight_bytes += 64;
  for (Schedule& schedule : device.schedules)
    for (Phase& phase : schedule.phases)
      for (Argument& argument : phase.arguments)
        if (argument.region == Argument::Region::weights) argument.offset += 64;
}

// Phases of the schedules.
inline std::vector<Phase>& decode(DevicePlan& device) { return device.schedules[0].phases; }
inline std::vector<Phase>& prefill(DevicePlan& device) { return device.schedules[1].phases; }
inline std::vector<Phase>& probe(DevicePlan& device) { return device.schedules[2].phases; }

// Adds the probe schedule: two rows of the weights times 1, 2, .. 16.
inline void with_probes(Plan& plan) {
  using Region = Argument::Region;
  DevicePlan& device = plan.device_plans[0];
  device.schedules.push_back({"probe",
                              Schedule::Entry::probe,
                              1,
                              {{"probe.w",
                                "matmul",
                                static_cast<uint32_t>(device.kernels.size()),
                                {argument(Region::weights), argument(Region::arena, 64)},
                                32,
                                32,
                                1}}});
  device.kernels.push_back(
      {"toy_probe", "multiplies", {{access_read, 32, 0, 0, 0}, {access_write, 8, 0, 0, 0}}});
  const std::vector<uint8_t> bytes = weights();
  for (size_t row = 0; row < 2; ++row) {
    double expected = 0;
    for (size_t k = 0; k < 16; ++k) expected += static_cast<double>((k + 1) * bytes[16 * row + k]);
    device.probes.push_back({row == 0 ? "bytes" : "other bytes", "w", 64 + 4 * row, expected, 0.5});
  }
}

inline constexpr int64_t hidden_size = 4;
// Adds an entry of a head: steps of the model leave hidden states, and those of the head read them
// before they leave theirs.
inline void with_mtp(Plan& plan) {
  using Region = Argument::Region;
  DevicePlan& device = plan.device_plans[0];
  plan.hidden_size = hidden_size;
  const auto number = static_cast<uint32_t>(device.kernels.size());
  const Parameter written{access_write, 0, hidden_size * 4, 0, 0};
  device.kernels.push_back({"toy_leave", "leaves states", {written}});
  device.kernels.push_back(
      {"toy_continue", "sums", {{access_read, 0, hidden_size * 4, 0, 0}, sums_written}});
  const Phase leave = {"leave", "leave", number, {argument(Region::hidden)}, 0, 1, 1};
  std::vector<Phase> phases = {{"continue",
                                "sum",
                                number + 1,
                                {argument(Region::hidden), argument(Region::arena, 64)},
                                0,
                                1,
                                1},
                               decode(device)[2],
                               leave};
  for (const size_t schedule : {0, 1}) device.schedules[schedule].phases.push_back(leave);
  device.schedules.push_back({"mtp_decode", Schedule::Entry::mtp, 1, phases});
  device.schedules.push_back({"mtp_prefill", Schedule::Entry::mtp, chunk, phases});
}
inline std::vector<Phase>& drafts(DevicePlan& device) { return device.schedules.back().phases; }

// Behind an ELF file: the marks of the plan's code objects.
inline std::string marks(const Plan& plan) {
  std::string all;
  for (const CodeObject& code : plan.code)
    if (code.device_plan < plan.device_plans.size()) all += "\n" + code_mark(plan, code);
  return all;
}

// Writes the plan to `path`; gives the error's text, empty on success. `edit` may change it before
// the header is written.
inline std::string write_plan(const std::string& path, const std::function<void(Plan&)>& edit = {},
                              std::string_view code = kernel_object(),
                              std::string_view tokenizer = "{}") {
  Plan plan = description();
  auto writer = PlanWriter::create(path);
  if (!writer.ok()) return writer.error().message;
  const HostCpu cpu = detect_host_cpu();
  const auto section = [&](std::string_view text) { return *(*writer)->add(text); };
  plan.code = {{"toy", cpu.family, {}, 0, {}, {}}};
  // The code comes first in the file and has a mark of the plan as `edit` leaves it.
  Plan edited = plan;
  if (edit) edit(edited);
  plan.code[0].section = section(std::string(code) + marks(edited));
  plan.tokenizer = section(tokenizer);
  plan.device_plans[0].weights_sections = {*(*writer)->add(std::span<const uint8_t>(weights()))};
  plan.device_plans[0].source = section(kernel_source);
  if (edit) edit(plan);
  const auto size = (*writer)->finish(plan);
  return size.ok() ? "" : size.error().message;
}

// What the kernels compute for the last token of `tokens`. `counted`: tokens that the counter saw
// when the row was made.
inline std::vector<float> expected_logits(std::span<const int32_t> tokens,
                                          std::span<const uint8_t> weight_bytes, int64_t counted) {
  int64_t sum = 0;
  for (size_t s = 0; s < tokens.size(); ++s) {
    sum += (tokens[s] + 1) * weight_bytes[s % weight_count];
  }
  std::vector<float> logits(vocab);
  for (int64_t v = 0; v < vocab; ++v) {
    logits[static_cast<size_t>(v)] = static_cast<float>((31 * sum + 7 * v + counted) % 1009);
  }
  return logits;
}

}  // namespace sinter::runtime::toy
