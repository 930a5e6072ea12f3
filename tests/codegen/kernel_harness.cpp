#include "tests/codegen/kernel_harness.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <thread>
#include <utility>

#include "codegen/compile/object_cache.h"
#include "codegen/schedule/memory.h"
#include "codegen/schedule/source.h"
#include "ir/state_format.h"
#include "runtime/host/device.h"
#include "runtime/session/step_table.h"

namespace sinter::codegen::test {

namespace {

constexpr uint8_t kCanary = 0xff;
// What the memory planner leaves readable after a buffer.
constexpr int64_t kSlack = 64;

}  // namespace

std::string Kernels::name() const {
  return fmt::format("{} {}", model->name, activations == Activations::a8 ? "a8" : "a16");
}

LoadedCode::LoadedCode(const std::vector<uint8_t>& shared_object) {
  file_ = ::memfd_create("kernels", MFD_CLOEXEC);
  const auto written = ::write(file_, shared_object.data(), shared_object.size());
  EXPECT_EQ(written, static_cast<ssize_t>(shared_object.size()));
  handle_ = ::dlopen(fmt::format("/proc/self/fd/{}", file_).c_str(), RTLD_NOW | RTLD_LOCAL);
  EXPECT_NE(handle_, nullptr) << ::dlerror();
}

LoadedCode::LoadedCode(LoadedCode&& other) noexcept { *this = std::move(other); }

LoadedCode& LoadedCode::operator=(LoadedCode&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(handle_, other.handle_);
  return *this;
}

LoadedCode::~LoadedCode() {
  if (handle_ != nullptr) ::dlclose(handle_);
  if (file_ >= 0) ::close(file_);
}

void* LoadedCode::address(const std::string& symbol) const {
  void* found = ::dlsym(handle_, symbol.c_str());
  EXPECT_NE(found, nullptr) << symbol;
  return found;
}

SimtKernel LoadedCode::find_simt(const std::string& symbol) const {
  return {find<void (*)(GpuArguments)>(symbol), find<SinterSimt**>("sinter_simt"),
          find<int*>("sinter_simt_block")};
}

std::vector<ScheduleShape> schedules(int64_t few, int64_t chunk) {
  using Entry = runtime::Schedule::Entry;
  return {
      {"decode", Entry::main, 1}, {"prefill", Entry::main, chunk, true}, {"few", Entry::main, few}};
}

Suite compile(const std::vector<Variant>& variants, const TestTarget& on, int64_t few,
              int64_t chunk) {
  Suite suite;
  Lowering all;
  for (const auto& [model, activations] : variants) {
    std::vector<passes::Remark> remarks;
    auto lowering = lower(model->module, on.device(), activations, schedules(few, chunk), remarks);
    EXPECT_TRUE(lowering.ok()) << model->name << ": " << lowering.status();
    if (!lowering.ok()) return {};
    for (const LoweredSchedule& schedule : lowering->schedules) {
      const auto memory = plan_memory(model->module, *lowering, schedule, {});
      EXPECT_TRUE(memory.ok()) << model->name << ": " << memory.status();
    }
    all.schedules.insert(all.schedules.end(), lowering->schedules.begin(),
                         lowering->schedules.end());
    suite.kernels.push_back({model, activations, on.wave, *std::move(lowering), {}, {}});
  }
  const KernelSource source = assemble_source(all, "tests");
  const auto shared = compile_shared(source.text, on.target);
  EXPECT_TRUE(shared.ok()) << on.target.name << ": " << shared.status();
  if (!shared.ok()) return {};
  suite.code = LoadedCode(*shared);

  auto used = source.used.begin();
  for (Kernels& k : suite.kernels) {
    for (size_t i = 0; i < k.lowering.schedules.size(); ++i, ++used) {
      std::vector<PhaseFunction>& host = k.host.emplace_back();
      std::vector<SimtKernel>& simt = k.simt.emplace_back();
      for (const uint32_t kernel : *used) {
        const std::string& symbol = source.kernels[kernel].symbol;
        if (on.device() == Device::host) {
          host.push_back(suite.code.find<PhaseFunction>(symbol));
        } else {
          simt.push_back(suite.code.find_simt(symbol));
        }
      }
    }
  }
  if (::testing::Test::HasFailure()) return {};
  return suite;
}

std::vector<TestTarget> runnable_targets(Device device) {
  const runtime::HostCpu cpu = runtime::detect_host_cpu();
  std::vector<TestTarget> out;
  for (const Target& target : targets()) {
    const auto has = [&](std::string_view feature) {
      return std::find(cpu.features.begin(), cpu.features.end(), feature) != cpu.features.end();
    };
    if (target.family == cpu.family &&
        std::all_of(target.features.begin(), target.features.end(), has))
      out.push_back({target});
  }
  EXPECT_FALSE(out.empty()) << "this machine can run no target of the table";
  if (device == Device::host || out.empty()) return out;
  // The same source as for real GPUs. There is much of it and little of it runs long.
  TestTarget wave32 = out.front();
  wave32.wave = 32;
  wave32.target.name = "simt-wave32";
  for (const char* flag : {"-O1", "-DSINTER_SIMT", "-DSINTER_WAVE=32"})
    wave32.target.flags.emplace_back(flag);
  TestTarget wave64 = wave32;
  wave64.wave = 64;
  wave64.target.name = "simt-wave64";
  wave64.target.flags.back() = "-DSINTER_WAVE=64";
  // As gfx9-generic, the one target with such waves that has no matrix units.
  wave64.target.flags.emplace_back("-DSINTER_NO_DOT4");
  return {wave32, wave64};
}

std::string Step::name() const {
  return fmt::format("{} of {} tokens at {}, {} workers",
                     schedules()[static_cast<size_t>(mode)].name, count(), position, workers);
}

std::vector<StepRow> Step::all_rows() const {
  if (!rows.empty()) return rows;
  std::vector<StepRow> all;
  const int64_t size = std::ssize(tokens);
  for (int64_t i = 0; i < size; ++i)
    all.push_back({.token = tokens[static_cast<size_t>(i)],
                   .position = static_cast<int>(position + i),
                   .sequence = 0,
                   .logits = static_cast<int>(std::max<int64_t>(i - (size - logits_rows), -1))});
  return all;
}

std::vector<int64_t> bind_shape(const ir::TensorType& type, const Step& step) {
  std::vector<int64_t> shape;
  for (const ir::Dim& dim : type.shape)
    shape.push_back(!dim.is_symbol()    ? dim.value
                    : dim.symbol == 'T' ? step.count()
                                        : step.logits_rows);
  return shape;
}

std::vector<int32_t> random_tokens(int64_t count, Random& random) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>(random.below(kVocabulary)));
  return tokens;
}

