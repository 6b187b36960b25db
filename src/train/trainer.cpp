#include "chorus/train/trainer.h"

#include <chrono>
#include <memory>

#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>

#include "chorus/base/checkpoint.h"
#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/base/json.h"
#include "chorus/base/log.h"
#include "chorus/base/progress.h"
#include "chorus/base/text.h"
#include "chorus/data/batches.h"
#include "chorus/kernels/cpu.h"
#include "chorus/model/folder.h"
#include "chorus/train/optimizer.h"
#include "chorus/train/state.h"
#include "chorus/train/validation.h"

#include "train/interrupt.h"
#include "train/metrics.h"
#include "train/run_folder.h"

namespace chorus {

namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::filesystem::path vocabulary_path(const RunConfig& config, const std::filesystem::path& run) {
  return config.vocabulary.model.empty() ? run / "sentencepiece.bpe.model"
                                         : std::filesystem::path(config.vocabulary.model);
}

Vocabulary open_vocabulary(const RunConfig& config, const std::filesystem::path& run) {
  const std::filesystem::path path = vocabulary_path(config, run);
  if (!std::filesystem::exists(path)) {
    log_info("vocabulary: training {} pieces into {}", config.vocabulary.size, path.string());
    VocabularyTraining training = {
        .seed = static_cast<uint64_t>(config.seed),
        .progress = [](const std::string& line) { log_info("vocabulary: {}", line); }};
    for (const SourceConfig& source : config.data.valid) {
      training.more_languages.insert(training.more_languages.end(), source.languages.begin(),
                                     source.languages.end());
    }
    train_vocabulary(config.data.train, config.vocabulary, path, training);
  }
  return Vocabulary::load(path);
}

std::unique_ptr<DataSet> open_data(const RunConfig& config, const std::filesystem::path& run,
                                   const Vocabulary& vocabulary, const std::vector<SourceConfig>& sources,
                                   const std::string& list) {
  const std::filesystem::path store =
      config.data.store.empty() ? run / "store" : std::filesystem::path(config.data.store);
  DataSet::Options options = {.store = store, .max_length = config.data.max_length, .list = list};
  options.build.log = [](const std::string& line) { log_info("{}", line); };
  auto data = std::make_unique<DataSet>(sources, vocabulary, options);
  // The whole report, a line a direction, is in the run folder; here as much as a person reads.
  constexpr size_t kShown = 13;
  const std::vector<std::string> lines = data->report().lines();
  for (size_t i = 0; i < std::min(lines.size(), kShown); ++i) {
    log_info("data.{}: {}", list, lines[i]);
  }
  const std::filesystem::path report = run / ("data." + list + ".json");
  if (lines.size() > kShown)
    log_info("data.{}: ... {} more in {}", list, lines.size() - kShown, report.string());
  write_file_atomically(report, data->report().json() + "\n");
  return data;
}

ModelConfig sized(ModelConfig config, const Vocabulary& vocabulary) {
  config.vocabulary = vocabulary.size();
  return config;
}

Transformer::Options model_options(const RunConfig& config) {
  return {.device = config.device == Device::cuda ? at::kCUDA : at::kCPU,
          .compute = config.precision == Precision::bf16 ? at::kBFloat16 : at::kFloat,
          .gradients = true};
}

/// One run while it is being trained.
class Run {
 public:
  Run(const RunConfig& config, const RunOptions& options)
      : config_(config),
        folder_(options.folder),
        checkpoints_(options.folder),
        vocabulary_(open_vocabulary(config, options.folder)),
        train_data_(open_data(config, options.folder, vocabulary_, config.data.train, "train")),
        valid_data_(config.data.valid.empty()
                        ? nullptr
                        : open_data(config, options.folder, vocabulary_, config.data.valid, "valid")),
        stream_(*train_data_, {.seed = static_cast<uint64_t>(config.seed),
                               .temperature = config.data.temperature,
                               .batch_tokens = config.data.batch_tokens,
                               .micro_batches = config.data.micro_batches,
                               .pool_batches = config.data.pool_batches}),
        model_(sized(config.model, vocabulary_), model_options(config)),
        optimizer_(model_, config.optim),
        languages_(train_data_->language_pairs()),
        statistics_(model_.catalogue().sparse_layers()) {
    start(options);
    metrics_ = std::make_unique<Metrics>(folder_, state_.updates);
  }

