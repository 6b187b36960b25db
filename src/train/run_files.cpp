#include "train/internal/run_files.h"

#include <chrono>
#include <cmath>
#include <deque>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "comm/failure.h"
#include "comm/ranks.h"
#include "formats/folder.h"
#include "formats/folder_files.h"
#include "formats/language_detector.h"
#include "formats/parts.h"
#include "io/files.h"
#include "io/json.h"
#include "io/run_layout.h"
#include "kernels/adamw.h"

namespace chorus::inline train {

namespace {

/// The language classifier that `chorus lid train` put into the model that another takes the place of.
void keep_classifier(const std::filesystem::path& from, const std::filesystem::path& to) {
  try {
    copy_language_detector(from, to);
  } catch (const UserError& error) {
    log_warning("{}; its language classifier is lost", error.what());
  }
}

// The tensors of model.safetensors, and of optimizer.safetensors.
const std::vector<std::string> kWeights = {""}, kMoments = {"m.", "v."}, kAll = {"", "m.", "v."};

/// Checks that weights are finite as they are written.
class FiniteCheck {
 public:
  explicit FiniteCheck(const Catalogue& catalogue) : catalogue_(catalogue) {}
  void look(const Optimizer::Part& part) {
    if (found_.empty() && !std::isfinite(squared_norm(part.master)))
      found_ = catalogue_.parameters[part.parameter].name;
  }
  /// Called by all ranks: Error on all where one has seen something.
  void settle(Group& group) const {
    for (const std::string& name : group.gather_text(found_)) {
      if (name.empty()) continue;
      throw Error(
          "{} has weights that are no longer finite: nothing is written, and the checkpoints that are there "
          "stay; lower optim.learning_rate or raise optim.warmup, and give --accept-changes to go on",
          name);
    }
  }

