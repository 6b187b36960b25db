// What metrics.jsonl says, in bounded memory.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "report/internal/downsampled.h"

namespace chorus::inline report {

/// A number over some records; without any that is finite, `count` is 0.
struct Spread {
  double sum = 0, least = 0, most = 0;
  int64_t count = 0;

  void add(double value);
  void merge(const Spread& next);
  [[nodiscard]] double mean() const { return sum / static_cast<double>(count); }
};

/// One record of kind "train", or several: its numbers by their names, "loss", "memory/host_peak".
struct TrainRow {
  double update = 0, tokens = 0, seconds = 0;  // of the last
  std::map<std::string, Spread> numbers;
  void merge(const TrainRow& next);
};

inline constexpr auto kLayerNumbers = std::to_array<const char*>(
    {"dropped", "max_over_mean", "unused_experts", "entropy", "balance_loss", "z_loss"});

struct LayerRow {
  std::vector<Spread> load;  // of experts, times their number, so that 1 is balanced; of neighbours together
                             // where there are more than kMostExperts
  std::array<Spread, kLayerNumbers.size()> numbers;
};
/// The MoE layers of one record of kind "train", or of several.
struct ExpertRow {
  double first = 0, last = 0;              // updates
  std::map<std::string, LayerRow> layers;  // by name
  void merge(const ExpertRow& next);
};

struct DirectionRow {
  double loss = 0, bleu = 0, chrf = 0;  // NaN where there is none
};
/// A record of kind "validation". Of several the last stays.
struct ValidationRow {
  double update = 0, loss = 0, bleu = 0, chrf = 0;  // NaN where there is none
  std::map<std::string, DirectionRow> directions;
  void merge(const ValidationRow& next) { *this = next; }
};

/// What each language sent to each expert of a layer.
struct LanguageLayer {
  std::string name;
  size_t experts = 0;
  std::vector<std::vector<double>>
      shares;  // [languages, experts], of the language's tokens; of neighbours together
               // where there are more than kMostExperts; a row may be empty
};

struct RunHistory {
  static constexpr size_t kMostExperts = 128, kMostLayers = 64, kMostDirections = 4096, kMostNumbers = 256,
                          kLongestName = 200;

  Downsampled<TrainRow> train{800};
  Downsampled<ExpertRow> experts{128};
  Downsampled<ValidationRow> validations{400};
  std::map<std::string, size_t> expert_counts;  // of each layer by name
  ValidationRow best;                           // by the run's own criterion
  bool validated = false;                       // whether there is one
  double languages_update = 0;
  std::vector<std::string> languages;  // names of the rows below; empty in runs of older versions
  std::vector<LanguageLayer> by_language;
  int64_t records = 0, damaged = 0, not_finite = 0;  // lines; records without a finite loss
  double first_not_finite = 0;                       // update
  double skipped = 0;                                // updates

  /// A line of the file. One that is no record counts as damaged.
  void take(std::string_view line);

 private:
  using Names = std::set<std::string, std::less<>>;
  /// Whether it is one of `names`, or becomes one of the first `most`: what has been met decides, so that no history
  /// grows with records whose names differ.
  static bool is_kept(Names& names, const std::string& name, size_t most);
  /// The numbers of an object, those of the objects in it too, by path.
  void collect(const nlohmann::json& object, const std::string& prefix,
               std::map<std::string, Spread>& numbers);
  void take_train(const nlohmann::json& record);
  void take_validation(const nlohmann::json& record);
  void take_languages(const nlohmann::json& record);

  Names number_names_, direction_names_, layer_names_;
};

}  // namespace chorus::inline report
