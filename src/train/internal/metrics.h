// What a run records: sums since the last report, and the files they go to.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "comm/group.h"
#include "io/metrics_log.h"
#include "memory/scratch_file.h"
#include "model/transformer.h"
#include "train/config.h"

#include "train/internal/sums.h"

namespace chorus::inline train {

/// Sums over the updates since the last report.
struct TrainWindow {
  LossSums sums;
  int64_t source_tokens = 0;
  int64_t skipped = 0;
  double seconds = 0;

  void add(const LossSums& update, int64_t update_source_tokens, bool applied, double update_seconds);
  [[nodiscard]] double tokens_per_second() const;  // target tokens
  [[nodiscard]] nlohmann::json record() const;
};

/// Returns the share of choices dropped over all layers.
double drop_rate(const std::vector<MoeStatistics>& layers);

/// Returns the share dropped in each tenth.
std::vector<double> drop_rates(const DropsByPlace& places);

/// Returns a layer's load: dropped share, the router's entropy per token, balance loss, maximum over mean, experts
/// never chosen; where choices were dropped, their share in each tenth of the micro-batch and of the sentence.
nlohmann::json load_record(const MoeStatistics& layer);
/// Returns it with the layer's name and what each language sent to each expert.
nlohmann::json whole_load_record(const MoeStatistics& layer, const std::string& name);

/// Loss and target tokens of each task that had some.
nlohmann::json tasks_record(std::span<const TaskSums> tasks, std::span<const std::string> names);

/// Returns the peaks of memory since the last such record and the bytes set aside on disk, each of the rank that has
/// most; and the bytes that this rank moved to and from disk since `before`, which becomes `traffic`.
nlohmann::json memory_record(Group& group, uint64_t on_disk, const ScratchFile::Traffic& traffic,
                             ScratchFile::Traffic& before);

/// How long a run will take: `updates` in all, `pace` and `left` in seconds.
std::string length_line(const TrainConfig& config, double updates, double epochs, double pace, double left);

/// RUN/metrics.jsonl and RUN/tensorboard. A run that resumes at `update` drops what was written after it.
class Metrics {
 public:
  /// `on_record`: as RunOptions has it.
  Metrics(const std::filesystem::path& run, int64_t update,
          std::function<void(const nlohmann::json&)> on_record);
  /// record["update"] says when. Its numbers also go to TensorBoard as "kind/name", nested ones with their
  /// path.
  void write(const std::string& kind, nlohmann::json record);

 private:
  JsonlWriter jsonl_;
  TensorBoardWriter tensorboard_;
  std::function<void(const nlohmann::json&)> on_record_;
};

}  // namespace chorus::inline train