  Ending train();

 private:
  void start(const RunOptions& options);
  void restore(const Checkpoint& checkpoint, bool accept_changes);
  void update();
  LossSums accumulate(const std::vector<MicroBatch>& micro_batches, int64_t target_tokens);
  void report(double learning_rate, double norm);
  bool validate();
  void save();
  void load(const std::filesystem::path& checkpoint);
  std::vector<TensorSet> moments();
  void export_model();
  [[nodiscard]] RunProgress elapsed_now() const {
    return {.updates = state_.updates,
            .epochs = state_.epochs(stream_.examples_per_epoch()),
            .tokens = state_.target_tokens};
  }
  [[nodiscard]] double seconds() const { return state_.seconds + now_seconds() - began_; }
  [[nodiscard]] double share_done() const;
  [[nodiscard]] std::optional<Ending> ending() const;

  RunConfig config_;
  std::filesystem::path folder_;
  CheckpointStore checkpoints_;
  Vocabulary vocabulary_;
  std::unique_ptr<DataSet> train_data_, valid_data_;
  BatchStream stream_;
  Transformer model_;
  Optimizer optimizer_;
  TrainState state_;
  std::vector<std::pair<int32_t, int32_t>> languages_;  // of each direction of train_data_
  std::vector<MoeStatistics> statistics_;               // of each sparse layer, since the last report
  TrainWindow window_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<Progress> progress_;
  double began_ = now_seconds();
  int64_t saved_at_ = -1, validated_at_ = -1;  // updates
};

void Run::start(const RunOptions& options) {
  state_.data_hash = hash_text(train_data_->hash());
  state_.vocabulary_hash = hash_text(vocabulary_.hash());
  std::vector<std::string> complaints;
  const std::optional<Checkpoint> checkpoint = checkpoints_.latest_valid(complaints);
  for (const std::string& complaint : complaints) {
    log_warning("{}", complaint);
  }
  if (checkpoint) {
    restore(*checkpoint, options.accept_changes);
    return;
  }
  if (!complaints.empty()) {
    throw UserError("no whole checkpoint in {}: remove the damaged ones to start afresh",
                    (folder_ / "checkpoints").string());
  }
  const RandomKey seed(static_cast<uint64_t>(config_.seed));
  for (size_t i = 0; i < model_.parameters().size(); ++i) {
    optimizer_.master(i).copy_(initial_value(model_.catalogue().parameters[i], seed));
  }
  optimizer_.masters_changed();
}

void Run::restore(const Checkpoint& checkpoint, bool accept_changes) {
  const std::string where = (checkpoint.folder / "state.json").string();
  TrainState state = train_state_from_json(parse_json(checkpoint.state, where), where);
  if (state.vocabulary_hash != state_.vocabulary_hash) {
    throw UserError(
        "{} was trained with another vocabulary than {}: put that one back, or train into another --out",
        folder_.string(),
        config_.vocabulary.model.empty() ? "sentencepiece.bpe.model there" : config_.vocabulary.model);
  }
  if (state.data_hash != state_.data_hash) {
    if (!accept_changes) {
      throw UserError(
          "the training text has changed since {} was started: give --accept-changes to go on with it from "
          "the beginning of an epoch, or another --out",
          folder_.string());
    }
    log_warning("the training text has changed: going on from the beginning of epoch {}",
                state.position.epoch + 1);
    state.position = {.epoch = state.position.epoch + 1};
    state.data_hash = state_.data_hash;
  }
  state_ = state;
  stream_.seek(state_.position);
  optimizer_.updates = state_.optimizer_updates;
  load(checkpoint.folder);
  saved_at_ = state_.updates;
  log_info("resuming {} from update {}", folder_.string(), state_.updates);
}

LossSums Run::accumulate(const std::vector<MicroBatch>& micro_batches, int64_t target_tokens) {
  const RandomKey key = RandomKey(static_cast<uint64_t>(config_.seed))
                            .derive("update")
                            .derive(static_cast<uint64_t>(state_.updates));
  const auto count = static_cast<double>(micro_batches.size());
  LossSums sums;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    const Pass pass = {.training = true,
                       .key = key.derive(static_cast<uint64_t>(i)),
                       .auxiliary_scale = 1 / count,
                       .group_count = static_cast<int64_t>(vocabulary_.languages().size()),
                       .statistics = &statistics_};
    sums.add(model_.train(model_.to_batch(micro_batches[i], languages_), pass,
                          {.label_smoothing = config_.train.label_smoothing,
                           .gradient_scale = 1 / static_cast<double>(target_tokens),
                           .recompute = config_.train.recompute}));
  }
  return sums;
}

