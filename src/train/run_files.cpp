#include "train/internal/run_files.h"

#include <cmath>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "formats/folder.h"
#include "formats/folder_files.h"
#include "formats/parts.h"
#include "io/files.h"
#include "kernels/adamw.h"
#include "mpi/world.h"

namespace chorus::inline train {

namespace {

// The tensors of model.safetensors, and of optimizer.safetensors.
const std::vector<std::string> kWeights = {""}, kMoments = {"m.", "v."};

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

}  // namespace

RunFiles::RunFiles(std::filesystem::path run, Group& group) : run_(std::move(run)), group_(group) {
  if (!writes()) return;
  remove_temporaries(run_);
  checkpoints_.emplace(run_);
}

std::string RunFiles::common(const std::string& text) {
  return group_.gather_text(writes() ? text : "").front();
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
          (run_ / "checkpoints").string(), fmt::join(complaints, "; "));
    }
    for (const std::string& complaint : complaints) {
      log_warning("{}", complaint);
    }
  });
  checkpoint.folder = common(checkpoint.folder.string());
  checkpoint.state = common(checkpoint.state);
  return checkpoint.folder.empty() ? std::nullopt : std::optional(checkpoint);
}

void RunFiles::load(const Checkpoint& checkpoint, const TrainState& state, Optimizer& optimizer,
                    const Catalogue& catalogue) {
  const PartReader weights(checkpoint.folder / "model.safetensors", catalogue, kWeights);
  const PartReader moments(checkpoint.folder / "optimizer.safetensors", catalogue, kMoments);
  optimizer.change([&](const Optimizer::Part& part) {
    weights.read(0, tensor_part(part, part.master));
    moments.read(0, tensor_part(part, part.m));
    moments.read(1, tensor_part(part, part.v));
  });
  if (writes()) mark_best(state);
}

void RunFiles::save(const TrainState& state, Optimizer& optimizer, const Transformer& model,
                    const Vocabulary& vocabulary, int64_t keep) {
  const Catalogue& catalogue = model.catalogue();
  const auto write_files = [&](const std::filesystem::path& own) {
    const std::filesystem::path folder = common(own.string());
    PartWriter weights(group_, folder / "model.safetensors", catalogue, kWeights);
    PartWriter moments(group_, folder / "optimizer.safetensors", catalogue, kMoments);
    FiniteCheck finite(catalogue);
    optimizer.read([&](const Optimizer::Part& part) {
      finite.look(part);
      weights.write(0, tensor_part(part, part.master));
      moments.write(0, tensor_part(part, part.m));
      moments.write(1, tensor_part(part, part.v));
    });
    finite.settle(group_);
    weights.finish();
    moments.finish();
    if (writes()) write_description(folder, model.config(), DType::f32, vocabulary);
  };
  if (!writes()) {
    write_files({});
    return;
  }
  checkpoints_->write(state.updates, to_json(state).dump(), write_files);
  mark_best(state);  // before others go
  checkpoints_->keep(static_cast<size_t>(keep));
}

void RunFiles::mark_best(const TrainState& state) {
  if (state.best_update < 0 || !std::filesystem::exists(checkpoints_->folder_of(state.best_update))) return;
  std::optional<int64_t> known;
  try {
    known = checkpoints_->best();
  } catch (const UserError&) {  // damaged: written anew
  }
  if (known != state.best_update) checkpoints_->mark_best(state.best_update);
}

void RunFiles::export_model(const std::filesystem::path& folder, const Transformer& model,
                            const Vocabulary& vocabulary, Optimizer& optimizer) {
  const auto write = [&](const std::filesystem::path& own) {
    const std::filesystem::path path = common(own.string());
    PartWriter weights(group_, path, model.catalogue(), kWeights);
    FiniteCheck finite(model.catalogue());
    optimizer.read([&](const Optimizer::Part& part) {
      finite.look(part);
      weights.write(0, tensor_part(part, part.master));
    });
    finite.settle(group_);
    weights.finish();
  };
  writes() ? save_model(folder, model.config(), vocabulary, DType::f32, write) : write({});
}

void RunFiles::check_exported(const std::filesystem::path& folder) {
  if (!writes() || std::filesystem::exists(folder / kConfigFile)) return;
  throw Error(
      "there is no {}: no validation gave a finite loss, or it was taken away; {} is a model folder too",
      folder.string(),
      checkpoints_->steps().empty() ? "no checkpoint"
                                    : checkpoints_->folder_of(checkpoints_->steps().back()).string());
}

}  // namespace chorus::inline train
