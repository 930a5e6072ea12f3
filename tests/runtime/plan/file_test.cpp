#include "runtime/plan/file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmath>
#include <csignal>
#include <random>

#include "runtime/plan/check.h"
#include "runtime/plan/checksum.h"
#include "runtime/plan/head.h"
#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

using toy::Folder;

// Sections need no real code for these tests.
constexpr std::string_view fake_code = "not really an ELF file";

std::string open_error(const std::string& path, bool deep = true) {
  const auto file = PlanFile::open(path, deep);
  return file.ok() ? "" : file.error().message;
}

class PlanFileTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(toy::write_plan(path, {}, fake_code, "{\"tokenizer\": 1}"), "");
    bytes = toy::read_file(path);
    ASSERT_EQ(open_error(path), "");
  }

  // Opens `changed` as a file.
  std::string error_of(const std::string& changed, bool deep = true) {
    toy::write_file(path, changed);
    return open_error(path, deep);
  }

  // Replaces text in the header's JSON, with the head made right again.
  std::string with_header(const std::string& from, const std::string& to) {
    PlanHead head = decode_head({reinterpret_cast<const uint8_t*>(bytes.data()), plan_head_bytes});
    std::string json = bytes.substr(head.header_offset);
    const size_t at = json.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) json.replace(at, from.size(), to);
    return with_json(json);
  }

  std::string with_json(const std::string& json, uint32_t major = plan_major,
                        uint32_t minor = plan_minor) {
    PlanHead head = decode_head({reinterpret_cast<const uint8_t*>(bytes.data()), plan_head_bytes});
    std::string changed = bytes.substr(0, head.header_offset) + json;
    head.major = major;
    head.minor = minor;
    head.header_bytes = json.size();
    head.header_checksum =
        head_checksum(head, {reinterpret_cast<const uint8_t*>(json.data()), json.size()});
    const auto encoded = encode_head(head);
    changed.replace(0, encoded.size(), reinterpret_cast<const char*>(encoded.data()),
                    encoded.size());
    return changed;
  }

  Folder folder;
  std::string path = folder.file("toy.plan");
  std::string bytes;
};

TEST_F(PlanFileTest, EveryFieldSurvivesWritingAndReading) {
  const auto file = PlanFile::open(path, true);
  ASSERT_TRUE(file.ok());
  const Plan& plan = (*file)->plan();
  const Plan wanted = toy::description();
  EXPECT_EQ(plan.model, wanted.model);
  EXPECT_EQ(plan.eos_ids, wanted.eos_ids);
  ASSERT_EQ(plan.ends.size(), 1u);
  EXPECT_EQ(plan.ends[0].id, 1);
  EXPECT_EQ(plan.ends[0].text, "<end>");
  EXPECT_EQ(plan.ends[0].source, "eos_token_id of config.json");
  EXPECT_EQ(plan.temperature, 0.75);
  EXPECT_EQ(plan.top_k, -1);
  ASSERT_EQ(plan.device_plans[0].schedules[0].phases.size(), 3u);
  EXPECT_EQ(plan.device_plans[0].schedules[0].phases[0].arguments[1].region,
            Argument::Region::state);
  EXPECT_EQ(plan.device_plans[0].schedules[0].phases[0].arguments[1].index, 1u);
  EXPECT_EQ(plan.device_plans[0].states[0].kind, PlanState::Kind::paged);
  EXPECT_EQ(plan.device_plans[0].states[1].kind, PlanState::Kind::fixed);
  EXPECT_EQ(plan.device_plans[0].states[1].format, "i32");
  EXPECT_EQ(plan.device_plans[0].schedules[1].name, "prefill");
  EXPECT_EQ(plan.device_plans[0].schedules[1].most_rows, toy::chunk);
  EXPECT_EQ(plan.device_plans[0].schedules[0].phases[1].arguments[2].offset, 64u);
  EXPECT_EQ(plan.remarks[0].launches_saved, -1);
  EXPECT_EQ((*file)->text(plan.tokenizer), "{\"tokenizer\": 1}");
  EXPECT_TRUE((*file)->text(plan.code[0].section).starts_with(fake_code));
  EXPECT_EQ((*file)->bytes(plan.device_plans[0].weights_sections[0]).size(),
            static_cast<size_t>(toy::weight_count));
  EXPECT_TRUE((*file)->text(plan.graph).empty());
  // Reading what was read and written again changes nothing.
  const auto again = plan_from_json(plan_to_json(plan, 2));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(plan_to_json(*again, -1), plan_to_json(plan, -1));
}

