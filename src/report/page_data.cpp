#include "report/internal/page_data.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

namespace chorus::inline report {

namespace {

using nlohmann::json;

constexpr size_t kLoadCells = 1'000'000, kLanguageCells = 500'000, kScores = 200'000;  // of a page

/// Rounds to six digits, which shortens the page; null where it is no number.
json rounded(double value) {
  if (!std::isfinite(value)) return nullptr;
  if (value == std::round(value) && std::abs(value) < 1e15) return static_cast<int64_t>(value);
  const double unit = std::pow(10.0, std::floor(std::log10(std::abs(value))) - 5);
  const double whole = std::round(value / unit);
  return unit < 1 ? whole / std::round(1 / unit) : whole * unit;
}

/// Two characters each: 0 to 4095 for 0 to `most`; "--" where there is none.
std::string packed(std::span<const double> values, double most) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      text += "--";
      continue;
    }
    const auto level = static_cast<size_t>(std::lround(4095 * std::clamp(value / most, 0.0, 1.0)));
    text += kDigits[level / 64];
    text += kDigits[level % 64];
  }
  return text;
}

std::vector<double> in_bins(std::span<const double> values, size_t bins, bool as_sum) {
  if (values.size() <= bins) return {values.begin(), values.end()};
  std::vector<double> sums(bins), counts(bins);
  for (size_t i = 0; i < values.size(); ++i) {
    sums[i * bins / values.size()] += values[i];
    counts[i * bins / values.size()] += 1;
  }
  for (size_t i = 0; i < bins && !as_sum; ++i) sums[i] /= counts[i];
  return sums;
}

bool is_drawn(std::string_view name) {
  constexpr auto kNames = std::to_array<std::string_view>(
      {"loss", "nll", "accuracy", "learning_rate", "gradient_norm", "tokens_per_second", "dropped", "epoch"});
  return std::ranges::find(kNames, name) != kNames.end() || name.starts_with("memory/") ||
         name.starts_with("bytes_sent/") || (name.starts_with("tasks/") && name.ends_with("/nll"));
}

json curves_json(const Downsampled<TrainRow>& train) {
  json curves = {{"update", json::array()},
                 {"tokens", json::array()},
                 {"seconds", json::array()},
                 {"columns", json::object()},
                 {"records", train.in_each()}};
  std::map<std::string, bool> names;
  for (const TrainRow& row : train.rows()) {
    curves["update"].push_back(rounded(row.update));
    curves["tokens"].push_back(rounded(row.tokens));
    curves["seconds"].push_back(rounded(row.seconds));
    for (const auto& [name, spread] : row.numbers)
      if (is_drawn(name)) names[name];
  }
  for (const auto& [name, unused] : names) {
    json mean = json::array(), least = json::array(), most = json::array();
    for (const TrainRow& row : train.rows()) {
      const auto found = row.numbers.find(name);
      const bool there = found != row.numbers.end() && found->second.count > 0;
      mean.push_back(there ? rounded(found->second.mean()) : json());
      least.push_back(there ? rounded(found->second.least) : json());
      most.push_back(there ? rounded(found->second.most) : json());
    }
    json& column = curves["columns"][name] = {{"mean", std::move(mean)}};
    if (train.in_each() > 1) {
      column["least"] = std::move(least);
      column["most"] = std::move(most);
    }
  }
  return curves;
}

json scores_json(const ValidationRow& row) {
  return {{"update", rounded(row.update)},
          {"loss", rounded(row.loss)},
          {"bleu", rounded(row.bleu)},
          {"chrf", rounded(row.chrf)}};
}

json validations_json(const RunHistory& history, size_t runs) {
  const std::vector<ValidationRow>& rows = history.validations.rows();
  json validations = {{"rows", json::array()}, {"directions", json::object()}, {"best", nullptr}};
  size_t step = 1;
  if (!rows.empty()) step += runs * rows.size() * 3 * rows.back().directions.size() / kScores;
  size_t count = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i % step != 0 && i + 1 != rows.size()) continue;
    validations["rows"].push_back(scores_json(rows[i]));
    for (const auto& [name, scores] : rows[i].directions) {
      json& direction = validations["directions"][name];
      for (const auto& [key, value] :
           {std::pair{"loss", scores.loss}, {"bleu", scores.bleu}, {"chrf", scores.chrf}}) {
        json& list = direction[key];
        if (list.is_null()) list = json::array();
        while (list.size() < count) list.push_back(nullptr);
        list.push_back(rounded(value));
      }
    }
    ++count;
  }
  for (json& direction : validations["directions"]) {
    for (json& list : direction)
      while (list.size() < count) list.push_back(nullptr);
  }
  if (!history.validated) return validations;
  validations["best"] = scores_json(history.best);
  for (const auto& [name, scores] : history.best.directions)
    validations["best"]["directions"][name] = {rounded(scores.loss), rounded(scores.bleu),
                                               rounded(scores.chrf)};
  return validations;
}

