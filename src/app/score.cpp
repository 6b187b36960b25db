// chorus score: log-probabilities of given translations.
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "chorus/base/error.h"
#include "chorus/base/log.h"
#include "chorus/base/progress.h"
#include "chorus/comm/world.h"
#include "chorus/decode/scorer.h"

#include "app/commands.h"
#include "app/model_arguments.h"

namespace chorus {
namespace {

struct ScoreArguments {
  ModelArguments model;
  std::string source, target;
  double length_penalty = 0;
  int64_t batch_tokens = ScoreOptions().batch_tokens;
};

void score(const ScoreArguments& a) {
  World world;
  Group& group = world.group();
  group.set_timeout(std::numeric_limits<double>::infinity());  // text may be slow in coming
  if (!std::isfinite(a.length_penalty)) throw UserError("--length-penalty is not a number");
  std::optional<LineReader> source, target;
  if (group.rank() == 0) {
    source.emplace(a.source);
    target.emplace(a.target);
  }
  const LoadedModel loaded = open_model(a.model, group);
  std::optional<Progress> progress;
  if (console().is_terminal()) progress.emplace(ProgressOptions{.task = "scoring", .unit = "pairs"});
  const Findings empty =
      score_stream(*loaded.model, loaded.vocabulary, source ? &*source : nullptr, target ? &*target : nullptr,
                   {.from = a.model.from,
                    .to = a.model.to,
                    .length_penalty = a.length_penalty,
                    .batch_tokens = a.batch_tokens,
                    .write = [](std::string_view text) { fmt::print("{}", text); },
                    .progress =
                        [&](int64_t pairs) {
                          flush_stdout();
                          if (progress) progress->update(pairs);
                        },
                    .group = &group});
  if (empty.count > 0)
    log_warning("nothing to translate in {} lines, whose scores say nothing: {}", empty.count, empty.text());
}

}  // namespace

void add_score(CLI::App& app) {
  const auto arguments = std::make_shared<ScoreArguments>();
  ScoreArguments& a = *arguments;
  CLI::App* command =
      app.add_subcommand("score", "log-probabilities (nats) of given translations, one a line");
  add_model_arguments(*command, a.model);
  command->add_option("--source", a.source, "text, one sentence a line (plain, gzip or zstd)")
      ->required()
      ->type_name("FILE");
  command->add_option("--target", a.target, "its translation, line by line")->required()->type_name("FILE");
  command
      ->add_option("--length-penalty", a.length_penalty,
                   "divide by length^PENALTY, tag and end counted: 1 gives what translate --nbest prints")
      ->capture_default_str()
      ->type_name("PENALTY");
  command->add_option("--batch-tokens", a.batch_tokens, "bounds a batch: rows x longest side, in tokens")
      ->capture_default_str()
      ->type_name("N");
  command->callback([arguments] { score(*arguments); });
}

}  // namespace chorus
