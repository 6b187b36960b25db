#include <fmt/format.h>

#include "app/shell_scripts.h"
#include "base/text.h"

namespace chorus::inline app {
namespace {

std::string fish_word(std::string_view text) {
  return "'" + with_backslashes(text, "'") + "'";
}

/// How a value is completed.
std::string fish_value(const Argument& a, const std::vector<std::string>& keys) {
  switch (a.kind) {
    case ValueKind::choice:
      return " -x -a " + fish_word(join(a.choices, " "));
    case ValueKind::file:
      return " -r -F";
    case ValueKind::folder:
      return " -x -a '(__fish_complete_directories)'";
    case ValueKind::setting:
      return " -x -a " + fish_word(join(keys, " "));
    case ValueKind::text:
      return " -x";
    case ValueKind::none:
      break;
  }
  return "";
}

/// The lines for a command, and for those below it.
std::string fish_lines(const CommandNode& node, const std::vector<std::string>& keys) {
  const std::string start = fmt::format("complete -c chorus -n {}", fish_word("__chorus_at " + node.path));
  std::string lines;
  for (const CommandNode& below : node.commands)
    lines += fmt::format("{} -a {} -d {}\n", start, fish_word(below.name), fish_word(below.help));
  for (const Argument& a : node.positionals) lines += start + fish_value(a, keys) + "\n";
  for (const Argument& a : node.options) {
    lines += start;
    for (const std::string& name : a.names) {
      const bool is_long = name.starts_with("--");
      lines += fmt::format(" {} {}", is_long ? "-l" : "-s", fish_word(name.substr(is_long ? 2 : 1)));
    }
    lines += fmt::format("{} -d {}\n", fish_value(a, keys), fish_word(a.help));
  }
  for (const CommandNode& below : node.commands) lines += fish_lines(below, keys);
  return lines;
}

}  // namespace

std::string fish_script(const CommandNode& root, const std::vector<std::string>& keys) {
  std::string paths;
  for (const std::string& path : command_paths(root)) paths += " " + fish_word(path);
  std::string script = "# Completion of chorus for fish, made by `chorus completion fish`.\n";
  script += "function __chorus_at # is this the command, as far as it is given?\n";
  script += "    set -l command chorus\n    for word in (commandline -opc)[2..-1]\n";
  script += fmt::format("        if contains -- \"$command $word\"{}\n", paths);
  script += "            set command \"$command $word\"\n        end\n    end\n";
  script += "    test \"$command\" = \"$argv\"\nend\ncomplete -c chorus -f\n";
  return script + fish_lines(root, keys);
}

}  // namespace chorus::inline app
