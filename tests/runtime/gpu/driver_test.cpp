#include "runtime/gpu/driver.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "runtime/gpu/device.h"
#include "tests/runtime/gpu/double.h"
#include "tests/runtime/gpu/toy_gpu.h"

namespace sinter::runtime {
namespace {

std::string message(const auto& result) { return result.ok() ? "" : result.error().message; }

// The package of AMD's runtime is among those that the build needs; its version is HIP 5.
TEST(GpuDriver, AmdsLibraryOpensAndSaysWhetherThereAreDevices) {
  const auto driver = open_gpu_driver(GpuVendor::amd);
  ASSERT_EQ(message(driver), "");
  EXPECT_TRUE((*driver)->library.starts_with("libamdhip64.so"));
  const auto devices = list_gpus(*driver);
  if (devices.ok()) {
    for (const DeviceInfo& device : *devices) EXPECT_TRUE(device.architecture.starts_with("gfx"));
  } else {
    EXPECT_EQ(
        devices.error().message,
        (*driver)->library +
            " finds no device; check that the GPU's kernel driver is loaded and that this user "
            "may use it");
  }
}

TEST(GpuDriver, NvidiasLibraryIsNamedWhenItIsAbsent) {
  const auto driver = open_gpu_driver(GpuVendor::nvidia);
  if (void* there = ::dlopen("libcuda.so.1", RTLD_NOW); there != nullptr) {
    ::dlclose(there);
    EXPECT_EQ(message(driver), "");
  } else {
    EXPECT_EQ(message(driver),
              "libcuda.so.1 is not on this machine; it comes with NVIDIA's driver");
  }
}

TEST(GpuDriver, AMissingFunctionIsNamed) {
  auto library = DriverLibrary::open({"libnowhere.so.9", "libm.so.6"}, "");
  ASSERT_EQ(message(library), "");
  std::function<double(double)> cosine;
  library->bind(cosine, "cos");
  EXPECT_EQ(message(library->complete()), "");
  EXPECT_EQ(cosine(0), 1);
  std::function<int(unsigned)> init;
  library->bind(init, "hipInit");
  library->bind(init, "hipFree");
  EXPECT_EQ(message(library->complete()),
            "libm.so.6 has no hipInit: the driver is too old; update it");
}

TEST(GpuDriver, ALibraryThatCannotBeLoadedSaysWhy) {
  const toy::Folder folder;
  const std::string path = folder.file("libbroken.so");
  toy::write_file(path, "no library");
  const auto library = DriverLibrary::open({"libnowhere.so.9", path.c_str()}, "do something");
  ASSERT_FALSE(library.ok());
  EXPECT_NE(library.error().message.find("the driver's library cannot be loaded: " + path),
            std::string::npos)
      << library.error().message;
  EXPECT_EQ(message(DriverLibrary::open({"libnowhere.so.9"}, "do something")),
            "libnowhere.so.9 is not on this machine; do something");
}

TEST(GpuDriver, AnArchitectureIsFoundInPropertiesOfAnyVersion) {
  std::string properties(2000, '\0');
  const auto with = [&](size_t offset, std::string_view text) {
    std::string copy = properties;
    copy.replace(offset, text.size(), text);
    return copy;
  };
  EXPECT_EQ(find_amd_architecture(with(1160, "gfx1151"), 1160), "gfx1151");
  EXPECT_EQ(find_amd_architecture(with(396, "gfx90a:sramecc+:xnack-"), 396), "gfx90a");
  EXPECT_EQ(find_amd_architecture(with(700, "gfx942:xnack-"), 1160), "gfx942");
  // Words that only begin like one, and the device's name, are none.
  EXPECT_EQ(find_amd_architecture(with(700, "gfxwindow") + with(396, "gfx1030"), 5), "gfx1030");
  EXPECT_EQ(find_amd_architecture(with(0, "gfx1030"), 1160), "");
  EXPECT_EQ(find_amd_architecture(properties, 1160), "");
  EXPECT_EQ(find_amd_architecture("gfx", 1160), "");
}

TEST(GpuDevice, ListsWhatTheDriverKnows) {
  GpuDouble gpu;
  gpu.architectures = {"gfx1100", "gfx90a"};
  const auto devices = list_gpus(gpu.driver());
  ASSERT_EQ(message(devices), "");
  ASSERT_EQ(devices->size(), 2u);
  EXPECT_EQ((*devices)[1].id, "hip:1");
  EXPECT_EQ((*devices)[1].name, "Double");
  EXPECT_EQ((*devices)[1].architecture, "gfx90a");
  EXPECT_EQ((*devices)[1].total_memory, gpu.memory);
  EXPECT_EQ((*devices)[1].free_memory, gpu.memory);
  gpu.vendor = GpuVendor::nvidia;
  EXPECT_EQ((*list_gpus(gpu.driver()))[0].id, "cuda:0");
}

TEST(GpuDevice, WhatIsNotThereIsNamed) {
  GpuDouble gpu;
  EXPECT_EQ(message(GpuDevice::open(gpu.driver(), 1)),
            "there is no device hip:1: libdouble.so finds 1, hip:0");
  gpu.architectures = {"gfx1100", "gfx90a"};
  EXPECT_EQ(message(GpuDevice::open(gpu.driver(), -1)),
            "there is no device hip:-1: libdouble.so finds 2, hip:0 to hip:1");
  gpu.architectures = {""};
  EXPECT_EQ(message(GpuDevice::open(gpu.driver(), 0)),
            "hip:0 (Double): its architecture cannot be determined from what libdouble.so reports; "
            "update "
            "the driver");
  gpu.architectures = {};
  EXPECT_NE(message(list_gpus(gpu.driver())).find("libdouble.so finds no device"),
            std::string::npos);
  gpu.architectures = {"gfx1100"};
  gpu.calls = 0;
  gpu.fail_call = 1;
  EXPECT_EQ(message(list_gpus(gpu.driver())),
            "libdouble.so: initialisation failed: something broke (error 719)");
}

TEST(GpuDevice, NamesAreParsed) {
  EXPECT_EQ(parse_gpu_name("hip")->index, 0);
  EXPECT_EQ(parse_gpu_name("hip:12")->index, 12);
  EXPECT_EQ(parse_gpu_name("cuda:1")->vendor, GpuVendor::nvidia);
  for (const char* text : {"", "gpu", "hip:", "hip:-1", "hip:+1", "hip:1x", "hip1", "cuda: 1",
                           "cuda:99999999999", "host", "HIP:0"})
    EXPECT_EQ(
        message(parse_gpu_name(text)),
        "\"" + std::string(text) +
            "\" is not a device; devices are host, hip:N (AMD) and cuda:N (NVIDIA), N from 0");
}

// What each code object is for, and whether it is a cubin.
std::string chosen(const std::vector<std::pair<std::string, bool>>& objects,
                   const std::string& device) {
  const toy::Folder folder;
  const std::string path = folder.file("toy.plan");
  const bool amd = device.starts_with("gfx");
  Plan plan = toy::description();
  plan.device_plans[0].device = "gpu";
  auto writer = PlanWriter::create(path);
  EXPECT_TRUE(writer.ok());
  for (const auto& [target, cubin] : objects) {
    const auto section = (*writer)->add(std::string_view(cubin ? "\x7f"
                                                                 "ELF code"
                                                               : "text"));
    CodeObject code;
    code.target = target;
    code.family = target.starts_with("gfx") ? "amdgpu" : "nvptx";
    if (target == "gfx11-generic") code.machines = {"gfx1100", "gfx1101"};
    if (target == "gfx12-generic") code.machines = {"gfx1200", "gfx1201"};
    code.section = *section;
    plan.code.push_back(std::move(code));
  }
  plan.device_plans[0].weights_sections = {
      *(*writer)->add(std::span<const uint8_t>(toy::weights()))};
  const auto written = (*writer)->finish(plan);
  EXPECT_EQ(message(written), "");
  const auto file = PlanFile::open(path, false);
  EXPECT_EQ(message(file), "");
  const DeviceInfo info{.id = "gpu:0", .name = "Double", .architecture = device};
  const auto code = choose_gpu_code(**file, info, amd ? GpuVendor::amd : GpuVendor::nvidia);
  if (!code.ok()) return code.error().message.substr(path.size());
  return (*code)->target + ((*file)->text((*code)->section).starts_with("\x7f") ? " cubin" : "");
}

TEST(GpuDevice, CodeIsChosenByArchitecture) {
  EXPECT_EQ(chosen({{"gfx1030", true}, {"gfx1100", true}, {"gfx1101", true}}, "gfx1100"),
            "gfx1100 cubin");
  EXPECT_EQ(chosen({{"gfx1030", true}, {"sm_80", false}}, "gfx1100"),
            ": the plan has no code for gpu:0 (Double, gfx1100), only for gfx1030, sm_80; compile "
            "it with --target gfx1100 or another that runs there (`sinter targets`)");
  // Code that stands for several machines, where there is none of the machine's own.
  EXPECT_EQ(chosen({{"gfx11-generic", true}, {"gfx1100", true}}, "gfx1101"), "gfx11-generic cubin");
  EXPECT_EQ(chosen({{"gfx11-generic", true}, {"gfx1101", true}}, "gfx1101"), "gfx1101 cubin");
  EXPECT_EQ(chosen({{"gfx1101", true}, {"gfx11-generic", true}}, "gfx1101"), "gfx1101 cubin");
  EXPECT_EQ(chosen({{"gfx12-generic", true}, {"gfx11-generic", true}}, "gfx1200"),
            "gfx12-generic cubin");
  EXPECT_EQ(chosen({{"gfx11-generic", true}, {"gfx12-generic", true}}, "gfx1102"),
            ": the plan has no code for gpu:0 (Double, gfx1102), only for gfx11-generic, "
            "gfx12-generic; compile it with --target gfx1102 or another that runs there (`sinter "
            "targets`)");
  // The highest that is not above the device's.
  EXPECT_EQ(chosen({{"sm_86", false}, {"sm_80", false}, {"sm_90", false}}, "sm_89"), "sm_86");
  EXPECT_EQ(chosen({{"sm_80", false}, {"sm_90", false}}, "sm_120"), "sm_90");
  EXPECT_EQ(chosen({{"sm_75", false}, {"sm_100", false}, {"sm_120", false}}, "sm_90"), "sm_75");
  EXPECT_EQ(chosen({{"sm_75", false}, {"sm_100", false}, {"sm_120", false}}, "sm_103"), "sm_100");
  EXPECT_EQ(chosen({{"sm_75", false}, {"sm_100", false}, {"sm_120", false}}, "sm_121"), "sm_120");
  EXPECT_EQ(chosen({{"sm_90", false}, {"gfx1100", true}}, "sm_86"),
            ": the plan has no code for gpu:0 (Double, sm_86), only for sm_90, gfx1100; compile it "
            "with --target sm_86 or another that runs there (`sinter targets`)");
  // A cubin runs on its own architecture alone, and is taken before PTX of the same.
  EXPECT_EQ(chosen({{"sm_90", true}, {"sm_90", false}}, "sm_90"), "sm_90 cubin");
  EXPECT_EQ(chosen({{"sm_90", false}, {"sm_90", true}}, "sm_90"), "sm_90 cubin");
  EXPECT_EQ(chosen({{"sm_80", false}, {"sm_86", true}}, "sm_89"), "sm_80");
  // So does code that uses what later architectures lack.
  EXPECT_EQ(chosen({{"sm_80", false}, {"sm_90a", false}}, "sm_90"), "sm_90a");
  EXPECT_EQ(chosen({{"sm_80", false}, {"sm_90a", false}}, "sm_100"), "sm_80");
  EXPECT_EQ(chosen({{"sm_80", false}, {"sm_100f", false}}, "sm_103"), "sm_80");
}

}  // namespace
}  // namespace sinter::runtime
