// chorus align: chooses the layer and head by which a model aligns words.
#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/model_arguments.h"
#include "app/text_arguments.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "data/direction_text.h"
#include "decode/alignment_choice.h"
#include "formats/alignment_choice.h"
#include "formats/folder.h"
#include "formats/folder_files.h"

namespace chorus::inline app {
namespace {

struct AlignArguments {
  ComputeArguments compute;
  std::filesystem::path model;
  TextArguments text;
  std::string gold;
  int64_t batch_tokens = 4096;
  bool json = false, dry_run = false;
};

void print_table(const std::vector<AlignmentScore>& scores, const AlignmentScore& best) {
  const int64_t columns = std::ranges::count(scores, scores.front().layer, &AlignmentScore::layer);
  fmt::print("{:>5}{:>8}", "layer", "mean");
  for (int64_t head = 0; head + 1 < columns; ++head) fmt::print("{:>8}", fmt::format("head {}", head));
  for (const AlignmentScore& score : scores) {
    if (score.head < 0) fmt::print("\n{:>5}", score.layer);
    fmt::print("{:>7.1f}{}", 100 * score.error, &score == &best ? '*' : ' ');
  }
  fmt::print("\n");
}

void print_json(const std::vector<AlignmentScore>& scores, const AlignmentScore& best) {
  const auto object = [](const AlignmentScore& score) -> nlohmann::json {
    return {{"layer", score.layer}, {"head", score.head}, {"error", score.error}};
  };
  nlohmann::json rows = nlohmann::json::array();
  for (const AlignmentScore& score : scores) rows.push_back(object(score));
  fmt::print("{}\n", nlohmann::json{{"best", object(best)}, {"scores", rows}}.dump(2));
}

void align(const AlignArguments& a) {
  if (!a.gold.empty() && a.text.sentences > 0)
    throw UserError("--gold with --sentences: its lines belong to those of the whole text");
  const ModelPlace place = find_model(a.model);
  if (!a.dry_run) check_is_rewritable(place.description);
  ModelDescription description = describe_model(place.description);
  if (!has_text(a.text, "--files or --tsv")) throw UserError("name the text with --files or --tsv");
  const std::vector<DirectionText> texts =
      read_directions(sources_of(a.text), a.text.sentences, description.vocabulary.languages());
  if (!a.gold.empty() && texts.size() > 1)
    throw UserError("--gold is of one direction, and the text has {}: choose one with --directions",
                    texts.size());
  check_lengths(texts, description.vocabulary, description.config.max_positions);
  std::vector<SentencePair> pairs;  // that the model has positions for
  for (const DirectionText& text : texts)
    std::ranges::move(encoded_pairs(text, description.vocabulary, description.config.max_positions),
                      std::back_inserter(pairs));
  const std::vector<GoldLinks> gold = a.gold.empty() ? links_by_counts(description.vocabulary, pairs)
                                                     : read_gold(a.gold, description.vocabulary, pairs);
  Group alone;
  const LoadedModel loaded =
      load_model(place.weights, std::move(description), compute_options(a.compute, alone));
  Progress progress({.task = "aligning", .unit = "pair", .total = std::ssize(pairs)});
  const std::vector<AlignmentScore> scores =
      score_alignments(*loaded.model, loaded.vocabulary, pairs, gold, a.batch_tokens,
                       [&](int64_t done) { progress.update(done); });
  progress.finish();
  const AlignmentScore& best = *std::ranges::min_element(scores, {}, &AlignmentScore::error);
  a.json ? print_json(scores, best) : print_table(scores, best);
  log_info("alignment error rate in % of {}, against {}", counted(pairs.size(), "pair"),
           a.gold.empty() ? "the words that are met together in them" : a.gold);
  if (a.dry_run) return;
  keep_alignment(place.description, best.layer, best.head);
  log_info("{} keeps layer {} and {}, which translate --alignments takes from now on",
           place.description.string(), best.layer,
           best.head < 0 ? "the mean of its heads" : fmt::format("head {}", best.head));
}

}  // namespace

void add_align(CLI::App& app) {
  const auto arguments = std::make_shared<AlignArguments>();
  AlignArguments& a = *arguments;
  CLI::App* command = app.add_subcommand(
      "align", "choose the decoder layer and head by which translate --alignments aligns words");
  command->add_option("DIR", a.model, "model folder or run")->required()->option_text(" ");
  add_text_arguments(*command, a.text, "parallel text");
  add_direction_arguments(*command, a.text);
  command
      ->add_option(
          "--gold", a.gold,
          "links of each line, source first, from 0: \"0-0 1?2\" (- sure, ? possible); without it by which "
          "words are met together in the text")
      ->type_name("FILE");
  command->add_option("--batch-tokens", a.batch_tokens, "largest batch: rows x longest side, in tokens")
      ->check(between(1, 1 << 24))
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--dry-run", a.dry_run, "print the table, and leave the model as it is");
  command->add_flag("--json", a.json, "print JSON");
  add_compute_arguments(*command, a.compute);
  add_quiet_option(*command);
  command->callback([arguments] { align(*arguments); });
}

}  // namespace chorus::inline app
