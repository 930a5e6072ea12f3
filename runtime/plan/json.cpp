// The plan's header as JSON. Fields carry the names of `Plan`; arguments are short lists, ["arena",
// 4096], ["state", index, offset], because there are thousands; checksums are hexadecimal strings,
// which survive JSON tools that know only doubles.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <type_traits>

#include "runtime/plan/file.h"

namespace sinter::runtime {
namespace {

using Json = nlohmann::ordered_json;  // written in the order of the fields
using Parsed =
    nlohmann::json;  // read in sorted maps: an object with many keys costs no more than sorting

// ---- Names of enumerators. None is forgotten: compilers warn of a switch without it.

constexpr const char* text_of(Fill::Kind kind) {
  switch (kind) {
    case Fill::Kind::bits:
      return "bits";
    case Fill::Kind::ternary:
      return "ternary";
    case Fill::Kind::uniform:
      return "uniform";
    case Fill::Kind::paired:
      return "paired";
  }
  return nullptr;
}

constexpr const char* text_of(Parameter::Access access) {
  switch (access) {
    case Parameter::Access::read:
      return "read";
    case Parameter::Access::write:
      return "write";
    case Parameter::Access::update:
      return "update";
  }
  return nullptr;
}

constexpr const char* text_of(Argument::Region region) {
  switch (region) {
    case Argument::Region::weights:
      return "weights";
    case Argument::Region::state:
      return "state";
    case Argument::Region::arena:
      return "arena";
    case Argument::Region::logits:
      return "logits";
    case Argument::Region::hidden:
      return "hidden";
  }
  return nullptr;
}

constexpr const char* text_of(Schedule::Entry entry) {
  switch (entry) {
    case Schedule::Entry::main:
      return "main";
    case Schedule::Entry::probe:
      return "probe";
    case Schedule::Entry::mtp:
      return "mtp";
  }
  return nullptr;
}

// All of an enumeration, in its order.
template <class Enum>
constexpr auto names_of = [] {
  constexpr size_t count = [] {
    size_t n = 0;
    while (text_of(static_cast<Enum>(n)) != nullptr) ++n;
    return n;
  }();
  std::array<const char*, count> names = {};
  for (size_t i = 0; i < count; ++i) names[i] = text_of(static_cast<Enum>(i));
  return names;
}();

// ---- Writing

template <class T>
Json to_json(const std::vector<T>& list);

Json to_json(const Section& section) {
  return {{"offset", section.offset},
          {"bytes", section.bytes},
          {"checksum", fmt::format("{:016x}", section.checksum)}};
}

Json to_json(const Fill& fill) {
  return {{"kind", text_of(fill.kind)}, {"dtype", fill.dtype}, {"offset", fill.offset},
          {"bytes", fill.bytes},        {"low", fill.low},     {"high", fill.high},
          {"factor", fill.factor}};
}

Json to_json(const PlanWeight& weight) {
  return {{"name", weight.name},     {"type", weight.type},   {"layout", weight.layout},
          {"offset", weight.offset}, {"bytes", weight.bytes}, {"bits", weight.bits}};
}

Json to_json(const PlanState& state) {
  Json json = {{"name", state.name},
               {"kind", state_kinds[static_cast<int>(state.kind)]},
               {"format", state.format},
               {"bytes_per_position", state.bytes_per_position},
               {"fixed_bytes", state.fixed_bytes}};
  if (state.kind == PlanState::Kind::ring) {
    json["positions"] = state.positions;
    json["window"] = state.window;
  }
  return json;
}

Json to_json(const Argument& argument) {
  Json json = Json::array({text_of(argument.region)});
  if (argument.region == Argument::Region::state) json.push_back(argument.index);
  json.push_back(argument.offset);
  return json;
}

Json to_json(const Phase& phase) {
  return {{"name", phase.name},
          {"what", phase.what},
          {"kernel", phase.kernel},
          {"arguments", to_json(phase.arguments)},
          {"weight_bytes", phase.weight_bytes},
          {"operations", phase.operations},
          {"predicted_us", phase.predicted_us},
          {"blocks", phase.blocks},
          {"rows_per_block", phase.rows_per_block},
          {"shared_bytes", phase.shared_bytes}};
}

Json to_json(const Probe& probe) {
  return {{"format", probe.format},
          {"weight", probe.weight},
          {"offset", probe.offset},
          {"expected", probe.expected},
          {"tolerance", probe.tolerance}};
}

Json to_json(const Parameter& parameter) {
  return {{"access", text_of(parameter.access)},
          {"bytes", parameter.bytes},
          {"bytes_per_row", parameter.bytes_per_row},
          {"bytes_per_logits_row", parameter.bytes_per_logits_row},
          {"bytes_per_position", parameter.bytes_per_position}};
}

Json to_json(const Kernel& kernel) {
  return {{"symbol", kernel.symbol},
          {"summary", kernel.summary},
          {"parameters", to_json(kernel.parameters)},
          {"scratch_bytes", kernel.scratch_bytes},
          {"shared_bytes", kernel.shared_bytes}};
}

Json to_json(const KernelResources& resources) {
  return {{"vgprs", resources.vgprs},
          {"sgprs", resources.sgprs},
          {"shared_bytes", resources.shared_bytes},
          {"scratch_bytes", resources.scratch_bytes},
          {"spills", resources.spills},
          {"occupancy", resources.occupancy}};
}

Json to_json(const CodeObject& code) {
  return {{"target", code.target},
          {"family", code.family},
          {"features", to_json(code.features)},
          {"machines", to_json(code.machines)},
          {"device_plan", code.device_plan},
          {"section", to_json(code.section)},
          {"early_launch", code.early_launch},
          {"resources", to_json(code.resources)}};
}

Json to_json(const Schedule& schedule) {
  return {{"name", schedule.name},
          {"entry", text_of(schedule.entry)},
          {"most_rows", schedule.most_rows},
          {"phases", to_json(schedule.phases)}};
}

Json to_json(const DevicePlan& plan) {
  return {{"device", plan.device},
          {"chunk", plan.chunk},
          {"logits_rows", plan.logits_rows},
          {"weight_bytes", plan.weight_bytes},
          {"arena_bytes", plan.arena_bytes},
          {"scratch_bytes", plan.scratch_bytes},
          {"kernels", to_json(plan.kernels)},
          {"states", to_json(plan.states)},
          {"schedules", to_json(plan.schedules)},
          {"probes", to_json(plan.probes)},
          {"weights", to_json(plan.weights)},
          {"fills", to_json(plan.fills)},
          {"weights_sections", to_json(plan.weights_sections)},
          {"source", to_json(plan.source)},
          {"memory", to_json(plan.memory)}};
}

Json to_json(const PlanRemark& remark) {
  return {{"pass", remark.pass},
          {"accepted", remark.accepted},
          {"subject", remark.subject},
          {"reason", remark.reason},
          {"bytes_saved", remark.bytes_saved},
          {"launches_saved", remark.launches_saved}};
}

Json to_json(const PlanEnd& end) {
  return {{"id", end.id}, {"text", end.text}, {"source", end.source}};
}

template <class T>
Json to_json(const std::vector<T>& list) {
  Json json = Json::array();
  for (const T& element : list) {
    if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      json.push_back(element);
    } else {
      json.push_back(to_json(element));
    }
  }
  return json;
}

// ---- Reading

// The first thing found wrong; later reads do nothing.
struct Failure {
  std::string message;
  bool seen = false;
  void set(std::string text) {
    if (!seen) message = std::move(text);
    seen = true;
  }
};

// The fields of one JSON object. `where` is "" for the header itself, else "decode[3]" and the
// like.
class Fields {
 public:
  Fields(const Parsed& json, std::string where, Failure& failure)
      : json_(json), where_(std::move(where)), failure_(failure) {
    if (!json.is_object()) {
      failure_.set(fmt::format("{} is not an object", where_.empty() ? "the header" : where_));
    }
  }