Machine::Machine(const Kernels& kernels, int64_t capacity, int64_t sequences)
    : kernels_(kernels), pages_per_sequence_((capacity + page_positions - 1) / page_positions) {
  const TestModel& model = *kernels.model;
  for (const auto& [id, layout] : kernels.lowering.layouts) {
    GuardedBuffer buffer(layout.bytes, kSlack, 0);
    int64_t at = 0;
    const auto status = pack_weight(model.module.weight(id), model.module.weights.at(id), layout,
                                    *model.weights, [&](absl::Span<const uint8_t> bytes) {
                                      const auto size = static_cast<int64_t>(bytes.size());
                                      EXPECT_LE(at + size, layout.bytes);
                                      std::memcpy(buffer.data() + at, bytes.data(), bytes.size());
                                      at += size;
                                      return absl::OkStatus();
                                    });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(at, layout.bytes) << model.module.value(id).name;
    buffer.make_read_only();
    weights_[id] = std::move(buffer);
  }
  const int64_t pages = sequences * pages_per_sequence_;
  for (int64_t i = 0; i < pages; ++i) page_table_.push_back(static_cast<int32_t>(pages - 1 - i));
  states_ = GuardedBuffer(pages * static_cast<int64_t>(kernels.lowering.states.layout.page_bytes),
                          0, kCanary);
  fixed_ = GuardedBuffer(
      sequences * static_cast<int64_t>(kernels.lowering.states.layout.fixed_bytes), kSlack, 0);
  for (const auto& [id, room] : kernels.lowering.pinned)
    pinned_[id] = GuardedBuffer(room.fixed_bytes, kSlack, 0);
  if (kernels.wave > 0) simt_.emplace(kernels.wave);
}

void Machine::run_on_host(PhaseFunction function, const std::vector<void*>& args,
                          const StepParams& params, const std::vector<GuardedBuffer>& scratch,
                          const Step& step) const {
  const auto work = [&](int worker) {
    const Launch launch{.args = args.data(),
                        .step = &params,
                        .pages = page_table_.data(),
                        .pages_per_sequence = pages_per_sequence_,
                        .scratch = scratch[static_cast<size_t>(worker)].data(),
                        .worker = worker,
                        .workers = step.workers};
    function(&launch);
  };
  std::vector<std::thread> threads;
  for (int w = 0; w < step.workers; ++w) {
    const int worker = step.order == Order::descending ? step.workers - 1 - w : w;
    if (step.order == Order::threads) {
      threads.emplace_back(work, worker);
    } else {
      work(worker);
    }
  }
  for (std::thread& thread : threads) thread.join();
}

