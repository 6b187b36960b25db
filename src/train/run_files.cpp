#include "train/run_files.h"

#include <nlohmann/json.hpp>

#include "chorus/base/error.h"
#include "chorus/base/log.h"
#include "chorus/model/folder.h"
#include "chorus/model/parts.h"

namespace chorus {

namespace {

// The tensors of model.safetensors, and of optimizer.safetensors.
const std::vector<std::string> kWeights = {""}, kMoments = {"m.", "v."};

TensorPart part_of(const Optimizer::Part& part, const at::Tensor& data) {
  return {.parameter = part.parameter, .local = part.local, .first = part.first, .data = data};
}

}  // namespace

RunFiles::RunFiles(std::filesystem::path run, Group& group) : run_(std::move(run)), group_(group) {
  if (writes()) checkpoints_.emplace(run_);
}

std::string RunFiles::common(const std::string& text) {
  return group_.gather_text(writes() ? text : "").front();
}

std::optional<Checkpoint> RunFiles::latest() {
  Checkpoint checkpoint;  // without a folder when there is none
  if (writes()) {
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
  }
  checkpoint.folder = common(checkpoint.folder.string());
  checkpoint.state = common(checkpoint.state);
  return checkpoint.folder.empty() ? std::nullopt : std::optional(checkpoint);
}

void RunFiles::load(const Checkpoint& checkpoint, Optimizer& optimizer, const Catalogue& catalogue) {
  const PartReader weights(checkpoint.folder / "model.safetensors", catalogue, kWeights);
  const PartReader moments(checkpoint.folder / "optimizer.safetensors", catalogue, kMoments);
  optimizer.change([&](const Optimizer::Part& part) {
    weights.read(0, part_of(part, part.master));
    moments.read(0, part_of(part, part.m));
    moments.read(1, part_of(part, part.v));
  });
}

void RunFiles::save(const TrainState& state, Optimizer& optimizer, const Catalogue& catalogue, int64_t keep) {
  const auto write_files = [&](const std::filesystem::path& own) {
    const std::filesystem::path folder = common(own.string());
    PartWriter weights(group_, folder / "model.safetensors", catalogue, kWeights);
    PartWriter moments(group_, folder / "optimizer.safetensors", catalogue, kMoments);
    optimizer.read([&](const Optimizer::Part& part) {
      weights.write(0, part_of(part, part.master));
      moments.write(0, part_of(part, part.m));
      moments.write(1, part_of(part, part.v));
    });
    weights.finish();
    moments.finish();
  };
  if (!writes()) {
    write_files({});
    return;
  }
  checkpoints_->write(state.updates, to_json(state).dump(), write_files);
  checkpoints_->keep(static_cast<size_t>(keep));
}

void RunFiles::mark_best(int64_t update) {
  if (writes()) checkpoints_->mark_best(update);
}

void RunFiles::export_model(const std::filesystem::path& folder, const Transformer& model,
                            const Vocabulary& vocabulary, Optimizer& optimizer) {
  const auto write = [&](const std::filesystem::path& own) {
    const std::filesystem::path path = common(own.string());
    PartWriter weights(group_, path, model.catalogue(), kWeights);
    optimizer.read([&](const Optimizer::Part& part) { weights.write(0, part_of(part, part.master)); });
    weights.finish();
  };
  writes() ? save_model(folder, model.config(), vocabulary, DType::f32, write) : write({});
}

}  // namespace chorus