  void read(const char* key, std::string& out) {
    if (const Parsed* value = find(key)) string(*value, name(key), failure_, out);
  }
  void read(const char* key, bool& out) {
    const Parsed* value = find(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) return failure_.set(name(key) + " is not true or false");
    out = value->get<bool>();
  }
  void read(const char* key, double& out) {
    const Parsed* value = find(key);
    if (value == nullptr) return;
    if (!value->is_number()) return failure_.set(name(key) + " is not a number");
    out = value->get<double>();
    if (!std::isfinite(out)) failure_.set(name(key) + " is not finite");
  }
  template <class T>
    requires std::is_integral_v<T>
  void read(const char* key, T& out) {
    if (const Parsed* value = find(key)) integer(*value, name(key), failure_, out);
  }
  // A field of newer plans, which others lack.
  template <class T>
  void read_if_there(const char* key, T& out) {
    if (!failure_.seen && json_.contains(key)) read(key, out);
  }
  // each(json, where, failure, out) reads one element.
  template <class T, class Each>
  void list(const char* key, std::vector<T>& out, Each each) {
    const Parsed* value = find(key);
    if (value == nullptr) return;
    if (!value->is_array()) return failure_.set(name(key) + " is not a list");
    out.resize(value->size());
    for (size_t i = 0; i < out.size() && !failure_.seen; ++i) {
      each((*value)[i], fmt::format("{}[{}]", name(key), i), failure_, out[i]);
    }
  }
  template <class T, class Each>
  void object(const char* key, T& out, Each each) {
    if (const Parsed* value = find(key)) each(*value, name(key), failure_, out);
  }

