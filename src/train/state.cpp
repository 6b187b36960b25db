#include "train/state.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "io/json.h"

namespace chorus::inline train {

nlohmann::json to_json(const TrainState& s) {
  nlohmann::json json = {{"updates", s.updates},
                         {"optimizer_updates", s.optimizer_updates},
                         {"target_tokens", s.target_tokens},
                         {"sentences", s.sentences},
                         {"sentences_per_epoch", s.sentences_per_epoch},
                         {"epoch", s.position.epoch},
                         {"pool", s.position.pool},
                         {"batch", s.position.batch},
                         {"skipped_in_a_row", s.skipped_in_a_row},
                         {"seconds", s.seconds},
                         {"best", nullptr},
                         {"best_update", s.best_update},
                         {"validated", s.validated},
                         {"stale_validations", s.stale_validations},
                         {"data_hash", s.data_hash},
                         {"order_hash", s.order_hash},
                         {"criterion_hash", s.criterion_hash},
                         {"vocabulary_hash", s.vocabulary_hash}};
  if (s.best) json["best"] = *s.best;
  return json;
}

TrainState train_state_from_json(const nlohmann::json& json, const std::string& where) {
  try {
    TrainState s;
    const auto count = [&](const char* key, int64_t most = int64_t{1} << 53) {
      const nlohmann::json& value = json.at(key);
      if (!value.is_number_integer() || value < 0 || value > most)
        throw UserError("{}: {} is no count", where, key);
      return value.get<int64_t>();
    };
    s.updates = count("updates");
    s.optimizer_updates = count("optimizer_updates");
    s.target_tokens = count("target_tokens");
    s.sentences = count("sentences");
    s.position = {.epoch = count("epoch", int64_t{1} << 31),
                  .pool = count("pool"),
                  .batch = count("batch"),
                  .update = s.updates};
    s.skipped_in_a_row = count("skipped_in_a_row");
    s.seconds = json.at("seconds").get<double>();
    if (!json.at("best").is_null()) s.best = json.at("best").get<double>();
    const auto number_if_there = [&](const char* key, int64_t& value) {
      const auto found = json.find(key);
      if (found == json.end()) return;
      const auto whole = exactly<int64_t>(*found);
      if (!whole) throw UserError("{}: {} is no whole number", where, key);
      value = *whole;
    };
    number_if_there("best_update", s.best_update);
    number_if_there("validated", s.validated);
    number_if_there("sentences_per_epoch", s.sentences_per_epoch);
    s.stale_validations = count("stale_validations");
    s.data_hash = json.at("data_hash").get<std::string>();
    s.vocabulary_hash = json.at("vocabulary_hash").get<std::string>();
    s.order_hash = json.value("order_hash", "");
    s.criterion_hash = json.value("criterion_hash", "");
    return s;
  } catch (const nlohmann::json::exception&) {
    throw UserError("{}: not the state of a training run: an entry is missing or of another type", where);
  }
}

void TrainState::note_gradient(bool applied, int64_t skip_limit) {
  skipped_in_a_row = applied ? 0 : skipped_in_a_row + 1;
  if (applied) return;
  log_warning("update {}: the gradient is not finite; skipped", updates);
  if (skipped_in_a_row > skip_limit) {
    throw Error(
        "no finite gradient in {} in a row (train.skip_limit): lower optim.learning_rate, or raise "
        "optim.warmup",
        counted(skipped_in_a_row, "update"));
  }
}

bool TrainState::note_validation(std::optional<double> score, bool lower_is_better) {
  const bool better = score && (!best || (lower_is_better ? *score < *best : *score > *best));
  ++stale_validations;
  if (!better) return false;
  best = *score;
  best_update = updates;
  stale_validations = 0;
  return true;
}

}  // namespace chorus::inline train
