#include "app/text_arguments.h"

#include <algorithm>

#include "chorus/base/error.h"

#include "app/commands.h"

namespace chorus {

void add_text_arguments(CLI::App& command, TextArguments& a) {
  command
      .add_option("--files", a.files,
                  "aligned text, a file a language: \"dev.{lang}.gz\", or of pairs \"dev.{pair}.{lang}\"; "
                  "may be given "
                  "several times")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command.add_option("--tsv", a.tsv, "the same as one TSV file, a column a language")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command.add_option("--languages", a.languages, "of the text: en,de; default those that there are files of")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LIST");
}

void add_direction_arguments(CLI::App& command, TextArguments& a) {
  command.add_option("--directions", a.directions, "what of the text counts: en-de,en-*,*-en; default all")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LIST");
  command.add_option("--sentences", a.sentences, "of each direction, the first ones; 0: all")
      ->check(between<int64_t>(0, kMostLines))
      ->capture_default_str()
      ->type_name("N");
}

std::vector<SourceConfig> sources_of(const TextArguments& a) {
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

}  // namespace chorus
