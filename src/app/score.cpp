// chorus score: log-probabilities of given translations.
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "app/commands.h"
#include "app/model_arguments.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "data/sources.h"
#include "decode/scorer.h"
#include "mpi/world.h"

namespace chorus::inline app {
namespace {

struct ScoreArguments {
  ModelArguments model;
  std::string source, target, files;
  double length_penalty = 0;
  bool json = false;
  int64_t batch_tokens = ScoreOptions().batch_tokens;
};

/// The files of the source and of the target.
std::pair<std::string, std::string> files_of(const ScoreArguments& a) {
  if (a.files.empty() ? a.source.empty() || a.target.empty() : !a.source.empty() || !a.target.empty())
    throw UserError("name the text with --source and --target, or with --files \"test.{lang}\"");
  if (a.source == "-" && a.target == "-") throw UserError("only one of the texts can be - (standard input)");
  if (a.files.empty()) return {a.source, a.target};
  const std::vector<SourceConfig> found =
      find_sources({.files = a.files, .languages = {a.model.from, a.model.to}}, "--files");
  if (found.size() > 1) throw UserError("--files: '{}' matches several pairs of files", a.files);
  const TextSource text = text_source(found.front());
  const size_t from = text.languages[0] == a.model.from ? 0 : 1;
  return {text.files[from].string(), text.files[1 - from].string()};
}

void score(const ScoreArguments& a) {
  World world;
  Group& group = world.group();
  group.set_timeout(std::numeric_limits<double>::infinity());  // text may be slow in coming
  const auto [source_file, target_file] = files_of(a);
  std::optional<LineReader> source, target;
  if (group.rank() == 0) {
    source.emplace(source_file);
    target.emplace(target_file);
  }
  const LoadedModel loaded = open_model(a.model, group);
  std::optional<Progress> progress;
  if (console().is_terminal()) progress.emplace(ProgressOptions{.task = "scoring", .unit = "pair"});
  const Findings empty =
      score_stream(*loaded.model, loaded.vocabulary, source ? &*source : nullptr, target ? &*target : nullptr,
                   {.from = a.model.from,
                    .to = a.model.to,
                    .length_penalty = a.length_penalty,
                    .json = a.json,
                    .batch_tokens = a.batch_tokens,
                    .write = [](std::string_view text) { fmt::print("{}", text); },
                    .progress =
                        [&](int64_t pairs) {
                          flush_stdout();
                          if (progress) progress->update(pairs);
                        },
                    .group = &group});
  tell_traffic(loaded);
  if (empty.count > 0)
    log_warning("nothing to translate in {}, whose scores say nothing: {}", counted(empty.count, "line"),
                empty.text());
}

}  // namespace

void add_score(CLI::App& app) {
  const auto arguments = std::make_shared<ScoreArguments>();
  ScoreArguments& a = *arguments;
  CLI::App* command =
      app.add_subcommand("score", "log-probabilities (nats) of given translations, one per line");
  add_model_arguments(*command, a.model);
  command
      ->add_option("--source", a.source,
                   "text, one sentence per line (plain, gzip or zstd); - is standard input")
      ->type_name("FILE");
  command->add_option("--target", a.target, "its translation, line by line")->type_name("FILE");
  command->add_option("--files", a.files, "both at once, as a pattern: \"test.{lang}\"")->type_name("FILE");
  command
      ->add_option("--length-penalty", a.length_penalty,
                   "divide by length^PENALTY, with tag and end token: 1 gives what translate --nbest prints")
      ->check(between(-100.0, 100.0))
      ->capture_default_str()
      ->type_name("PENALTY");
  command->add_flag("--json", a.json, "write a JSON object per line, with the log-probability of each token");
  command->add_option("--batch-tokens", a.batch_tokens, "largest batch: rows x longest side, in tokens")
      ->check(between(1, 1 << 24))
      ->capture_default_str()
      ->type_name("N");
  command->callback([arguments] { score(*arguments); });
}

}  // namespace chorus::inline app
