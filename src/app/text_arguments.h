// The arguments that name aligned text: --files "dev.{lang}", --tsv, --languages, --directions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "data/config.h"

namespace chorus::inline app {

struct TextArguments {
  std::vector<std::string> files, tsv, languages, directions;
  int64_t sentences = 0;
};

/// Adds --files, --tsv, --data and --languages; `text` says in the help what the text is for. `arguments` must live as
/// long as the command.
void add_text_arguments(CLI::App& command, TextArguments& arguments,
                        const std::string& text = "aligned text");
/// Adds an option for what --files or --tsv name: a file is one of --files if {lang} is in it.
void add_either_argument(CLI::App& command, TextArguments& arguments, const char* name, const char* help);
/// Adds --directions and --sentences.
void add_direction_arguments(CLI::App& command, TextArguments& arguments);

/// Whether some text is named. UserError, which ends with how to name it, where none is and an option says which part
/// of it.
bool has_text(const TextArguments& arguments, const char* how);

/// Returns the sources as data/sources.h takes them: one per --files, then one per --tsv.
std::vector<SourceConfig> sources_of(const TextArguments& arguments);

/// "en=train.en" as (en, train.en). UserError beginning with `option` on anything else.
std::pair<std::string, std::string> language_and_file(const std::string& option, const std::string& text);

}  // namespace chorus::inline app
