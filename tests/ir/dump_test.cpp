// The drawings and JSON that `dump` offers beside the text form.
#include <gtest/gtest.h>

#include "ir/dot.h"
#include "ir/json.h"
#include "ir/ops.h"
#include "ir/text.h"
#include "tests/ir/every_op.h"

namespace sinter::ir {
namespace {

TEST(Dot, DrawsFusedNodesAsClusters) {
  const std::string dot = to_dot(*parse(kEveryOp, "every_op"));
  EXPECT_NE(dot.find("subgraph cluster_0 {\n    label=\"fused matmul\\nlayers.0.kv\";"),
            std::string::npos);
  EXPECT_NE(dot.find("subgraph cluster_1"), std::string::npos);
  EXPECT_EQ(dot.find("subgraph cluster_2"), std::string::npos);
  EXPECT_NE(dot.find("label=\"%5 = matmul\\ntensor<Tx8xf32>\""), std::string::npos);
  EXPECT_NE(dot.find("label=\"@\\\"an odd name\\\"\\nweight<16x8, bf16>\", shape=note"),
            std::string::npos);
  EXPECT_NE(dot.find("shape=cylinder"), std::string::npos);
  EXPECT_NE(dot.find(" -> return0;"), std::string::npos);
}

TEST(Json, HasTheWholeModule) {
  const nlohmann::json json = to_json(*parse(kEveryOp, "every_op"));
  EXPECT_EQ(json["name"], "every.op");
  EXPECT_EQ(json["weights"].size(), 9);
  EXPECT_EQ(json["weights"][2]["type"], "weight<8x8, symmetric b1 z0.5 g4 f16>");
  EXPECT_EQ(json["weights"][2]["bytes"], 8 + 8 * 2 * 2);
  EXPECT_EQ(json["weights"][4]["source"], (nlohmann::json{"a.k_proj", "a.v_proj"}));
  EXPECT_EQ(json["weights"][5]["constant"].size(), 1);
  EXPECT_EQ(json["states"].size(), 4);
  EXPECT_EQ(json["params"][0]["name"], "%tokens");
  EXPECT_EQ(json["nodes"][5]["op"], "fused");
  EXPECT_EQ(json["nodes"][5]["body"].size(), 3);
  EXPECT_EQ(json["nodes"][5]["results"][1]["name"], "%7");
  EXPECT_EQ(json["nodes"][5]["attributes"]["kind"], "matmul");
  EXPECT_EQ(json["nodes"][2]["attributes"]["eps"], 1e-6);
  EXPECT_EQ(json["returns"], (nlohmann::json{"%25"}));
}

TEST(Json, WritesBytesThatAreNotUtf8AsQuestionMarks) {
  Module module;
  module.name = "a\xff\xc3\xa9\xed\xa0\x80z";
  EXPECT_EQ(to_json(module)["name"], "a?\xc3\xa9???z");
  EXPECT_NO_THROW(to_json(module).dump());
}

}  // namespace
}  // namespace sinter::ir