  static void string(const Parsed& json, const std::string& where, Failure& failure,
                     std::string& out) {
    if (!json.is_string()) return failure.set(where + " is not a string");
    out = json.get_ref<const std::string&>();
  }
  template <class T>
  static void integer(const Parsed& json, const std::string& where, Failure& failure, T& out) {
    if (!json.is_number_integer()) return failure.set(where + " is not an integer");
    // Non-negative numbers are stored unsigned by the parser, negative ones signed.
    const bool fits =
        json.is_number_unsigned()
            ? json.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<T>::max())
            : std::is_signed_v<T> &&
                  json.get<int64_t>() >= static_cast<int64_t>(std::numeric_limits<T>::min());
    if (!fits) return failure.set(where + " is out of range");
    out = json.get<T>();
  }

 private:
  std::string name(const char* key) const { return where_.empty() ? key : where_ + "." + key; }

  const Parsed* find(const char* key) {
    if (failure_.seen) return nullptr;
    const auto found = json_.find(key);
    if (found != json_.end()) return &*found;
    failure_.set(name(key) + " is missing");
    return nullptr;
  }

  const Parsed& json_;
  std::string where_;
  Failure& failure_;
};

// The index of a name in a table; 0 with a failure when it is none of them.
int named(const std::string& text, std::span<const char* const> names, const std::string& where,
          Failure& failure) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (text == names[i]) return static_cast<int>(i);
  }
  failure.set(fmt::format("{} is not one of {}", where, fmt::join(names, ", ")));
  return 0;
}

void read_section(const Parsed& json, const std::string& where, Failure& failure, Section& out) {
  Fields fields(json, where, failure);
  std::string checksum;
  fields.read("offset", out.offset);
  fields.read("bytes", out.bytes);
  fields.read("checksum", checksum);
  if (failure.seen) return;
  if (checksum.size() != 16 ||
      checksum.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return failure.set(where + ".checksum is not 16 hexadecimal digits");
  }
  out.checksum = std::stoull(checksum, nullptr, 16);
  if (out.bytes == 0 && (out.offset != 0 || out.checksum != 0)) {
    failure.set(where + ": an absent section (no bytes) must have offset and checksum 0");
  }
}

void read_fill(const Parsed& json, const std::string& where, Failure& failure, Fill& out) {
  Fields fields(json, where, failure);
  std::string kind;
  fields.read("kind", kind);
  fields.read("dtype", out.dtype);
  fields.read("offset", out.offset);
  fields.read("bytes", out.bytes);
  fields.read("low", out.low);
  fields.read("high", out.high);
  fields.read("factor", out.factor);
  if (!failure.seen) {
    out.kind = static_cast<Fill::Kind>(named(kind, names_of<Fill::Kind>, where + ".kind", failure));
  }
}

void read_weight(const Parsed& json, const std::string& where, Failure& failure, PlanWeight& out) {
  Fields fields(json, where, failure);
  fields.read("name", out.name);
  fields.read("type", out.type);
  fields.read("layout", out.layout);
  fields.read("offset", out.offset);
  fields.read("bytes", out.bytes);
  fields.read("bits", out.bits);
}

void read_state(const Parsed& json, const std::string& where, Failure& failure, PlanState& out) {
  Fields fields(json, where, failure);
  std::string kind;
  fields.read("name", out.name);
  fields.read("kind", kind);
  fields.read("format", out.format);
  fields.read("bytes_per_position", out.bytes_per_position);
  fields.read("fixed_bytes", out.fixed_bytes);
  if (!failure.seen)
    out.kind = static_cast<PlanState::Kind>(named(kind, state_kinds, where + ".kind", failure));
  if (out.kind != PlanState::Kind::ring) return;
  fields.read("positions", out.positions);
  fields.read("window", out.window);
}

