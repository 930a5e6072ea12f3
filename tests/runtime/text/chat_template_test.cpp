#include "runtime/text/chat_template.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

namespace sinter::runtime {
namespace {

using Json = nlohmann::ordered_json;

std::string golden(const std::string& name, const std::string& file) {
  std::ifstream in(std::string(SINTER_TEST_GOLDENS) + "/" + name + "/" + file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// 2026-03-14T15:09:26, when the goldens were made.
std::tm golden_time() {
  std::tm time{};
  time.tm_year = 126;
  time.tm_mon = 2;
  time.tm_mday = 14;
  time.tm_hour = 15;
  time.tm_min = 9;
  time.tm_sec = 26;
  time.tm_wday = 6;
  time.tm_yday = 72;
  return time;
}

// The rendered text, or "error: ..." with the reason.
std::string render(const std::string& source, const Json& variables = Json::object()) {
  const auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return "error: " + parsed.error().message;
  const auto text = parsed->render(variables, golden_time());
  return text.ok() ? *text : "error: " + text.error().message;
}

// A row of a golden file without its name and what it renders to.
Json conversation_of(Json row) {
  for (const char* name : {"name", "rendered", "error"}) row.erase(name);
  return row;
}

class ChatGolden : public testing::TestWithParam<const char*> {};

TEST_P(ChatGolden, RendersAsTransformersDoes) {
  const auto parsed = ChatTemplate::parse(golden(GetParam(), "chat_template.jinja"));
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const std::string config = golden(GetParam(), "tokenizer_config.json");
  const Json rows = Json::parse(golden(GetParam(), "chat.json"));
  ASSERT_GT(rows.size(), 10u);
  for (const Json& row : rows) {
    SCOPED_TRACE(row["name"].get<std::string>());
    const auto variables = chat_variables(conversation_of(row), config);
    ASSERT_TRUE(variables.ok()) << variables.error().message;
    const auto text = parsed->render(*variables, golden_time());
    if (row.contains("error")) {
      ASSERT_FALSE(text.ok()) << *text;
      const std::string error = row["error"];
      EXPECT_TRUE(text.error().message.ends_with(error.substr(error.find(": ")))) << error;
    } else {
      ASSERT_TRUE(text.ok()) << text.error().message;
      EXPECT_EQ(*text, row["rendered"].get<std::string>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ChatGolden,
                         testing::Values("chat_bitnet", "chat_chatml", "chat_gemma", "chat_llama3",
                                         "chat_mistral", "chat_qwen3"));

// Every part of the language, as jinja2 3.1.6 renders or refuses it in the environment that
// transformers makes.
TEST(ChatTemplate, LanguageIsThatOfJinja) {
  const Json golden_cases = Json::parse(golden("chat_language", "cases.json"));
  ASSERT_GT(golden_cases["cases"].size(), 80u);
  for (const Json& entry : golden_cases["cases"]) {
    const std::string source = entry["template"];
    const std::string text = render(source, golden_cases["variables"]);
    if (entry.contains("error"))
      EXPECT_TRUE(text.starts_with("error: chat template, line ")) << source << "\n" << text;
    else
      EXPECT_EQ(text, entry["rendered"].get<std::string>()) << source;
  }
}

TEST(ChatTemplate, ErrorsNameTheLineAndTheReason) {
  EXPECT_EQ(render("a\n{{ x.y }}"), "error: chat template, line 2: 'x' is undefined");
  EXPECT_EQ(render("{{ {}.y.z }}"),
            "error: chat template, line 1: 'dict object' has no attribute 'y'");
  EXPECT_EQ(render("\n\n{{ raise_exception('roles\nmust alternate') }}"),
            "error: chat template, line 3: roles must alternate");
  EXPECT_EQ(render("{% for x in y %}"),
            "error: chat template, line 1: the template ends before {% endfor %}");
  EXPECT_EQ(render("{% include 'x' %}"),
            "error: chat template, line 1: 'include' needs another template, and a chat template "
            "is alone");
  EXPECT_EQ(render("{{ 1 | nope }}"), "error: chat template, line 1: no filter is named 'nope'");
  EXPECT_EQ(render("{{ [1].append(2) }}"),
            "error: chat template, line 1: 'append' would change a list, which templates may not");
}

TEST(ChatTemplate, GenerationBlocksRenderTheirBody) {
  EXPECT_EQ(render("a{% generation %}{% set x = 1 %}b{{ x }}{% endgeneration %}c{{ x }}"), "ab1c");
}

double seconds_of_cpu() {
  timespec time{};
  (void)::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// A loaded machine, and libraries that are built to look for errors.
constexpr double kSlowness = 2;

void expect_refused_soon(const std::string& source) {
  const double start = seconds_of_cpu();
  const std::string text = render(source);
  EXPECT_TRUE(text.starts_with("error: chat template, line ")) << source.substr(0, 200);
  EXPECT_LT(seconds_of_cpu() - start, 2.0 * kSlowness) << source.substr(0, 200);
}

// A template may be written to harm: each of these would run for ever, overflow the stack or fill
// the memory.
TEST(ChatTemplate, HostileTemplatesAreRefusedSoon) {
  const std::string deep_parentheses = "{{ " + std::string(100000, '(') + "1";
  std::string deep_blocks, long_sum = "{{ 1", filters = "{{ 'a'", negations = "{{ ";
  for (int i = 0; i < 100000; ++i) {
    deep_blocks += "{% if true %}";
    long_sum += " + 1";
    filters += "|upper";
    negations += "not ";
  }
  const std::string loop = "{% set ns = namespace(x=[], s='ab') %}{% for i in range(100000) %}";
  for (const std::string& source :
       {deep_parentheses,
        deep_blocks,
        long_sum + " }}",
        filters + " }}",
        negations + "1 }}",
        loop + "{% for j in range(100000) %}{% endfor %}{% endfor %}",
        loop + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x }}",
        loop + "{% set ns.x = {'a': ns.x} %}{% endfor %}",
        loop + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        loop + "{{ 'x' * 100000 }}{% endfor %}",
        std::string("{{ 'ab' * 1000000000000 }}"),
        std::string("{{ [1] * 1000000000000 }}"),
        std::string("{{ range(1000000000) }}"),
        std::string("{% set n = namespace() %}{% set n.a = n %}{{ n }}"),
        std::string("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
        std::string("{% macro m(x=m()) %}{% endmacro %}{{ m() }}"),
        std::string("{{ '%99999999999d' % 1 }}"),
        std::string("{{ 'x'.center(99999999999) }}"),
        std::string("{{ 10 ** 5000 }}"),
        std::string("{{ 7 ** 9223372036854775808 }}"),
        loop + "{% set ns.x = ns.x|map('string') %}{% endfor %}{{ ns.x|list }}",
        "{% set s = 'a' * 1000000 %}" + loop + "{% set y = s in s %}{% endfor %}",
        "{% set s = 'a' * 90000000 %}{% set d = {s ~ 'b': 1} %}" + loop +
            "{{ (s ~ 'c') in d }}{% endfor %}",
        "{% set n = 3 ** 9000 %}" + loop + "{{ (n|string)|int == n }}{% endfor %}",
        "{% set l = range(100000)|list %}" + loop +
            "{{ l|sort|first }}{{ l|unique|list|length }}"
            "{{ 'x' in l }}{% endfor %}",
        loop +
            "{{ '%9000s' % 1 }}{{ '{:>9000}'.format(2) }}{{ 1|string|center(9000) }}{% endfor %}",
        loop + "{{ ('a@' * 3000 ~ 'b.c')|urlize|length }}{{ ('<' * 9000)|striptags }}{% endfor %}",
        std::string("{{ 2 ** 4000000000 }}"),
        std::string("{{ ('a' * 1000000).count('a' * 500000 ~ 'b') }}"
                    "{% for i in range(100000) %}{{ ('a' * 1000000).find('a' * 50000 ~ 'b') }}"
                    "{% endfor %}")}) {
    expect_refused_soon(source);
  }
}

// Work that leaves no text behind.
TEST(ChatTemplate, LookingCostsToo) {
  const std::string loop = "{% for i in range(100000) %}{% for j in range(100000) %}{% set x = ";
  for (const std::string expression :
       {"'abc'[k]", "'%.300f' % 1e300", "k.rfind('b')", "k.rfind('b' ~ k[:9000])",
        "k.find(k[:9000] ~ 'b')", "k[:9000] ~ 'b' in k", "k.count(k[:300] ~ 'b')", "s|wordcount",
        "s is lower", "s.istitle()", "s|title"}) {
    expect_refused_soon("{% set k = 'a' * 100000 %}{% set s = '& ' * 10000 %}" + loop + expression +
                        " %}{% endfor %}{% endfor %}");
  }
  // A tuple of 2^64 items, which share their memory.
  expect_refused_soon(
      "{% set ns = namespace(t=(1,)) %}{% for i in range(64) %}{% set ns.t = (ns.t, ns.t) %}"
      "{% endfor %}{{ {ns.t: 1} }}");
}

// Much text of a large conversation is no more than it has; of a small one it is.
TEST(ChatTemplate, TextGrowsWithTheConversation) {
  const std::string large =
      "{{ messages[0] }}{% for i in range(5) %}{{ 'a' * 10000000 }}{% endfor %}";
  const auto parsed = ChatTemplate::parse(large);
  ASSERT_TRUE(parsed.ok());
  const std::tm now{};
  EXPECT_FALSE(parsed->render(Json{{"messages", {"short"}}}, now).ok());
  const auto text = parsed->render(Json{{"messages", {std::string(10000000, 'b')}}}, now);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_EQ(text->size(), 60000000u);
}

// Members of objects keep their order; of several with one name the last counts.
TEST(ReadConversation, ObjectsMayHaveManyMembers) {
  std::string json = R"({"messages": [], "kwargs": {"x": {)";
  for (int i = 0; i < 50000; ++i) json += fmt::format(R"("k{}": {}, )", i, i);
  json += R"("k49999": "last", "k7": "again"}}})";
  const double start = seconds_of_cpu();
  const auto conversation = read_conversation(json);
  ASSERT_TRUE(conversation.ok()) << conversation.error().message;
  const Json& members = (*conversation)["kwargs"]["x"];
  EXPECT_EQ(members.size(), 50000u);
  EXPECT_EQ(members.items().begin().key(), "k0");
  EXPECT_EQ(members["k7"], "again");
  EXPECT_EQ(members["k49999"], "last");
  EXPECT_LT(seconds_of_cpu() - start, 1.0 * kSlowness);
}

TEST(ChatVariables, ConversationsThatAreNoneAreRefused) {
  EXPECT_EQ(chat_variables(Json::array(), "").error().message,
            "the conversation is an array, expected an object with messages");
  EXPECT_EQ(chat_variables(Json::object(), "").error().message,
            "the conversation has no array `messages`");
  const Json good = {{"messages", Json::array()}};
  EXPECT_EQ(chat_variables(good, "[]").error().message, "tokenizer_config.json: not a JSON object");
  const Json variables =
      *chat_variables(good, R"({"bos_token": {"content": "<s>"}, "eos_token": null})");
  EXPECT_EQ(variables["bos_token"], "<s>");
  EXPECT_FALSE(variables.contains("eos_token"));
  EXPECT_TRUE(variables["tools"].is_null());
}

TEST(ChatVariables, FieldsThatNothingReadsAreRefusedByName) {
  const Json conversation = *read_conversation(
      R"({"messages": [], "add_generation_prompt": true, "tools": [1], "now": "2026-03-14T15:09:26",
          "chat_template_kwargs": {"a": 1, "b": 1}, "kwargs": {"b": 2}})");
  const Json variables = *chat_variables(conversation, "");
  EXPECT_EQ(variables["add_generation_prompt"], true);
  EXPECT_EQ(variables["tools"], Json({1}));
  EXPECT_EQ(variables["a"], 1);
  EXPECT_EQ(variables["b"], 2);
  EXPECT_EQ(chat_variables(*read_conversation(R"({"messages": [], "enable_thinking": false})"), "")
                .error()
                .message,
            "the conversation has a field 'enable_thinking' that nothing reads; variables of the "
            "template belong in kwargs");
  EXPECT_EQ(
      chat_variables(*read_conversation(R"({"messages": [], "add_generation_prompt": 1})"), "")
          .error()
          .message,
      "the conversation's add_generation_prompt is a number, expected a boolean");
}

TEST(ReadConversation, TakesAListOfMessagesAndIntegersOfAnySize) {
  EXPECT_EQ(*read_conversation(R"([{"role": "user"}])"),
            (Json{{"messages", {{{"role", "user"}}}}}));
  const Json variables = *chat_variables(
      *read_conversation(
          R"({"messages": [], "kwargs": {"x": 9223372036854775808, "y": -10000000000000000000000}})"),
      "");
  EXPECT_EQ(render("{{ x }} {{ y }} {{ x + y }}", variables),
            "9223372036854775808 -10000000000000000000000 -9990776627963145224192");
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  EXPECT_EQ(read_conversation(deep).error().message, "the JSON nests more than 500 levels deep");
  EXPECT_EQ(read_conversation("[1,").error().message, "not JSON at byte 4");
}

TEST(ChatTemplates, ToolsTakeTheTemplateThatIsNamedForThem) {
  const ChatTemplates templates(
      ChatTemplates::to_text({{"rag", "R"}, {"tool_use", "T"}, {"default", "D"}}));
  const auto text = [&](const ChatTemplates& of, const Json& conversation) {
    const auto taken = of.for_conversation(conversation);
    return taken.ok() ? *taken->render(Json::object(), golden_time()) : taken.error().message;
  };
  EXPECT_EQ(text(templates, {{"tools", {1}}}), "T");
  EXPECT_EQ(text(templates, {{"tools", Json::array()}}), "T");
  EXPECT_EQ(text(templates, {{"tools", nullptr}}), "D");
  EXPECT_EQ(text(templates, Json::object()), "D");
  EXPECT_EQ(text(ChatTemplates("one"), {{"tools", {1}}}), "one");
  EXPECT_EQ(text(ChatTemplates(ChatTemplates::to_text({{"a", "A"}, {"b", "B"}})), Json::object()),
            "none of the chat templates is called default: there are a, b");
  // A template that reads like several of them stays the one that it is.
  const std::string tricky = R"({"default": "x"})";
  EXPECT_EQ(text(ChatTemplates(ChatTemplates::to_text({{"default", tricky}})), Json::object()),
            tricky);
}

}  // namespace
}  // namespace sinter::runtime
