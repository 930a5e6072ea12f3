#include "frontends/json_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <string>
#include <vector>

#include "frontends/error_text.h"
#include "frontends/mapped_file.h"
#include "tests/frontends/test_files.h"

namespace sinter::frontends {
namespace {

TEST(MappedFile, HoldsTheBytesAlsoAfterAMove) {
  const TempDir dir;
  auto file = MappedFile::open(dir.write("a", "hello"));
  ASSERT_TRUE(file.ok()) << file.status();
  MappedFile moved = *std::move(file);
  EXPECT_EQ(moved.text(), "hello");
  EXPECT_EQ(moved.size(), 5);
}

TEST(MappedFile, RefusesWhatIsNoReadableFile) {
  const TempDir dir;
  const auto missing = MappedFile::open(dir.path() / "nothing.bin");
  expect_error(missing, {"nothing.bin: no such file"});
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  expect_error(MappedFile::open(dir.path()), {dir.path().string(), "is a directory"});
  expect_error(MappedFile::open(dir.write("empty.bin", "")), {"empty.bin: the file is empty"});
}

TEST(MappedFile, DoesNotWaitForAPipe) {
  const TempDir dir;
  ASSERT_EQ(mkfifo((dir.path() / "pipe").c_str(), 0600), 0);
  expect_error(MappedFile::open(dir.path() / "pipe"), {"pipe: is not a regular file"});
}

TEST(MappedFile, SaysThatPermissionIsMissing) {
  const TempDir dir;
  const auto path = dir.write("secret.bin", "x");
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  const bool root = geteuid() == 0;  // root reads everything: be somebody else for a moment
  if (root) {
    ASSERT_EQ(seteuid(65534), 0);
  }
  const auto file = MappedFile::open(path);
  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  expect_error(file, {"secret.bin: no permission"});
}

TEST(ParseJson, ReadsNestedValues) {
  const auto value =
      parse_json(R"({"a": [1, -2, 2.5, {"b": null}], "c": "\u00e9", "d": true})", "x");
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(*value, Json::parse(R"({"a": [1, -2, 2.5, {"b": null}], "c": "é", "d": true})"));
  EXPECT_EQ(*parse_json(" 7 ", "x"), 7);
}

TEST(ParseJson, ErrorsNameFileLineAndColumn) {
  expect_error(parse_json("{\n  \"a\": 1,\n  oops\n}", "config.json"), {"config.json:3:3: "});
  expect_error(parse_json("", "config.json"), {"config.json:1:1: "});
  expect_error(parse_json("{\"a\": 1", "config.json"), {"config.json:1:8: "});
  expect_error(parse_json("{} {}", "config.json"), {"config.json:1:4: "});
  expect_error(parse_json("\"\xff\"", "config.json"), {"config.json:1:2: ", "UTF-8"});
  expect_error(parse_json("[nan]", "config.json"), {"config.json:1:"});
  expect_error(parse_json("\n[1e999]", "config.json"), {"config.json:2:", "1e999"});
}

TEST(ParseJson, RefusesDeepNesting) {
  const std::string fits = std::string(64, '[') + std::string(64, ']');
  EXPECT_TRUE(parse_json(fits, "x").ok());
  expect_error(parse_json(std::string(65, '['), "deep.json"), {"deep.json:1:65: ", "64 levels"});
  expect_error(parse_json(std::string(1'000'000, '['), "deep.json"), {"64 levels"});
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  expect_error(parse_json(objects, "deep.json"), {"64 levels"});
}

TEST(ParseJson, ReadsTheNumbersThatPythonWrites) {
  const auto value = parse_json(
      R"({"a": NaN, "b": [Infinity,-Infinity , 0e0, 1], "NaN": "-Infinity \" NaN", "c": 0e0})",
      "x");
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_TRUE(std::isnan(value->at("a").get<double>()));
  EXPECT_EQ(value->at("b"), Json({INFINITY, -INFINITY, 0.0, 1}));
  EXPECT_EQ(value->at("NaN"), "-Infinity \" NaN");
  EXPECT_EQ(value->at("c"), 0.0);
  EXPECT_TRUE(std::isnan(parse_json("NaN", "x")->get<double>()));
  EXPECT_EQ(*parse_json("-Infinity", "x"), -INFINITY);
  for (const char* text : {"[NaNa]", "[-NaN]", "[+Infinity]", "[Inf]", "{NaN: 1}", "[Infinity5]",
                           "[1NaN]", "[NaN5]", "[-NaN]", "[--Infinity]", "[NaN NaN]"})
    EXPECT_FALSE(parse_json(text, "x").ok()) << text;
  EXPECT_EQ(describe(Json(NAN)), "NaN");
  EXPECT_EQ(describe(Json(-INFINITY)), "-Infinity");
}

TEST(ParseJson, WithNotesTheLastOfEqualKeysCounts) {
  std::vector<std::string> notes;
  const auto value = parse_json(
      R"({"a": {"x": 1}, "b": 1, "a": {"y": 2}, "c": [{"b": 1, "b": 3}]})", "config.json", &notes);
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(*value, Json::parse(R"({"a": {"y": 2}, "b": 1, "c": [{"b": 3}]})"));
  EXPECT_EQ(notes, std::vector<std::string>{"config.json: \"a\", \"b\" occur more than once in an "
                                            "object; the last one counts"});
}

