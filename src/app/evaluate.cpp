// chorus evaluate: BLEU, chrF and chrF++ of a translation against one or more references.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "app/commands.h"
#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "data/line_reader.h"
#include "metrics/report.h"

namespace chorus::inline app {
namespace {

constexpr size_t kLongestLine = 256 << 10;  // bytes
// The most that is read from one file: all lines are kept, and a small compressed file can hold a lot.
constexpr size_t kMostScored = 5'000'000, kMostText = size_t{512} << 20;

struct EvaluateOptions {
  std::string hypothesis, baseline;
  std::vector<std::string> references;
  std::vector<std::string> metrics = {"bleu", "chrf", "chrf++"};
  std::string tokenize = "13a";
  std::string spm;
  bool lowercase = false;
  bool confidence = false;
  int64_t resamples = kResamples;
  int width = 2;
  bool json = false;
};

/// The lines of all files; standard input ("-") is one of them at most.
struct Texts {
  std::vector<std::string> hypotheses, baseline;
  std::vector<std::vector<std::string>> references;
};

// sacreBLEU refuses what is not UTF-8; so do we, with the line.
std::vector<std::string> read_lines(const std::string& file) {
  std::vector<std::string> lines;
  LineReader reader(file, kLongestLine);
  const std::string path = reader.path().string();
  size_t bytes = 0;
  while (reader.next()) {
    if (reader.over_long())
      throw UserError("{}:{}: a line of more than {} KiB: is this file text, one sentence per line?", path,
                      reader.number(), kLongestLine >> 10);
    bytes += reader.text().size();
    if (lines.size() == kMostScored || bytes > kMostText)
      throw UserError("{}:{}: more than {} lines or {} of text are scored in parts", path, reader.number(),
                      kMostScored, human_bytes(kMostText));
    const size_t valid = valid_utf8_prefix(reader.text());
    if (valid != reader.text().size())
      throw UserError("{}:{}: byte {} (0x{:02x}) is not UTF-8: convert the file to UTF-8 first", path,
                      reader.number(), valid + 1, static_cast<unsigned char>(reader.text()[valid]));
    lines.emplace_back(reader.text());
  }
  if (lines.empty()) throw UserError("{}: the file is empty: there is no line to score", path);
  return lines;
}

Texts read_texts(const EvaluateOptions& options) {
  const auto standard_input = [](const std::string& path) { return path == "-"; };
  if (std::ranges::count_if(options.references, standard_input) + (options.hypothesis == "-" ? 1 : 0) +
          (options.baseline == "-" ? 1 : 0) >
      1)
    throw UserError("only one of the texts can be - (standard input)");
  Texts texts = {.hypotheses = read_lines(options.hypothesis), .baseline = {}, .references = {}};
  const auto read_beside = [&](const std::string& path) {
    std::vector<std::string> lines = read_lines(path);
    if (lines.size() != texts.hypotheses.size())
      throw UserError("{} has {} but {} has {}: each line needs its reference", options.hypothesis,
                      counted(texts.hypotheses.size(), "line"), path, lines.size());
    return lines;
  };
  for (const std::string& path : options.references) texts.references.push_back(read_beside(path));
  if (!options.baseline.empty()) texts.baseline = read_beside(options.baseline);
  return texts;
}

struct Reports {
  std::vector<MetricReport> single;
  std::vector<PairedReport> paired;  // where there is a baseline
};

template <class Score>
void add(Reports& reports, const Texts& texts, const Score& score_of) {
  if (texts.baseline.empty())
    reports.single.push_back(report(score_of(texts.hypotheses)));
  else
    reports.paired.push_back(compare(score_of(texts.baseline), score_of(texts.hypotheses)));
}

void evaluate(const EvaluateOptions& options) {
  // Before the files are read: a wrong option should not cost the user a wait.
  const bool resample = options.confidence || !options.baseline.empty();
  if (!resample && options.resamples != EvaluateOptions().resamples)
    throw UserError("--resamples is of --confidence and --baseline");
  const BleuOptions bleu_options = {.tokenizer = Tokenizer(options.tokenize, options.spm),
                                    .lowercase = options.lowercase,
                                    .resamples = resample ? options.resamples : 0};
  for (const std::string& metric : options.metrics)
    if (metric != "bleu" && metric != "chrf" && metric != "chrf++")
      throw UserError("--metric {}: no such metric: choose from bleu, chrf and chrf++", metric);

  const Texts texts = read_texts(options);
  Reports reports;
  for (const std::string& metric : options.metrics) {
    const ChrfOptions chrf_options = {.word_order = metric == "chrf++" ? 2 : 0,
                                      .lowercase = options.lowercase,
                                      .resamples = bleu_options.resamples};
    if (metric == "bleu")
      add(reports, texts, [&](const auto& lines) { return bleu(lines, texts.references, bleu_options); });
    else
      add(reports, texts, [&](const auto& lines) { return chrf(lines, texts.references, chrf_options); });
  }
  const SystemNames names = {.baseline = options.baseline, .system = options.hypothesis};
  if (options.baseline.empty()) {
    fmt::print(
        "{}", options.json ? to_json(reports.single, options.width) : to_text(reports.single, options.width));
  } else {
    fmt::print("{}",
               options.json ? to_json(reports.paired, names) : to_text(reports.paired, names, options.width));
  }
}

}  // namespace

void add_evaluate(CLI::App& app) {
  const auto options = std::make_shared<EvaluateOptions>();
  CLI::App* command =
      app.add_subcommand("evaluate", "BLEU, chrF and chrF++ of a translation, as sacreBLEU counts them");
  command
      ->add_option("--hypothesis", options->hypothesis,
                   "the translation, one sentence per line (plain, gzip or zstd); - is standard input")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--reference", options->references,
                   "the right translation, line by line; may be given several times")
      ->required()
      ->allow_extra_args(false)
      ->type_name("FILE");
  command->add_option("--metric", options->metrics, "which of bleu, chrf and chrf++, separated by commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("LIST");
  command->add_option("--tokenize", options->tokenize, "BLEU's tokeniser")
      ->capture_default_str()
      ->type_name("{13a,intl,zh,char,none,spm}");
  command->add_option("--spm", options->spm, "the SentencePiece model of --tokenize spm")->type_name("FILE");
  command->add_flag("--lowercase", options->lowercase, "ignore case");
  command->add_option("--width", options->width, "digits after the decimal point")
      ->check(between(0, 16))
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--confidence", options->confidence,
                    "also the mean and the 95 % interval over resamples of the lines (bootstrap)");
  command
      ->add_option("--baseline", options->baseline,
                   "another system's translation: tests whether the difference is chance (paired bootstrap)")
      ->type_name("FILE");
  command
      ->add_option("--resamples", options->resamples, "how many resamples --confidence and --baseline take")
      ->check(between(1, 1000000))
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options] { evaluate(*options); });
}

}  // namespace chorus::inline app