 private:
  const Catalogue& catalogue_;
  std::string found_;  // the first parameter with such weights
};

TensorPart tensor_part(const Optimizer::Part& part, const at::Tensor& data) {
  return {.parameter = part.parameter, .local = part.local, .first = part.first, .data = data};
}

Group all_of(const Group& group) {
  std::vector<int> ranks(group.size());
  std::iota(ranks.begin(), ranks.end(), 0);
  return group.subset(ranks, "saving");
}

/// Where parts are written to, each once in every file. Rank 0's, others need not know; empty: not at all.
struct PartFiles {
  std::vector<std::filesystem::path> weights;
  std::filesystem::path moments;
  std::filesystem::path parts;  // folder for files of each rank's own, of at most part_size bytes
  uint64_t part_size = 0;
};

/// All that parts(visit) shows on the ranks, which call it together. Error where weights are not finite.
void write_parts(Group& group, const Catalogue& catalogue,
                 const std::function<void(const Optimizer::Visit& visit)>& parts, const PartFiles& files) {
  std::deque<PartWriter> weights;
  for (const std::filesystem::path& own : files.weights) {
    if (const std::string path = group.broadcast_text(own.string()); !path.empty())
      weights.emplace_back(group, path, catalogue, kWeights);
  }
  std::optional<PartWriter> moments;
  if (const std::string path = group.broadcast_text(files.moments.string()); !path.empty())
    moments.emplace(group, path, catalogue, kMoments);
  std::optional<RankPartsWriter> own;
  if (const std::string path = group.broadcast_text(files.parts.string()); !path.empty())
    own.emplace(path, group.rank(), catalogue, kAll, files.part_size);
  FiniteCheck finite(catalogue);
  parts([&](const Optimizer::Part& part) {
    finite.look(part);
    for (PartWriter& file : weights) file.write(0, tensor_part(part, part.master));
    if (moments) {
      moments->write(0, tensor_part(part, part.m));
      moments->write(1, tensor_part(part, part.v));
    }
    if (!own) return;
    own->write(0, tensor_part(part, part.master));
    own->write(1, tensor_part(part, part.m));
    own->write(2, tensor_part(part, part.v));
  });
  finite.settle(group);
  for (PartWriter& file : weights) file.finish();
  if (moments) moments->finish();
  if (!own) return;
  own->finish();
  group.barrier("writing parts of a checkpoint");
}

}  // namespace

TrainState state_of(const Checkpoint& checkpoint) {
  const std::string where = (checkpoint.folder / kStateFile).string();
  return train_state_from_json(parse_json(checkpoint.state, where), where);
}

RunFiles::RunFiles(std::filesystem::path run, Group& group)
    : run_(std::move(run)), group_(group), saving_(all_of(group)) {
  if (!writes()) return;
  remove_temporaries(run_);
  checkpoints_.emplace(run_);
}

void RunFiles::set_saving(int64_t budget, const std::string& part_size) {
  save_budget_ = budget;
  part_size_ = static_cast<uint64_t>(parse_bytes(part_size, "train.checkpoint_part_size"));
}

std::optional<Checkpoint> RunFiles::latest() {
  Checkpoint checkpoint;  // without a folder when there is none
  side_by_side(group_, "looking for a checkpoint", [&] {
    if (!writes()) return;
    std::vector<std::string> complaints;
    checkpoint = checkpoints_->latest_valid(complaints).value_or(Checkpoint());
    if (checkpoint.folder.empty() && !complaints.empty()) {
      throw UserError(
          "no whole checkpoint in {}: {}; put right what is missing, or remove the damaged ones to start "
          "afresh",
          (run_ / kRunCheckpoints).string(), fmt::join(complaints, "; "));
    }
    for (const std::string& complaint : complaints) {
      log_warning("{}", complaint);
    }
  });
  checkpoint.folder = group_.broadcast_text(checkpoint.folder.string());
  checkpoint.state = group_.broadcast_text(checkpoint.state);
  return checkpoint.folder.empty() ? std::nullopt : std::optional(checkpoint);
}

void RunFiles::load(const Checkpoint& checkpoint, const TrainState& state, Optimizer& optimizer,
                    const Catalogue& catalogue) {
  const bool in_parts = is_in_parts(checkpoint.folder);  // weights and moments in the same files
  const auto place_of = [&](const char* name) {
    return in_parts ? checkpoint.folder : checkpoint.folder / name;
  };
  const PartReader weights(place_of("model.safetensors"), catalogue, kWeights);
  const PartReader moments(place_of("optimizer.safetensors"), catalogue, kMoments);
  optimizer.change([&](const Optimizer::Part& part) {
    weights.read(0, tensor_part(part, part.master));
    moments.read(0, tensor_part(part, part.m));
    moments.read(1, tensor_part(part, part.v));
  });
  if (writes()) mark_best(state);
}

void RunFiles::save(const TrainState& state, Optimizer& optimizer, const Transformer& model,
                    const Vocabulary& vocabulary, const Save& how) {
  finish_saving();
  if (!queue_) queue_ = std::make_unique<PartQueue>(save_budget_);
  queue_->begin();
  const auto fill = [this, &model](const std::filesystem::path& checkpoint,
                                   const std::filesystem::path& exported_weights) {
    PartFiles files = {.weights = {exported_weights}, .moments = {}, .parts = {}, .part_size = part_size_};
    const auto in_it = [&](const char* name) { return checkpoint.empty() ? checkpoint : checkpoint / name; };
    if (part_size_ > 0) {
      files.parts = checkpoint;
    } else {
      files.weights.push_back(in_it(kWeightsFile));
      files.moments = in_it("optimizer.safetensors");
    }
    write_parts(
        saving_, model.catalogue(), [this](const Optimizer::Visit& visit) { queue_->write_all(visit); },
        files);
  };
  const auto write_files = [fill, exported = how.exported, &model,
                            &vocabulary](const std::filesystem::path& folder) {
    if (exported.empty()) {
      fill(folder, {});
    } else {
      save_model(exported, model.config(), vocabulary, DType::f32, [&](const std::filesystem::path& weights) {
        keep_classifier(exported, weights.parent_path());
        fill(folder, weights);
      });
    }
    write_description(folder, model.config(), DType::f32, vocabulary);
  };
  saved_ = saving_.later([this, state, keep = how.keep, fill, write_files, text = to_json(state).dump()] {
    try {
      if (!writes()) {
        fill({}, {});
        return;
      }
      checkpoints_->write(state.updates, text, write_files);
      mark_best(state);  // before others go
      checkpoints_->keep(static_cast<size_t>(keep));
    } catch (...) {
      queue_->give_up();
      if (group_.size() > 1) end_by_hook();  // others may wait for what this rank was to write
      throw;
    }
  });
  try {
    optimizer.read([this](const Optimizer::Part& part) { queue_->push(part); });
    queue_->close();
  } catch (...) {
    queue_->give_up();
    throw;
  }
  if (save_budget_ == 0) finish_saving();
}

void RunFiles::finish_saving() {
  if (saved_.valid()) saved_.get();
}

void RunFiles::look_at_saving() {
  if (saved_.valid() && saved_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) saved_.get();
}

void RunFiles::abandon_saving() noexcept {
  if (saved_.valid()) saved_.wait();
}

void RunFiles::mark_best(const TrainState& state) {
  std::optional<int64_t> known;
  try {
    known = checkpoints_->best();
  } catch (const UserError& error) {
    log_warning("{}: it is written anew with the best model", error.what());
    checkpoints_->forget_best();
  }
  if (state.best_update < 0 || !std::filesystem::exists(checkpoints_->folder_of(state.best_update))) return;
  if (known != state.best_update) checkpoints_->mark_best(state.best_update);
}

void RunFiles::export_model(const std::filesystem::path& folder, const Transformer& model,
                            const Vocabulary& vocabulary, Optimizer& optimizer) {
  const auto write = [&](const std::filesystem::path& path) {
    write_parts(group_, model.catalogue(), [&](const Optimizer::Visit& visit) { optimizer.read(visit); },
                {.weights = {path}, .moments = {}, .parts = {}});
  };
  writes() ? save_model(folder, model.config(), vocabulary, DType::f32, write) : write({});
}

void RunFiles::check_exported(const std::filesystem::path& folder) {
  if (!writes() || std::filesystem::exists(folder / kConfigFile)) return;
  const std::vector<int64_t> steps = checkpoints_->steps();
  const std::filesystem::path last = steps.empty() ? "" : checkpoints_->folder_of(steps.back());
  throw Error("there is no {}: no validation gave a finite loss, or it was taken away{}", folder.string(),
              !steps.empty() && std::filesystem::exists(last / kWeightsFile)
                  ? fmt::format("; {} is a model folder too", last.string())
                  : "");
}

}  // namespace chorus::inline train
