// The commands and what they take, as CLI11 has them: what help, completion and the manual are made from.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace chorus::inline app {

/// What the value of an argument is, to someone who types it.
enum class ValueKind { none, text, choice, file, folder, setting };

/// An option, or a positional argument.
struct Argument {
  std::vector<std::string> names;    // "-q" and "--quiet"; "DIR" of a positional one
  std::string help, value;           // the value's name: "FILE"; empty for a flag
  std::string range, initial;        // "1 to 64" and "5", or empty
  std::vector<std::string> choices;  // those that CLI11 knows
  ValueKind kind = ValueKind::none;  // `none` for a flag
  bool required = false, repeats = false;
};

struct CommandNode {
  std::string path, name, help;  // "chorus corpus report", "report", and one line
  std::string group;             // "Training"; empty where commands are not grouped
  std::vector<CommandNode> commands;
  std::vector<Argument> options, positionals;

  /// Does it take a run file, and --set?
  [[nodiscard]] bool has_settings() const;
};

/// What there is below `command`, whose own path is `path`. Without what --help does not show.
CommandNode command_tree(const CLI::App& command, const std::string& path);

struct FoundCommand {
  const CLI::App* command = nullptr;
  std::string path;  // "chorus corpus report"
};
/// The command that the words name: {"corpus", "report"}; `app` itself without words. UserError where there
/// is none.
FoundCommand find_command(const CLI::App& app, const std::vector<std::string>& words);

/// What is wrong with an argument that nothing takes, `command` being the last that was named.
std::string unknown_argument(const FoundCommand& command, const std::string& argument);

}  // namespace chorus::inline app
