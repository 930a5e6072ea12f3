// Probes of compiled plans: healthy ones pass, and a weight that is decoded otherwise is found
// before the first token.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>

#include "codegen/layouts/layout.h"
#include "codegen/plan_builder.h"
#include "frontends/open/open_checkpoint.h"
#include "ir/text.h"
#include "runtime/session/session.h"

namespace sinter::codegen {
namespace {

// A golden's plan for this machine; goes away with the object.
class CompiledGolden {
 public:
  CompiledGolden(const std::string& name, Activations activations)
      : path_(fmt::format("{}probe_{}_{}.plan", ::testing::TempDir(), name, ::getpid())) {
    auto checkpoint = frontends::open_checkpoint(std::filesystem::path(SINTER_TEST_GOLDENS) / name);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    auto model = models::import_checkpoint(**checkpoint);
    EXPECT_TRUE(model.ok()) << model.status();
    CompileOptions options;
    options.targets = *parse_targets("host");
    options.activations = activations;
    const auto plan = compile_plan(*model, checkpoint->get(), name, options, path_);
    EXPECT_TRUE(plan.ok()) << plan.status();
  }
  ~CompiledGolden() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  CompiledGolden(const CompiledGolden&) = delete;
  CompiledGolden& operator=(const CompiledGolden&) = delete;

  std::shared_ptr<const runtime::PlanFile> open() const {
    auto file = runtime::PlanFile::open(path_, false);
    EXPECT_TRUE(file.ok()) << file.error().message;
    return *std::move(file);
  }
  // The error of a session on this plan, whose checksum of the weights is not looked at.
  std::string session_error() const {
    auto model = runtime::Model::load(open(), {.threads = 2, .verify_weights = false});
    if (!model.ok()) return model.error().message;
    const auto session = runtime::Session::create(*model, 16);
    return session.ok() ? "" : session.error().message;
  }
  // Changes bits of the file.
  void flip(uint64_t at, uint64_t bytes, uint8_t mask) const {
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    std::string run(bytes, 0);
    file.seekg(static_cast<std::streamoff>(at));
    file.read(run.data(), static_cast<std::streamsize>(bytes));
    for (char& byte : run) byte = static_cast<char>(byte ^ mask);
    file.seekp(static_cast<std::streamoff>(at));
    file.write(run.data(), static_cast<std::streamsize>(bytes));
  }

 private:
  std::string path_;
};

class ProbeTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ProbeTest, HealthyPlansPassAndEveryFormatOfMatricesHasOne) {
  for (const Activations activations : {Activations::a8, Activations::a16}) {
    const CompiledGolden golden(GetParam(), activations);
    EXPECT_EQ(golden.session_error(), "");
    const auto file = golden.open();
    const runtime::DevicePlan& plan = file->plan().device_plans[0];
    std::set<std::string> formats;
    const auto module = ir::parse(file->text(file->plan().graph), "graph");
    ASSERT_TRUE(module.ok()) << module.status();
    for (const auto& [id, data] : module->weights)
      if (module->weight(id).shape.size() > 1)
        formats.insert(ir::to_string(module->weight(id).format));
    std::set<std::string> probed;
    for (const runtime::Probe& probe : plan.probes) {
      probed.insert(probe.format);
      // Tight enough for one wrong code to be far outside.
      EXPECT_LT(probe.tolerance, 1e-3 * std::abs(probe.expected)) << probe.format;
    }
    EXPECT_EQ(probed, formats);
  }
}

TEST_P(ProbeTest, AChangedCodeIsRefusedBeforeTheFirstToken) {
  const CompiledGolden golden(GetParam(), Activations::a8);
  const auto file = golden.open();
  const runtime::DevicePlan& plan = file->plan().device_plans[0];
  const auto module = ir::parse(file->text(file->plan().graph), "graph");
  ASSERT_TRUE(module.ok()) << module.status();
  ASSERT_FALSE(plan.probes.empty());
  for (const runtime::Probe& probe : plan.probes) {
    const auto weight =
        std::find_if(plan.weights.begin(), plan.weights.end(),
                     [&](const runtime::PlanWeight& w) { return w.name == probe.weight; });
    ASSERT_NE(weight, plan.weights.end());
    const PackedLayout layout =
        packed_layout(module->weight(module->find_symbol(probe.weight)), 1, Layout::cpu16);
    // A bit in the first line of every tile: of a code of each of its rows.
    const auto flip = [&] {
      for (int64_t tile = 0; tile < layout.tiles(); ++tile)
        golden.flip(plan.weights_sections[0].offset + weight->offset +
                        static_cast<uint64_t>(tile * layout.codes.tile_bytes),
                    64, 1);
    };
    flip();
    const std::string error = golden.session_error();
    EXPECT_NE(error.find(fmt::format("does not decode weights of the format \"{}\"", probe.format)),
              std::string::npos)
        << error;
    EXPECT_NE(error.find(probe.weight), std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    flip();
    EXPECT_EQ(golden.session_error(), "");
  }
}

INSTANTIATE_TEST_SUITE_P(All, ProbeTest,
                         ::testing::Values("mlx_b4_g64", "mlx_b2_ternary", "gguf_llama_mixed"));

}  // namespace
}  // namespace sinter::codegen
