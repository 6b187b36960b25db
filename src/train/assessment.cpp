#include "train/assessment.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "comm/ranks.h"
#include "data/direction_text.h"
#include "decode/translator.h"
#include "io/files.h"
#include "io/run_layout.h"
#include "layout/shapes.h"
#include "metrics/bleu.h"
#include "metrics/chrf.h"

#include "train/internal/metrics.h"

namespace chorus::inline train {

namespace {

std::vector<std::string> translate(Transformer& model, const Vocabulary& vocabulary,
                                   const DirectionText& pairs, const AssessOptions& options,
                                   const std::function<void(int64_t lines)>& progress) {
  const auto language = [&](const std::string& label) {
    return std::string(vocabulary.language_of_label(label));
  };
  const LineTranslator translator(
      model, vocabulary, {.from = language(pairs.from), .to = language(pairs.to), .decode = options.decode});
  Group alone;
  Group& group = options.group ? *options.group : alone;
  const int64_t ranks = group.size();
  return deal_to_ranks(group, pairs.sources, [&](std::span<const std::string> own) {
    std::vector<SourceLine> lines;
    for (const std::string& text : own) {
      const int64_t row = group.rank() + ranks * std::ssize(lines);
      lines.push_back({.text = text, .prefix = "", .where = fmt::format("{}:{}", pairs.name, row + 1)});
    }
    std::vector<std::string> translations;
    for (TranslatedLine& line :
         translator.translate(lines, {}, [&](int64_t done) { progress(done * ranks); })) {
      if (line.best.empty()) throw UserError("{}", line.fault);
      translations.push_back(std::move(line.best.front().text));
    }
    return translations;
  });
}

DirectionScore score(const DirectionText& pairs, const std::vector<std::string>& translations,
                     const std::optional<Tokenizer>& tokenizer) {
  const BleuOptions bleu_options = {.tokenizer = tokenizer ? *tokenizer : Tokenizer(tokenizer_for(pairs.to))};
  const BleuScore of_translations = bleu(translations, pairs.references, bleu_options);
  return {.name = pairs.name,
          .sentences = static_cast<int64_t>(pairs.sources.size()),
          .tokenizer = bleu_options.tokenizer.name(),
          .bleu = of_translations.score,
          .chrf = chrf(translations, pairs.references).score,
          .copy_bleu = bleu(pairs.sources, pairs.references, bleu_options).score,
          .copy_chrf = chrf(pairs.sources, pairs.references).score,
          .length_ratio = static_cast<double>(of_translations.sys_len) /
                          static_cast<double>(std::max<int64_t>(1, of_translations.ref_len))};
}

/// Runs the pairs through the model, teacher-forced, to see where they are routed. Pairs beyond its positions
/// are left out.
void count_load(Transformer& model, const Vocabulary& vocabulary, const DirectionText& pairs,
                std::vector<MoeStatistics>& load) {
  const auto index = [&](const std::string& label) {
    return vocabulary.language(vocabulary.language_of_label(label));
  };
  const std::vector<std::pair<int32_t, int32_t>> languages = {{index(pairs.from), index(pairs.to)}};
  for (const MicroBatch& batch : batches_of(pairs, vocabulary, model.config().max_positions)) {
    model.evaluate(model.to_batch(batch, languages),
                   {.statistics = &load, .group_count = static_cast<int64_t>(vocabulary.languages().size())});
  }
}

}  // namespace

Assessment assess(Transformer& model, const Vocabulary& vocabulary, std::span<const DirectionText> texts,
                  const AssessOptions& options) {
  int64_t total = 0, done = 0;
  for (const DirectionText& pairs : texts) total += static_cast<int64_t>(pairs.sources.size());
  Assessment result = {.languages = vocabulary.languages()};
  if (options.load) result.layers = sparse_layer_names(model.catalogue());
  result.load.resize(result.layers.size());
  const int64_t count = std::ssize(texts);
  const auto progress = [&](int64_t lines) {
    if (options.progress) options.progress(done + lines, total);
  };
  progress(0);
  for (int64_t d = 0; d < count; ++d) {
    const DirectionText& pairs = texts[d];
    std::vector<std::string> translations = translate(model, vocabulary, pairs, options, progress);
    result.directions.push_back(score(pairs, translations, options.tokenizer));
    if (options.load) count_load(model, vocabulary, pairs, result.load);
    // Each direction gives its share of the samples, as far as it has so many, each from another row.
    const size_t rows = pairs.sources.size(), step = rows % 7919 == 0 ? 7907 : 7919;
    const int64_t first = options.samples * d / count, share = options.samples * (d + 1) / count - first;
    for (int64_t s = first; s < first + std::min(share, std::ssize(pairs.sources)); ++s) {
      const size_t row = static_cast<size_t>(s) * step % rows;
      result.samples.push_back({pairs.name, pairs.sources[row], pairs.references[row], translations[row]});
    }
    if (options.keep) {
      result.kept.push_back({.name = pairs.name,
                             .tokenizer = result.directions.back().tokenizer,
                             .sources = pairs.sources,
                             .references = pairs.references,
                             .translations = std::move(translations)});
    }
    done += std::ssize(pairs.sources);
    progress(0);
  }
  return result;
}

namespace {

std::string drop_table(const MoeStatistics& layer) {
  std::string text;
  for (const auto& [where, places] :
       {std::pair{"batch", &layer.in_batch}, {"sentence", &layer.in_sentence}}) {
    text += fmt::format("dropped in each tenth of a {}:", where);
    for (const double rate : drop_rates(*places)) text += fmt::format(" {:.1f}%", 100 * rate);
    text += '\n';
  }
  return text;
}

std::string load_table(const MoeStatistics& layer, const std::vector<std::string>& languages) {
  const size_t experts = layer.assigned.size();
  std::string text = fmt::format("{:>14}", "expert");
  for (size_t e = 0; e < experts; ++e) {
    text += fmt::format("{:>5}", e);
  }
  text += '\n';
  for (size_t g = 0; g < languages.size(); ++g) {
    int64_t sum = 0;
    for (size_t e = 0; e < experts; ++e) sum += layer.by_group[g * experts + e];
    if (sum == 0) continue;
    text += fmt::format("{:>14}", languages[g]);
    for (size_t e = 0; e < experts; ++e) {
      const auto share = static_cast<double>(layer.by_group[g * experts + e]) / static_cast<double>(sum);
      text += fmt::format("{:>4.0f}%", 100 * share);
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string to_text(const Assessment& a) {
  std::string text = fmt::format("{:<16}{:>7}{:>8}{:>8}{:>13}{:>11}  {}\n", "direction", "lines", "BLEU",
                                 "chrF", "copied: BLEU", "chrF", "BLEU's tokeniser");
  DirectionScore mean = {.name = "mean"};
  const auto row = [&](const DirectionScore& d) {
    text += fmt::format("{:<16}{:>7}{:>8.2f}{:>8.2f}{:>13.2f}{:>11.2f}{}{}\n", d.name, d.sentences, d.bleu,
                        d.chrf, d.copy_bleu, d.copy_chrf, d.tokenizer.empty() ? "" : "  ", d.tokenizer);
  };
  const auto share = 1 / static_cast<double>(a.directions.size());
  for (const DirectionScore& d : a.directions) {
    row(d);
    mean.sentences += d.sentences;
    mean.bleu += share * d.bleu;
    mean.chrf += share * d.chrf;
    mean.copy_bleu += share * d.copy_bleu;
    mean.copy_chrf += share * d.copy_chrf;
  }
  if (a.directions.size() > 1) row(mean);
  for (const Sample& s : a.samples) {
    text += fmt::format("\n{:<10} {}\n{:<10} {}\n{:<10} {}\n", s.direction, s.source, "reference",
                        s.reference, "chorus", s.translation);
  }
  for (size_t layer = 0; layer < a.load.size(); ++layer) {
    text += fmt::format("\nshare of each language's tokens sent to each expert, {}\n{}", a.layers[layer],
                        load_table(a.load[layer], a.languages));
    if (a.load[layer].dropped > 0) text += drop_table(a.load[layer]);
  }
  return text;
}

nlohmann::json to_json(const Assessment& a) {
  nlohmann::json json = {{"languages", a.languages},
                         {"directions", nlohmann::json::array()},
                         {"samples", nlohmann::json::array()},
                         {"load", nlohmann::json::array()}};
  for (const DirectionScore& d : a.directions) {
    json["directions"].push_back({{"name", d.name},
                                  {"sentences", d.sentences},
                                  {"tokenize", d.tokenizer},
                                  {"bleu", d.bleu},
                                  {"chrf", d.chrf},
                                  {"copy_bleu", d.copy_bleu},
                                  {"copy_chrf", d.copy_chrf},
                                  {"length_ratio", d.length_ratio}});
  }
  for (const Sample& s : a.samples) {
    json["samples"].push_back({{"direction", s.direction},
                               {"source", s.source},
                               {"reference", s.reference},
                               {"translation", s.translation}});
  }
  for (size_t layer = 0; layer < a.load.size(); ++layer)
    json["load"].push_back(whole_load_record(a.load[layer], a.layers[layer]));
  return json;
}

void write_translations(std::span<const DirectionTranslations> kept, int64_t update,
                        const std::filesystem::path& run) {
  if (kept.empty()) return;
  nlohmann::json json = {{"update", update}, {"directions", nlohmann::json::array()}};
  for (const DirectionTranslations& direction : kept) {
    json["directions"].push_back({{"name", direction.name},
                                  {"tokenize", direction.tokenizer},
                                  {"sources", direction.sources},
                                  {"references", direction.references},
                                  {"translations", direction.translations}});
  }
  write_file_atomically(run / kRunTranslations,
                        json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace chorus::inline train
