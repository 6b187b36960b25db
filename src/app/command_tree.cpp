#include "app/command_tree.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace chorus::inline app {
namespace {

std::vector<std::string> subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

/// Returns the choices in "{average,first}"; none without braces.
std::vector<std::string> choices_in(const std::string& type) {
  const size_t open = type.find('{'), close = type.rfind('}');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  std::vector<std::string> choices;
  for (const std::string_view word : split(std::string_view(type).substr(open + 1, close - open - 1), ','))
    choices.emplace_back(word);
  return choices;
}

ValueKind kind_of(const Argument& a) {
  const auto has = [&](const char* word) { return a.value.find(word) != std::string::npos; };
  if (!a.choices.empty()) return ValueKind::choice;
  if (a.value == "section.key=value") return ValueKind::setting;
  if (has("FILE") || has(".toml")) return ValueKind::file;
  return has("DIR") ? ValueKind::folder : ValueKind::text;
}

/// The type as CLI11 writes it is "N:1 to 64" or "TEXT:{average,first}": a name, then what is checked.
void describe_value(const CLI::Option& option, Argument& a) {
  const std::string type = option.get_type_name();
  const std::string& text = option.get_option_text();
  const size_t colon = std::min(type.find(':'), type.size());
  a.choices = choices_in(type);
  a.value = option.get_positional() ? option.get_name(true) : type.substr(0, colon);
  if (!trim(text).empty()) a.value = text;
  if (!a.choices.empty() && !option.get_positional()) a.value = join(a.choices, "|");
  if (a.choices.empty() && colon < type.size()) a.range = type.substr(colon + 1);
  a.initial = option.get_default_str();
  a.kind = kind_of(a);
}

Argument argument_of(const CLI::Option& option, const CLI::App& command) {
  Argument a = {.help = option.get_description(),
                .required = option.get_required(),
                .repeats = option.get_items_expected_max() > 1};
  for (const std::string& name : option.get_snames()) a.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) a.names.push_back("--" + name);
  if (option.get_items_expected_max() > 0) describe_value(option, a);
  if (option.get_positional()) a.names.push_back(a.value);
  if (a.value == "COMMAND") {  // one of the program's
    const CLI::App* top = &command;
    while (top->get_parent() != nullptr) top = top->get_parent();
    a.choices = subcommand_names(*top);
    a.kind = ValueKind::choice;
  }
  return a;
}

}  // namespace

bool CommandNode::has_settings() const {
  return std::ranges::any_of(options, [](const Argument& a) { return a.kind == ValueKind::setting; });
}

CommandNode command_tree(const CLI::App& command, const std::string& path) {
  CommandNode node = {.path = path, .name = command.get_name(), .help = command.get_description()};
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group().empty()) continue;
    (option->get_positional() ? node.positionals : node.options).push_back(argument_of(*option, command));
  }
  for (const CLI::App* below : command.get_subcommands({})) {
    node.commands.push_back(command_tree(*below, path + " " + below->get_name()));
    if (below->get_group() != "Subcommands") node.commands.back().group = below->get_group();
  }
  return node;
}

FoundCommand find_command(const CLI::App& app, const std::vector<std::string>& words) {
  FoundCommand found = {&app, app.get_name()};
  for (const std::string& word : words) {
    const auto below =
        found.command->get_subcommands([&](const CLI::App* command) { return command->check_name(word); });
    if (below.empty()) throw UserError("{}", unknown_argument(found, word));
    found = {below.front(), fmt::format("{} {}", found.path, word)};
  }
  return found;
}

std::string unknown_argument(const FoundCommand& command, const std::string& argument) {
  if (argument.size() > 1 && argument.starts_with('-')) {
    const std::string name = argument.substr(0, argument.find('='));
    if (command.command->get_option_no_throw(name) != nullptr)
      return fmt::format("{} stands before the command that takes it: {} {}", name, command.path, name);
    std::vector<std::string> options;
    for (const CLI::Option* option : command.command->get_options()) {
      for (const std::string& known : option->get_lnames()) options.push_back(fmt::format("--{}", known));
    }
    return fmt::format("unknown option '{}'{}", argument, did_you_mean(name, options));
  }
  const std::vector<std::string> commands = subcommand_names(*command.command);
  if (!commands.empty())
    return fmt::format("unknown command '{}'{}", argument, did_you_mean(argument, commands));
  return fmt::format("unexpected argument '{}'", argument);
}

}  // namespace chorus::inline app
