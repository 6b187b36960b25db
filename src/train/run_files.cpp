#include "train/run_files.h"

#include <nlohmann/json.hpp>

#include "chorus/base/error.h"
#include "chorus/base/log.h"
#include "chorus/model/folder.h"
#include "chorus/model/parts.h"

namespace chorus {

namespace {

PartSet weights_of(const std::vector<Optimizer::Part>& parts) {
  PartSet set;
  for (const Optimizer::Part& part : parts) {
    set.parts.push_back({part.parameter, part.local, part.first, part.master});
  }
  return set;
}

std::vector<PartSet> moments_of(const std::vector<Optimizer::Part>& parts) {
  std::vector<PartSet> sets = {{.prefix = "m.", .parts = {}}, {.prefix = "v.", .parts = {}}};
  for (const Optimizer::Part& part : parts) {
    sets[0].parts.push_back({part.parameter, part.local, part.first, part.m});
    sets[1].parts.push_back({part.parameter, part.local, part.first, part.v});
  }
  return sets;
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
  const std::vector<Optimizer::Part> kept = optimizer.kept();
  const PartSet weights = weights_of(kept);
  load_parts(SafetensorsFile(checkpoint.folder / "model.safetensors"), catalogue, {&weights, 1});
  load_parts(SafetensorsFile(checkpoint.folder / "optimizer.safetensors"), catalogue, moments_of(kept));
  optimizer.masters_changed();
}

void RunFiles::save(const TrainState& state, const Optimizer& optimizer, const Catalogue& catalogue,
                    int64_t keep) {
  const auto write_files = [&](const std::filesystem::path& own) {
    const std::filesystem::path folder = common(own.string());
    const std::vector<Optimizer::Part> parts = optimizer.own();
    const PartSet weights = weights_of(parts);
    save_parts(group_, folder / "model.safetensors", catalogue, {&weights, 1});
    save_parts(group_, folder / "optimizer.safetensors", catalogue, moments_of(parts));
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
                            const Vocabulary& vocabulary, const Optimizer& optimizer) {
  const auto write = [&](const std::filesystem::path& own) {
    const std::filesystem::path path = common(own.string());
    const PartSet weights = weights_of(optimizer.own());
    save_parts(group_, path, model.catalogue(), {&weights, 1});
  };
  writes() ? save_model(folder, model.config(), vocabulary, DType::f32, write) : write({});
}

}  // namespace chorus
