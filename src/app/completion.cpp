// chorus completion: scripts by which shells complete commands, options, their values and the keys of --set.
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "app/commands.h"
#include "app/shell_scripts.h"
#include "base/text.h"

namespace chorus::inline app {
namespace {

/// "moe.experts=" of each option of the run file. Those of lists of tables have no name without a number.
std::vector<std::string> run_file_keys() {
  RunConfig config;
  Schema schema;
  describe(schema, config);
  std::vector<std::string> keys;
  for (const Schema::Section& section : schema.sections()) {
    const std::string start = section.name.empty() ? "" : section.name + ".";
    for (const Schema::Option& option : section.options)
      if (!std::holds_alternative<Schema::List>(option.target)) keys.push_back(start + option.key + "=");
  }
  return keys;
}

}  // namespace

std::string with_backslashes(std::string_view text, std::string_view special) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\' || special.find(c) != std::string_view::npos) escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string shell_word(std::string_view text) {
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

std::string shell_words(const std::vector<std::string>& texts, std::string_view separator) {
  std::vector<std::string> words;
  words.reserve(texts.size());
  for (const std::string& text : texts) words.push_back(shell_word(text));
  return join(words, separator);
}

std::vector<std::string> command_paths(const CommandNode& node) {
  std::vector<std::string> paths;
  for (const CommandNode& below : node.commands) {
    paths.push_back(below.path);
    for (std::string& path : command_paths(below)) paths.push_back(std::move(path));
  }
  return paths;
}

void add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "print a script that completes chorus in a shell");
  command->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->option_text(" ");
  command->callback([&app, shell] {
    const CommandNode root = command_tree(app, app.get_name());
    const auto script = *shell == "bash" ? bash_script : *shell == "zsh" ? zsh_script : fish_script;
    fmt::print("{}", script(root, run_file_keys()));
  });
}

}  // namespace chorus::inline app
