// Machine code for GPUs, as far as it can be looked at without one: it compiles for every target,
// keeps in registers, uses the instructions it was written for, and is HIP that other compilers
// accept.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "codegen/compile/clang_compile.h"
#include "codegen/compile/device_sources.h"
#include "codegen/compile/instruction_count.h"
#include "codegen/compile/kernel_resources.h"
#include "codegen/compile/object_cache.h"
#include "codegen/plan_builder.h"
#include "codegen/regions/lower.h"
#include "codegen/schedule/source.h"
#include "frontends/checkpoint.h"
#include "frontends/open/open_checkpoint.h"
#include "ir/state_format.h"
#include "ir/text.h"
#include "models/import.h"
#include "passes/pipeline.h"
#include "runtime/plan/file.h"

namespace sinter::codegen {
namespace {

namespace fs = std::filesystem;

struct Model {
  std::unique_ptr<frontends::Checkpoint> checkpoint;
  models::ImportedModel imported;
  DeviceCompilation gpu;
};

Target target(std::string_view name) { return parse_targets(name)->front(); }

// The golden model `name`, lowered for GPUs.
Model lowered(const std::string& name, CompileOptions options) {
  Model model;
  auto checkpoint = frontends::open_checkpoint(SINTER_TEST_GOLDENS "/" + name);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  model.checkpoint = *std::move(checkpoint);
  auto imported = models::import_checkpoint(*model.checkpoint);
  EXPECT_TRUE(imported.ok()) << imported.status();
  model.imported = *std::move(imported);
  options.targets = {target("gfx1100")};
  auto compiled = lower_model(model.imported, model.checkpoint.get(), options);
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  model.gpu = compiled->devices.front();
  return model;
}
Model lowered(const std::string& name, Activations activations,
              ir::DType kv_format = ir::DType::f16) {
  CompileOptions options;
  options.activations = activations;
  options.kv_format = kv_format;
  return lowered(name, options);
}

// The kernels of the phases that are wanted: most of the time of these tests is Clang's.
using Wanted = std::function<bool(const LoweredSchedule& schedule, const LoweredPhase& phase)>;
KernelSource kernels_of(const Model& model, const Wanted& wanted) {
  Lowering some = model.gpu.lowering;
  for (LoweredSchedule& schedule : some.schedules)
    std::erase_if(schedule.phases,
                  [&](const LoweredPhase& phase) { return !wanted(schedule, phase); });
  KernelSource source = assemble_source(some, "some");
  EXPECT_FALSE(source.kernels.empty());
  return source;
}

bool is_attention(const LoweredPhase& phase) {
  return phase.body.find("attention_") != std::string::npos;
}
bool is_decode(const LoweredSchedule& schedule) { return schedule.shape.most_rows == 1; }

// No kernel keeps anything in memory that it could keep in registers, but for what is left so that
// ptxas need not run again.
void expect_in_registers(const KernelSource& source, const Target& gpu) {
  SCOPED_TRACE(gpu.name);
  const auto object = compile_shared(source.text, gpu);
  ASSERT_TRUE(object.ok()) << object.status();
  std::vector<runtime::KernelResources> resources;
  if (gpu.family == "nvptx") {
    const std::string ptx(object->begin(), object->end());
    for (const runtime::Kernel& kernel : source.kernels)
      EXPECT_NE(ptx.find(fmt::format(".entry {}(", kernel.symbol)), std::string::npos)
          << kernel.symbol;
    const std::string ptxas = find_ptxas();
    if (ptxas.empty()) return;
    auto cubin = assemble_ptx(ptxas, *object, gpu, source.kernels);
    ASSERT_TRUE(cubin.ok()) << cubin.status();
    resources = cubin->resources;
  } else {
    auto read = kernel_resources(*object, source.kernels);
    ASSERT_TRUE(read.ok()) << read.status();
    resources = *read;
  }
  ASSERT_EQ(resources.size(), source.kernels.size());
  for (size_t i = 0; i < resources.size(); ++i) {
    const std::string& symbol = source.kernels[i].symbol;
    EXPECT_GT(resources[i].vgprs, 0U) << symbol;
    const uint32_t most_spills = family_of(gpu).ptx ? few_spills - 1 : 0;
    EXPECT_LE(resources[i].scratch_bytes, (most_spills + 1) / 2 * 8) << symbol;
    EXPECT_LE(resources[i].spills, most_spills) << symbol;
    EXPECT_GT(occupancy(gpu, resources[i].vgprs), 0) << symbol;
  }
}

// Between them they have every kind of code that the kernel library has: waves of 64 and of 32, no
// integer dots, dots alone, every matrix unit, early launches. What is compiled for others differs
// from theirs in registers and in single instructions.
constexpr std::string_view kGpusOfEachKind[] = {"gfx9-generic", "gfx10-3-generic", "gfx90a",
                                                "gfx942",       "gfx1100",         "gfx1201",
                                                "sm_75",        "sm_80",           "sm_90"};

TEST(GpuCode, GpusOfEachKindHaveEveryMatrixUnit) {
  for (const Target& gpu : targets())
    EXPECT_TRUE(gpu.device == Device::host ||
                std::ranges::any_of(kGpusOfEachKind,
                                    [&](std::string_view name) {
                                      const Target other = target(name);
                                      return other.family == gpu.family &&
                                             other.matrix_unit == gpu.matrix_unit;
                                    }))
        << gpu.name;
}

class EveryGpu : public testing::TestWithParam<std::string> {};

// 16-bit activations are two planes of bytes, and affine weights have offsets: both take registers.
// All kernels of a model for a GPU of each kind; for the others what takes the most registers:
// attention and a gated product, of as many rows as there are at a time.
TEST_P(EveryGpu, KernelsKeepInRegisters) {
  const Target gpu = target(GetParam());
  const bool all = std::ranges::count(kGpusOfEachKind, gpu.name) > 0;
  expect_in_registers(
      kernels_of(lowered("mlx_b4_g64", Activations::a16),
                 [&](const LoweredSchedule& schedule, const LoweredPhase& phase) {
                   const bool gated = phase.name.find("gate_proj") != std::string::npos;
                   return all ||
                          (schedule.shape.most_rows >= kFewRows && (is_attention(phase) || gated));
                 }),
      gpu);
}

// In steps of one row, of as many as lie together, and of a chunk. Each where its weights take the
// most registers: fields of codes of several widths and dense
// weights, floats of 8 bits, two levels of scales, whole bytes.
TEST(GpuCode, KernelsOfEveryKindOfWeightsKeepInRegisters) {
  const auto expect_of = [](const char* name, Activations activations, const char* gpu) {
    SCOPED_TRACE(name);
    expect_in_registers(kernels_of(lowered(name, activations),
                                   [](const LoweredSchedule& schedule, const LoweredPhase& phase) {
                                     const int64_t rows = schedule.shape.most_rows;
                                     return phase.weight_bytes > 0 &&
                                            (rows == 1 || rows >= kFewRows);
                                   }),
                        target(gpu));
  };
  for (const auto& [name, gpu] :
       {std::pair{"mlx_mixed", "sm_90"}, std::pair{"mlx_mxfp8", "sm_90"},
        std::pair{"mlx_mixed", "gfx1100"}, std::pair{"gguf_llama_mixed", "gfx942"}})
    expect_of(name, Activations::a16, gpu);
  expect_of("mlx_b8_g64", Activations::a8, "gfx1030");
}

// Numbers of 4 bytes take the most registers, codes the most work.
TEST(GpuCode, AttentionToCachesOfEveryFormatKeepsInRegisters) {
  for (const ir::StateFormat& format : ir::kStateFormats) {
    const KernelSource source =
        kernels_of(lowered("mlx_b1_sym_tied", Activations::a8, format.dtype),
                   [](const LoweredSchedule&, const LoweredPhase& p) { return is_attention(p); });
    for (const char* gpu : {"sm_80", "sm_90", "gfx1100", "gfx942"})
      expect_in_registers(source, target(gpu));
  }
}

// Attention alone: eight query heads to two KV heads. `options`: its further attributes. With sinks
// values are normalized, and attention to the same caches follows, which appends nothing.
Model attention_of(int64_t qk_head_dim, int64_t v_head_dim, int64_t window, ir::DType format,
                   const std::string& options = "", bool sinks = false) {
  const int64_t widths[] = {8 * qk_head_dim, 2 * qk_head_dim, 2 * v_head_dim};
  const int64_t all = widths[0] + widths[1] + widths[2];
  std::string parts;
  int64_t begin = 0;
  for (int i = 0; i < 3; ++i) {
    parts += fmt::format(
        "    %{0} = slice %0 {{begin = {1}, end = {2}}} : tensor<Tx{3}xf32>\n"
        "    %{4} = reshape %{0} : tensor<Tx{5}x{6}xf32>\n",
        2 * i + 1, begin, begin + widths[i], widths[i], 2 * i + 2, i == 0 ? 8 : 2,
        i == 2 ? v_head_dim : qk_head_dim);
    begin += widths[i];
  }
  const std::string normal = fmt::format(
      "    %8 = rms_norm %6 {{eps = 1e-06}} : tensor<Tx2x{}xf32>\n"
      "    kv_append @values, %8\n",
      v_head_dim);
  const std::string again = fmt::format(
      "    %9 = reshape %7 : tensor<Tx8x{0}xf32>\n"
      "    %10 = attention %9, @keys, @values, @sinks {{scale = 0.1, window = {1}{2}}} label "
      "\"again\" : tensor<Tx{3}xf32>\n",
      v_head_dim, window, options, 8 * v_head_dim);
  const auto module = ir::parse(
      fmt::format("module @m {{\n"
                  "  weight @table : weight<64x{0}, f32> = source(\"table\")\n"
                  "  weight @sinks : weight<8, bf16> = source(\"sinks\")\n"
                  "  state @keys : state<2xCx{1}, paged {3}>\n"
                  "  state @values : state<2xCx{2}, paged {3}>\n"
                  "  func @forward(%tokens: tensor<Txi32>) {{\n"
                  "    %0 = embed %tokens, @table : tensor<Tx{0}xf32>\n{4}"
                  "    kv_append @keys, %4\n{8}"
                  "    %7 = attention %2, @keys, @values{9} {{scale = 0.1, window = {5}{7}}} label "
                  "\"attention\" : tensor<Tx{6}xf32>\n{10}"
                  "    return %{11}\n  }}\n}}\n",
                  all, qk_head_dim, v_head_dim, ir::name(format), parts, window, 8 * v_head_dim,
                  options, sinks ? normal : "    kv_append @values, %6\n", sinks ? ", @sinks" : "",
                  sinks ? again : "", sinks ? 10 : 7),
      "attention");
  EXPECT_TRUE(module.ok()) << module.status();
  passes::PassContext context;
  const auto fused = passes::run_pipeline(*module, context);
  EXPECT_TRUE(fused.ok()) << fused.status();
  using Entry = runtime::Schedule::Entry;
  std::vector<passes::Remark> remarks;
  auto lowering = lower(
      *fused, Device::gpu, Activations::a8,
      {{"decode", Entry::main, 1}, {"prefill", Entry::main, 512, true}, {"few", Entry::main, 8}},
      remarks);
  EXPECT_TRUE(lowering.ok()) << lowering.status();
  Model model;
  model.gpu.lowering = *std::move(lowering);
  return model;
}

TEST(GpuCode, AttentionOfUnequalWidthsAndInWindowsKeepsInRegisters) {
  struct Case {
    int64_t qk_head_dim, v_head_dim, window;
    ir::DType format;
  };
  for (const auto& [qk_head_dim, v_head_dim, window, format] :
       {Case{192, 128, 0, ir::DType::f16}, Case{64, 128, 300, ir::DType::f16},
        Case{128, 128, 128, ir::DType::q8}, Case{80, 64, 0, ir::DType::q4}}) {
    SCOPED_TRACE(fmt::format("{} and {} features, window of {}", qk_head_dim, v_head_dim, window));
    const KernelSource source =
        kernels_of(attention_of(qk_head_dim, v_head_dim, window, format),
                   [](const LoweredSchedule&, const LoweredPhase& p) { return is_attention(p); });
    for (const char* gpu : {"sm_75", "sm_90", "gfx1100", "gfx942"})
      expect_in_registers(source, target(gpu));
  }
}

TEST(GpuCode, AttentionWithEveryOptionKeepsInRegisters) {
  struct Case {
    int64_t head_dim, window;
    ir::DType format;
    const char* options;
    bool sinks;
  };
  for (const auto& [head_dim, window, format, options, sinks] :
       {Case{64, 128, ir::DType::f16, "", true},
        Case{64, 0, ir::DType::f16, ", softcap = 50.0", false},
        Case{256, 300, ir::DType::f16, ", softcap = 50.0", true},
        Case{64, 0, ir::DType::q8, ", chunk = 8192, softcap = 30.0", true}}) {
    SCOPED_TRACE(fmt::format("{} features, window of {}{}", head_dim, window, options));
    const KernelSource source =
        kernels_of(attention_of(head_dim, head_dim, window, format, options, sinks),
                   [](const LoweredSchedule&, const LoweredPhase& p) { return is_attention(p); });
    for (const char* gpu : {"sm_80", "sm_90", "gfx1100", "gfx942"})
      expect_in_registers(source, target(gpu));
  }
}

// Every kernel waits for what the one before it writes, or none may be launched early.
TEST(GpuCode, KernelsOfNewNvidiaGpusAwaitThePhaseBefore) {
  const Model model = lowered("mlx_b1_sym_tied", Activations::a8);
  EXPECT_NE(model.gpu.source.text.find("SINTER_ALONE_PHASE(attention)"), std::string::npos);
  const KernelSource decode =
      kernels_of(model, [](const LoweredSchedule& s, const LoweredPhase&) { return is_decode(s); });
  const auto old = compile_assembly(decode.text, target("sm_89"));
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(old->find("griddepcontrol"), std::string::npos);
  const auto assembly = compile_assembly(model.gpu.source.text, target("sm_90"));
  ASSERT_TRUE(assembly.ok()) << assembly.status();
  int kernels = 0;
  for (size_t at = assembly->find(".entry "); at != std::string::npos; ++kernels) {
    const size_t next = assembly->find(".entry ", at + 1);
    const std::string kernel = assembly->substr(at, next - at);
    const size_t wait = kernel.find("griddepcontrol.wait");
    EXPECT_NE(wait, std::string::npos) << kernel.substr(0, 60);
    EXPECT_LT(wait, kernel.find("griddepcontrol.launch_dependents")) << kernel.substr(0, 60);
    // What it stores comes after.
    EXPECT_GT(kernel.find("st.global"), wait) << kernel.substr(0, 60);
    at = next;
  }
  EXPECT_GT(kernels, 10);
}

std::vector<std::string> gpu_names() {
  std::vector<std::string> names;
  for (const Target& t : targets())
    if (t.device == Device::gpu) names.emplace_back(t.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(All, EveryGpu, testing::ValuesIn(gpu_names()), [](const auto& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

// Kernels are divided among threads, and what those make is joined.
TEST(GpuCode, PtxIsTheSameWhateverNumberOfThreadsMakesIt) {
  const Model model = lowered("mlx_b1_sym_tied", Activations::a8);
  const std::string few = "#include \"sinter.h\"\nSINTER_PHASE(alone) {}\n";
  for (const std::string& source : {model.gpu.source.text, few}) {
    const auto whole = compile_to_ptx(source, target("sm_90"), 1);
    ASSERT_TRUE(whole.ok()) << whole.status();
    for (const size_t parts : {2, 5}) {
      const auto joined = compile_to_ptx(source, target("sm_90"), parts);
      ASSERT_TRUE(joined.ok()) << joined.status();
      EXPECT_TRUE(*joined == *whole) << parts;
    }
  }
}

TEST(GpuCode, AKernelRunsAWholeScheduleWhereThatIsAskedFor) {
  const auto text_of = [](bool with) {
    CompileOptions options;
    options.chunk = 1;  // decodes alone
    options.persistent = with;
    return lowered("mlx_b1_sym_tied", options).gpu.source.text;
  };
  const std::string plain = text_of(false), persistent = text_of(true);
  // All else is the same.
  EXPECT_TRUE(persistent.starts_with(plain));
  for (const char* name : {"gfx1100", "sm_80"}) {
    for (const bool wanted : {false, true}) {
      const auto object = compile_shared(wanted ? persistent : plain, target(name));
      ASSERT_TRUE(object.ok()) << object.status();
      const std::string bytes(object->begin(), object->end());
      EXPECT_EQ(bytes.find("sinter_decode") != std::string::npos, wanted) << name;
    }
  }
}

TEST(GpuCode, UsesDotsAndMatrixUnits) {
  const KernelSource source =
      kernels_of(lowered("mlx_b1_sym_tied", Activations::a8),
                 [](const LoweredSchedule&, const LoweredPhase& phase) {
                   return phase.name == "lm_head" || phase.name.find("rope") != std::string::npos;
                 });
  for (const auto& [name, dot, matrix] :
       {std::tuple{"gfx1100", "v_dot4_i32_iu8", "v_wmma_i32_16x16x16_iu8"},
        std::tuple{"gfx942", "v_dot4", "v_mfma_i32_16x16x32_i8"},
        std::tuple{"gfx1030", "v_dot4", "v_dot4"},
        std::tuple{"gfx9-generic", "v_mad_i32_i24", "v_mad_i32_i24"},
        std::tuple{"gfx11-generic", "v_dot4_i32_iu8", "v_wmma_i32_16x16x16_iu8"},
        std::tuple{"sm_75", "dp4a.s32.s32", "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32"},
        std::tuple{"sm_80", "dp4a.s32.s32", "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32"}}) {
    const auto assembly = compile_assembly(source.text, target(name));
    ASSERT_TRUE(assembly.ok()) << assembly.status();
    EXPECT_NE(assembly->find(dot), std::string::npos) << name;
    EXPECT_NE(assembly->find(matrix), std::string::npos) << name;
    // Weights are read past the first-level cache.
    if (target(name).family == "nvptx") {
      EXPECT_NE(assembly->find("ld.global.nc.L1::no_allocate"), std::string::npos);
    }
    // A loop over tiles that reads weights: some instructions for a byte, not hundreds.
    const double count = instructions_per_weight_byte(*assembly, "lm_head");
    EXPECT_GT(count, 1) << name;
    EXPECT_LT(count, 100) << name;
    EXPECT_EQ(instructions_per_weight_byte(*assembly, "rope"), 0) << name;
  }
}

// Compilers lay a block out behind the loop that it belongs to, and a loop is entered in its
// middle.
TEST(GpuCode, InstructionsOfALoopAreCountedWhereverTheyLie) {
  const double count = instructions_per_weight_byte(
      "\nk:\n\ts_branch .L1\n.L0:\n\tv_add_u32 v0, 1, v0\n\ts_cbranch_vccz .L9\n"
      ".L1:\n\tv_dot4_i32_i8 v1, v2, v3, v1\n\tv_dot4_i32_i8 v1, v4, v5, v1\n"
      "\ts_cbranch_vccz .L2\n.L3:\n\ts_branch .L0\n"
      ".L2:\n\tglobal_load_dwordx4 v[2:5], v[6:7], off nt\n\ts_branch .L3\n"
      ".L9:\n\tv_add_u32 v0, 1, v0\n\ts_endpgm\n",
      "k");
  EXPECT_EQ(count, 8.0 / 16);
}

TEST(GpuCode, TargetsOfOneKindShareAPlanAndItsWeights) {
  const Model model = lowered("mlx_b4_g64", Activations::a16);
  CompileOptions options;
  options.targets = *parse_targets("x86-64-v3,x86-64-v4,gfx1100,gfx942,sm_90");
  options.activations = Activations::a16;
  options.chunk = 1;
  const std::string path =
      (fs::temp_directory_path() / fmt::format("sinter-gpu-code-{}.plan", ::getpid())).string();
  const auto plan = compile_plan(model.imported, model.checkpoint.get(), "shared", options, path);
  ASSERT_TRUE(plan.ok()) << plan.status();
  fs::remove(path);
  ASSERT_EQ(plan->device_plans.size(), 2U);
  EXPECT_EQ(plan->device_plans[0].device, "host");
  EXPECT_EQ(plan->device_plans[1].device, "gpu");
  for (const runtime::CodeObject& code : plan->code)
    EXPECT_EQ(plan->device_plans[code.device_plan].device,
              code.family.starts_with("host") ? "host" : "gpu")
        << code.target;
  // Each has some of its own.
  EXPECT_EQ(plan->device_plans[0].weights_sections.size(), 2U);
  EXPECT_EQ(plan->device_plans[1].weights_sections.size(), 2U);
  EXPECT_EQ(plan->device_plans[0].weights_sections[1], plan->device_plans[1].weights_sections[0]);
}

// The library and the phases as files, as a person would hand them to a compiler.
TEST(GpuCode, IsHipThatHipccAccepts) {
  const Model model = lowered("mlx_b1_sym_tied", Activations::a8);
  const fs::path folder = fs::temp_directory_path() / fmt::format("sinter-hip-{}", ::getpid());
  for (const DeviceSource& source : device_sources()) {
    const fs::path path = folder / source.name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << source.text;
  }
  std::ofstream(folder / "phases.hip") << model.gpu.source.text;
  for (const char* name : {"gfx1030", "gfx90a"}) {
    std::vector<std::string_view> macros = target(name).flags;
    std::erase_if(macros, [](std::string_view flag) { return !flag.starts_with("-D"); });
    const std::string command = fmt::format(
        "hipcc --genco --offload-arch={0} -O1 -std=c++20 -Wall -Werror -Wno-pass-failed "
        "{1} -I{2} {2}/phases.hip -o {2}/{0}.co",
        name, fmt::join(macros, " "), folder.string());
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    EXPECT_GT(fs::file_size(folder / fmt::format("{}.co", name)), 10000U);
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace sinter::codegen
