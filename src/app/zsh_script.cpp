#include <algorithm>

#include <fmt/format.h>

#include "app/shell_scripts.h"
#include "base/text.h"

namespace chorus::inline app {
namespace {

std::string zsh_function(const CommandNode& node) {
  std::string name = "_chorus_" + node.path;
  std::ranges::replace(name, ' ', '_');
  return name;
}

/// ":FILE:_files": what a value is called, and what offers it.
std::string zsh_value(const Argument& a) {
  const std::string start = ":" + with_backslashes(a.value, ":") + ":";
  switch (a.kind) {
    case ValueKind::choice:
      return fmt::format("{}({})", start, join(a.choices, " "));
    case ValueKind::file:
      return start + "_files";
    case ValueKind::folder:
      return start + "_files -/";
    case ValueKind::setting:
      return start + "_chorus_settings";
    case ValueKind::text:
      return start + " ";
    case ValueKind::none:
      break;
  }
  return "";
}

/// A line each for _arguments.
std::string zsh_arguments(const CommandNode& node) {
  std::string lines;
  const auto add_line = [&](const std::string& text) { lines += " \\\n    " + shell_word(text); };
  for (const Argument& a : node.options) {
    const std::string others = a.repeats ? "*" : fmt::format("({})", join(a.names, " "));
    for (const std::string& name : a.names) {
      const bool takes = a.kind != ValueKind::none && name.starts_with("--");
      add_line(fmt::format("{}{}{}[{}]{}", others, name, takes ? "=" : "", with_backslashes(a.help, "[]"),
                           zsh_value(a)));
    }
  }
  if (!node.commands.empty()) return lines + " \\\n    '1: :->command' '*:: :->rest'";
  for (const Argument& a : node.positionals) add_line((a.repeats ? "*" : "") + zsh_value(a));
  return lines;
}

/// One function for the command, and one for each below it.
std::string zsh_functions(const CommandNode& node) {
  std::string out;
  for (const CommandNode& below : node.commands) out += zsh_functions(below);
  out += zsh_function(node) + "() {\n";
  if (node.commands.empty()) return out + "  _arguments -s -S" + zsh_arguments(node) + "\n}\n";
  std::string names, cases;
  for (const CommandNode& below : node.commands) {
    names += "\n    " + shell_word(fmt::format("{}:{}", with_backslashes(below.name, ":"),
                                               with_backslashes(below.help, "")));
    cases += fmt::format("        {}) {} ;;\n", shell_word(below.name), zsh_function(below));
  }
  out += "  local curcontext=$curcontext state\n";
  out += fmt::format("  local -a commands=({}\n  )\n", names);
  out += fmt::format("  _arguments -C -s -S{}\n", zsh_arguments(node));
  out += "  case $state in\n    command) _describe command commands ;;\n    rest)\n      case $words[1] in\n";
  return out + cases + "      esac ;;\n  esac\n}\n";
}

}  // namespace

std::string zsh_script(const CommandNode& root, const std::vector<std::string>& keys) {
  std::string script = "#compdef chorus\n# Completion of chorus for zsh, made by `chorus completion zsh`.\n";
  script += fmt::format("_chorus_settings() {{\n  local -a keys=({})\n  compadd -S '' -- $keys\n}}\n",
                        shell_words(keys));
  script += zsh_functions(root);
  // As a file of $fpath it is the function _chorus; where it is sourced, it says what completes chorus.
  const std::string name = zsh_function(root);
  script += fmt::format("if [[ $funcstack[1] == _chorus ]]; then\n  {} \"$@\"\n", name);
  return script + fmt::format("else\n  compdef {} chorus\nfi\n", name);
}

}  // namespace chorus::inline app