absl::Status Machine::run_on_gpu(const SimtKernel& kernel, const LoweredPhase& phase,
                                 const std::vector<void*>& args, const StepParams& params,
                                 const Step& step, std::vector<std::span<uint8_t>> awaited) {
  GpuArguments arguments{&params, page_table_.data(), {}, 0, static_cast<int>(pages_per_sequence_)};
  EXPECT_LE(args.size(), std::size(arguments.args));
  std::copy(args.begin(), args.end(), arguments.args);
  Grid grid{step.workers, step.order == Order::descending, phase.shared_bytes};
  if (step.workers == kPlannedWorkers) {
    const int64_t per_block = phase.rows_per_block;
    const int64_t times = per_block == 0 ? 1 : (step.count() + per_block - 1) / per_block;
    grid.blocks = static_cast<int>(phase.blocks * times);
  }
  grid.awaited = std::move(awaited);
  return simt_->run(kernel, arguments, grid);
}

StepValues Machine::run(const Step& step) {
  const ir::Module& module = kernels_.model->module;
  const auto at = static_cast<size_t>(step.mode);
  const LoweredSchedule& schedule = kernels_.schedule(step.mode);
  const std::string what = fmt::format("{}, {}", kernels_.name(), step.name());

  std::map<ir::ValueId, GuardedBuffer> activations;
  std::map<int64_t, GuardedBuffer> temporaries;
  const int64_t most_rows = step.count() + 3;
  GuardedBuffer table(static_cast<int64_t>(runtime::step_table_bytes(most_rows)), 0, kCanary);
  const std::vector<StepRow> rows = step.all_rows();
  runtime::write_step_table(table.data(), most_rows, rows);
  table.make_read_only();
  const auto& params = *reinterpret_cast<const StepParams*>(table.data());
  const auto activation = [&](ir::ValueId id) {
    if (!activations.contains(id)) {
      int64_t bytes = 4;
      for (const int64_t extent : bind_shape(module.tensor(id), step)) bytes *= extent;
      activations[id] = GuardedBuffer(bytes, kSlack, kCanary);
    }
    return activations[id].data();
  };
  const auto address = [&](const Buffer& buffer) -> void* {
    const auto id = static_cast<ir::ValueId>(buffer.value);
    switch (buffer.kind) {
      case Buffer::Kind::weight:
        return weights_.at(id).data() + buffer.offset;
      case Buffer::Kind::state:
        return (module.state(id).kind == ir::StateKind::paged ? states_ : fixed_).data() +
               kernels_.lowering.states.layout.offsets[kernels_.lowering.states.numbers.at(id)];
      case Buffer::Kind::pinned:
        return pinned_.at(buffer.value).data();
      case Buffer::Kind::temporary:
        if (!temporaries.contains(buffer.value)) {
          const Room& room = schedule.temporaries.at(buffer.value);
          // Few rows may lie together, as many as the schedule has.
          const int64_t rows =
              schedule.shape.most_rows <= kFewRows ? schedule.shape.most_rows : step.count();
          temporaries[buffer.value] =
              GuardedBuffer(room.bytes_per_row * rows + room.fixed_bytes, kSlack, uint8_t{0xaa});
        }
        return temporaries[buffer.value].data();
      case Buffer::Kind::activation:
        return activation(id);
      case Buffer::Kind::logits:
        return activation(module.returns[0]);
      case Buffer::Kind::hidden:
        break;  // of modules with further entries, which run in sessions
    }
    return nullptr;
  };

  // What a phase that awaits the one before by itself does not say that it reads ahead.
  const auto awaited_by = [&](const LoweredPhase& phase) {
    std::vector<std::span<uint8_t>> awaited;
    for (size_t i = 0; phase.begins_early() && i < phase.arguments.size(); ++i) {
      const Buffer& buffer = phase.arguments[i];
      const bool kept = buffer.kind == Buffer::Kind::weight || buffer.kind == Buffer::Kind::state;
      if (phase.uses[i].read_ahead || kept) continue;
      const GuardedBuffer& memory = buffer.kind == Buffer::Kind::pinned ? pinned_.at(buffer.value)
                                    : buffer.kind == Buffer::Kind::temporary
                                        ? temporaries.at(buffer.value)
                                    : buffer.kind == Buffer::Kind::logits
                                        ? activations.at(module.returns[0])
                                        : activations.at(static_cast<ir::ValueId>(buffer.value));
      // Parts of a phase may have an argument in common.
      if (std::ranges::none_of(awaited, [&](const auto& a) { return a.data() == memory.data(); }))
        awaited.emplace_back(memory.data(), static_cast<size_t>(memory.bytes()));
    }
    return awaited;
  };

  std::vector<GuardedBuffer> scratch;
  for (int w = 0; w < step.workers; ++w)
    scratch.emplace_back(kernels_.lowering.scratch_bytes, kSlack, uint8_t{0xaa});
  for (size_t i = 0; i < schedule.phases.size(); ++i) {
    const LoweredPhase& phase = schedule.phases[i];
    std::vector<void*> args;
    for (const Buffer& buffer : phase.arguments) args.push_back(address(buffer));
    if (kernels_.wave == 0) {
      const PhaseFunction function = kernels_.host[at][i];
      run_on_host(function, args, params, scratch, step);
    } else {
      const SimtKernel& kernel = kernels_.simt[at][i];
      const auto status = run_on_gpu(kernel, phase, args, params, step, awaited_by(phase));
      EXPECT_TRUE(status.ok()) << what << ": " << phase.name << ": " << status.message();
      if (!status.ok()) break;
    }
    const auto check = [&](const auto& buffers, std::string_view kind) {
      for (const auto& [id, buffer] : buffers)
        EXPECT_TRUE(buffer.intact())
            << what << ": " << schedule.phases[i].name << " wrote behind " << kind << " " << id;
    };
    check(activations, "activation");
    check(temporaries, "temporary");
    check(pinned_, "pinned");
    EXPECT_TRUE(fixed_.intact()) << what << ": " << phase.name << " wrote behind fixed state";
    for (const GuardedBuffer& buffer : scratch)
      EXPECT_TRUE(buffer.intact())
          << what << ": " << schedule.phases[i].name << " wrote behind scratch";
  }

  StepValues values;
  ir::Array& tokens = values[module.params[0]];
  tokens.shape = {step.count()};
  for (const StepRow& row : rows) tokens.data.push_back(static_cast<float>(row.token));
  for (const auto& [id, buffer] : activations) {
    ir::Array& array = values[id];
    array.shape = bind_shape(module.tensor(id), step);
    array.data.resize(static_cast<size_t>(buffer.bytes()) / 4);
    std::memcpy(array.data.data(), buffer.data(), static_cast<size_t>(buffer.bytes()));
    if (module.tensor(id).dtype == ir::DType::i32)
      for (float& number : array.data) number = static_cast<float>(std::bit_cast<int32_t>(number));
  }
  return values;
}

