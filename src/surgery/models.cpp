#include "surgery/models.h"

#include <algorithm>
#include <functional>
#include <system_error>

#include "architecture/format.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/folder.h"
#include "io/files.h"

#include "surgery/internal/compose.h"

namespace chorus::inline surgery {
namespace fs = std::filesystem;
namespace {

NamedModel named(const Source& source) {
  return {.name = source.folder.string(), .config = source.config, .vocabulary = source.vocabulary};
}

/// UserError unless the model has MoE layers.
std::vector<int64_t> expert_counts(const NamedModel& model) {
  std::vector<int64_t> counts = model.config.expert_counts();
  if (counts.empty()) throw UserError("{} is a dense model: it has no experts", model.name);
  return counts;
}
std::vector<int64_t> expert_counts(const Source& source) {
  return expert_counts(named(source));
}

std::vector<Source> open_sources(std::span<const fs::path> models, bool experts_may_differ) {
  if (models.size() < 2) throw UserError("one model alone: name two or more");
  std::vector<Source> sources;
  sources.reserve(models.size());
  for (const fs::path& model : models) {
    sources.push_back(open_source(model));
    if (experts_may_differ) static_cast<void>(expert_counts(sources.back()));
    check_alike(named(sources.front()), named(sources.back()), experts_may_differ);
  }
  return sources;
}

/// UserError when a model is impossible or too large to be named, before a recipe is written for it.
void check_size(const ModelConfig& config) {
  check(config);
  static_cast<void>(make_catalogue(config));
}

}  // namespace

void check_absent(const fs::path& out) {
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(without_end_slash(out), ignored)))
    throw UserError("--out {}: it is there already; choose another place", out.string());
}

int64_t bytes_of_weights(const fs::path& folder) {
  int64_t bytes = 0;
  const SafetensorsFolder weights(folder);
  for (const SafetensorsFile& file : weights.files())
    bytes += static_cast<int64_t>(fs::file_size(file.path()));
  return bytes;
}

ModelConfig merged_config(std::span<const NamedModel> models) {
  std::vector<int64_t> united = expert_counts(models.front());
  for (const NamedModel& model : models.subspan(1)) {
    const std::vector<int64_t> counts = expert_counts(model);
    check_alike(models.front(), model, true);
    std::ranges::transform(united, counts, united.begin(), std::plus());
  }
  ModelConfig config = models.front().config;
  config.set_expert_counts(united);
  for (const NamedModel& model : models)
    config.directions = united_directions(config.directions, model.config.directions);
  return config;
}

ModelConfig merge_models(std::span<const fs::path> models, DenseWeights dense, const fs::path& out,
                         const QuantizationConfig& types) {
  const std::vector<Source> sources = open_sources(models, true);
  std::vector<NamedModel> names;
  names.reserve(sources.size());
  for (const Source& source : sources) names.push_back(named(source));
  Recipe recipe = {.config = merged_config(names), .average_dense = dense == DenseWeights::average};
  if (types.any()) recipe.config.quantization = types;
  recipe.experts.resize(expert_counts(sources[0]).size());
  for (size_t s = 0; s < sources.size(); ++s) {
    const std::vector<int64_t> counts = expert_counts(sources[s]);
    for (size_t l = 0; l < counts.size(); ++l) {
      for (int64_t e = 0; e < counts[l]; ++e)
        recipe.experts[l].push_back({.of = {{.source = s, .expert = e}}});
    }
  }
  compose(sources, recipe, out);
  return recipe.config;
}

ModelConfig average_models(std::span<const fs::path> models, const fs::path& out) {
  const std::vector<Source> sources = open_sources(models, false);
  Recipe recipe = {.config = sources[0].config, .average_dense = true};
  for (const Source& source : sources)
    recipe.config.directions = united_directions(recipe.config.directions, source.config.directions);
  for (const int64_t count : recipe.config.expert_counts()) {
    std::vector<NewExpert>& experts = recipe.experts.emplace_back(count);
    for (int64_t e = 0; e < count; ++e) {
      for (size_t s = 0; s < sources.size(); ++s)
        experts[e].of.push_back(
            {.source = s, .expert = e, .weight = 1 / static_cast<double>(sources.size())});
    }
  }
  compose(sources, recipe, out);
  return recipe.config;
}

ModelConfig upcycle_model(const fs::path& dense, const UpcycleOptions& options, const fs::path& out) {
  const Source source = open_source(dense);
  if (!source.config.expert_counts().empty())
    throw UserError("{} has experts already: `chorus grow` adds more", dense.string());
  if (const Architecture& native = native_architecture(source.config); native.dense)
    throw UserError("{} is a model of {}'s kind, which cannot be upcycled", dense.string(), native.name);
  Recipe recipe = {.config = source.config, .key = RandomKey(options.seed).derive("upcycle")};
  MoeConfig& moe = recipe.config.moe;
  moe = {.experts = options.experts,
         .encoder_every = options.encoder_every,
         .decoder_every = options.decoder_every,
         .top_k = options.top_k,
         .gate_normalization = options.gates};
  check_size(recipe.config);
  for (const int64_t count : recipe.config.expert_counts())
    recipe.experts.emplace_back(count, NewExpert{.of = {{}}, .noise = options.noise});
  if (recipe.experts.empty()) throw UserError("no layer of {} would get experts", dense.string());
  if (!learns_routing(moe)) {
    log_warning(
        "with one choice per token and gates that sum to 1 only the balance and z-losses will train the "
        "routers: --top-k 2 lets the translation loss train them");
  }
  compose({&source, 1}, recipe, out);
  return recipe.config;
}

ModelConfig quantize_model(const fs::path& model, const QuantizationConfig& types, const fs::path& out,
                           const ColumnImportance& importance) {
  const Source source = open_source(model);
  check_not_quantized(source.config, model);
  Recipe recipe = {.config = source.config};
  recipe.config.quantization = types;
  recipe.importance = importance;
  for (const int64_t count : source.config.expert_counts()) {
    std::vector<NewExpert>& experts = recipe.experts.emplace_back(count);
    for (int64_t e = 0; e < count; ++e) experts[e].of.push_back({.expert = e});
  }
  compose({&source, 1}, recipe, out);
  return recipe.config;
}

ModelConfig grow_model(const fs::path& model, const GrowOptions& options, const fs::path& out) {
  const Source source = open_source(model);
  Recipe recipe = {.config = source.config, .key = RandomKey(options.seed).derive("grow")};
  const std::vector<int64_t> counts = expert_counts(source);
  recipe.config.set_expert_counts(std::vector<int64_t>(counts.size(), options.experts));
  check_size(recipe.config);
  for (const int64_t count : counts) {
    if (options.experts <= count)
      throw UserError("{} has {} in a layer: --experts {} is no more", model.string(),
                      counted(count, "expert"), options.experts);
    std::vector<NewExpert>& experts = recipe.experts.emplace_back();
    experts.reserve(options.experts);
    for (int64_t e = 0; e < options.experts; ++e) {
      experts.push_back({.of = {{.expert = e % count}}, .noise = e < count ? 0 : options.noise});
    }
  }
  if (source.config.moe.top_k > 1) {
    log_warning(
        "moe.top_k = {}: the copy of a token's best expert takes the place of its second, so that the model "
        "says something else until it is trained",
        source.config.moe.top_k);
  }
  compose({&source, 1}, recipe, out);
  return recipe.config;
}

}  // namespace chorus::inline surgery