TEST_F(PlanFileTest, ProbesSurviveWritingAndReading) {
  Plan plan = toy::description();
  toy::with_probes(plan);
  const auto again = plan_from_json(plan_to_json(plan, -1));
  ASSERT_TRUE(again.ok());
  const DevicePlan& device = again->device_plans[0];
  EXPECT_EQ(device.phases_for(Schedule::Entry::probe, 1).size(), 1u);
  ASSERT_EQ(device.probes.size(), 2u);
  EXPECT_EQ(device.probes[1].format, "other bytes");
  EXPECT_EQ(device.probes[1].weight, "w");
  EXPECT_EQ(device.probes[1].offset, 68u);
  EXPECT_EQ(device.probes[1].expected, plan.device_plans[0].probes[1].expected);
  EXPECT_EQ(device.probes[1].tolerance, 0.5);
}

TEST_F(PlanFileTest, ProbesOutsideOrUncomputedAreRefused) {
  Plan plan = toy::description();
  toy::with_probes(plan);
  plan.code = {{"toy", "host-x86-64", {}, 0, {4096, 1, 0}, {}}};
  const auto error_with = [&](const std::function<void(DevicePlan&)>& edit) {
    Plan changed = plan;
    changed.device_plans[0].fills = {{Fill::Kind::bits, "", 0, 64, 0, 0, 0}};
    edit(changed.device_plans[0]);
    const Status status = check_contents(changed);
    return status.ok() ? std::string() : status.error().message;
  };
  EXPECT_EQ(error_with([](DevicePlan&) {}), "");
  EXPECT_NE(
      error_with([](DevicePlan& d) { d.schedules.pop_back(); }).find("no phase computes them"),
      std::string::npos);
  EXPECT_NE(
      error_with([](DevicePlan& d) { toy::probe(d)[0].kernel = 4; }).find("probe[0].kernel 4"),
      std::string::npos);
  for (const uint64_t offset : {uint64_t{2}, uint64_t{80}, UINT64_MAX - 3})
    EXPECT_NE(
        error_with([&](DevicePlan& d) { d.probes[1].offset = offset; }).find("probes[1].offset"),
        std::string::npos);
  EXPECT_NE(error_with([](DevicePlan& d) {
              d.probes[0].expected = HUGE_VAL;
            }).find("is not a valid result"),
            std::string::npos);
  for (const double tolerance : {-1.0, HUGE_VAL, std::nan("")})
    EXPECT_NE(
        error_with([&](DevicePlan& d) { d.probes[0].tolerance = tolerance; }).find("probes[0]:"),
        std::string::npos);
}

TEST_F(PlanFileTest, FillsSurviveWritingAndReading) {
  const auto synthetic = [](Plan& plan) {
    plan.device_plans[0].weights_sections.clear();
    plan.seed = 0xffffffffffffffff;
    plan.device_plans[0].fills = {{Fill::Kind::uniform, "f16", 0, 512, -0.25, 0.5, 0},
                                  {Fill::Kind::paired, "bf16", 512, 512, 0, 0, 1.5}};
  };
  // The weights' section is still in the file, but the plan does not name it.
  EXPECT_NE(toy::write_plan(path, synthetic, fake_code).find("belong to no section"),
            std::string::npos);
  Plan plan = toy::description();
  synthetic(plan);
  const auto again = plan_from_json(plan_to_json(plan, -1));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->seed, plan.seed);
  EXPECT_EQ(again->device_plans[0].fills[0].low, -0.25);
  EXPECT_EQ(again->device_plans[0].fills[1].kind, Fill::Kind::paired);
  EXPECT_EQ(again->device_plans[0].fills[1].dtype, "bf16");
  EXPECT_EQ(again->device_plans[0].fills[1].factor, 1.5);
}

