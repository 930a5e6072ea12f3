// Renders templates for jinja_judge.py: a line of JSON, {"template": ..., "variables": {...}}, in;
// a line, {"text": ...} or {"error": ...}, out.
#include <iostream>
#include <string>

#include "runtime/support/json_text.h"
#include "runtime/text/chat_template.h"

int main() {
  using Json = nlohmann::ordered_json;
  using namespace sinter::runtime;
  std::tm now{};
  now.tm_year = 126;
  now.tm_mon = 2;
  now.tm_mday = 14;
  now.tm_wday = 6;
  now.tm_yday = 72;
  for (std::string line; std::getline(std::cin, line);) {
    const auto input = read_json<Json>(line, /*keeps_integers=*/true);
    if (!input.ok()) {
      std::cerr << input.error().message << "\n";
      return 2;
    }
    const auto parsed = ChatTemplate::parse((*input)["template"].get<std::string>());
    const auto text = parsed.ok() ? parsed->render((*input)["variables"], now)
                                  : Result<std::string>(parsed.error());
    const Json output = text.ok() ? Json{{"text", *text}} : Json{{"error", text.error().message}};
    std::cout << output.dump(-1, ' ', true, Json::error_handler_t::replace) << "\n";
  }
  return 0;
}
