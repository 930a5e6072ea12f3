#include "tools/help.h"

#include <fmt/format.h>

#include <algorithm>

namespace sinter::tools {
namespace {

constexpr size_t kWidth = 90;

}  // namespace

std::string wrap(std::string_view text, size_t width) {
  std::string out;
  size_t column = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    if (column != 0 && column + 1 + end > width) {
      out += '\n';
      column = 0;
    } else if (column != 0) {
      out += ' ';
      ++column;
    }
    out += text.substr(0, end);
    column += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
  return wrap(app->get_description(), kWidth) + "\n\n";
}

std::string HelpFormatter::make_usage(const CLI::App* app, std::string name) const {
  std::string usage = "Usage: " + name;
  if (app->get_parent() == nullptr) return usage + " COMMAND ...\n";
  for (const CLI::Option* option : app->get_options())
    if (option->get_positional())
      usage += option->get_required() ? fmt::format(" {}", option->get_name())
                                      : fmt::format(" [{}]", option->get_name());
  for (const CLI::Option* option : app->get_options())
    if (option->nonpositional() && option->get_required())
      usage += fmt::format(" {} {}", option->get_name(), option->get_type_name());
  return usage + " [OPTIONS]\n";
}

// In a program's list of commands, the first sentence will do.
std::string HelpFormatter::make_subcommand(const CLI::App* sub) const {
  std::string summary = sub->get_description();
  summary = summary.substr(0, summary.find_first_of(".:"));
  size_t longest = 0;
  for (const CLI::App* other :
       sub->get_parent()->get_subcommands([](const CLI::App*) { return true; }))
    longest = std::max(longest, other->get_name().size());
  return fmt::format("  {:<{}}  {}\n", sub->get_name(), longest, summary);
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  if (option->get_type_size() == 0 || option->get_positional()) return "";
  // "INT:INT in [1 - 8]" names a type and then a check; of checks, sets of choices are of interest.
  const std::string type = option->get_type_name();
  const size_t colon = type.find(':');
  const bool choices = colon != std::string::npos && type.compare(colon + 1, 1, "{") == 0;
  std::string text = " " + (choices ? type.substr(colon + 1) : type.substr(0, colon));
  if (!option->get_default_str().empty()) text += " = " + option->get_default_str();
  return text;
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  return wrap(option->get_description(), kWidth - get_column_width());
}

}  // namespace sinter::tools
