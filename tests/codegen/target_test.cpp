// The target table, and machine code for every row of it.
#include "codegen/targets/target.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "codegen/compile/clang_compile.h"
#include "codegen/compile/device_sources.h"

namespace sinter::codegen {
namespace {

std::vector<std::string_view> names(const absl::StatusOr<std::vector<Target>>& targets) {
  EXPECT_TRUE(targets.ok()) << targets.status();
  std::vector<std::string_view> out;
  if (targets.ok())
    for (const Target& target : *targets) out.push_back(target.name);
  return out;
}

void expect_error(std::string_view list, std::string_view part) {
  const auto targets = parse_targets(list);
  ASSERT_FALSE(targets.ok()) << list;
  const std::string message(targets.status().message());
  EXPECT_NE(message.find(part), std::string::npos) << list << ": " << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST(Targets, AreFoundByNameInTheOrderOfTheTable) {
  using Names = std::vector<std::string_view>;
  EXPECT_EQ(names(parse_targets("x86-64-v3")), Names({"x86-64-v3"}));
  EXPECT_EQ(names(parse_targets("aarch64,x86-64-v4,x86-64-v3")),
            Names({"x86-64-v3", "x86-64-v4", "aarch64"}));
  EXPECT_EQ(names(parse_targets("x86-64-v4,x86-64-v4")), Names({"x86-64-v4"}));
}

TEST(Targets, HostStandsForAllOfTheFamilyOnce) {
  const auto host = parse_targets("host");
  ASSERT_TRUE(host.ok()) << host.status();
  std::vector<std::string_view> family;
  for (const Target& target : targets())
    if (target.family == host->front().family) family.push_back(target.name);
  EXPECT_EQ(names(host), family);
  EXPECT_EQ(names(parse_targets(std::string(family.back()) + ",host")), family);
}

// A macro that the kernel library does not know would leave a GPU without its unit.
TEST(Targets, TheKernelLibraryKnowsEveryMatrixUnit) {
  const auto matrix = std::ranges::find(device_sources(), "gpu/matrix.h", &DeviceSource::name);
  ASSERT_NE(matrix, device_sources().end());
  for (const Target& target : targets()) {
    int units = 0;
    for (const std::string_view flag : target.flags)
      if (flag.starts_with("-DSINTER_MATRIX_")) {
        ++units;
        EXPECT_NE(matrix->text.find(fmt::format("defined({})", flag.substr(2))),
                  std::string_view::npos)
            << target.name;
      }
    EXPECT_EQ(units, target.matrix_unit == MatrixUnit::none ? 0 : 1) << target.name;
  }
}

TEST(Targets, EveryOneIsOfAFamily) {
  for (const Target& target : targets()) {
    const auto row = std::ranges::find(target_families(), target.family, &TargetFamily::name);
    ASSERT_NE(row, target_families().end()) << target.name;
    EXPECT_EQ(row->ptx, row->emulation.empty()) << target.name;
    EXPECT_EQ(row->name.starts_with("host-"), !kind_of(target.device).gpu) << target.name;
  }
}

TEST(Targets, UnknownNamesAreErrorsThatListTheKnown) {
  expect_error("gfx9000", "\"gfx9000\" is unknown");
  expect_error("x86-64-v3,x86-64-v5", "\"x86-64-v5\" is unknown");
  expect_error(",host", "\"\" is unknown");
  expect_error("Host", "\"Host\" is unknown");
  expect_error("host ", "\"host \" is unknown");
  expect_error("", "--target");
  for (const Target& target : targets()) expect_error("nothing", target.name);
  expect_error("nothing", "host");
}

// What a generic target stands for is of its family, and what has a row of its own has the same
// waves and matrix units.
TEST(Targets, GenericTargetsAgreeWithTheirMachines) {
  int generic = 0;
  for (const Target& target : targets()) {
    EXPECT_EQ(target.name.ends_with("-generic"), !target.machines.empty()) << target.name;
    generic += target.machines.empty() ? 0 : 1;
    for (const std::string_view machine : target.machines)
      for (const Target& own : targets())
        if (own.name == machine) {
          EXPECT_EQ(own.family, target.family) << machine;
          EXPECT_EQ(own.wave, target.wave) << machine;
          EXPECT_EQ(own.matrix_unit, target.matrix_unit) << machine;
          EXPECT_GE(own.registers, target.registers) << machine;
          EXPECT_GE(own.shared_bytes, target.shared_bytes) << machine;
        }
  }
  EXPECT_EQ(generic, 6);
}

TEST(Compile, EveryCpuTargetGetsAnElfFileOfItsOwnMachine) {
  constexpr std::string_view kSource = R"(#include "sinter.h"
using namespace sinter;
SINTER_PHASE(scale_rows) {
  const float* in = arg<const float>(launch, 0);
  float* out = arg<float>(launch, 1);
  for_each_vector<40>(launch, launch->step->rows, [=](index row, index col, index n) {
    store(out + row * 40 + col, silu(load(in + row * 40 + col)), n);
  });
}
)";
  for (const Target& target : targets()) {
    if (!target.family.starts_with("host-")) continue;
    const auto object = compile_to_object(kSource, target);
    ASSERT_TRUE(object.ok()) << target.name << ": " << object.status();
    const auto shared = link_shared(*object, target);
    ASSERT_TRUE(shared.ok()) << target.name << ": " << shared.status();
    ASSERT_GT(shared->size(), 64U);
    EXPECT_EQ(std::string(shared->begin() + 1, shared->begin() + 4), "ELF");
    // e_machine: EM_X86_64 or EM_AARCH64
    EXPECT_EQ((*shared)[18], target.family == "host-aarch64" ? 183 : 62) << target.name;
    const auto assembly = compile_to_assembly(kSource, target);
    ASSERT_TRUE(assembly.ok()) << target.name << ": " << assembly.status();
    EXPECT_NE(assembly->find("scale_rows:"), std::string::npos) << target.name;
  }
}

TEST(Compile, ErrorsCarryClangsDiagnostics) {
  const auto object =
      compile_to_object("#include \"sinter.h\"\nint f() { return nonsense; }\n", targets().front());
  ASSERT_FALSE(object.ok());
  const std::string message(object.status().message());
  EXPECT_NE(message.find("nonsense"), std::string::npos) << message;
  EXPECT_NE(message.find("please report"), std::string::npos) << message;
}

// Nothing of the machine that compiles can be read.
TEST(Compile, SourcesOutsideTheKernelLibraryAreNotFound) {
  for (const char* header : {"<stdint.h>", "\"/etc/passwd\""}) {
    const auto object =
        compile_to_object(std::string("#include ") + header + "\n", targets().front());
    EXPECT_FALSE(object.ok()) << header;
  }
}

}  // namespace
}  // namespace sinter::codegen
