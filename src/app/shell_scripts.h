// What `chorus completion` prints: a script for each shell, which does not call chorus when it completes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/command_tree.h"

namespace chorus::inline app {

/// Return the completion script of a shell. `keys` are what --set can begin with: "moe.experts=".
std::string bash_script(const CommandNode& root, const std::vector<std::string>& keys);
std::string zsh_script(const CommandNode& root, const std::vector<std::string>& keys);
std::string fish_script(const CommandNode& root, const std::vector<std::string>& keys);

// ---- what the three share (completion.cpp) ----

/// Returns the text with a backslash before each of `special`, and before each backslash.
std::string with_backslashes(std::string_view text, std::string_view special);
/// Returns the text in single quotes, as one word of bash or zsh.
std::string shell_word(std::string_view text);
/// Returns each text as one word.
std::string shell_words(const std::vector<std::string>& texts, std::string_view separator = " ");
/// Returns the paths of all commands below `node`: "chorus corpus", "chorus corpus report".
std::vector<std::string> command_paths(const CommandNode& node);

}  // namespace chorus::inline app
