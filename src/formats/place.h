// Where the model lies that a folder stands for: a model's folder, a run's, or a checkpoint's.
#pragma once

#include <filesystem>

namespace chorus::inline formats {

/// Mostly one folder: checkpoints that an older chorus wrote are described by RUN/model.
struct ModelPlace {
  std::filesystem::path weights;      // folder of model.safetensors, or of its shards
  std::filesystem::path description;  // folder of config.json and the vocabulary
};

/// DIR, when it is a model folder or a run's checkpoint (RUN/checkpoints/NAME). Of a run: DIR/model, its best
/// model so far; before there is one, its newest checkpoint. UserError when DIR is none of these; of a
/// run without a checkpoint it says when there will be one, of one whose checkpoint is in parts what to do.
ModelPlace find_model(const std::filesystem::path& dir);

}  // namespace chorus::inline formats