TEST(ParseJson, RefusesAKeyThatOccursTwice) {
  expect_error(parse_json("{\"a\": 1,\n \"a\": 2}", "config.json"),
               {"config.json:2:", "\"a\" occurs twice"});
  EXPECT_TRUE(parse_json(R"([{"a": 1}, {"a": 1}])", "x").ok());
}

TEST(ParseJson, MessagesStayOnOneShortLine) {
  const auto value = parse_json("[\"" + std::string(100'000, 'x') + "\n", "a\nb.json");
  expect_error(value, {"a\\x0ab.json:1:"});
  EXPECT_LT(value.status().message().size(), 400);
}

TEST(ReadJsonObject, WantsAnObject) {
  const TempDir dir;
  expect_error(read_json_object(dir.write("config.json", "[1, 2]")),
               {"config.json: holds an array of 2, expected a JSON object"});
  expect_error(read_json_object(dir.path() / "gone.json"), {"gone.json: no such file"});
  const auto good = read_json_object(dir.write("config.json", R"({"a": 1})"));
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(*good, Json::parse(R"({"a": 1})"));
}

class Fields : public testing::Test {
 protected:
  const Json config_ = Json::parse(R"({
    "n": 5, "neg": -5, "huge": 18446744073709551615, "half": 0.5, "text": "abc", "yes": true,
    "null": null, "list": [1, 2], "object": {"x": 1}, "line": "a\nb"})");
};

TEST_F(Fields, OfTheRightTypeAreRead) {
  EXPECT_EQ(*get_int(config_, "n", "f"), 5);
  EXPECT_EQ(*get_int(config_, "neg", "f"), -5);
  EXPECT_EQ(*get_double(config_, "half", "f"), 0.5);
  EXPECT_EQ(*get_double(config_, "n", "f"), 5.0);
  EXPECT_EQ(*get_bool(config_, "yes", "f"), true);
  EXPECT_EQ(*get_string(config_, "text", "f"), "abc");
  EXPECT_EQ((*get_object(config_, "object", "f"))->at("x"), 1);
  EXPECT_EQ((*get_array(config_, "list", "f"))->size(), 2);
}

TEST_F(Fields, OfAnotherTypeAreErrorsThatSayWhatWasFound) {
  expect_error(get_int(config_, "text", "config.json", kPositive),
               {"config.json: \"text\" is \"abc\", expected a positive integer"});
  expect_error(get_int(config_, "half", "f"), {"\"half\" is 0.5, expected an integer"});
  expect_error(get_int(config_, "null", "f"), {"\"null\" is null"});
  expect_error(get_int(config_, "yes", "f"), {"\"yes\" is true"});
  expect_error(get_double(config_, "text", "f"), {"f: \"text\" is \"abc\", expected a number"});
  expect_error(get_bool(config_, "n", "f"), {"f: \"n\" is 5, expected true or false"});
  expect_error(get_string(config_, "list", "f"),
               {"f: \"list\" is an array of 2, expected a string"});
  expect_error(get_object(config_, "line", "f"),
               {"f: \"line\" is \"a\\x0ab\", expected an object"});
  expect_error(get_array(config_, "object", "f"),
               {"f: \"object\" is an object, expected an array"});
}

TEST_F(Fields, OutOfRangeAreErrorsThatNameTheRange) {
  expect_error(get_int(config_, "huge", "f"), {"\"huge\" is 18446744073709551615"});
  expect_error(get_int(config_, "neg", "f", kPositive), {"is -5, expected a positive integer"});
  expect_error(get_int(config_, "neg", "f", kNotNegative), {"expected an integer of 0 or more"});
  expect_error(get_int(config_, "n", "f", {1, 4}), {"is 5, expected an integer from 1 to 4"});
  EXPECT_EQ(*get_int(config_, "n", "f", {5, 5}), 5);
  expect_error(get_double(config_, "half", "f", 0, 0.25),
               {"is 0.5, expected a number from 0 to 0.25"});
}

TEST_F(Fields, ThatAreMissingAreErrorsUnlessThereIsAFallback) {
  expect_error(get_int(config_, "gone", "config.json", kPositive),
               {"config.json: \"gone\" is missing, expected a positive integer"});
  expect_error(get_int(Json(), "gone", "f"), {"f: ", "null, expected an object"});
  EXPECT_EQ(*get_int_or(config_, "gone", "f", 9), 9);
  EXPECT_EQ(*get_int_or(config_, "null", "f", 9), 9);
  EXPECT_EQ(*get_int_or(config_, "n", "f", 9), 5);
  expect_error(get_int_or(config_, "text", "f", 9), {"\"text\" is \"abc\""});
  EXPECT_EQ(*get_double_or(config_, "gone", "f", 1.5), 1.5);
  EXPECT_EQ(*get_bool_or(config_, "null", "f", true), true);
  expect_error(get_bool_or(config_, "n", "f", true), {"\"n\" is 5"});
  EXPECT_EQ(*get_string_or(config_, "gone", "f", "x"), "x");
}

TEST(ErrorText, CountsGetCommas) {
  EXPECT_EQ(with_commas(7), "7");
  EXPECT_EQ(with_commas(548760), "548,760");
  EXPECT_EQ(with_commas(1234567890), "1,234,567,890");
}

TEST(ErrorText, LongNamesAreCutBetweenCharacters) {
  const std::string text = one_line("aé" + std::string(300, 'x'), 2);
  EXPECT_EQ(text, "a...");
}

}  // namespace
}  // namespace sinter::frontends
