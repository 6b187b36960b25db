#include "report/internal/run_history.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "io/json.h"

namespace chorus::inline report {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// A number of a record; none where it is missing, null (which NaN is written as) or something else.
double number_in(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? kNone : exactly<double>(*found).value_or(kNone);
}

std::string text_in(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? "" : exactly<std::string>(*found).value_or("");
}

/// Whether an array holds numbers alone, and some.
bool is_numbers(const nlohmann::json& array) {
  return array.is_array() && !array.empty() &&
         std::ranges::all_of(array, [](const nlohmann::json& item) { return item.is_number(); });
}

/// Which of `bins` a place among `of` belongs to.
size_t bin_of(size_t place, size_t of, size_t bins) {
  return place * bins / of;
}

LayerRow layer_row(const nlohmann::json& layer) {
  LayerRow row;
  for (size_t i = 0; i < kLayerNumbers.size(); ++i)
    row.numbers.at(i).add(number_in(layer, kLayerNumbers.at(i)));
  const nlohmann::json& load = layer.at("load");
  row.load.resize(std::min(load.size(), RunHistory::kMostExperts));
  for (size_t e = 0; e < load.size(); ++e)
    row.load[bin_of(e, load.size(), row.load.size())].add(load[e].get<double>() *
                                                          static_cast<double>(load.size()));
  return row;
}

}  // namespace

void Spread::add(double value) {
  if (std::isfinite(value)) merge({.sum = value, .least = value, .most = value, .count = 1});
}

void Spread::merge(const Spread& next) {
  if (next.count == 0) return;
  least = count == 0 ? next.least : std::min(least, next.least);
  most = count == 0 ? next.most : std::max(most, next.most);
  sum += next.sum;
  count += next.count;
}

void TrainRow::merge(const TrainRow& next) {
  update = next.update;
  tokens = next.tokens;
  seconds = next.seconds;
  for (const auto& [name, spread] : next.numbers) numbers[name].merge(spread);
}

void ExpertRow::merge(const ExpertRow& next) {
  last = next.last;
  for (const auto& [name, theirs] : next.layers) {
    LayerRow& own = layers[name];
    own.load.resize(theirs.load.size());
    for (size_t e = 0; e < own.load.size(); ++e) own.load[e].merge(theirs.load[e]);
    for (size_t i = 0; i < own.numbers.size(); ++i) own.numbers.at(i).merge(theirs.numbers.at(i));
  }
}

bool RunHistory::is_kept(Names& names, const std::string& name, size_t most) {
  if (names.contains(name)) return true;
  if (names.size() == most || name.size() > kLongestName) return false;
  names.insert(name);
  return true;
}

void RunHistory::collect(const nlohmann::json& object, const std::string& prefix,
                         std::map<std::string, Spread>& numbers) {
  for (const auto& [key, value] : object.items()) {
    const std::string name = prefix + key;
    if (name == "layers") continue;
    if (value.is_object() && name.size() < kLongestName) collect(value, name + "/", numbers);
    if (value.is_number() && is_kept(number_names_, name, kMostNumbers))
      numbers[name].add(value.get<double>());
  }
}

void RunHistory::take(std::string_view line) {
  const nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
  const bool numbered = record.is_object() && std::isfinite(number_in(record, "update"));
  const std::string kind = numbered ? text_in(record, "kind") : "";
  ++records;
  if (kind == "train")
    take_train(record);
  else if (kind == "validation")
    take_validation(record);
  else
    ++damaged;
}

void RunHistory::take_train(const nlohmann::json& record) {
  const auto or_zero = [&](const char* key) {
    const double number = number_in(record, key);
    return std::isfinite(number) ? number : 0;
  };
  TrainRow row = {.update = number_in(record, "update"),
                  .tokens = or_zero("target_tokens"),
                  .seconds = or_zero("seconds")};
  collect(record, "", row.numbers);
  if (row.numbers["loss"].count == 0 && not_finite++ == 0) first_not_finite = row.update;
  skipped += or_zero("skipped");
  ExpertRow loads = {.first = row.update, .last = row.update};
  if (const auto layers = record.find("layers"); layers != record.end() && layers->is_object()) {
    for (const auto& [name, layer] : layers->items()) {
      if (!layer.is_object() || !layer.contains("load") || !is_numbers(layer["load"])) continue;
      if (!is_kept(layer_names_, name, kMostLayers)) continue;
      expert_counts[name] = layer["load"].size();
      loads.layers[name] = layer_row(layer);
    }
  }
  train.add(std::move(row));
  if (!loads.layers.empty()) experts.add(std::move(loads));
}

void RunHistory::take_validation(const nlohmann::json& record) {
  ValidationRow row = {.update = number_in(record, "update"),
                       .loss = number_in(record, "loss"),
                       .bleu = number_in(record, "bleu"),
                       .chrf = number_in(record, "chrf")};
  if (const auto directions = record.find("directions");
      directions != record.end() && directions->is_object()) {
    for (const auto& [name, direction] : directions->items()) {
      if (!direction.is_object() || !is_kept(direction_names_, name, kMostDirections)) continue;
      row.directions[name] = {.loss = number_in(direction, "loss"),
                              .bleu = number_in(direction, "bleu"),
                              .chrf = number_in(direction, "chrf")};
    }
  }
  const auto is_best = record.find("best");
  if (!validated || (is_best != record.end() && exactly<bool>(*is_best).value_or(false))) best = row;
  validated = true;
  take_languages(record);
  validations.add(std::move(row));
}

void RunHistory::take_languages(const nlohmann::json& record) {
  const auto layers = record.find("layers");
  if (layers == record.end() || !layers->is_array()) return;
  const auto names = record.find("languages");
  languages = names == record.end()
                  ? std::vector<std::string>()
                  : exactly<std::vector<std::string>>(*names).value_or(std::vector<std::string>());
  languages_update = number_in(record, "update");
  by_language.clear();
  for (const nlohmann::json& layer : *layers) {
    if (!layer.is_object() || by_language.size() == kMostLayers) continue;
    const auto load = layer.find("load"), counts = layer.find("by_language");
    if (load == layer.end() || counts == layer.end() || !is_numbers(*load) || !is_numbers(*counts)) continue;
    const size_t of = load->size();
    LanguageLayer own = {.name = text_in(layer, "name"), .experts = of, .shares = {}};
    const size_t bins = std::min(of, kMostExperts);
    const size_t most = std::min(kMostDirections, counts->size() / of);
    for (size_t language = 0; language < most; ++language) {
      std::vector<double> row(bins);
      double sum = 0;
      for (size_t e = 0; e < of; ++e) {
        const double count = std::max(0.0, (*counts)[language * of + e].get<double>());
        row[bin_of(e, of, bins)] += count;
        sum += count;
      }
      for (double& share : row) share /= sum > 0 ? sum : 1;
      own.shares.push_back(sum > 0 ? row : std::vector<double>());
    }
    by_language.push_back(std::move(own));
  }
}

}  // namespace chorus::inline report
