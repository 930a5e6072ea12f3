// capture: every kernel launch of a short run, written down for an emulator or a debugger.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/abi/kernel_abi.h"
#include "runtime/host/device.h"
#include "runtime/plan/synthetic.h"
#include "runtime/session/layout.h"
#include "runtime/session/session.h"
#include "runtime/session/step_table.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/input_files.h"
#include "tools/logit_rows.h"
#include "tools/model_input.h"
#include "tools/model_options.h"
#include "tools/npy.h"
#include "tools/plan_cache.h"
#include "tools/reference.h"
#include "tools/terminal.h"
#include "tools/token_ids.h"

namespace sinter::tools {
namespace {

using Json = nlohmann::ordered_json;
using runtime::Argument;
using runtime::DevicePlan;
using runtime::Error;
using runtime::Phase;
using runtime::Result;
using runtime::Status;

struct CaptureOptions {
  std::string path;
  std::string target;
  std::string ids;
  std::string logits;
  std::string out;
  std::string schedule = "eager";
  std::string activations;
  std::vector<std::string> arch_from;
  int64_t decode = 3;
  int64_t sequences = 1;
  double tolerance = 0;
};

std::string hex(const void* data, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i)
    text += fmt::format("{:02x}", static_cast<const uint8_t*>(data)[i]);
  return text;
}

Status write_bytes(const std::string& path, std::span<const uint8_t> bytes) {
  return write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// The rows of a step, each with logits, and what these are compared with.
struct Step {
  bool of_prompt = false;
  std::vector<StepRow> rows;
  std::vector<float> expected;  // [rows, vocab_size]; empty: not compared
};

class Capture {
 public:
  Capture(const CaptureOptions& options, const runtime::PlanFile& file,
          const runtime::CodeObject& code, int64_t positions)
      : options_(options),
        file_(file),
        plan_(file.plan()),
        device_(plan_.device_plans[code.device_plan]),
        code_(code),
        pages_((positions + page_positions - 1) / page_positions),
        layout_(plan_, device_,
                {positions, options.sequences, pages_, pages_ * options.sequences}) {}

  Status write(const std::vector<Step>& steps) {
    const std::string object = code_.target + ".hsaco";
    if (Status status = write_bytes(at(object), file_.bytes(code_.section)); !status.ok())
      return status;
    if (Status status = write_weights(); !status.ok()) return status;
    buffers_.push_back(buffer("weights", device_.weight_bytes, "weights.bin"));
    buffers_.push_back(buffer("state", layout_.paged.bytes, {}));
    // A new sequence starts with zeros.
    if (layout_.states.fixed_bytes != 0)
      if (Status status = add_zeros("fixed_state", layout_.fixed.bytes); !status.ok())
        return status;
    // The runtime clears the arena once: counters in it start from zero.
    if (Status status = add_zeros("arena", layout_.arena.bytes); !status.ok()) return status;
    buffers_.push_back(buffer("step", layout_.step.bytes, {}));
    if (Status status = add_pages(); !status.ok()) return status;
    buffers_.push_back(buffer("logits", layout_.logits.bytes, {}));
    if (plan_.hidden_size != 0) buffers_.push_back(buffer("hidden", layout_.hidden.bytes, {}));
    if (options_.schedule == "persistent")
      if (Status status = add_decode_table(); !status.ok()) return status;

    Json list = Json::array();
    for (size_t i = 0; i < steps.size(); ++i) {
      auto step = step_json(steps[i], i);
      if (!step.ok()) return step.error();
      list.push_back(std::move(*step));
    }
    const Json capture = {
        {"version", 1}, {"target", code_.target}, {"buffers", buffers_}, {"steps", list}};
    const std::string text = capture.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
    return write_file(at("capture.json"), text);
  }

 private:
  std::string at(const std::string& name) const { return options_.out + "/" + name; }

  static Json buffer(const std::string& id, uint64_t bytes, const std::string& init) {
    return {{"id", id}, {"bytes", bytes}, {"init", init.empty() ? Json() : Json(init)}};
  }
  Status add_zeros(const std::string& id, uint64_t bytes) {
    const std::vector<uint8_t> zeros(bytes, 0);
    buffers_.push_back(buffer(id, bytes, id + ".bin"));
    return write_bytes(at(id + ".bin"), zeros);
  }

  // Sequences take pages in turn.
  Status add_pages() {
    std::vector<int32_t> pages;
    for (int64_t s = 0; s < options_.sequences; ++s)
      for (int64_t i = 0; i < pages_; ++i)
        pages.push_back(static_cast<int32_t>(i * options_.sequences + s));
    const auto* const bytes = reinterpret_cast<const uint8_t*>(pages.data());
    buffers_.push_back(buffer("pages", pages.size() * 4, "pages.bin"));
    return write_bytes(at("pages.bin"), {bytes, pages.size() * 4});
  }

  Status write_weights() {
    std::vector<uint8_t> bytes;
    if (!device_.synthetic()) {
      for (const runtime::Section& section : device_.weights_sections) {
        const auto stored = file_.bytes(section);
        bytes.insert(bytes.end(), stored.begin(), stored.end());
      }
      return write_bytes(at("weights.bin"), bytes);
    }
    bytes.resize(device_.weight_bytes + runtime::buffer_slack);
    for (size_t i = 0; i < device_.fills.size(); ++i)
      runtime::fill_range(device_.fills, i, plan_.seed, 0, runtime::fill_words(device_.fills[i]),
                          bytes.data());
    bytes.resize(device_.weight_bytes);
    return write_bytes(at("weights.bin"), bytes);
  }

  Json relocation(const Argument& argument, size_t where) const {
    std::string id;
    uint64_t offset = argument.offset;
    switch (argument.region) {
      case Argument::Region::weights:
        id = "weights";
        break;
      case Argument::Region::state:
        id = device_.states[argument.index].kind == runtime::PlanState::Kind::paged ? "state"
                                                                                    : "fixed_state";
        offset += layout_.states.offsets[argument.index];
        break;
      case Argument::Region::arena:
        id = "arena";
        break;
      case Argument::Region::logits:
        id = "logits";
        break;
      case Argument::Region::hidden:
        id = "hidden";
        break;
    }
    return {{"at", where}, {"buffer", id}, {"offset", offset}};
  }

  Json launch(const std::string& phase, const std::string& kernel, uint32_t blocks,
              uint32_t shared_bytes, const GpuArguments& arguments, Json relocations) const {
    relocations.push_back(
        {{"at", offsetof(GpuArguments, step)}, {"buffer", "step"}, {"offset", 0}});
    relocations.push_back(
        {{"at", offsetof(GpuArguments, pages)}, {"buffer", "pages"}, {"offset", 0}});
    return {{"phase", phase},
            {"kernel", kernel},
            {"code_object", code_.target + ".hsaco"},
            {"grid", {blocks, 1, 1}},
            {"block", {gpu_block_threads, 1, 1}},
            {"dynamic_lds", shared_bytes},
            {"kernarg", hex(&arguments, sizeof(arguments))},
            {"relocs", std::move(relocations)}};
  }

  Json launch(const Phase& phase, int64_t rows) const {
    const int64_t times = phase.rows_per_block == 0
                              ? 1
                              : (rows + phase.rows_per_block - 1) / int64_t{phase.rows_per_block};
    const auto blocks = static_cast<uint32_t>(phase.blocks * times);
    GpuArguments arguments{};
    arguments.workers = static_cast<int>(blocks);
    arguments.pages_per_sequence = static_cast<int>(pages_);
    Json relocations = Json::array();
    for (size_t i = 0; i < phase.arguments.size(); ++i)
      relocations.push_back(
          relocation(phase.arguments[i], offsetof(GpuArguments, args) + i * sizeof(void*)));
    return launch(phase.name, device_.kernels[phase.kernel].symbol, blocks, phase.shared_bytes,
                  arguments, std::move(relocations));
  }

  const std::vector<Phase>& phases_for(int64_t rows) const {
    return device_.phases_for(runtime::Schedule::Entry::main, rows);
  }

  // What the kernel that runs the whole schedule walks through.
  Status add_decode_table() {
    const std::vector<Phase>& phases = phases_for(1);
    std::vector<DecodePhase> table(phases.size());
    Json relocations = Json::array();
    for (size_t i = 0; i < table.size(); ++i) {
      table[i].kernel = phases[i].kernel;
      for (size_t a = 0; a < phases[i].arguments.size(); ++a)
        relocations.push_back(
            relocation(phases[i].arguments[a],
                       i * sizeof(DecodePhase) + offsetof(DecodePhase, args) + a * sizeof(void*)));
    }
    const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(table.data()),
                                         table.size() * sizeof(DecodePhase));
    Json described = buffer("table", bytes.size(), "table.bin");
    described["relocs"] = relocations;
    buffers_.push_back(described);
    if (Status status = write_bytes(at("table.bin"), bytes); !status.ok()) return status;
    return add_zeros("arrivals", 8);
  }
  Json launch_whole_decode() const {
    GpuArguments arguments{};
    arguments.workers = 1;
    arguments.pages_per_sequence = static_cast<int>(pages_);
    arguments.args[1] = reinterpret_cast<void*>(phases_for(1).size());
    uint32_t shared_bytes = 0;
    for (const Phase& phase : phases_for(1))
      shared_bytes = std::max(shared_bytes, phase.shared_bytes);
    const size_t args = offsetof(GpuArguments, args);
    return launch("decode", "sinter_decode", 1, shared_bytes, arguments,
                  {{{"at", args}, {"buffer", "table"}, {"offset", 0}},
                   {{"at", args + 2 * sizeof(void*)}, {"buffer", "arrivals"}, {"offset", 0}}});
  }

  Result<Json> step_json(const Step& step, size_t number) const {
    const auto count = std::ssize(step.rows);
    std::vector<uint8_t> table(runtime::step_table_bytes(device_.chunk));
    runtime::write_step_table(table.data(), device_.chunk, step.rows);
    Json json = {
        {"writes", {{{"buffer", "step"}, {"offset", 0}, {"hex", hex(table.data(), table.size())}}}},
        {"launches", Json::array()},
        {"reads", Json::array()}};
    if (!step.of_prompt && options_.schedule == "persistent") {
      json["launches"].push_back(launch_whole_decode());
    } else {
      const bool in_chunk = step.of_prompt && options_.schedule != "few";
      for (const Phase& phase : phases_for(in_chunk ? device_.chunk : count))
        json["launches"].push_back(launch(phase, count));
    }
    Json read = {{"name", "logits"},
                 {"buffer", "logits"},
                 {"offset", 0},
                 {"dtype", "f32"},
                 {"shape", {count, plan_.vocab_size}}};
    if (!step.expected.empty()) {
      const std::string name = fmt::format("logits{}.npy", number);
      auto writer = NpyWriter::create(at(name), count, plan_.vocab_size);
      if (!writer.ok()) return writer.error();
      if (Status status = writer->append(step.expected); !status.ok()) return status.error();
      if (Status status = writer->finish(); !status.ok()) return status.error();
      read["expect"] = name;
      read["rel_tol"] = options_.tolerance > 0       ? options_.tolerance
                        : plan_.activations == "a16" ? 0.02
                                                     : 0.05;
    }
    json["reads"].push_back(read);
    return json;
  }

  const CaptureOptions& options_;
  const runtime::PlanFile& file_;
  const runtime::Plan& plan_;
  const DevicePlan& device_;
  const runtime::CodeObject& code_;
  int64_t pages_;
  runtime::SessionLayout layout_;
  Json buffers_ = Json::array();
};

int32_t greedy(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// All rows of logits that the plan's code for this machine computes; none when it has no such code.
Result<std::vector<float>> host_logits(const std::shared_ptr<const runtime::PlanFile>& file,
                                       const std::vector<int32_t>& ids) {
  std::vector<float> rows;
  if (!runtime::choose_code(file->plan(), runtime::detect_host_cpu()).ok()) return rows;
  auto model = runtime::Model::load(file, {});
  if (!model.ok()) return model.error();
  auto session = runtime::Session::create(*model, static_cast<int64_t>(ids.size()));
  if (!session.ok()) return session.error();
  const auto append = [&](std::span<const float> part, int64_t) {
    rows.insert(rows.end(), part.begin(), part.end());
  };
  if (Status status = (*session)->prefill(ids, static_cast<int64_t>(ids.size()), append);
      !status.ok())
    return status.error();
  return rows;
}

// A sequence while its steps are made.
struct Captured {
  std::vector<int32_t> ids;
  std::vector<float> logits;  // of all of them; empty: nothing is compared
};

// The prompt of a sequence of several: the tokens from its number on and around, and less of them
// by up to a half.
std::vector<int32_t> prompt_of(std::vector<int32_t> ids, int64_t sequence) {
  const auto count = std::ssize(ids);
  std::rotate(ids.begin(), ids.begin() + sequence % count, ids.end());
  ids.resize(static_cast<size_t>(count - sequence % ((count + 1) / 2)));
  return ids;
}

// Prompts and decode steps as the runtime makes them. Where logits of all `ids` are `given`, the
// last tokens are decoded. Else a model's logits and next tokens come from the reference, a plan's
// from its own code for this machine; without any, token 0 is fed and nothing is compared.
Result<std::vector<Step>> make_steps(const CaptureOptions& options, InputKind kind,
                                     const std::shared_ptr<const runtime::PlanFile>& file,
                                     const DevicePlan& device, const std::vector<int32_t>& ids,
                                     const std::vector<float>& given) {
  const auto vocab = static_cast<size_t>(file->plan().vocab_size);
  const bool decodes_ids = !given.empty();
  std::vector<int32_t> prompt_ids = ids;
  if (decodes_ids) prompt_ids.resize(ids.size() - static_cast<size_t>(options.decode));
  Progress progress;
  const auto refer = [&](Captured& sequence) -> Status {
    if (decodes_ids) {
      sequence.logits.assign(given.begin(),
                             given.begin() + static_cast<int64_t>(sequence.ids.size() * vocab));
      return runtime::Done{};
    }
    if (kind == InputKind::plan) {
      auto rows = host_logits(file, sequence.ids);
      if (!rows.ok()) return rows.error();
      sequence.logits = std::move(*rows);
      return runtime::Done{};
    }
    progress.update("computing the reference", -1);
    auto logits = reference_logits({.model = options.path,
                                    .tokens = sequence.ids,
                                    .tokens_name = options.ids,
                                    .token_by_token = false,
                                    .after_pass = {}});
    if (!logits.ok()) return logits.error();
    sequence.logits = std::move(logits->rows);
    return runtime::Done{};
  };
  std::vector<Step> steps;
  // Adds the row of the token at a position of a sequence to the last step.
  const auto add_row = [&](const Captured& sequence, int number, int64_t position) {
    Step& step = steps.back();
    step.rows.push_back({.token = sequence.ids[static_cast<size_t>(position)],
                         .position = static_cast<int>(position),
                         .sequence = number,
                         .logits = static_cast<int>(std::ssize(step.rows))});
    if (sequence.logits.empty()) return;
    const auto row =
        std::span(sequence.logits).subspan(static_cast<size_t>(position) * vocab, vocab);
    step.expected.insert(step.expected.end(), row.begin(), row.end());
  };

  std::vector<Captured> sequences;
  const int64_t most =
      options.schedule == "few" ? std::min(device.chunk, codegen::kFewRows) : device.chunk;
  for (int64_t s = 0; s < options.sequences; ++s) {
    Captured& sequence = sequences.emplace_back(Captured{prompt_of(prompt_ids, s), {}});
    if (Status status = refer(sequence); !status.ok()) return status.error();
    const auto prompt = std::ssize(sequence.ids);
    for (int64_t done = 0; done < prompt; ++done) {
      if (done % std::min(most, device.logits_rows) == 0) steps.push_back({true, {}, {}});
      add_row(sequence, static_cast<int>(s), done);
    }
  }
  for (int64_t i = 0; i < options.decode; ++i) {
    steps.push_back({});
    for (size_t s = 0; s < sequences.size(); ++s) {
      Captured& sequence = sequences[s];
      const std::span<const float> logits(sequence.logits);
      sequence.ids.push_back(decodes_ids      ? ids[sequence.ids.size()]
                             : logits.empty() ? 0
                                              : greedy(logits.last(vocab)));
      if (Status status = refer(sequence); !status.ok()) return status.error();
      add_row(sequence, static_cast<int>(s), std::ssize(sequence.ids) - 1);
    }
  }
  return steps;
}

Result<OpenedPlan> open(const CaptureOptions& options, InputKind kind) {
  if (kind == InputKind::plan) {
    if (!options.activations.empty())
      return Error{
          fmt::format("{}: --activations is for models; a plan has its own", options.path)};
    if (!options.arch_from.empty())
      return Error{fmt::format("{}: --arch-from is for models; a plan needs no description of one",
                               options.path)};
    auto file = runtime::PlanFile::open(options.path, true);
    if (!file.ok()) return file.error();
    return OpenedPlan{*file, true};
  }
  const auto targets = codegen::parse_targets(options.target);
  if (!targets.ok()) return to_error(targets.status());
  auto input = open_model(options.path, {}, options.arch_from);
  if (!input.ok()) return input.error();
  codegen::CompileOptions compile;
  compile.targets = *targets;
  compile.activations = activations_of(options.activations);
  compile.persistent = options.schedule == "persistent";
  // Schedules for more rows than the chunk are left out: steps of few rows are not captured.
  if (options.schedule != "few" && options.sequences == 1) compile.rows = {int64_t{1} << 30};
  return compile_temporary(*input, compile);
}

Result<int> capture(const CaptureOptions& options) {
  const auto target = codegen::parse_targets(options.target);
  if (!target.ok()) return to_error(target.status());
  if (target->size() != 1 || target->front().family != "amdgpu")
    return Error{fmt::format("--target {}: captures are of one AMD target, such as gfx1100",
                             options.target)};
  const auto written = InputFiles().add_model(options.path).check_output_folder(options.out);
  if (!written.ok()) return written.error();
  const auto ids = read_token_ids(options.ids);
  if (!ids.ok()) return ids.error();
  const auto kind = kind_of_input(options.path);
  if (!kind.ok()) return kind.error();
  const auto plan_file = open(options, *kind);
  if (!plan_file.ok()) return plan_file.error();
  const runtime::Plan& plan = plan_file->file->plan();
  const auto code = std::find_if(plan.code.begin(), plan.code.end(), [&](const auto& object) {
    return object.target == options.target;
  });
  if (code == plan.code.end())
    return Error{fmt::format("{}: has no code for {}; compile it with --target {}", options.path,
                             options.target, options.target)};
  if (options.schedule == "persistent" &&
      plan_file->file->text(code->section).find("sinter_decode.kd") == std::string_view::npos)
    return Error{
        fmt::format("{}: has no kernel that runs a whole decode step; compile it with --persistent",
                    options.path)};
  if (Status status = check_token_ids(*ids, plan.vocab_size, options.ids); !status.ok())
    return status.error();
  const DevicePlan& device = plan.device_plans[code->device_plan];
  if (options.sequences > 1 && options.schedule == "persistent")
    return Error{"--schedule persistent: one kernel for a decode step has one sequence"};
  if (options.sequences > std::min(codegen::kFewRows, device.logits_rows))
    return Error{fmt::format("--sequences {}: a step of the plan has at most {} rows of logits",
                             options.sequences, std::min(codegen::kFewRows, device.logits_rows))};
  std::vector<float> given;
  if (!options.logits.empty()) {
    if (options.sequences > 1)
      return Error{"--logits has those of one sequence; leave out --sequences"};
    if (std::ssize(*ids) <= options.decode)
      return Error{fmt::format("{}: holds {} token ids; --decode {} leaves no prompt", options.ids,
                               ids->size(), options.decode)};
    auto logits = read_expected_logits(options.logits, std::ssize(*ids), plan.vocab_size);
    if (!logits.ok()) return logits.error();
    given = std::move(*logits);
  }
  const int64_t positions = std::ssize(*ids) + (given.empty() ? options.decode : 0);
  if (positions > plan.max_context)
    return Error{
        fmt::format("{}: {} token ids and --decode {} need {} positions, but the context "
                    "holds {}",
                    options.ids, ids->size(), options.decode, positions, plan.max_context)};
  const auto steps = make_steps(options, *kind, plan_file->file, device, *ids, given);
  if (!steps.ok()) return steps.error();
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (error) return Error{fmt::format("{}: cannot be created: {}", options.out, error.message())};
  Capture writer(options, *plan_file->file, *code, positions);
  if (Status status = writer.write(*steps); !status.ok()) return status.error();
  note(fmt::format("wrote {}: {} steps for {}{}", options.out, steps->size(), options.target,
                   steps->front().expected.empty()
                       ? "; the plan has no code for this machine, so nothing is compared"
                       : ""));
  return 0;
}

}  // namespace

void add_capture(CommandLine& line) {
  auto options = std::make_shared<CaptureOptions>();
  CLI::App& app = line.add(
      "capture",
      "Write every kernel launch of a prefill and some decode steps to a folder: code object, "
      "buffers, arguments with relocations, and what the float32 reference computes, to replay "
      "machine code without its machine. Greedy tokens are fed on.",
      "sinter capture models/tiny-bonsai-1bit --target gfx1100 --ids ids.txt --decode 3 --out "
      "capture",
      [options] { return capture(*options); });
  app.add_option("MODEL|PLAN", options->path, "A model folder, or a plan with code for the target")
      ->required();
  app.add_option("--target", options->target, "The AMD target, such as gfx1100")->required();
  app.add_option("--ids", options->ids, "File of the prompt's token ids; - is stdin")
      ->required()
      ->type_name("FILE");
  app.add_option("--logits", options->logits,
                 "Expected logits of all token ids, a NumPy file: float32, [tokens, vocabulary]. "
                 "The last ids are decoded then, instead of the reference's greedy tokens")
      ->type_name("FILE");
  app.add_option("--decode", options->decode, "Decode steps after the prompt")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))
      ->capture_default_str();
  app.add_option(
         "--sequences", options->sequences,
         "Sequences: each reads the prompt from another token on, then they decode together")
      ->check(CLI::Range(int64_t{1}, codegen::kFewRows))
      ->capture_default_str();
  app.add_option("--out", options->out, "The folder to write")->required()->type_name("DIR");
  app.add_option(
         "--schedule", options->schedule,
         "eager: a launch per phase; few: the same, and the prompt is read by the schedules "
         "for a few rows; persistent: a decode step is one launch of one block that runs all "
         "phases")
      ->check(CLI::IsMember({"eager", "few", "persistent"}))
      ->capture_default_str();
  app.add_option("--activations", options->activations, "For a model: a8 (the default) or a16")
      ->check(CLI::IsMember({"a8", "a16"}));
  add_arch_option(app, options->arch_from);
  app.add_option("--tolerance", options->tolerance,
                 "Relative error that a replay may have; 0 takes 0.02 for a16, 0.05 for a8")
      ->check(CLI::Range(0.0, 10.0));
}

}  // namespace sinter::tools