std::span<const uint8_t> Machine::page(ir::ValueId id, int64_t sequence, int64_t position) const {
  const StateTable& states = kernels_.lowering.states;
  const runtime::PlanState& state = states.at(id);
  if (state.kind == runtime::PlanState::Kind::ring) {
    const uint64_t page_bytes = state.fixed_bytes / state.positions * page_positions;
    const uint64_t in_ring = static_cast<uint64_t>(position) % state.positions / page_positions;
    const size_t at = states.layout.fixed_bytes * static_cast<size_t>(sequence) +
                      states.layout.offsets[states.numbers.at(id)] + in_ring * page_bytes;
    return {fixed_.data() + at, page_bytes};
  }
  const int32_t number =
      page_table_[static_cast<size_t>(sequence * pages_per_sequence_ + position / page_positions)];
  const size_t at = states.layout.page_bytes * static_cast<size_t>(number) +
                    states.layout.offsets[states.numbers.at(id)];
  return pages().subspan(at, state.bytes_per_position * page_positions);
}

std::span<const uint8_t> Machine::pages() const {
  return {states_.data(), static_cast<size_t>(states_.bytes())};
}

StepValues Machine::fixed_states(int64_t sequence) const {
  const StateTable& states = kernels_.lowering.states;
  StepValues values;
  for (const auto& [id, number] : states.numbers) {
    const ir::StateType& type = kernels_.model->module.state(id);
    if (info(type.kind).by_position) continue;
    ir::Array& array = values[id];
    for (const ir::Dim& dim : type.numbers.shape) array.shape.push_back(dim.value);
    const auto run = static_cast<size_t>(array.shape.back());
    const auto* from = reinterpret_cast<const float*>(
        fixed_.data() + static_cast<size_t>(sequence) * states.layout.fixed_bytes +
        states.layout.offsets[number]);
    const auto padded = static_cast<size_t>(ir::padded_run(array.shape.back()));
    for (size_t at = 0; at < states.at(id).fixed_bytes / sizeof(float); at += padded)
      array.data.insert(array.data.end(), from + at, from + at + run);
  }
  return values;
}

std::span<const uint8_t> Machine::pinned(int64_t number) const {
  const GuardedBuffer& buffer = pinned_.at(number);
  return {buffer.data(), static_cast<size_t>(buffer.bytes())};
}

}  // namespace sinter::codegen::test
