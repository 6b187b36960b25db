#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "comm/failure.h"
#include "formats/folder.h"
#include "io/run_layout.h"
#include "kernels/device.h"
#include "layout/shapes.h"
#include "memory/usage.h"
#include "mpi/world.h"
#include "state/frozen.h"
#include "state/optimizer.h"
#include "state/stash.h"
#include "train/state.h"
#include "train/validation.h"

#include "train/internal/initial_model.h"
#include "train/internal/interrupt.h"
#include "train/internal/metrics.h"
#include "train/internal/run_folder.h"
#include "train/internal/start.h"
#include "train/internal/sums.h"

namespace chorus::inline train {

namespace {

Transformer::Options model_options(const RunConfig& config, Group& group, Parallel& parallel) {
  return {.device = own_device(config.device, group),
          .compute = config.precision == Precision::bf16 ? at::kBFloat16 : at::kFloat,
          .gradients = true,
          .empty = true,
          .parallel = &parallel};
}

/// One run while it is being trained.
class Run {
 public:
  Run(const RunConfig& config, const RunOptions& options, Start start, RunFiles& files, Group& group)
      : config_(config),
        options_(options),
        group_(group),
        files_(files),
        data_(std::move(start.data)),
        stream_(std::move(start.stream)),
        parallel_(group, start.mesh),
        model_(start.model, model_options(config, group, parallel_)),
        memory_(std::move(start.memory)),
        optimizer_(model_, config.optim, parallel_, memory_.tiers),
        stash_(memory_.tiers.activations == Tier::device
                   ? nullptr
                   : std::make_unique<TierStash>(memory_.tiers.activations, memory_.tiers.folder)),
        state_(std::move(start.state)),
        languages_(data_->train->language_pairs()),
        tasks_(data_->train->tasks().size()),
        statistics_(model_.catalogue().sparse_layers()) {
    files_.set_saving(memory_.save_budget, config_.train.checkpoint_part_size);
    if (!config.train.freeze.empty())
      optimizer_.freeze(frozen_parameters(model_.catalogue(), config.train.freeze));
    if (start.checkpoint) {
      optimizer_.set_updates(state_.optimizer_updates);
      files_.load(*start.checkpoint, state_, optimizer_, model_.catalogue());
      log_info("resuming {} from update {}", options_.folder.string(), state_.updates);
    } else if (config.train.init.empty()) {
      optimizer_.initialise(RandomKey(static_cast<uint64_t>(config.seed)));
    } else {
      load_initial_model(config, model_.catalogue(), data_->vocabulary, optimizer_);
    }
  }