TEST_F(PlanFileTest, AFlippedByteAnywhereIsFound) {
  const PlanHead head =
      decode_head({reinterpret_cast<const uint8_t*>(bytes.data()), plan_head_bytes});
  std::vector<size_t> places;
  for (size_t i = 0; i < 64; ++i) places.push_back(i);
  for (size_t i = head.header_offset; i < bytes.size(); ++i) places.push_back(i);
  std::mt19937_64 random(7);
  for (int i = 0; i < 1500; ++i) places.push_back(random() % bytes.size());
  for (const size_t place : places) {
    std::string changed = bytes;
    changed[place] = static_cast<char>(changed[place] ^ (1 + static_cast<int>(random() % 255)));
    const std::string error = error_of(changed);
    EXPECT_NE(error, "") << "byte " << place;
    EXPECT_EQ(error.find(path), 0u) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST_F(PlanFileTest, ATruncatedFileIsRefusedAtEveryLength) {
  for (size_t length = 0; length < bytes.size(); length += length < 100 ? 1 : 97) {
    const std::string error = error_of(bytes.substr(0, length));
    EXPECT_NE(error.find(length < 8 ? "not a sinter plan" : "truncated"), std::string::npos)
        << length << ": " << error;
  }
}

TEST_F(PlanFileTest, BytesAfterTheHeaderAreRefused) {
  EXPECT_NE(error_of(bytes + "x").find("bytes after the header"), std::string::npos);
}

TEST_F(PlanFileTest, EarlyLaunchesAreThoseOfTheCode) {
  ASSERT_EQ(
      toy::write_plan(path, [](Plan& plan) { plan.code[0].early_launch = true; }, fake_code), "");
  bytes = toy::read_file(path);
  EXPECT_TRUE((*PlanFile::open(path, true))->plan().code[0].early_launch);
  EXPECT_NE(error_of(with_header("\"early_launch\":true", "\"early_launch\":1"))
                .find("code[0].early_launch is not true or false"),
            std::string::npos);
}

TEST_F(PlanFileTest, DevicePlansMayHaveWeightsInCommon) {
  const auto second = [](std::string_view source) {
    return [source](Plan& plan) {
      DevicePlan& first = plan.device_plans[0];
      DevicePlan other = first;
      if (source.empty()) other.source = {};
      plan.device_plans.push_back(other);
    };
  };
  ASSERT_EQ(toy::write_plan(path, second(""), fake_code), "");
  const auto file = PlanFile::open(path, true);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const std::vector<DevicePlan>& plans = (*file)->plan().device_plans;
  ASSERT_EQ(plans.size(), 2U);
  EXPECT_EQ(plans[0].weights_sections, plans[1].weights_sections);
  EXPECT_TRUE((*file)->verify_weights(plans[1]).ok());
  // Nothing else, and all of them or none.
  EXPECT_NE(toy::write_plan(path, second("source"), fake_code).find("overlaps"), std::string::npos);
  const auto part = [](Plan& plan) {
    DevicePlan other = plan.device_plans[0];
    other.source = {};
    for (Section& section : other.weights_sections) section.checksum ^= 1;
    plan.device_plans.push_back(other);
  };
  EXPECT_NE(toy::write_plan(path, part, fake_code).find("overlaps"), std::string::npos);
}

// A section that two device plans have in common, and one of each.
TEST_F(PlanFileTest, SectionsOfWeightsAreNamedByTheirReaders) {
  const std::string own(128, 'h'), both(64, 'b'), other(192, 'g');
  auto writer = PlanWriter::create(path);
  ASSERT_TRUE(writer.ok());
  Plan plan = toy::description();
  plan.device_plans.push_back(plan.device_plans[0]);
  plan.device_plans[1].device = "gpu";
  plan.code = {{"toy", detect_host_cpu().family, {}, 0, {}, {}}};
  plan.code[0].section = *(*writer)->add(fake_code);
  const Section common = *(*writer)->add(both);
  DevicePlan& host = plan.device_plans[0];
  DevicePlan& gpu = plan.device_plans[1];
  host.weights_sections = {*(*writer)->add(own), common};
  gpu.weights_sections = {common, *(*writer)->add(other)};
  for (DevicePlan* device : {&host, &gpu}) {
    device->weight_bytes = 0;
    for (const Section& section : device->weights_sections) device->weight_bytes += section.bytes;
    device->kernels[1].parameters[1].bytes = 64;
  }
  host.weights = {{"own", "", "plain", 0, 128, 0}, {"both", "", "plain", 128, 64, 0}};
  gpu.weights = {{"both", "", "plain", 0, 64, 0}, {"other", "", "plain", 64, 192, 0}};
  const auto size = (*writer)->finish(plan);
  ASSERT_TRUE(size.ok()) << size.error().message;
  const auto file = PlanFile::open(path, true);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const std::vector<DevicePlan>& plans = (*file)->plan().device_plans;
  EXPECT_EQ(*(*file)->weights_at(plans[0], 127), 'h');
  EXPECT_EQ(*(*file)->weights_at(plans[0], 128), 'b');
  EXPECT_EQ((*file)->weights_at(plans[0], 128), (*file)->weights_at(plans[1], 0));
  EXPECT_EQ(*(*file)->weights_at(plans[1], 64), 'g');
  EXPECT_EQ((*file)->weights_at(plans[1], 256), nullptr);
  std::vector<double> done;
  EXPECT_TRUE((*file)->verify_weights(plans[1], [&](double f) { done.push_back(f); }).ok());
  EXPECT_EQ(done, (std::vector<double>{0.25, 1.0}));

  bytes = toy::read_file(path);
  std::string changed = bytes;
  changed[common.offset] ^= 1;
  EXPECT_NE(error_of(changed, true).find("section gpu and host weights has a wrong checksum"),
            std::string::npos);
  // The last section of a device plan is verified, too, and only those that it has.
  changed = bytes;
  changed[plans[1].weights_sections[1].offset] ^= 1;
  toy::write_file(path, changed);
  const auto damaged = PlanFile::open(path, false);
  ASSERT_TRUE(damaged.ok());
  EXPECT_TRUE((*damaged)->verify_weights((*damaged)->plan().device_plans[0]).ok());
  const Status refused = (*damaged)->verify_weights((*damaged)->plan().device_plans[1]);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("section gpu weights"), std::string::npos);
  // A weight lies in one section.
  EXPECT_NE(error_of(with_header("\"layout\":\"plain\",\"offset\":0,\"bytes\":128",
                                 "\"layout\":\"plain\",\"offset\":0,\"bytes\":192"))
                .find("weights[0]: bytes 0+192 lie in two sections"),
            std::string::npos);
}

TEST_F(PlanFileTest, MachinesAreThoseOfTheCode) {
  ASSERT_EQ(
      toy::write_plan(
          path, [](Plan& plan) { plan.code[0].machines = {"gfx1100", "gfx1101"}; }, fake_code),
      "");
  bytes = toy::read_file(path);
  EXPECT_EQ((*PlanFile::open(path, true))->plan().code[0].machines,
            (std::vector<std::string>{"gfx1100", "gfx1101"}));
  EXPECT_NE(error_of(with_header("\"gfx1100\",\"gfx1101\"", "1,1"))
                .find("code[0].machines[0] is not a string"),
            std::string::npos);
}

TEST_F(PlanFileTest, OtherThingsThanPlansAreRefused) {
  EXPECT_NE(error_of("GGUF" + std::string(8192, 'x')).find("not a sinter plan"), std::string::npos);
  EXPECT_NE(error_of("").find("not a sinter plan"), std::string::npos);
  EXPECT_NE(open_error(folder.path()).find("not a regular file"), std::string::npos);
  EXPECT_NE(open_error(folder.file("absent.plan")).find("No such file"), std::string::npos);
  ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
  EXPECT_NE(open_error(folder.file("pipe")).find("not a regular file"), std::string::npos);
}

TEST_F(PlanFileTest, OtherVersionsAreRefusedWithAWayOut) {
  std::string changed = bytes;
  changed[8] = static_cast<char>(plan_major + 1);
  EXPECT_NE(error_of(changed).find(
                fmt::format("made by a newer sinter: plan version {}.", plan_major + 1)),
            std::string::npos);
  changed = bytes;
  changed[12] = static_cast<char>(plan_minor + 1);
  EXPECT_NE(error_of(changed).find("update sinter-run or compile the plan again"),
            std::string::npos);
  // Nothing but the version is wrong with these.
  const std::string json = bytes.substr(
      decode_head({reinterpret_cast<const uint8_t*>(bytes.data()), plan_head_bytes}).header_offset);
  for (const uint32_t major : {0U, 2U}) {
    EXPECT_EQ(error_of(with_json(json, major, 4)),
              fmt::format("{}: made by an older sinter: plan version {}.4, this reader supports "
                          "{}.0 to {}.{}; compile the plan again",
                          path, major, plan_major, plan_major, plan_minor));
  }
}

TEST_F(PlanFileTest, DamagedSectionsAreNamed) {
  const auto file = PlanFile::open(path, true);
  ASSERT_TRUE(file.ok());
  const Section tokenizer = (*file)->plan().tokenizer;
  const Section weights = (*file)->plan().device_plans[0].weights_sections[0];
  std::string changed = bytes;
  changed[tokenizer.offset] ^= 1;
  EXPECT_EQ(
      error_of(changed, false),
      path + ": section tokenizer has a wrong checksum: the plan is damaged; compile it again");
  changed = bytes;
  changed[weights.offset + 100] ^= 1;
  EXPECT_EQ(
      error_of(changed, true),
      path + ": section host weights has a wrong checksum: the plan is damaged; compile it again");
  // The weights are checked later when the reader is not asked to go deep.
  const auto shallow = PlanFile::open(path, false);
  ASSERT_TRUE(shallow.ok());
  const Status verified = (*shallow)->verify(weights);
  ASSERT_FALSE(verified.ok());
  EXPECT_NE(verified.error().message.find("section host weights"), std::string::npos);
}

TEST_F(PlanFileTest, DroppedPagesAreReadAgain) {
  ASSERT_EQ(toy::write_plan(path, {}, std::string(100000, 'c')), "");
  const auto file = PlanFile::open(path, true);
  ASSERT_TRUE(file.ok());
  const Section weights = (*file)->plan().device_plans[0].weights_sections[0];
  (*file)->drop_pages(weights, 0, toy::weight_count);
  (*file)->drop_pages(weights, 1, UINT64_MAX);
  (*file)->drop_pages(weights, UINT64_MAX, 1);
  EXPECT_TRUE((*file)->verify(weights).ok());
}

TEST_F(PlanFileTest, WrongHeaderFieldsAreNamed) {
  struct Case {
    const char *from, *to, *message;
  };
  const Case cases[] = {
      {"\"model\":", "\"mudel\":", "header field model is missing"},
      {"\"vocab_size\":32", "\"vocab_size\":\"32\"", "header field vocab_size is not an integer"},
      {"\"vocab_size\":32", "\"vocab_size\":0", "vocab_size is 0, outside"},
      {"\"vocab_size\":32", "\"vocab_size\":18446744073709551615",
       "header field vocab_size is out of range"},
      {"\"vocab_size\":32", "\"vocab_size\":3.5", "header field vocab_size is not an integer"},
      {"\"bos_id\":0", "\"bos_id\":4294967296", "header field bos_id is out of range"},
      {"\"chunk\":4", "\"chunk\":99999999", "chunk is 99999999, outside"},
      {"\"logits_rows\":2", "\"logits_rows\":5", "logits_rows is 5, outside 1..4"},
      {"\"max_context\":50", "\"max_context\":-1", "max_context is -1, outside"},
      {"\"eos_ids\":[1,2]", "\"eos_ids\":[1,null]", "header field eos_ids[1] is not an integer"},
      {"\"eos_ids\":[1,2]", "\"eos_ids\":7", "header field eos_ids is not a list"},
      {"\"temperature\":0.75", "\"temperature\":true", "header field temperature is not a number"},
      {"\"temperature\":0.75", "\"temperature\":1e999", "the header is not JSON"},
      {"\"arena_bytes\":80", "\"arena_bytes\":-80",
       "header field device_plans[0].arena_bytes is out of range"},
      {"\"arena_bytes\":80", "\"arena_bytes\":18446744073709551615",
       "arena_bytes is 18446744073709551615, which is too large"},
      {"\"arena_bytes\":80", "\"arena_bytes\":64",
       "decode[1].arguments[2]: offset 64 is outside the region's 64 bytes"},
      {"\"weight_bytes\":1024", "\"weight_bytes\":1025",
       "weight_bytes is 1025, but the sections of weights have 1024 bytes"},
      {"\"bytes_per_position\":4,\"fixed", "\"bytes_per_position\":1152921504606846976,\"fixed",
       "states[0] is too large"},
      {"\"kind\":\"paged\"", "\"kind\":\"spiral\"",
       "header field device_plans[0].states[0].kind is not one of paged, ring, fixed"},
      {"\"kind\":\"paged\"", "\"kind\":\"fixed\"", "states[0] must have fixed bytes alone"},
      {"\"entry\":\"main\"", "\"entry\":\"exit\"",
       "header field device_plans[0].schedules[0].entry is not one of main, probe"},
      {"\"most_rows\":4", "\"most_rows\":5",
       "prefill is for steps of at most 5 rows, expected 1..4"},
      {"\"most_rows\":1", "\"most_rows\":2", "no schedule is for steps of one row"},
      {"\"name\":\"prefill\"", "\"name\":\"decode\"", "schedule \"decode\" is there twice"},
      {"\"accepted\":true", "\"accepted\":1",
       "header field remarks[0].accepted is not true or false"},
      {"\"toy_sum\"", "\"toy sum\"", "kernels[1].symbol is not a C identifier"},
      {"\"toy_sum\"", "\"\"", "kernels[1].symbol is not a C identifier"},
      {"\"kernel\":2", "\"kernel\":3", "decode[2].kernel 3 is outside the 3 kernels"},
      {"[\"state\",1,0]", "[\"state\",2,0]",
       "decode[0].arguments[1]: state 2 is outside the 2 states"},
      {"[\"state\",1,0]", "[\"state\",1,4]",
       "decode[0].arguments[1]: offset 4 is outside the region's 4 bytes"},
      {"[\"state\",1,0]", "[\"state\",1]",
       "header field device_plans[0].schedules[0].phases[0].arguments[1] is not"},
      {"[\"weights\",0]", "[\"moon\",0]",
       "header field device_plans[0].schedules[0].phases[1].arguments[1] is not one of"},
      {"[\"weights\",0]", "[]",
       "header field device_plans[0].schedules[0].phases[1].arguments[1] is not"},
      {"[\"logits\",0]", "[\"logits\",256]", "offset 256 is outside the region's 256 bytes"},
      {"[\"weights\",0]", "[\"weights\",1024]", "offset 1024 is outside the region's 1024 bytes"},
      {"\"layout\":\"plain\",\"offset\":0", "\"layout\":\"plain\",\"offset\":64",
       "weights[0]: bytes 64+1024 reach beyond"},
      {"\"layout\":\"plain\",\"offset\":0", "\"layout\":\"plain\",\"offset\":1",
       "weights[0].offset 1 is not a multiple of 64"},
      {"\"layout\":\"plain\",\"offset\":0", "\"layout\":\"plain\",\"offset\":18446744073709551552",
       "weights[0]: bytes"},
      {"\"fills\":[]", "\"fills\":[{}]", "header field device_plans[0].fills[0].kind is missing"},
      {"\"fills\":[]",
       "\"fills\":[{\"kind\":\"bits\",\"dtype\":\"\",\"offset\":0,\"bytes\":8,\"low\":0,\"high\":0,"
       "\"factor\":0}]",
       "a synthetic plan"},
      {"\"section\":{\"offset\":4096", "\"section\":{\"offset\":4097",
       "offset 4097 is not a multiple of 4096"},
      {"\"section\":{\"offset\":4096", "\"section\":{\"offset\":0",
       "overlaps the file's first 4096 bytes"},
      {"\"section\":{\"offset\":4096", "\"section\":{\"offset\":8192", "belong to no section"},
      {"\"section\":{\"offset\":4096", "\"section\":{\"offset\":18446744073709547520",
       "section code for toy: bytes"},
      {"\"section\":{\"offset\":4096,\"bytes\":67", "\"section\":{\"offset\":4096,\"bytes\":5000",
       "overlaps section code for toy"},
      {"\"section\":{\"offset\":4096,\"bytes\":67",
       "\"section\":{\"offset\":4096,\"bytes\":18446744073709551615",
       "section code for toy: bytes"},
      {"\"graph\":{\"offset\":0", "\"graph\":{\"offset\":4096", "graph: an absent section"},
      {"\"checksum\":\"", "\"checksum\":\"z", "checksum is not 16 hexadecimal digits"},
  };
  for (const Case& c : cases) {
    const std::string error = error_of(with_header(c.from, c.to));
    EXPECT_NE(error.find(c.message), std::string::npos)
        << c.from << " -> " << c.to << ": " << error;
    EXPECT_EQ(error.find(path), 0u) << error;
  }
  EXPECT_NE(error_of(with_json("{")).find("not JSON"), std::string::npos);
  EXPECT_NE(error_of(with_json("[1]")).find("the header is not an object"), std::string::npos);
  EXPECT_NE(error_of(with_json(std::string(1 << 20, '['))).find("not JSON"), std::string::npos);
}

TEST_F(PlanFileTest, FillsOutsideOrUnmatchedAreRefused) {
  Plan plan = toy::description();
  plan.code = {{"toy", "host-x86-64", {}, 0, {4096, 1, 0}, {}}};
  const Fill scales{Fill::Kind::uniform, "f16", 0, 64, 0, 1, 0};
  const Fill biases{Fill::Kind::paired, "f32", 64, 128, 0, 0, 1};
  const auto error_with = [&](std::vector<Fill> fills) {
    plan.device_plans[0].fills = std::move(fills);
    const Status status = check_contents(plan);
    return status.ok() ? std::string() : status.error().message;
  };
  EXPECT_EQ(error_with({scales, biases}), "");
  EXPECT_NE(error_with({biases}).find("must follow"), std::string::npos);
  EXPECT_NE(error_with({scales, {Fill::Kind::paired, "f32", 64, 64, 0, 0, 1}}).find("16 numbers"),
            std::string::npos);
  EXPECT_EQ(error_with({{Fill::Kind::uniform, "e8m0", 0, 63, 0.5, 1, 0}}), "");
  EXPECT_NE(error_with({{Fill::Kind::uniform, "e8m0", 0, 32, 0.5, 1, 0}, biases})
                .find("a paired fill and its scales have"),
            std::string::npos);
  EXPECT_NE(error_with({scales, {Fill::Kind::bits, "", 32, 64, 0, 0, 1}}).find("overlap"),
            std::string::npos);
  EXPECT_NE(error_with({{Fill::Kind::uniform, "f64", 0, 64, 0, 1, 0}}).find("\"f64\""),
            std::string::npos);
  EXPECT_NE(
      error_with({{Fill::Kind::uniform, "f16", 0, 63, 0, 1, 0}}).find("do not hold whole elements"),
      std::string::npos);
  EXPECT_NE(error_with({{Fill::Kind::bits, "", 1000, 25, 0, 0, 0}}).find("beyond weight_bytes"),
            std::string::npos);
}

// ---- The writer

TEST(PlanWriter, PiecesMakeTheSameSectionAsTheWhole) {
  const Folder folder;
  auto writer = PlanWriter::create(folder.file("a.plan"));
  ASSERT_TRUE(writer.ok());
  const auto whole = (*writer)->add(std::string_view("some bytes in pieces"));
  ASSERT_TRUE((*writer)->begin().ok());
  for (const char* piece : {"some ", "bytes", "", " in pieces"}) {
    const std::string_view text = piece;
    ASSERT_TRUE(
        (*writer)->append({reinterpret_cast<const uint8_t*>(text.data()), text.size()}).ok());
  }
  const auto pieces = (*writer)->end();
  ASSERT_TRUE(whole.ok() && pieces.ok());
  EXPECT_EQ(whole->offset, 4096u);
  EXPECT_EQ(pieces->offset, 8192u);
  EXPECT_EQ(whole->checksum, pieces->checksum);
  EXPECT_EQ(whole->bytes, pieces->bytes);
  const auto empty = (*writer)->add(std::string_view());
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->bytes + empty->offset + empty->checksum, 0u);
}

