#include "decode/internal/json.h"

#include <cmath>

#include <nlohmann/json.hpp>

namespace chorus::inline decode {

namespace {

using Json = nlohmann::ordered_json;

/// Rounds to as many digits as mean something.
double rounded(double value) {
  return std::round(value * 1e6) / 1e6;
}

Json piece_json(const std::string& piece, float log_probability) {
  Json json = {{"piece", piece}, {"log_probability", nullptr}};
  if (!std::isnan(log_probability)) json["log_probability"] = rounded(log_probability);
  return json;
}

std::string on_a_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string json_line(int64_t index, const SourceLine& source, const TranslatedLine& line, bool aligned) {
  Json json = {{"index", index}, {"source", source.text}, {"translations", Json::array()}};
  for (const Translation& translation : line.best) {
    Json pieces = Json::array();
    for (const ScoredPiece& one : translation.pieces)
      pieces.push_back(piece_json(one.piece, one.log_probability));
    json["translations"].push_back({{"text", translation.text},
                                    {"score", rounded(translation.score)},
                                    {"log_probability", rounded(translation.log_probability)},
                                    {"ended", translation.ended},
                                    {"tokens", std::move(pieces)}});
    if (aligned) json["translations"].back()["alignment"] = translation.links;
  }
  if (line.looped) json["looped"] = true;
  if (!line.fault.empty()) json["fault"] = line.fault;
  return on_a_line(json);
}

std::string json_line(std::string_view source, std::string_view target, const PairScore& score,
                      double length_penalty, const std::vector<std::string>& pieces) {
  Json tokens = Json::array();
  for (size_t i = 0; i < pieces.size(); ++i)
    tokens.push_back(piece_json(pieces[i], score.log_probabilities[i]));
  return on_a_line({{"source", source},
                    {"target", target},
                    {"score", rounded(score.log_probability / std::pow(score.tokens, length_penalty))},
                    {"log_probability", rounded(score.log_probability)},
                    {"tokens", std::move(tokens)}});
}

}  // namespace chorus::inline decode
