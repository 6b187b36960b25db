#include "train/validation.h"

#include <algorithm>
#include <iterator>
#include <set>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "layout/shapes.h"

#include "train/internal/metrics.h"
#include "train/internal/sums.h"

namespace chorus::inline train {

namespace {

/// Who validates: all ranks together.
struct Validators {
  Transformer& model;
  Group& world;
  const Parallel& parallel;
};

/// Adds to `load` how many tokens the experts were given.
DirectionResult evaluate_direction(const Validators& validators, const DataSet& data, int32_t direction,
                                   const SequentialOptions& options, std::vector<MoeStatistics>& load) {
  const auto& [model, world, parallel] = validators;
  const std::vector<std::pair<int32_t, int32_t>> languages = data.language_pairs();
  const Direction& about = data.directions()[direction];
  DirectionResult result = {.name = about.name, .task = data.tasks()[about.task]};
  const std::vector<MicroBatch> batches = sequential_batches(data, direction, options);
  LossSums sums;
  // As in training: ranks take turns, and one that has no batch left runs an idle one with the others.
  const bool counts = parallel.tp.rank() == 0, counts_load = counts && about.task == 0;
  for (size_t first = 0; first < batches.size(); first += parallel.mesh().dp()) {
    const size_t i = first + parallel.dp.rank();
    const bool idle = i >= batches.size();
    sums.add(model.evaluate(idle ? model.idle_batch() : model.to_batch(batches[i], languages),
                            {.statistics = idle || !counts_load ? nullptr : &load,
                             .group_count = static_cast<int64_t>(data.languages().size())}));
  }
  sums = sum_over_ranks(world, counts ? sums : LossSums());
  for (const MicroBatch& batch : batches) {
    result.sentences += batch.rows;
  }
  result.tokens = sums.tokens;
  result.nll = sums.nll;
  result.correct = sums.correct;
  return result;
}

}  // namespace

void ValidationResult::add_scores(const Assessment& assessment) {
  for (const DirectionScore& score : assessment.directions) {
    for (DirectionResult& direction : directions) {
      if (direction.name == score.name) {
        direction.bleu = score.bleu;
        direction.chrf = score.chrf;
        direction.tokenizer = score.tokenizer;
      }
    }
  }
}

namespace {

std::vector<DirectionResult> of_task(const std::vector<DirectionResult>& all, std::string_view task) {
  std::vector<DirectionResult> directions;
  std::ranges::copy_if(all, std::back_inserter(directions),
                       [&](const DirectionResult& direction) { return direction.task == task; });
  return directions;
}

/// Returns the tasks in their order, each once.
std::vector<std::string> tasks_of(const std::vector<DirectionResult>& all) {
  std::vector<std::string> tasks;
  for (const DirectionResult& direction : all) {
    if (tasks.empty() || tasks.back() != direction.task) tasks.push_back(direction.task);
  }
  return tasks;
}

/// BLEU's, each once: "13a, zh".
std::string tokenizers(const std::vector<DirectionResult>& directions) {
  std::set<std::string> names;
  for (const DirectionResult& direction : directions) names.insert(direction.tokenizer);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

double ValidationResult::loss(std::string_view task) const {
  double sum = 0;
  const std::vector<DirectionResult> own = of_task(directions, task);
  for (const DirectionResult& direction : own) sum += direction.loss();
  return sum / static_cast<double>(own.size());
}

double ValidationResult::criterion(Criterion criterion) const {
  if (criterion == Criterion::loss) return loss(kTranslation);
  double sum = 0;
  const std::vector<DirectionResult> own = of_task(directions, kTranslation);
  for (const DirectionResult& direction : own)
    sum += criterion == Criterion::bleu ? *direction.bleu : *direction.chrf;
  return sum / static_cast<double>(own.size());
}

bool ValidationResult::is_finite() const {
  return std::ranges::all_of(directions, [](const DirectionResult& d) { return std::isfinite(d.loss()); });
}

std::string ValidationResult::line() const {
  const auto by_loss = [](const DirectionResult& a, const DirectionResult& b) { return a.loss() < b.loss(); };
  const std::vector<DirectionResult> own = of_task(directions, kTranslation);
  const auto [best, worst] = std::minmax_element(own.begin(), own.end(), by_loss);
  const double loss = criterion(Criterion::loss);
  std::string line = fmt::format("validation loss {:.4f}  perplexity {:.2f}", loss, std::exp(loss));
  if (directions.front().bleu) {
    line += fmt::format("  BLEU {:.2f} ({})  chrF {:.2f}", criterion(Criterion::bleu), tokenizers(own),
                        criterion(Criterion::chrf));
  }
  if (own.size() > 1) {
    line += fmt::format("  ({} directions: {} {:.3f} to {} {:.3f})", own.size(), best->name, best->loss(),
                        worst->name, worst->loss());
  }
  for (const std::string& task : tasks_of(directions))
    if (task != kTranslation) line += fmt::format("  {} {:.4f}", task, this->loss(task));
  return line;
}

nlohmann::json to_json(const ValidationResult& result) {
  nlohmann::json json = {{"loss", result.criterion(Criterion::loss)}, {"dropped", drop_rate(result.load)}};
  for (const DirectionResult& d : result.directions) {
    nlohmann::json& entry = json["directions"][d.name];
    entry = {{"loss", d.loss()},
             {"accuracy", static_cast<double>(d.correct) / static_cast<double>(d.tokens)},
             {"sentences", d.sentences},
             {"tokens", d.tokens},
             {"task", d.task}};
    if (d.bleu) {
      entry["bleu"] = *d.bleu;
      entry["tokenize"] = d.tokenizer;
    }
    if (d.chrf) entry["chrf"] = *d.chrf;
  }
  for (const std::string& task : tasks_of(result.directions))
    json["tasks"][task] = {{"loss", result.loss(task)}};
  if (!result.load.empty()) json["languages"] = result.languages;
  for (size_t layer = 0; layer < result.load.size(); ++layer)
    json["layers"].push_back(whole_load_record(result.load[layer], result.layers[layer]));
  if (result.directions.front().bleu) {
    json["bleu"] = result.criterion(Criterion::bleu);
    json["chrf"] = result.criterion(Criterion::chrf);
  }
  return json;
}

int64_t translated_pairs(const ValidationConfig& config) {
  return config.sentences > 0 ? std::min(config.decode, config.sentences) : config.decode;
}

AssessOptions assess_options(const ValidationConfig& config, int64_t batch_tokens, Group& world) {
  AssessOptions options;
  options.decode.batch_tokens = std::min(options.decode.batch_tokens, batch_tokens);
  options.decode.beam = config.beam;
  options.keep = true;
  if (config.tokenize != "auto") options.tokenizer = Tokenizer(config.tokenize);
  options.group = &world;
  return options;
}

ValidationResult validate(Transformer& model, const DataSet& data, const SequentialOptions& options,
                          Group& world, const Parallel& parallel) {
  ValidationResult result;
  result.layers = sparse_layer_names(model.catalogue());
  result.languages = data.languages();
  result.load.resize(result.layers.size());
  for (int32_t direction = 0; direction < static_cast<int32_t>(data.directions().size()); ++direction) {
    result.directions.push_back(
        evaluate_direction({model, world, parallel}, data, direction, options, result.load));
  }
  sum_over_ranks(world, result.load, model.config().expert_counts(),
                 static_cast<int64_t>(data.languages().size()));
  return result;
}

}  // namespace chorus::inline train
