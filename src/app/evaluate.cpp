// chorus evaluate: BLEU, chrF and chrF++ of a translation against one or more references.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "chorus/base/error.h"
#include "chorus/data/line_reader.h"
#include "chorus/data/utf8.h"
#include "chorus/metrics/report.h"

#include "app/commands.h"

namespace chorus {
namespace {

constexpr size_t kLongestLine = 16 << 20;  // bytes

struct EvaluateOptions {
  std::string hypothesis;
  std::vector<std::string> references;
  std::vector<std::string> metrics = {"bleu", "chrf", "chrf++"};
  std::string tokenize = "13a";
  std::string spm;
  bool lowercase = false;
  bool json = false;
};

// sacreBLEU refuses what is not UTF-8; so do we, with the line.
std::vector<std::string> read_lines(const std::string& path) {
  std::vector<std::string> lines;
  LineReader reader(path, kLongestLine);
  while (reader.next()) {
    if (reader.over_long())
      throw UserError("{}:{}: a line of more than {} MiB: is this file text, one sentence a line?", path,
                      reader.number(), kLongestLine >> 20);
    const size_t valid = valid_utf8_prefix(reader.text());
    if (valid != reader.text().size())
      throw UserError("{}:{}: byte {} (0x{:02x}) is not UTF-8: convert the file to UTF-8 first", path,
                      reader.number(), valid + 1, static_cast<unsigned char>(reader.text()[valid]));
    lines.emplace_back(reader.text());
  }
  if (lines.empty()) throw UserError("{}: the file is empty: there is no line to score", path);
  return lines;
}

void evaluate(const EvaluateOptions& options) {
  // Before the files are read: a wrong option should not cost the user a wait.
  const BleuOptions bleu_options = {.tokenizer = Tokenizer(options.tokenize, options.spm),
                                    .lowercase = options.lowercase};
  for (const std::string& metric : options.metrics)
    if (metric != "bleu" && metric != "chrf" && metric != "chrf++")
      throw UserError("--metric {}: no such metric: choose from bleu, chrf and chrf++", metric);

  const std::vector<std::string> hypotheses = read_lines(options.hypothesis);
  std::vector<std::vector<std::string>> references;
  for (const std::string& path : options.references) {
    references.push_back(read_lines(path));
    if (references.back().size() != hypotheses.size())
      throw UserError("{} has {} lines but {} has {}: each line needs its reference", options.hypothesis,
                      hypotheses.size(), path, references.back().size());
  }

  std::vector<MetricReport> reports;
  for (const std::string& metric : options.metrics) {
    const ChrfOptions chrf_options = {.word_order = metric == "chrf++" ? 2 : 0,
                                      .lowercase = options.lowercase};
    reports.push_back(metric == "bleu" ? report(bleu(hypotheses, references, bleu_options))
                                       : report(chrf(hypotheses, references, chrf_options)));
  }
  fmt::print("{}", options.json ? to_json(reports) : to_text(reports));
}

}  // namespace

void add_evaluate(CLI::App& app) {
  const auto options = std::make_shared<EvaluateOptions>();
  CLI::App* command =
      app.add_subcommand("evaluate", "BLEU, chrF and chrF++ of a translation, as sacreBLEU counts them");
  command
      ->add_option("--hypothesis", options->hypothesis,
                   "the translation, one sentence a line (plain, gzip or zstd)")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--reference", options->references,
                   "what it should be, line by line; may be given several times")
      ->required()
      ->allow_extra_args(false)
      ->type_name("FILE");
  command->add_option("--metric", options->metrics, "which of bleu, chrf and chrf++, with commas between")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("LIST");
  command->add_option("--tokenize", options->tokenize, "BLEU's tokeniser: 13a, intl, zh, char, none or spm")
      ->capture_default_str()
      ->type_name("NAME");
  command->add_option("--spm", options->spm, "the SentencePiece model of --tokenize spm")->type_name("FILE");
  command->add_flag("--lowercase", options->lowercase, "compare without regard to case");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options] { evaluate(*options); });
}

}  // namespace chorus
