// The models that are served: which languages there are, and what a direction is translated by.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "detect/detector.h"
#include "formats/folder.h"
#include "server/batcher.h"

namespace chorus::inline server {

struct ServedOptions {
  Transformer::Options compute;
  uint64_t memory = std::numeric_limits<uint64_t>::max();  // bytes for the weights of each model
  int64_t beam = 5;
  double length_penalty = 1;
};

/// The English name of a language: "German" of "de" and "deu_Latn". The code where nobody knows one.
std::string language_name(const std::string& code);

/// Languages by their codes, as people write them.
class LanguageCodes {
 public:
  void add(const std::string& code);
  /// Returns the code of the language that is meant: as it is, or the one of the same language and script ("de" for
  /// "deu_Latn"), or of the same language if there is one alone. Nothing if there is none.
  [[nodiscard]] std::optional<std::string> find(std::string_view asked) const;

 private:
  struct Known {
    std::string code, language, script;
  };
  std::vector<Known> known_;
};

struct ServedLanguage {
  std::string code, name;            // "deu_Latn", "German"
  std::vector<std::string> targets;  // codes, in the order of the models'; none where it is only a target
};

/// Immutable, but for what it keeps. Threads may share one.
class ServedModels {
 public:
  /// Loads the folders' models (formats/place.h). Where no `detector` is given, it is as open_detector() of a model
  /// that is alone, else CLD2. UserError, naming the folder, as load_model(), and on a model without languages.
  ServedModels(std::span<const std::filesystem::path> folders, const ServedOptions& options,
               std::shared_ptr<const LanguageDetector> detector = nullptr);

  /// Returns the languages in the order of the models'; of a model that knows its directions, those alone.
  [[nodiscard]] const std::vector<ServedLanguage>& languages() const { return languages_; }
  [[nodiscard]] const LanguageCodes& codes() const { return codes_; }
  /// Returns the detector of these languages.
  [[nodiscard]] const LanguageDetector& detector() const { return *detector_; }

  /// Returns what translates in this direction, with at least `nbest` hypotheses and links of words where asked, of
  /// the first model that does; the same one for the same arguments, so that jobs share batches. Null where none
  /// does. It keeps the model alive.
  [[nodiscard]] std::shared_ptr<const TranslationRoute> route(const std::string& from, const std::string& to,
                                                              int64_t nbest, bool links) const;
  /// Returns what scores pairs: a line's prefix is the translation that is scored, and `best` has one element without
  /// text.
  [[nodiscard]] std::shared_ptr<const TranslationRoute> scoring(const std::string& from,
                                                                const std::string& to) const;

 private:
  struct Served {
    LoadedModel loaded;
    std::vector<std::pair<std::string, std::string>> directions;
  };
  // From, to, nbest (0: scoring), links.
  using RouteKey = std::tuple<std::string, std::string, int64_t, bool>;

  [[nodiscard]] std::shared_ptr<const Served> model_for(const std::string& from, const std::string& to) const;
  template <class Make>
  std::shared_ptr<const TranslationRoute> kept(const RouteKey& key, const Make& make) const;

  ServedOptions options_;
  std::vector<std::shared_ptr<const Served>> models_;
  std::vector<ServedLanguage> languages_;
  LanguageCodes codes_;
  std::shared_ptr<const LanguageDetector> detector_;
  mutable std::mutex mutex_;
  mutable std::map<RouteKey, std::shared_ptr<const TranslationRoute>> routes_;
};

}  // namespace chorus::inline server