void Run::update() {
  const double began = now_seconds();
  const std::vector<MicroBatch> micro_batches = stream_.next();
  int64_t target_tokens = 0, source_tokens = 0, sentences = 0;
  for (const MicroBatch& micro_batch : micro_batches) {
    target_tokens += micro_batch.target_tokens;
    source_tokens += micro_batch.source_tokens;
    sentences += micro_batch.rows;
  }
  optimizer_.begin_update();
  const LossSums sums = accumulate(micro_batches, target_tokens);
  const double norm = optimizer_.gradient_norm();
  state_.position = stream_.position();
  state_.target_tokens += target_tokens;
  state_.sentences += sentences;
  ++state_.updates;
  const double learning_rate = learning_rate_at(config_.optim, elapsed_now(), config_.train.duration);
  const bool applied = std::isfinite(norm) && std::isfinite(sums.loss);
  if (applied) {
    optimizer_.update(learning_rate, norm);
    state_.optimizer_updates = optimizer_.updates;
    state_.skipped_in_a_row = 0;
  } else {
    ++state_.skipped_in_a_row;
    log_warning("update {}: the gradient is not finite; skipped", state_.updates);
    if (state_.skipped_in_a_row > config_.train.skip_limit) {
      throw Error(
          "{} updates in a row had no finite gradient (train.skip_limit): lower optim.learning_rate, or "
          "raise optim.warmup",
          state_.skipped_in_a_row);
    }
  }
  window_.add(sums, source_tokens, applied, now_seconds() - began);
  if (const double share = share_done(); share > 0) {
    progress_->expect(std::llround(static_cast<double>(state_.updates) / share));
  }
  progress_->update(state_.updates,
                    fmt::format("epoch {:.2f}  loss {:.3f}  {} tokens/s  dropped {:.1f}%",
                                state_.epochs(stream_.examples_per_epoch()),
                                window_.sums.loss / static_cast<double>(window_.sums.tokens),
                                human_count(window_.tokens_per_second()), 100 * drop_rate(statistics_)));
  if (state_.updates % config_.train.log_every == 0) report(learning_rate, norm);
}

void Run::report(double learning_rate, double norm) {
  nlohmann::json record = window_.record();
  record["dropped"] = drop_rate(statistics_);
  for (size_t layer = 0; layer < statistics_.size(); ++layer) {
    record["layers"][fmt::format("{:02}", layer)] = load_record(statistics_[layer]);
  }
  record["update"] = state_.updates;
  record["epoch"] = state_.epochs(stream_.examples_per_epoch());
  record["target_tokens"] = state_.target_tokens;
  record["learning_rate"] = learning_rate;
  record["gradient_norm"] = norm;
  record["seconds"] = seconds();
  metrics_->write("train", record);
  window_ = {};
  statistics_.assign(statistics_.size(), {});
}

/// Whether the model is the best so far.
bool Run::validate() {
  validated_at_ = state_.updates;
  if (!valid_data_) return false;
  const double began = now_seconds();
  ValidationResult result = chorus::validate(model_, *valid_data_, config_.data.batch_tokens);
  if (config_.validation.decode > 0) {
    AssessOptions options;
    options.decode.beam = config_.validation.beam;
    options.sentences = config_.validation.decode;
    result.add_scores(assess(model_, vocabulary_, config_.data.valid, options));
  }
  const double score = result.criterion(config_.validation.criterion);
  const bool lower_is_better = config_.validation.criterion == Criterion::loss;
  const bool better = !state_.best || (lower_is_better ? score < *state_.best : score > *state_.best);
  if (better) {
    state_.best = score;
    state_.stale_validations = 0;
  } else {
    ++state_.stale_validations;
  }
  nlohmann::json record = to_json(result);
  record["update"] = state_.updates;
  record["best"] = better;
  record["seconds"] = now_seconds() - began;
  metrics_->write("validation", record);
  log_info("update {}: {}{}", state_.updates, result.line(), better ? "  (best)" : "");
  return better;
}