json experts_json(const RunHistory& history, size_t runs) {
  const std::vector<ExpertRow>& rows = history.experts.rows();
  json experts = {{"updates", json::array()}, {"layers", json::array()}};
  for (const ExpertRow& row : rows) experts["updates"].push_back({rounded(row.first), rounded(row.last)});
  const size_t cells =
      runs * std::max<size_t>(rows.size(), 1) * std::max<size_t>(history.expert_counts.size(), 1);
  const size_t most_bins = std::clamp<size_t>(kLoadCells / cells, 8, RunHistory::kMostExperts);
  for (const auto& [name, count] : history.expert_counts) {
    const size_t bins = std::min(count, most_bins);
    std::string load;
    json numbers;
    for (const char* number : kLayerNumbers) numbers[number] = json::array();
    for (const ExpertRow& row : rows) {
      const auto found = row.layers.find(name);
      const bool there = found != row.layers.end();
      std::vector<double> values;
      if (there) {
        for (const Spread& spread : found->second.load) values.push_back(spread.mean());
        values = in_bins(values, bins, false);
      }
      values.resize(bins, std::nan(""));
      load += packed(values, 40.95);
      for (size_t i = 0; i < kLayerNumbers.size(); ++i) {
        const Spread spread = there ? found->second.numbers.at(i) : Spread();
        numbers[kLayerNumbers.at(i)].push_back(spread.count > 0 ? rounded(spread.mean()) : json());
      }
    }
    experts["layers"].push_back(
        {{"name", name}, {"experts", count}, {"bins", bins}, {"load", load}, {"numbers", numbers}});
  }
  return experts;
}

json languages_json(const RunHistory& history, size_t runs) {
  json languages = {
      {"update", rounded(history.languages_update)}, {"names", history.languages}, {"layers", json::array()}};
  size_t rows = 1;
  for (const LanguageLayer& layer : history.by_language) rows += layer.shares.size();
  const size_t most_bins = std::clamp<size_t>(kLanguageCells / (rows * runs), 8, RunHistory::kMostExperts);
  for (const LanguageLayer& layer : history.by_language) {
    json shares = json::array();
    const size_t bins = std::min({layer.experts, most_bins, RunHistory::kMostExperts});
    for (const std::vector<double>& row : layer.shares)
      shares.push_back(row.empty() ? "" : packed(in_bins(row, bins, true), 1));
    languages["layers"].push_back(
        {{"name", layer.name}, {"experts", layer.experts}, {"bins", bins}, {"shares", shares}});
  }
  return languages;
}

/// The beginning of a text, for the page; bytes that are not UTF-8 become U+FFFD when it is written.
std::string shortened(const std::string& text, size_t most) {
  if (text.size() <= most) return text;
  size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not within a character
  return text.substr(0, end) + "…";
}

}  // namespace

nlohmann::json history_json(const RunHistory& history, size_t runs) {
  return {{"curves", curves_json(history.train)},
          {"validations", validations_json(history, runs)},
          {"experts", experts_json(history, runs)},
          {"languages", languages_json(history, runs)}};
}

nlohmann::json settings_json(std::span<const RunToReport> runs) {
  constexpr size_t kMostRows = 1000, kLongest = 300;
  struct Option {
    std::string name, initial;
    std::vector<json> values;
    bool differs = false;
  };
  std::vector<Option> options;
  std::map<std::string, size_t> places;
  for (size_t r = 0; r < runs.size(); ++r) {
    for (const Setting& setting : runs[r].settings) {
      const auto [place, is_new] = places.emplace(setting.name, options.size());
      if (is_new) options.push_back({setting.name, setting.initial, std::vector<json>(runs.size()), false});
      Option& option = options[place->second];
      option.values[r] = shortened(setting.value, kLongest);
      option.differs = option.differs || setting.value != setting.initial;
    }
  }
  std::ranges::stable_sort(options, std::greater(), &Option::differs);
  options.resize(std::min(options.size(), kMostRows));
  json rows = json::array();
  for (const Option& option : options)
    rows.push_back({{"name", option.name}, {"initial", option.initial}, {"values", option.values}});
  return rows;
}

nlohmann::json comparisons_json(std::span<const Comparison> comparisons) {
  json rows = json::array();
  for (const Comparison& c : comparisons) {
    rows.push_back({{"direction", c.direction},
                    {"metric", c.metric},
                    {"lines", c.lines},
                    {"baseline", {rounded(c.baseline.score), rounded(c.baseline.half_width)}},
                    {"other", {rounded(c.other.score), rounded(c.other.half_width)}},
                    {"p", rounded(c.p)}});
  }
  return rows;
}

nlohmann::json samples_json(const std::vector<const KeptTranslations*>& kept) {
  constexpr size_t kMostSamples = 240, kOfDirection = 4, kLongest = 600;
  json samples = json::array();
  std::map<std::string, bool> seen;
  for (const KeptTranslations* first : kept) {
    if (!first) continue;
    for (const Translations& t : first->directions) {
      if (!seen.emplace(t.direction, true).second) continue;
      for (size_t i = 0; i < kOfDirection && samples.size() < kMostSamples; ++i) {
        const size_t line = i * t.sources.size() / kOfDirection;
        if (i > 0 && line == (i - 1) * t.sources.size() / kOfDirection) continue;  // fewer lines than samples
        json translations = json::array();
        for (const KeptTranslations* other : kept) {
          const Translations* own = nullptr;
          for (size_t d = 0; other && d < other->directions.size(); ++d)
            if (other->directions[d].direction == t.direction) own = &other->directions[d];
          const bool same = own && line < own->sources.size() && own->sources[line] == t.sources[line] &&
                            own->references[line] == t.references[line];
          translations.push_back(same ? json(shortened(own->translations[line], kLongest)) : json());
        }
        samples.push_back({{"direction", t.direction},
                           {"source", shortened(t.sources[line], kLongest)},
                           {"reference", shortened(t.references[line], kLongest)},
                           {"translations", translations}});
      }
    }
  }
  return samples;
}

}  // namespace chorus::inline report