void read_argument(const Parsed& json, const std::string& where, Failure& failure, Argument& out) {
  const bool some = json.is_array() && !json.empty() && json[0].is_string();
  const size_t wanted = some && json[0] == "state" ? 3 : 2;
  if (!some || json.size() != wanted) {
    return failure.set(
        where +
        R"( is not ["weights"|"arena"|"logits"|"hidden", offset] or ["state", index, offset])");
  }
  out.region = static_cast<Argument::Region>(
      named(json[0].get_ref<const std::string&>(), names_of<Argument::Region>, where, failure));
  if (wanted == 3) Fields::integer(json[1], where + "[1]", failure, out.index);
  Fields::integer(json[wanted - 1], fmt::format("{}[{}]", where, wanted - 1), failure, out.offset);
}

void read_phase(const Parsed& json, const std::string& where, Failure& failure, Phase& out) {
  Fields fields(json, where, failure);
  fields.read("name", out.name);
  fields.read("what", out.what);
  fields.read("kernel", out.kernel);
  fields.list("arguments", out.arguments, read_argument);
  fields.read("weight_bytes", out.weight_bytes);
  fields.read("operations", out.operations);
  fields.read("predicted_us", out.predicted_us);
  fields.read("blocks", out.blocks);
  fields.read("rows_per_block", out.rows_per_block);
  fields.read("shared_bytes", out.shared_bytes);
}

void read_schedule(const Parsed& json, const std::string& where, Failure& failure, Schedule& out) {
  Fields fields(json, where, failure);
  std::string entry;
  fields.read("name", out.name);
  fields.read("entry", entry);
  fields.read("most_rows", out.most_rows);
  fields.list("phases", out.phases, read_phase);
  if (!failure.seen)
    out.entry = static_cast<Schedule::Entry>(
        named(entry, names_of<Schedule::Entry>, where + ".entry", failure));
}

void read_probe(const Parsed& json, const std::string& where, Failure& failure, Probe& out) {
  Fields fields(json, where, failure);
  fields.read("format", out.format);
  fields.read("weight", out.weight);
  fields.read("offset", out.offset);
  fields.read("expected", out.expected);
  fields.read("tolerance", out.tolerance);
}

void read_parameter(const Parsed& json, const std::string& where, Failure& failure,
                    Parameter& out) {
  Fields fields(json, where, failure);
  std::string access;
  fields.read("access", access);
  fields.read("bytes", out.bytes);
  fields.read("bytes_per_row", out.bytes_per_row);
  fields.read("bytes_per_logits_row", out.bytes_per_logits_row);
  fields.read("bytes_per_position", out.bytes_per_position);
  if (!failure.seen) {
    out.access = static_cast<Parameter::Access>(
        named(access, names_of<Parameter::Access>, where + ".access", failure));
  }
}

void read_kernel(const Parsed& json, const std::string& where, Failure& failure, Kernel& out) {
  Fields fields(json, where, failure);
  fields.read("symbol", out.symbol);
  fields.read("summary", out.summary);
  fields.list("parameters", out.parameters, read_parameter);
  fields.read("scratch_bytes", out.scratch_bytes);
  fields.read("shared_bytes", out.shared_bytes);
}

void read_resources(const Parsed& json, const std::string& where, Failure& failure,
                    KernelResources& out) {
  Fields fields(json, where, failure);
  fields.read("vgprs", out.vgprs);
  fields.read("sgprs", out.sgprs);
  fields.read("shared_bytes", out.shared_bytes);
  fields.read("scratch_bytes", out.scratch_bytes);
  fields.read("spills", out.spills);
  fields.read("occupancy", out.occupancy);
}

void read_code(const Parsed& json, const std::string& where, Failure& failure, CodeObject& out) {
  Fields fields(json, where, failure);
  fields.read("target", out.target);
  fields.read("family", out.family);
  fields.list("features", out.features, Fields::string);
  fields.list("machines", out.machines, Fields::string);
  fields.read("device_plan", out.device_plan);
  fields.object("section", out.section, read_section);
  fields.read("early_launch", out.early_launch);
  fields.list("resources", out.resources, read_resources);
}

void read_device_plan(const Parsed& json, const std::string& where, Failure& failure,
                      DevicePlan& out) {
  Fields fields(json, where, failure);
  fields.read("device", out.device);
  fields.read("chunk", out.chunk);
  fields.read("logits_rows", out.logits_rows);
  fields.read("weight_bytes", out.weight_bytes);
  fields.read("arena_bytes", out.arena_bytes);
  fields.read("scratch_bytes", out.scratch_bytes);
  fields.list("kernels", out.kernels, read_kernel);
  fields.list("states", out.states, read_state);
  fields.list("schedules", out.schedules, read_schedule);
  fields.list("probes", out.probes, read_probe);
  fields.list("weights", out.weights, read_weight);
  fields.list("fills", out.fills, read_fill);
  fields.list("weights_sections", out.weights_sections, read_section);
  fields.object("source", out.source, read_section);
  fields.object("memory", out.memory, read_section);
}

