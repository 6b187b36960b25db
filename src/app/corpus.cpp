// chorus corpus: text from gettext catalogs, and what a corpus holds.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "chorus/base/error.h"
#include "chorus/data/corpus_report.h"
#include "chorus/data/gettext_corpus.h"

#include "app/commands.h"

namespace chorus {
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
      ->required();
  command
      ->add_option("--languages", arguments->options.languages,
                   "such as en,de,pt-BR; en is the language of the messages")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->required();
  command->add_option("--out", arguments->out, "folder for train.LANGUAGE, valid.LANGUAGE, test.LANGUAGE")
      ->required();
  command->add_option("--valid", arguments->options.valid, "rows of valid")->capture_default_str();
  command->add_option("--test", arguments->options.test, "rows of test")->capture_default_str();
  command->add_option("--seed", arguments->options.seed, "of the split")->capture_default_str();
  command->add_option("--max-characters", arguments->options.max_characters, "longer strings are dropped")
      ->capture_default_str();
  command->add_flag("--overwrite", arguments->overwrite, "replace what another call wrote to --out");
  command->add_flag("--json", arguments->json, "print the counts as JSON");
  command->callback([arguments] {
    const GettextCorpus result = build_gettext_corpus(arguments->options);
    write_gettext_corpus(result, arguments->out, arguments->overwrite);
    fmt::print("{}", arguments->json ? to_json(result) : to_table(result));
  });
}

/// "en=train.en" for each language; the languages and their files.
TextSource parse_files(const std::vector<std::string>& assignments) {
  TextSource source;
  for (const auto& assignment : assignments) {
    const size_t equals = assignment.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == assignment.size()) {
      throw UserError("--files: '{}' is not LANGUAGE=FILE", assignment);
    }
    source.languages.push_back(assignment.substr(0, equals));
    source.files.emplace_back(assignment.substr(equals + 1));
  }
  return source;
}

void add_report(CLI::App& corpus) {
  struct Arguments {
    std::vector<std::string> monolingual, files, columns;
    std::string tsv;
    bool json = false;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = corpus.add_subcommand("report", "what text holds, and what of it cannot be used");
  command->add_option("FILE", arguments->monolingual, "text, each file for itself; plain, gzip or zstd");
  command->add_option("--files", arguments->files, "aligned files, such as en=train.en,de=train.de")
      ->delimiter(',')
      ->allow_extra_args(false);
  auto* tsv = command->add_option("--tsv", arguments->tsv, "parallel text in the columns of one file");
  command->add_option("--columns", arguments->columns, "the languages of its columns, such as en,de")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->needs(tsv);
  command->add_flag("--json", arguments->json, "print the counts as JSON");
  command->callback([arguments] {
    std::vector<TextSource> sources;
    for (const auto& file : arguments->monolingual) sources.push_back({{""}, {file}});
    if (!arguments->files.empty()) sources.push_back(parse_files(arguments->files));
    if (!arguments->tsv.empty()) sources.push_back({arguments->columns, {arguments->tsv}});
    if (sources.empty()) throw UserError("chorus corpus report: name a FILE, --files or --tsv");
    std::vector<CorpusReport> reports;
    reports.reserve(sources.size());
    for (const auto& source : sources) reports.push_back(report_corpus(source));
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
  add_report(*corpus);
}

}  // namespace chorus
