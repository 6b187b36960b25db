#include <fmt/format.h>

#include "app/shell_scripts.h"

namespace chorus::inline app {
namespace {

constexpr std::string_view kBashStart = R"(# Completion of chorus for bash, made by `chorus completion bash`.
_chorus_words() {
  local word
  for word in "$@"; do
    if [[ $word == "$current"* ]]; then COMPREPLY+=("$word"); fi
  done
}
_chorus_files() { # -f: files; -d: folders
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
}
)";

constexpr std::string_view kBashMiddle = R"(_chorus() {
  COMPREPLY=()
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=chorus i
  if [[ $current == = ]]; then # bash makes three words of --out=runs
    current=
  elif [[ $before == = ]]; then
    before=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$command ${COMP_WORDS[i]}" in
)";

/// What offers the values of an argument.
std::string bash_values(const Argument& a) {
  switch (a.kind) {
    case ValueKind::choice:
      return "_chorus_words " + shell_words(a.choices);
    case ValueKind::file:
      return "_chorus_files -f";
    case ValueKind::folder:
      return "_chorus_files -d";
    case ValueKind::setting:
      return "_chorus_settings";
    case ValueKind::none:
    case ValueKind::text:
      break;
  }
  return ":";
}

/// The cases of a value that follows an option.
std::string bash_options(const CommandNode& node) {
  std::string cases;
  for (const Argument& a : node.options) {
    if (a.kind == ValueKind::none) continue;
    std::vector<std::string> patterns;
    for (const std::string& name : a.names) patterns.push_back(node.path + " " + name);
    cases += fmt::format("    {}) {}; return ;;\n", shell_words(patterns, " | "), bash_values(a));
  }
  for (const CommandNode& below : node.commands) cases += bash_options(below);
  return cases;
}

/// The cases of any other word: an option, a command, a positional argument.
std::string bash_arguments(const CommandNode& node) {
  std::vector<std::string> options, commands;
  for (const Argument& a : node.options) options.insert(options.end(), a.names.begin(), a.names.end());
  for (const CommandNode& below : node.commands) commands.push_back(below.name);
  std::string other = commands.empty() ? "" : "_chorus_words " + shell_words(commands);
  if (!node.positionals.empty()) other = bash_values(node.positionals.front());
  std::string cases = fmt::format("    {})\n      case \"$current\" in\n        {}*) _chorus_words {} ;;\n",
                                  shell_word(node.path), other.empty() ? "" : "-", shell_words(options));
  if (!other.empty()) cases += fmt::format("        *) {} ;;\n", other);
  cases += "      esac ;;\n";
  for (const CommandNode& below : node.commands) cases += bash_arguments(below);
  return cases;
}

}  // namespace

std::string bash_script(const CommandNode& root, const std::vector<std::string>& keys) {
  std::string script(kBashStart);
  script += "_chorus_settings() {\n  compopt -o nospace\n  _chorus_words " + shell_words(keys) + "\n}\n";
  script += kBashMiddle;
  script += fmt::format("      {}) command+=\" ${{COMP_WORDS[i]}}\" ;;\n    esac\n  done\n",
                        shell_words(command_paths(root), " | "));
  script += "  case \"$command $before\" in\n" + bash_options(root) + "  esac\n";
  script += "  case $command in\n" + bash_arguments(root) + "  esac\n}\ncomplete -F _chorus chorus\n";
  return script;
}

}  // namespace chorus::inline app