void read_remark(const Parsed& json, const std::string& where, Failure& failure, PlanRemark& out) {
  Fields fields(json, where, failure);
  fields.read("pass", out.pass);
  fields.read("accepted", out.accepted);
  fields.read("subject", out.subject);
  fields.read("reason", out.reason);
  fields.read("bytes_saved", out.bytes_saved);
  fields.read("launches_saved", out.launches_saved);
}

void read_end(const Parsed& json, const std::string& where, Failure& failure, PlanEnd& out) {
  Fields fields(json, where, failure);
  fields.read("id", out.id);
  fields.read("text", out.text);
  fields.read("source", out.source);
}

void read_plan(const Parsed& json, Failure& failure, Plan& plan) {
  Fields fields(json, "", failure);
  fields.read("model", plan.model);
  fields.read("architecture", plan.architecture);
  fields.read("activations", plan.activations);
  fields.read("compiler", plan.compiler);
  fields.read("vocab_size", plan.vocab_size);
  fields.read_if_there("hidden_size", plan.hidden_size);
  fields.read("max_context", plan.max_context);
  fields.read("layers", plan.layers);
  fields.read("parameters", plan.parameters);
  fields.list("eos_ids", plan.eos_ids, Fields::integer<int32_t>);
  fields.list("ends", plan.ends, read_end);
  fields.read("bos_id", plan.bos_id);
  fields.read("temperature", plan.temperature);
  fields.read("top_p", plan.top_p);
  fields.read("top_k", plan.top_k);
  fields.read("seed", plan.seed);
  fields.list("code", plan.code, read_code);
  fields.list("device_plans", plan.device_plans, read_device_plan);
  fields.list("remarks", plan.remarks, read_remark);
  fields.object("tokenizer", plan.tokenizer, read_section);
  fields.object("tokenizer_config", plan.tokenizer_config, read_section);
  fields.object("chat_template", plan.chat_template, read_section);
  fields.object("graph", plan.graph, read_section);
}

}  // namespace

std::string plan_to_json(const Plan& plan, int indent) {
  Json json = {
      {"model", plan.model},
      {"architecture", plan.architecture},
      {"activations", plan.activations},
      {"compiler", plan.compiler},
      {"vocab_size", plan.vocab_size},
      {"max_context", plan.max_context},
      {"layers", plan.layers},
      {"parameters", plan.parameters},
      {"eos_ids", to_json(plan.eos_ids)},
      {"ends", to_json(plan.ends)},
      {"bos_id", plan.bos_id},
      {"temperature", plan.temperature},
      {"top_p", plan.top_p},
      {"top_k", plan.top_k},
      {"seed", plan.seed},
      {"code", to_json(plan.code)},
      {"device_plans", to_json(plan.device_plans)},
      {"remarks", to_json(plan.remarks)},
      {"tokenizer", to_json(plan.tokenizer)},
      {"tokenizer_config", to_json(plan.tokenizer_config)},
      {"chat_template", to_json(plan.chat_template)},
      {"graph", to_json(plan.graph)},
  };
  if (plan.hidden_size != 0) json["hidden_size"] = plan.hidden_size;
  // Names from checkpoints need not be UTF-8: what is not is replaced rather than refused.
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string code_mark(const Plan& plan, const CodeObject& code) {
  DevicePlan device = plan.device_plans[code.device_plan];
  for (Schedule& schedule : device.schedules)
    for (Phase& phase : schedule.phases) phase.predicted_us = 0;
  device.probes.clear();  // what they compute is known from the weights alone
  device.weights_sections.clear();
  device.source = device.memory = {};
  const Json json = {{"target", code.target},
                     {"family", code.family},
                     {"features", to_json(code.features)},
                     {"activations", plan.activations},
                     {"vocab_size", plan.vocab_size},
                     {"max_context", plan.max_context},
                     {"seed", plan.seed},
                     {"device_plan", to_json(device)}};
  return std::string(code_mark_prefix) +
         key_of(json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Result<Plan> plan_from_json(std::string_view text) {
  try {
    const Parsed json = Parsed::parse(text, nullptr, false);
    if (json.is_discarded()) return Error{"the header is not JSON"};
    Plan plan;
    Failure failure;
    read_plan(json, failure, plan);
    if (failure.seen) return Error{"header field " + failure.message};
    return plan;
  } catch (const std::exception& exception) {  // out of memory
    return Error{fmt::format("the header cannot be read: {}", exception.what())};
  }
}

}  // namespace sinter::runtime