void Run::save() {
  saved_at_ = state_.updates;
  TrainState state = state_;
  state.seconds = seconds();
  checkpoints_.write(state_.updates, to_json(state).dump(), [&](const std::filesystem::path& folder) {
    const TensorSet weights = {.prefix = "", .tensor = [&](size_t i) { return optimizer_.master(i); }};
    save_tensors(folder / "model.safetensors", model_.catalogue(), std::span(&weights, 1));
    save_tensors(folder / "optimizer.safetensors", model_.catalogue(), moments());
  });
  checkpoints_.keep(static_cast<size_t>(config_.train.keep));
}

std::vector<TensorSet> Run::moments() {
  return {{.prefix = "m.", .tensor = [&](size_t i) { return optimizer_.first_moment(i); }},
          {.prefix = "v.", .tensor = [&](size_t i) { return optimizer_.second_moment(i); }}};
}

void Run::load(const std::filesystem::path& checkpoint) {
  const TensorSet weights = {.prefix = "", .tensor = [&](size_t i) { return optimizer_.master(i); }};
  load_tensors(SafetensorsFile(checkpoint / "model.safetensors"), model_.catalogue(), std::span(&weights, 1));
  load_tensors(SafetensorsFile(checkpoint / "optimizer.safetensors"), model_.catalogue(), moments());
  optimizer_.masters_changed();
}

void Run::export_model() {
  save_model(folder_ / "model", {.config = model_.config(),
                                 .catalogue = model_.catalogue(),
                                 .weights = [&](size_t i) { return optimizer_.master(i); },
                                 .vocabulary = vocabulary_});
}

/// Of the run's length, by train.duration or train.time_limit, whichever ends it first.
double Run::share_done() const {
  const TrainConfig& t = config_.train;
  if (t.duration.count == 0) return 1;
  const double by_duration = elapsed(elapsed_now(), t.duration.unit) / static_cast<double>(t.duration.count);
  return t.time_limit > 0 ? std::max(by_duration, seconds() / (60 * t.time_limit)) : by_duration;
}

std::optional<Ending> Run::ending() const {
  const ValidationConfig& validation = config_.validation;
  if (share_done() >= 1) {
    return config_.train.time_limit > 0 && seconds() >= 60 * config_.train.time_limit ? Ending::out_of_time
                                                                                      : Ending::done;
  }
  if (validation.patience > 0 && state_.stale_validations >= validation.patience) return Ending::no_better;
  if (Interrupt::requested()) return Ending::interrupted;
  return std::nullopt;
}

Ending Run::train() {
  const Interrupt interrupt;
  progress_ = std::make_unique<Progress>(
      ProgressOptions{.task = "training", .unit = "updates", .start = state_.updates});
  const auto due = [&](int64_t every) { return every > 0 && state_.updates % every == 0; };
  std::optional<Ending> end = ending();
  while (!end) {
    update();
    bool better = false;
    if (due(config_.validation.every)) {
      better = validate();
      if (better) export_model();
    }
    if (better || due(config_.train.checkpoint_every)) save();
    if (better) checkpoints_.mark_best(state_.updates);
    end = ending();
  }
  if (*end != Ending::interrupted && validated_at_ != state_.updates) {
    if (validate() || !valid_data_) {
      export_model();
      if (valid_data_) {
        save();
        checkpoints_.mark_best(state_.updates);
      }
    }
  }
  if (saved_at_ != state_.updates) save();
  progress_->finish();
  return *end;
}

}  // namespace

Ending train(const RunConfig& config, const RunOptions& options) {
  check(config);
  if (config.threads > 0) at::set_num_threads(static_cast<int>(config.threads));
  if (config.precision == Precision::bf16 && config.device == Device::cpu && cpu_isa() != Isa::avx512_bf16) {
    log_warning("this CPU has no bf16 arithmetic: precision = \"bf16\" saves memory here, not time");
  }
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) throw UserError("cannot make the run folder {}: {}", options.folder.string(), error.message());
  const FolderLock lock(options.folder);
  claim_settings(config, options);
  Run run(config, options);
  return run.train();
}

}  // namespace chorus
