#include "surgery/prune.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include <ATen/TensorOperators.h>
#include <ATen/ops/norm.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "formats/folder.h"
#include "formats/folder_files.h"
#include "io/files.h"
#include "surgery/models.h"

#include "surgery/internal/align.h"
#include "surgery/internal/compose.h"

namespace chorus::inline surgery {
namespace fs = std::filesystem;

const std::vector<std::pair<std::string, PruneBy>> kPruneBy = {{"utilization", PruneBy::utilization},
                                                               {"importance", PruneBy::importance},
                                                               {"gate", PruneBy::gate},
                                                               {"random", PruneBy::random}};
const std::vector<std::pair<std::string, PruneMethod>> kPruneMethods = {{"drop", PruneMethod::drop},
                                                                        {"merge", PruneMethod::merge}};

namespace {

double importance(const ExpertUsage& usage, size_t expert) {
  const auto first = static_cast<double>(usage.first[expert]);
  return first == 0 ? 0 : first * std::exp(usage.confidence[expert] / first);
}

/// Returns for each expert the new one that it is or goes into; -1: it is dropped.
std::vector<int64_t> destinations(const Source& source, const SparseLayer& layer,
                                  const std::vector<int64_t>& kept, PruneMethod method) {
  const at::Tensor router = as_tensor(source.tensors[layer.ffn.router][0]).to(at::kDouble);
  std::vector<int64_t> becomes(router.size(0), -1);
  for (size_t k = 0; k < kept.size(); ++k) becomes[kept[k]] = static_cast<int64_t>(k);
  if (method == PruneMethod::drop) return becomes;
  const at::Tensor direction = router / router.norm(2, {1}, true).clamp_min(1e-30);
  const at::Tensor cosines = direction.mm(direction.t());  // [E, E]
  for (size_t e = 0; e < becomes.size(); ++e) {
    if (becomes[e] >= 0) continue;
    const auto cosine = [&](int64_t other) { return cosines[static_cast<int64_t>(e)][other].item<double>(); };
    becomes[e] = std::ranges::max_element(kept, {}, cosine) - kept.begin();
  }
  return becomes;
}

/// Returns what each new expert is made of: first one that stays, then those that go into it; `merged` is called
/// after each of these.
std::vector<NewExpert> new_experts(const Source& source, const SparseLayer& layer, const ExpertUsage& usage,
                                   const PruneReport::Layer& plan, const std::function<void()>& merged) {
  std::vector<NewExpert> experts;
  experts.reserve(plan.kept.size());
  for (const int64_t e : plan.kept) experts.push_back({.of = {{.expert = e}}});
  for (size_t e = 0; e < plan.becomes.size(); ++e) {
    const int64_t into = plan.becomes[e];
    if (into < 0 || std::cmp_equal(plan.kept[into], e)) continue;
    const auto other = static_cast<int64_t>(e);
    experts[into].of.push_back(
        {.expert = other, .units = align_units(source, layer.ffn, plan.kept[into], other)});
    merged();
  }
  for (NewExpert& expert : experts) {
    double sum = 0;
    for (const Ingredient& part : expert.of)
      sum += usage.chosen.empty() ? 0 : static_cast<double>(usage.chosen[part.expert]);
    for (Ingredient& part : expert.of) {
      part.weight = sum == 0 ? 1 / static_cast<double>(expert.of.size())
                             : static_cast<double>(usage.chosen[part.expert]) / sum;
    }
    std::erase_if(expert.of, [](const Ingredient& part) { return part.weight == 0; });
  }
  return experts;
}

/// Counts [rows, E] of the experts that there were, added up for those that they have become, [rows, E'].
std::vector<int64_t> added_up(const std::vector<int64_t>& counts, const PruneReport::Layer& layer) {
  const size_t experts = layer.becomes.size(), left = layer.kept.size(), rows = counts.size() / experts;
  std::vector<int64_t> sums(rows * left);
  for (size_t i = 0; i < counts.size(); ++i)
    if (const int64_t into = layer.becomes[i % experts]; into >= 0)
      sums[i / experts * left + into] += counts[i];
  return sums;
}

}  // namespace

std::vector<std::vector<double>> expert_scores(const std::vector<int64_t>& counts,
                                               std::span<const ExpertUsage> usage,
                                               const PruneOptions& options) {
  if (options.by != PruneBy::random && usage.size() != counts.size())
    throw Error("the usage of {} layers, for a model of {} MoE layers", usage.size(), counts.size());
  std::vector<std::vector<double>> scores;
  for (size_t l = 0; l < counts.size(); ++l) {
    const RandomKey key = RandomKey(options.seed).derive("prune").derive(static_cast<uint64_t>(l));
    std::vector<double>& layer = scores.emplace_back(counts[l]);
    for (size_t e = 0; e < layer.size(); ++e) {
      switch (options.by) {
        case PruneBy::utilization:
          layer[e] = static_cast<double>(usage[l].chosen[e]);
          break;
        case PruneBy::importance:
          layer[e] = importance(usage[l], e);
          break;
        case PruneBy::gate:
          layer[e] = usage[l].gate[e];
          break;
        case PruneBy::random:
          layer[e] = key.uniform(static_cast<uint64_t>(e));
          break;
      }
    }
    if (!std::ranges::all_of(layer, [](double score) { return std::isfinite(score); }))
      throw UserError("the scores of the experts in MoE layer {} are not finite: are the model's weights?",
                      l + 1);
    const double sum = std::accumulate(layer.begin(), layer.end(), 0.0);
    for (double& score : layer) score = sum > 0 ? score / sum : 1 / static_cast<double>(layer.size());
  }
  return scores;
}

std::vector<std::vector<int64_t>> choose_experts(const std::vector<std::vector<double>>& scores,
                                                 const PruneOptions& options) {
  const auto rounded_share = [&](size_t experts) {
    return std::llround(options.keep * static_cast<double>(experts));
  };
  std::vector<std::vector<int64_t>> chosen;  // of each layer all experts, best first
  std::vector<size_t> counts;
  // An expert is needed to reach a threshold when those before it do not reach it.
  std::vector<std::tuple<double, size_t>> before;  // sum of the scores before an expert, layer
  size_t all = 0, kept = 0;
  for (const std::vector<double>& layer : scores) {
    const auto experts = static_cast<int64_t>(layer.size());
    const int64_t least = std::min(options.least, experts);
    std::vector<int64_t>& order = chosen.emplace_back(layer.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::ranges::stable_sort(order, std::greater(), [&](int64_t e) { return layer[e]; });
    counts.push_back(options.global ? least
                                    : std::clamp<int64_t>(rounded_share(layer.size()), least, experts));
    double sum = 0;
    for (int64_t rank = 0; rank < experts; ++rank) {
      if (rank >= least) before.emplace_back(sum, chosen.size() - 1);
      sum += layer[order[rank]];
    }
    all += layer.size();
    kept += counts.back();
  }
  if (options.global) {
    std::ranges::stable_sort(before);
    const auto room = std::max<int64_t>(rounded_share(all) - static_cast<int64_t>(kept), 0);
    for (int64_t i = 0; i < room && std::cmp_less(i, before.size()); ++i) ++counts[std::get<1>(before[i])];
  }
  for (size_t l = 0; l < chosen.size(); ++l) {
    chosen[l].resize(counts[l]);
    std::ranges::sort(chosen[l]);
  }
  return chosen;
}

void check_prunable(const ModelConfig& config, const PruneOptions& options, bool refit,
                    const std::string& name) {
  if (config.expert_counts().empty()) throw UserError("{} is a dense model: it has no experts", name);
  if (config.quantization.any() && (options.method == PruneMethod::merge || refit)) {
    throw UserError("{}: its weights are quantized, and cannot be {}: prune the model that it was made from",
                    name, refit ? "fitted" : "merged");
  }
}

PruneReport prune_model(const fs::path& model, std::span<const ExpertUsage> usage, const PruneOptions& given,
                        const fs::path& out, const Refit& refit,
                        const std::function<void(int64_t merged, int64_t total)>& progress) {
  const Source source = open_source(model);
  check_prunable(source.config, given, refit != nullptr, model.string());
  PruneOptions options = given;
  if (options.least == 0) options.least = source.config.moe.top_k;
  const std::vector<int64_t> counts = source.config.expert_counts();
  const std::vector<std::vector<double>> scores = expert_scores(counts, usage, options);
  const std::vector<std::vector<int64_t>> kept = choose_experts(scores, options);
  const std::vector<SparseLayer> layers = sparse_layers(source.catalogue);
  PruneReport report = {.languages = source.vocabulary.languages()};
  Recipe recipe = {.config = source.config};
  std::vector<int64_t> left(kept.size());
  std::ranges::transform(kept, left.begin(), [](const auto& experts) { return std::ssize(experts); });
  const int64_t gone = std::reduce(counts.begin(), counts.end()) - std::reduce(left.begin(), left.end());
  int64_t merged = 0;
  const auto count_merged = [&] {
    if (++merged; progress) progress(merged, gone);
  };
  for (size_t l = 0; l < layers.size(); ++l) {
    report.layers.push_back({.name = layers[l].name,
                             .scores = scores[l],
                             .kept = kept[l],
                             .becomes = destinations(source, layers[l], kept[l], options.method)});
    PruneReport::Layer& plan = report.layers.back();
    recipe.experts.push_back(
        new_experts(source, layers[l], usage.empty() ? ExpertUsage() : usage[l], plan, count_merged));
    if (!usage.empty()) {
      plan.assigned = added_up(usage[l].chosen, plan);
      plan.by_language = added_up(usage[l].by_language, plan);
    }
  }
  recipe.config.set_expert_counts(left);
  recipe.config.moe.top_k = std::min(recipe.config.moe.top_k, std::ranges::min(left));
  if (refit && left != counts) {
    const AtomicFolder scratch(out, check_absent);  // never committed
    compose({&source, 1}, recipe, scratch.temporary() / "pruned");
    const std::vector<std::vector<OutputCorrection>> corrections = refit(scratch.temporary() / "pruned");
    for (size_t l = 0; l < layers.size(); ++l)
      for (size_t e = 0; e < corrections[l].size(); ++e) recipe.experts[l][e].correction = corrections[l][e];
  }
  if (options.types.any()) recipe.config.quantization = options.types;
  compose({&source, 1}, recipe, out);
  report.bytes_before = bytes_of_weights(source.weights->files().front().path().parent_path());
  report.bytes_after = bytes_of_weights(out);
  return report;
}

std::string to_text(const PruneReport& report) {
  std::string text =
      fmt::format("{:<20}{:>9}{:>6}{:>16}  {}\n", "layer", "experts", "kept", "share of score", "which");
  for (const PruneReport::Layer& layer : report.layers) {
    double share = 0;
    for (const int64_t e : layer.kept) share += layer.scores[e];
    text += fmt::format("{:<20}{:>9}{:>6}{:>15.1f}%  {}\n", layer.name, layer.scores.size(),
                        layer.kept.size(), 100 * share, fmt::join(layer.kept, " "));
  }
  return text + fmt::format("weights: {}, before {}\n", human_bytes(report.bytes_after),
                            human_bytes(report.bytes_before));
}

nlohmann::json to_json(const PruneReport& report) {
  nlohmann::json json = {{"languages", report.languages},
                         {"layers", nlohmann::json::array()},
                         {"bytes", {{"before", report.bytes_before}, {"after", report.bytes_after}}}};
  for (const PruneReport::Layer& layer : report.layers) {
    json["layers"].push_back({{"name", layer.name},
                              {"experts", layer.scores.size()},
                              {"kept", layer.kept},
                              {"becomes", layer.becomes},
                              {"scores", layer.scores}});
    if (layer.assigned.empty()) continue;
    json["load"].push_back(
        {{"name", layer.name}, {"assigned", layer.assigned}, {"by_language", layer.by_language}});
  }
  return json;
}

}  // namespace chorus::inline surgery
