#include "train/internal/metrics.h"

#include <fmt/format.h>

#include "base/text.h"
#include "io/run_layout.h"
#include "memory/usage.h"

namespace chorus::inline train {

namespace {

std::filesystem::path trimmed(const std::filesystem::path& path, int64_t update) {
  drop_records_after(path, update);
  return path;
}

/// The numbers of a record, lists left out, as ("prefix/a/b", number).
void collect(const nlohmann::json& value, const std::string& name,
             std::vector<std::pair<std::string, double>>& scalars) {
  if (value.is_number()) {
    scalars.emplace_back(name, value.get<double>());
  } else if (value.is_object()) {
    for (const auto& [key, member] : value.items()) {
      collect(member, fmt::format("{}/{}", name, key), scalars);
    }
  }
}

}  // namespace

void TrainWindow::add(const LossSums& update, int64_t update_source_tokens, bool applied,
                      double update_seconds) {
  sums.add(update);
  source_tokens += update_source_tokens;
  skipped += applied ? 0 : 1;
  seconds += update_seconds;
}

double TrainWindow::tokens_per_second() const {
  return seconds > 0 ? static_cast<double>(sums.tokens) / seconds : 0;
}

nlohmann::json TrainWindow::record() const {
  const auto tokens = static_cast<double>(sums.tokens);
  return {{"loss", sums.loss / tokens},
          {"nll", sums.nll / tokens},
          {"accuracy", static_cast<double>(sums.correct) / tokens},
          {"tokens_per_second", tokens_per_second()},
          {"source_tokens_per_second", static_cast<double>(source_tokens) / seconds},
          {"skipped", skipped}};
}

double drop_rate(const std::vector<MoeStatistics>& layers) {
  int64_t dropped = 0, choices = 0;
  for (const MoeStatistics& layer : layers) {
    dropped += layer.dropped;
    choices += layer.choices;
  }
  return choices > 0 ? static_cast<double>(dropped) / static_cast<double>(choices) : 0;
}

std::vector<double> drop_rates(const DropsByPlace& places) {
  std::vector<double> rates;
  rates.reserve(DropsByPlace::kTenths);
  for (size_t i = 0; i < DropsByPlace::kTenths; ++i) {
    const auto choices = static_cast<double>(std::max<int64_t>(places.choices[i], 1));
    rates.push_back(static_cast<double>(places.dropped[i]) / choices);
  }
  return rates;
}

nlohmann::json load_record(const MoeStatistics& layer) {
  const auto choices = static_cast<double>(std::max<int64_t>(layer.choices, 1));
  const auto tokens = static_cast<double>(std::max<int64_t>(layer.tokens, 1));
  const auto calls = static_cast<double>(std::max<int64_t>(layer.micro_batches, 1));
  const auto experts = static_cast<double>(layer.assigned.size());
  const int64_t most =
      layer.assigned.empty() ? 0 : *std::max_element(layer.assigned.begin(), layer.assigned.end());
  std::vector<double> load;
  load.reserve(layer.assigned.size());
  for (const int64_t assigned : layer.assigned) load.push_back(static_cast<double>(assigned) / choices);
  nlohmann::json record = {{"load", load},
                           {"dropped", static_cast<double>(layer.dropped) / choices},
                           {"entropy", layer.entropy / tokens},
                           {"balance_loss", layer.balance_loss / calls},
                           {"z_loss", layer.z_loss / calls},
                           {"max_over_mean", static_cast<double>(most) * experts / choices},
                           {"unused_experts", std::count(layer.assigned.begin(), layer.assigned.end(), 0)}};
  if (layer.dropped > 0) {
    record["dropped_in_batch"] = drop_rates(layer.in_batch);
    record["dropped_in_sentence"] = drop_rates(layer.in_sentence);
  }
  return record;
}

nlohmann::json whole_load_record(const MoeStatistics& layer, const std::string& name) {
  nlohmann::json record = load_record(layer);
  record["name"] = name;
  record["assigned"] = layer.assigned;
  record["by_language"] = layer.by_group;
  return record;
}

nlohmann::json tasks_record(std::span<const TaskSums> tasks, std::span<const std::string> names) {
  nlohmann::json record;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const auto& [nll, tokens] = tasks[i];
    if (tokens > 0) record[names[i]] = {{"nll", nll / static_cast<double>(tokens)}, {"tokens", tokens}};
  }
  return record;
}

nlohmann::json memory_record(Group& group, uint64_t on_disk, const ScratchFile::Traffic& traffic,
                             ScratchFile::Traffic& before) {
  nlohmann::json record = {{"device_peak", group.max(device_memory().peak)},
                           {"host_peak", group.max(host_memory().peak)},
                           {"nvme", group.max(static_cast<int64_t>(on_disk))},
                           {"nvme_read", traffic.read - before.read},
                           {"nvme_written", traffic.written - before.written}};
  before = traffic;
  restart_peaks();
  return record;
}

std::string length_line(const TrainConfig& config, double updates, double epochs, double pace, double left) {
  return fmt::format(
      "train.duration = \"{}\": {:.0f} updates, {:.1f} epochs of the text; at {:.3g} s per update {} from "
      "here{}",
      to_string(config.duration), updates, epochs, pace, human_seconds(left),
      config.time_limit > 0 ? fmt::format(", or until train.time_limit = {} min", config.time_limit) : "");
}

Metrics::Metrics(const std::filesystem::path& run, int64_t update,
                 std::function<void(const nlohmann::json&)> on_record)
    : jsonl_(trimmed(run / kRunMetrics, update)),
      tensorboard_(run / "tensorboard", update + 1),
      on_record_(std::move(on_record)) {}

void Metrics::write(const std::string& kind, nlohmann::json record) {
  std::vector<std::pair<std::string, double>> scalars;
  collect(record, kind, scalars);
  tensorboard_.write(record.at("update").get<int64_t>(), scalars);
  record["kind"] = kind;
  jsonl_.write(record);
  if (on_record_) on_record_(record);
}

}  // namespace chorus::inline train
