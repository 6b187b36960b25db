// How well a model translates aligned text it has not seen: every direction translated and scored, beside the
// scores of copying the source, with samples, and which experts serve which language.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "comm/group.h"
#include "data/direction_text.h"
#include "data/vocabulary.h"
#include "decode/beam.h"
#include "metrics/tokenizer.h"
#include "model/transformer.h"

namespace chorus::inline train {

struct AssessOptions {
  DecodeOptions decode;
  int64_t samples = 0;                 // translations kept for display, over all directions
  bool load = false;                   // also count which experts the text is routed to
  bool keep = false;                   // keep all translations
  std::optional<Tokenizer> tokenizer;  // of BLEU; by default tokenizer_for() each target language
  Group* group = nullptr;  // the ranks that translate together, each with the whole model; all get the result
  std::function<void(int64_t done, int64_t total)> progress;  // sentences, at first 0; may be empty
};

struct DirectionScore {
  std::string name;  // "en-de"
  int64_t sentences = 0;
  std::string tokenizer;                // of BLEU
  double bleu = 0, chrf = 0;            // of the translations, 0 to 100
  double copy_bleu = 0, copy_chrf = 0;  // of the source taken as its own translation
  double length_ratio = 0;              // of the translations' tokens to the references', as BLEU counts them
};

struct Sample {
  std::string direction, source, reference, translation;
};

/// Line i of each list belongs to line i of the others.
struct DirectionTranslations {
  std::string name, tokenizer;  // as DirectionScore
  std::vector<std::string> sources, references, translations;
};

struct Assessment {
  std::vector<DirectionScore> directions;
  std::vector<Sample> samples;
  std::vector<DirectionTranslations> kept;  // of each direction, where options.keep
  std::vector<std::string> languages;       // rows of MoeStatistics::by_group
  std::vector<MoeStatistics> load;          // of each sparse layer, encoder first
  std::vector<std::string> layers;          // their names
};

/// `texts`: none of them empty.
Assessment assess(Transformer& model, const Vocabulary& vocabulary, std::span<const DirectionText> texts,
                  const AssessOptions& options);

/// Returns text for people: a table of scores, the samples, and the share of each language's tokens that each expert
/// gets.
std::string to_text(const Assessment& assessment);
nlohmann::json to_json(const Assessment& assessment);
/// RUN/translations.json: the update, and name, tokenize, sources, references and translations of each
/// direction. Nothing where there is no direction.
void write_translations(std::span<const DirectionTranslations> kept, int64_t update,
                        const std::filesystem::path& run);

}  // namespace chorus::inline train