TEST(PlanWriter, MisuseIsAnError) {
  const Folder folder;
  auto writer = PlanWriter::create(folder.file("a.plan"));
  ASSERT_TRUE(writer.ok());
  EXPECT_FALSE((*writer)->end().ok());
  EXPECT_FALSE((*writer)->append({}).ok());
  EXPECT_TRUE((*writer)->begin().ok());
  EXPECT_FALSE((*writer)->begin().ok());
  EXPECT_FALSE((*writer)->finish(toy::description()).ok());
}

TEST(PlanWriter, AnUnfinishedOrRefusedPlanLeavesTheOldFileAndNoOther) {
  const Folder folder;
  const std::string path = folder.file("a.plan");
  toy::write_file(path, "the old file");
  {
    ASSERT_TRUE((*PlanWriter::create(path))->add(std::string_view("x")).ok());
  }
  const std::string error = toy::write_plan(
      path, [](Plan& plan) { plan.device_plans[0].schedules[0].phases[0].kernel = 9; }, fake_code);
  EXPECT_NE(error.find("decode[0].kernel 9 is outside the 3 kernels"), std::string::npos) << error;
  EXPECT_EQ(toy::read_file(path), "the old file");
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_EQ(toy::write_plan(path, {}, fake_code), "");
  EXPECT_EQ(open_error(path), "");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(PlanWriter, TwoWritersOfOnePathDoNotDisturbEachOther) {
  const Folder folder;
  const std::string path = folder.file("a.plan");
  auto first = PlanWriter::create(path);
  auto second = PlanWriter::create(path);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(folder.entries(), 2u);
}

TEST(PlanWriter, PlacesThatCannotBeWrittenAreErrorsWithPathAndReason) {
  const Folder folder;
  const auto error_for = [](const std::string& path) {
    auto writer = PlanWriter::create(path);
    return writer.ok() ? std::string() : writer.error().message;
  };
  EXPECT_EQ(error_for(folder.file("no/a.plan")),
            folder.file("no/a.plan") + ": cannot create the plan: No such file or directory");
  EXPECT_NE(error_for(folder.path()).find("is a directory"), std::string::npos);
  EXPECT_NE(error_for(folder.path() + "/").find("is a directory"), std::string::npos);
  EXPECT_NE(error_for("").find("is a directory"), std::string::npos);
  EXPECT_NE(error_for("/dev/null").find("not a regular file"), std::string::npos);
  EXPECT_NE(error_for("/proc/self/a.plan").find("cannot create the plan"), std::string::npos);
  if (::geteuid() != 0) {  // root may write anywhere
    ASSERT_EQ(::chmod(folder.path().c_str(), 0500), 0);
    EXPECT_NE(error_for(folder.file("a.plan")).find("Permission denied"), std::string::npos);
    ASSERT_EQ(::chmod(folder.path().c_str(), 0700), 0);
  }
}

// A limit on file sizes fails writes halfway, as a full disk does.
TEST(PlanWriter, AWriteThatFailsHalfwayLeavesNothingBehind) {
  const Folder folder;
  const std::string path = folder.file("a.plan");
  toy::write_file(path, "the old file");
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1 << 20, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string error;
  {
    auto writer = PlanWriter::create(path);
    ASSERT_TRUE(writer.ok());
    const auto section = (*writer)->add(std::span<const uint8_t>(std::vector<uint8_t>(2 << 20)));
    if (!section.ok()) error = section.error().message;
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(error, path + ": cannot write the plan: File too large");
  EXPECT_EQ(toy::read_file(path), "the old file");
  EXPECT_EQ(folder.entries(), 1u);
}

}  // namespace
}  // namespace sinter::runtime
