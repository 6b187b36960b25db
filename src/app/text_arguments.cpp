#include "app/text_arguments.h"

#include <algorithm>

#include "app/commands.h"
#include "base/error.h"

namespace chorus::inline app {

void add_text_arguments(CLI::App& command, TextArguments& a, const std::string& text) {
  command
      .add_option(
          "--files", a.files,
          text +
              ", one file per language: \"dev.{lang}.gz\", or \"dev.{pair}.{lang}\" for many pairs of "
              "languages; may be given several times")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command.add_option("--tsv", a.tsv, "the same as one TSV file, one column per language")
      ->allow_extra_args(false)
      ->type_name("FILE");
  add_either_argument(command, a, "--data", "the same as --files where {lang} is in it, else as --tsv");
  command
      .add_option("--languages", a.languages, "languages of the text: en,de (default: those that have files)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LIST");
}

void add_either_argument(CLI::App& command, TextArguments& arguments, const char* name, const char* help) {
  command
      .add_option_function<std::vector<std::string>>(
          name,
          [&arguments](const std::vector<std::string>& paths) {
            for (const std::string& path : paths)
              (path.find(kLanguageSlot) == std::string::npos ? arguments.tsv : arguments.files)
                  .push_back(path);
          },
          help)
      ->type_name("FILE");
}

void add_direction_arguments(CLI::App& command, TextArguments& a) {
  command.add_option("--directions", a.directions, "directions to use: en-de,en-*,*-en (default: all)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LIST");
  command.add_option("--sentences", a.sentences, "use only the first N sentences of each direction; 0: all")
      ->check(between<int64_t>(0, kMostLines))
      ->capture_default_str()
      ->type_name("N");
}

bool has_text(const TextArguments& a, const char* how) {
  if (!a.files.empty() || !a.tsv.empty()) return true;
  if (!a.directions.empty() || !a.languages.empty() || a.sentences > 0)
    throw UserError("--directions, --languages and --sentences are about text: name it with {}", how);
  return false;
}

std::vector<SourceConfig> sources_of(const TextArguments& a) {
  if (!a.tsv.empty() && a.languages.size() == 1) {
    throw UserError(
        "--languages {}: a TSV file has a column for each of two languages or more: name them all",
        a.languages.front());
  }
  if (std::ranges::count(a.tsv, "-") > 1) throw UserError("only one --tsv can be - (standard input)");
  std::vector<SourceConfig> sources;
  for (const std::string& files : a.files)
    sources.push_back({.name = files, .files = files, .languages = a.languages, .directions = a.directions});
  for (const std::string& tsv : a.tsv)
    sources.push_back({.name = tsv, .tsv = tsv, .languages = a.languages, .directions = a.directions});
  return sources;
}

std::pair<std::string, std::string> language_and_file(const std::string& option, const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    throw UserError("{}: give a language and a file, as in en=corpus.en.gz, not '{}'", option, text);
  return {text.substr(0, equals), text.substr(equals + 1)};
}

}  // namespace chorus::inline app
