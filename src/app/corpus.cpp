// chorus corpus: text from gettext catalogs, and what a corpus holds.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "app/commands.h"
#include "app/text_arguments.h"
#include "base/error.h"
#include "base/text.h"
#include "corpus/corpus_report.h"
#include "corpus/gettext_corpus.h"
#include "data/sources.h"

namespace chorus::inline app {
namespace {

void add_gettext(CLI::App& corpus) {
  struct Arguments {
    GettextCorpusOptions options;
    std::string out;
    bool overwrite = false, json = false;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = corpus.add_subcommand(
      "gettext", "aligned train, valid and test text out of compiled gettext catalogs (.mo)");
  command->add_option("--root", arguments->options.root, "folder to search for LOCALE/LC_MESSAGES/NAME.mo")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("--languages", arguments->options.languages,
                   "such as en,de,pt-BR; en is the language of the original messages")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->required();
  command->add_option("--out", arguments->out, "folder for train.LANGUAGE, valid.LANGUAGE, test.LANGUAGE")
      ->required()
      ->type_name("DIR");
  command->add_option("--valid", arguments->options.valid, "rows of the validation text")
      ->check(between<int64_t>(0, kMostLines))
      ->capture_default_str();
  command->add_option("--test", arguments->options.test, "rows of the test text")
      ->check(between<int64_t>(0, kMostLines))
      ->capture_default_str();
  command->add_option("--seed", arguments->options.seed, "seed of the split")
      ->check(any_seed())
      ->capture_default_str();
  command->add_option("--max-characters", arguments->options.max_characters, "drop longer strings")
      ->check(between(1, 100000))
      ->capture_default_str();
  command->add_flag("--overwrite", arguments->overwrite, "replace what an earlier call wrote to --out");
  command->add_flag("--json", arguments->json, "print the counts as JSON");
  command->callback([arguments] {
    const GettextCorpus result = build_gettext_corpus(arguments->options);
    write_gettext_corpus(result, arguments->out, arguments->overwrite);
    fmt::print("{}", arguments->json ? to_json(result) : to_table(result));
  });
}

struct ReportArguments {
  std::vector<std::string> monolingual;
  TextArguments text;
  bool json = false;
};

/// What --files was before it was a pattern: "en=train.en,de=train.de".
TextSource listed_files(const std::string& list) {
  TextSource source;
  for (const std::string_view item : split(list, ',')) {
    const auto [language, file] = language_and_file("--files", std::string(item));
    source.languages.push_back(language);
    source.files.emplace_back(file);
  }
  return source;
}

std::vector<TextSource> texts_of(const ReportArguments& arguments) {
  std::vector<TextSource> texts;
  for (const std::string& file : arguments.monolingual) texts.push_back({{""}, {file}});
  for (const SourceConfig& source : sources_of(arguments.text)) {
    if (source.tsv.empty() && source.files.find(kLanguageSlot) == std::string::npos) {
      texts.push_back(listed_files(source.files));
      continue;
    }
    for (const SourceConfig& found :
         find_sources(source, source.tsv.empty() ? "--files" : "--tsv", {.least = 1}))
      texts.push_back(text_source(found));
  }
  if (texts.empty()) throw UserError("chorus corpus report: name a FILE, --files or --tsv");
  if (!arguments.text.languages.empty() && arguments.text.files.empty() && arguments.text.tsv.empty())
    throw UserError("--languages are those of --files or --tsv; each FILE is of one language");
  return texts;
}

void add_corpus_report(CLI::App& corpus) {
  const auto arguments = std::make_shared<ReportArguments>();
  CLI::App* command = corpus.add_subcommand("report", "what a text holds, and how much of it cannot be used");
  command->add_option("FILE", arguments->monolingual,
                      "text; each file gets its own report; plain, gzip or zstd");
  add_text_arguments(*command, arguments->text);
  command->add_option("--columns", arguments->text.languages)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group("");
  command->add_flag("--json", arguments->json, "print the counts as JSON");
  command->callback([arguments] {
    std::vector<CorpusReport> reports;
    for (const TextSource& text : texts_of(*arguments)) reports.push_back(report_corpus(text));
    if (arguments->json) {
      fmt::print("{}", to_json(reports));
    } else {
      for (const auto& report : reports) fmt::print("{}", to_table(report));
    }
  });
}

}  // namespace

void add_corpus(CLI::App& app) {
  CLI::App* corpus = app.add_subcommand("corpus", "make and examine corpora");
  corpus->require_subcommand(1);
  add_gettext(*corpus);
  add_corpus_report(*corpus);
}

}  // namespace chorus::inline app