  /// What is still being saved refers to the model.
  ~Run() { files_.abandon_saving(); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  Ending train();

 private:
  void begin();
  void update();
  LossSums accumulate(const std::vector<MicroBatch>& micro_batches, int64_t target_tokens);
  void tell_length();
  void report(double learning_rate, double norm);
  bool validate();
  bool validate_or_save();
  Assessment assess_whole();
  /// `better`: the model is exported too.
  void save(bool better);
  /// One of the ranks that share their micro-batches.
  [[nodiscard]] bool counts() const { return parallel_.tp.rank() == 0; }
  /// The rank that writes what is written once: logs, metrics, manifests.
  [[nodiscard]] bool writes() const { return group_.rank() == 0; }
  [[nodiscard]] RunProgress elapsed_now() const {
    return {.updates = state_.updates, .epochs = state_.epochs(), .tokens = state_.target_tokens};
  }
  [[nodiscard]] double seconds() const { return state_.seconds + steady_seconds() - began_; }
  [[nodiscard]] double share_of_duration() const;
  [[nodiscard]] bool out_of_time() const {
    return config_.train.time_limit > 0 && seconds() >= 60 * config_.train.time_limit;
  }
  [[nodiscard]] std::optional<Ending> ending() const;
  [[nodiscard]] std::optional<Ending> common_ending();

  const RunConfig& config_;
  const RunOptions& options_;
  Group& group_;
  RunFiles& files_;
  std::unique_ptr<Data> data_;
  std::unique_ptr<BatchStream> stream_;
  Parallel parallel_;
  Transformer model_;
  SettledMemory memory_;
  Optimizer optimizer_;
  std::unique_ptr<TierStash> stash_;  // null: activations stay on the device
  TrainState state_;
  std::vector<std::pair<int32_t, int32_t>> languages_;  // of each direction of the training text
  std::vector<TaskSums> tasks_;                         // of this rank, of each task, since the last report
  std::vector<MoeStatistics> statistics_;  // of this rank, of each sparse layer, since the last report
  TrainWindow window_;
  std::map<std::string, int64_t> bytes_sent_;  // by this rank until the last report, by group
  ScratchFile::Traffic traffic_;               // of what the optimizer has on disk, likewise
  std::unique_ptr<Metrics> metrics_;           // of the rank that writes, once the run has begun
  std::unique_ptr<Progress> progress_;
  double began_ = steady_seconds(), saving_seconds_ = 0;  // the latter since the last report
  const int64_t started_at_ = state_.updates;             // this process
  bool has_begun_ = false, length_told_ = false;          // in this process
  bool unsaved_ = false;                                  // something has happened since the last checkpoint
};

/// Writes the settings with which later starts are compared, before anything of this start is kept.
void Run::begin() {
  if (std::exchange(has_begun_, true) || !writes()) return;
  write_settings(config_, options_.folder);
  write_reports(*data_, options_.folder);
  write_plan(memory_, options_.folder);
  metrics_ = std::make_unique<Metrics>(options_.folder, state_.updates, options_.on_record);
}

LossSums Run::accumulate(const std::vector<MicroBatch>& micro_batches, int64_t target_tokens) {
  const RandomKey key = RandomKey(static_cast<uint64_t>(config_.seed))
                            .derive("update")
                            .derive(static_cast<uint64_t>(state_.updates));
  const size_t count = micro_batches.size(), replicas = parallel_.mesh().dp();
  const bool pass_over = key.derive("gating dropout").uniform(0) < config_.model.moe.gating_dropout;
  LossSums sums;
  // Replica r has the micro-batches r, r + replicas, ...; in the last round some may have none.
  for (size_t first = 0; first < count; first += replicas) {
    const size_t i = first + parallel_.dp.rank();
    const bool idle = i >= count;
    const Pass pass = {.training = true,
                       .key = key.derive(static_cast<uint64_t>(i)),
                       .pass_over_experts = pass_over,
                       .auxiliary_scale = 1 / static_cast<double>(count),
                       .group_count = static_cast<int64_t>(data_->vocabulary.languages().size()),
                       .statistics = idle || !counts() ? nullptr : &statistics_};
    if (first + replicas >= count) optimizer_.last_micro_batch();
    const LossSums added =
        model_.train(idle ? model_.idle_batch() : model_.to_batch(micro_batches[i], languages_), pass,
                     {.label_smoothing = config_.train.label_smoothing,
                      .gradient_scale = 1 / static_cast<double>(target_tokens),
                      .recompute = config_.train.recompute,
                      .stash = stash_.get(),
                      .per_token = tasks_.size() > 1});
    if (tasks_.size() > 1 && !idle && counts())
      add_rows(tasks_, *data_->train, micro_batches[i], added.token_nll);
    sums.add(added);
  }
  return sum_over_ranks(group_, counts() ? sums : LossSums());
}

void Run::update() {
  const double began = steady_seconds();
  const std::vector<MicroBatch> micro_batches = stream_->next();
  int64_t target_tokens = 0, source_tokens = 0, sentences = 0;
  for (const MicroBatch& micro_batch : micro_batches) {
    target_tokens += micro_batch.target_tokens;
    source_tokens += micro_batch.source_tokens;
    sentences += micro_batch.rows;
  }
  optimizer_.begin_update();
  const LossSums sums = accumulate(micro_batches, target_tokens);
  const double norm = optimizer_.gradient_norm();
  begin();
  unsaved_ = true;
  state_.position = stream_->position();
  state_.target_tokens += target_tokens;
  state_.sentences += sentences;
  ++state_.updates;
  const double learning_rate = learning_rate_at(config_.optim, elapsed_now(), config_.train.duration);
  const bool applied = can_apply(config_.optim, norm) && std::isfinite(sums.loss);
  if (applied) {
    optimizer_.update(learning_rate, norm);
    state_.optimizer_updates = optimizer_.updates();
  }
  state_.note_gradient(applied, config_.train.skip_limit);
  check_device_budget();
  window_.add(sums, source_tokens, applied, steady_seconds() - began);
  if (const double share = share_of_duration(); share > 0)
    progress_->expect(std::llround(std::min(static_cast<double>(state_.updates) / share, 1e15)));
  if (config_.train.time_limit > 0) progress_->limit(seconds(), 60 * config_.train.time_limit);
  progress_->update(state_.updates,
                    fmt::format("epoch {:.2f}  loss {:.3f}  {} tokens/s  dropped {:.1f}%", state_.epochs(),
                                window_.sums.loss / static_cast<double>(window_.sums.tokens),
                                human_count(window_.tokens_per_second()), 100 * drop_rate(statistics_)));
  if (state_.updates % config_.train.log_every == 0) report(learning_rate, norm);
}

/// Says once, from the pace of the first updates, how long the run will take.
void Run::tell_length() {
  const double share = share_of_duration();
  const int64_t updates = state_.updates - started_at_;
  if (std::exchange(length_told_, true) || share <= 0 || share >= 1 || updates == 0) return;
  const double pace = window_.seconds / static_cast<double>(updates);
  const double total = static_cast<double>(state_.updates) / share;
  log_info("{}", length_line(config_.train, total, state_.epochs() / share, pace,
                             (total - static_cast<double>(state_.updates)) * pace));
}

void Run::report(double learning_rate, double norm) {
  tell_length();
  sum_over_ranks(group_, statistics_, config_.model.expert_counts(),
                 static_cast<int64_t>(data_->vocabulary.languages().size()));
  nlohmann::json record = window_.record();
  record["dropped"] = drop_rate(statistics_);
  if (tasks_.size() > 1) {
    sum_over_ranks(group_, tasks_);
    record["tasks"] = tasks_record(tasks_, data_->train->tasks());
  }
  const std::vector<std::string> layers = sparse_layer_names(model_.catalogue());
  for (size_t i = 0; i < layers.size(); ++i) record["layers"][layers[i]] = load_record(statistics_[i]);
  record["update"] = state_.updates;
  record["epoch"] = state_.epochs();
  record["target_tokens"] = state_.target_tokens;
  record["learning_rate"] = learning_rate;
  record["gradient_norm"] = norm;
  record["seconds"] = seconds();
  record["saving_seconds"] = std::exchange(saving_seconds_, 0);
  for (const auto& [group, bytes] : parallel_.bytes_sent()) {
    record["bytes_sent"][group] = bytes - std::exchange(bytes_sent_[group], bytes);
  }
  const uint64_t on_disk = optimizer_.bytes_on_disk() + (stash_ ? stash_->bytes_on_disk() : 0);
  record["memory"] = memory_record(group_, on_disk, optimizer_.traffic(), traffic_);
  if (writes()) metrics_->write("train", record);
  window_ = {};
  tasks_.assign(tasks_.size(), {});
  statistics_.assign(statistics_.size(), {});
}

/// Scores translations (validation.decode) by the whole model on each rank; through a folder where a rank has a part.
Assessment Run::assess_whole() {
  if (config_.validation.decode == 0) return {};
  const AssessOptions options = assess_options(config_.validation, config_.data.batch_tokens, group_);
  optimizer_.finish_update();
  if (parallel_.holds_everything() && optimizer_.values_stay())
    return assess(model_, data_->vocabulary, data_->translated, options);
  const std::filesystem::path folder = options_.folder / "validation-model";
  files_.export_model(folder, model_, data_->vocabulary, optimizer_);
  group_.barrier("exporting the model");
  // As it lies in the file, in fp32, whatever the run computes with: nothing of it is copied into memory.
  Assessment assessment =
      assess(*load_model(folder, {}).model, data_->vocabulary, data_->translated, options);
  group_.barrier("translating for validation");
  if (writes()) std::filesystem::remove_all(folder);
  return assessment;
}

/// Validates the model. Returns whether it is the best so far; never if something about it is not finite.
bool Run::validate() {
  begin();
  unsaved_ = true;
  state_.validated = state_.updates;
  if (!data_->valid) return false;
  const double began = steady_seconds();
  ValidationResult result =
      chorus::validate(model_, *data_->valid,
                       {.batch_tokens = config_.data.batch_tokens, .sentences = config_.validation.sentences},
                       group_, parallel_);
  const Assessment assessment = assess_whole();
  result.add_scores(assessment);
  const double score = result.criterion(config_.validation.criterion);
  const bool finite = result.is_finite() && std::isfinite(score);
  if (!finite) log_warning("update {}: the validation is not finite: not a model to keep", state_.updates);
  const bool better = state_.note_validation(finite ? std::optional(score) : std::nullopt,
                                             config_.validation.criterion == Criterion::loss);
  nlohmann::json record = to_json(result);
  record["update"] = state_.updates;
  record["best"] = better;
  record["seconds"] = steady_seconds() - began;
  if (writes() && better) write_translations(assessment.kept, state_.updates, options_.folder);
  if (writes()) metrics_->write("validation", record);
  log_info("update {}: {}{}", state_.updates, result.line(), better ? "  (best)" : "");
  return better;
}

/// Validates. If that fails, a run of one process saves what it has learnt: the next start begins here again.
bool Run::validate_or_save() {
  const TrainState before = state_;
  try {
    return validate();
  } catch (const std::exception&) {
    state_ = before;
    if (group_.size() == 1) save(false);
    throw;
  }
}

void Run::save(bool better) {
  const double began = steady_seconds();
  begin();
  TrainState state = state_;
  state.seconds = seconds();
  files_.save(
      state, optimizer_, model_, data_->vocabulary,
      {.keep = config_.train.keep, .exported = better ? options_.folder / "model" : std::filesystem::path()});
  unsaved_ = false;
  saving_seconds_ += steady_seconds() - began;
}

double Run::share_of_duration() const {
  const Duration& duration = config_.train.duration;
  return duration.count == 0 ? 1
                             : elapsed(elapsed_now(), duration.unit) / static_cast<double>(duration.count);
}

std::optional<Ending> Run::ending() const {
  const ValidationConfig& validation = config_.validation;
  if (out_of_time()) return Ending::out_of_time;
  if (share_of_duration() >= 1) return Ending::done;
  if (validation.patience > 0 && state_.stale_validations >= validation.patience) return Ending::no_better;
  return std::nullopt;
}

/// Returns why to stop, on all ranks alike: by rank 0's clock, as clocks differ, or for a signal to any rank.
std::optional<Ending> Run::common_ending() {
  const std::optional<Ending> own = ending();
  const int64_t first = group_.max(writes() && own ? 1 + static_cast<int64_t>(*own) : 0);
  const std::optional<Ending> signalled = Interrupt::ending(group_);
  return first > 0 ? static_cast<Ending>(first - 1) : signalled;
}

Ending Run::train() {
  const Interrupt interrupt;
  const auto due = [&](int64_t every) { return every > 0 && state_.updates % every == 0; };
  std::optional<Ending> end = common_ending();
  const ProgressOptions shown = {.task = "training", .unit = "update", .start = state_.updates};
  if (!end) progress_ = std::make_unique<Progress>(shown);
  bool validation_is_owed = data_->valid && state_.updates > 0 && due(config_.validation.every) &&
                            state_.validated != state_.updates;  // the last start ended in it
  bool better = false;
  while (!end) {
    if (!std::exchange(validation_is_owed, false)) update();
    better = data_->valid && due(config_.validation.every) && validate_or_save();
    end = common_ending();
    if (end) break;
    files_.look_at_saving();
    if (unsaved_ && (better || due(config_.train.checkpoint_every))) save(better);
  }
  // Also of a run that an earlier start ended before its last validation; one that is done is left as it is.
  if (!by_signal(*end) && state_.validated != state_.updates) better = validate_or_save() || !data_->valid;
  if (unsaved_) save(better);
  files_.finish_saving();
  if (progress_) progress_->finish();
  if (!by_signal(*end)) files_.check_exported(options_.folder / kRunModel);
  return *end;
}

}  // namespace

Ending train_run(const RunConfig& config, const RunOptions& options) {
  check(config);
  Group alone;
  Group& group = options.group ? *options.group : alone;
  group.set_timeout(config.parallel.timeout);
  set_threads(config.threads, group);
  const DeviceMemoryCount counting(parse_bytes(config.memory.device_budget, "memory.device_budget"),
                                   own_device(config.device, group));  // where there is none, nothing is made
  std::optional<ModelDescription> initial;
  if (!config.train.init.empty()) initial = find_initial_model(config.train.init).description;
  const RunFolder held(options.folder, group);
  RunFiles files(options.folder, group);
  Run run(config, options, prepare(config, options, initial ? &*initial : nullptr, files, group), files,
          group);
  return or_end(group, [&] { return run.train(); });  // exchanges in the background use the run
}

}  // namespace chorus::inline train
