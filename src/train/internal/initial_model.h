// train.init: the model whose weights, architecture and vocabulary a run begins with.
#pragma once

#include <filesystem>

#include "data/vocabulary.h"
#include "formats/folder.h"
#include "state/optimizer.h"
#include "train/config.h"

namespace chorus::inline train {

struct InitialModel {
  std::filesystem::path weights;    // folder of model.safetensors or its shards
  QuantizationConfig quantization;  // of the weights there: a run begins with what they stand for, in fp32
  ModelDescription description;     // of what the run begins with
};

/// What find_model() finds. UserError when it is none.
InitialModel find_initial_model(const std::filesystem::path& path);

/// Whether an option of [model] or [moe] decides the shapes of weights, or which weights there are.
bool decides_shapes(const std::string& option);

/// UserError where the run asks for weights of other shapes than those of the model of train.init; logs what
/// else differs.
void check_architecture(const RunConfig& config, const ModelConfig& initial);

/// Sets the optimizer's masters to the initial model's weights; its other state is left alone. Rows of the
/// embedding (and of the output layer) are matched by what their ids stand for (Vocabulary::name_of). A row
/// that the initial vocabulary lacks begins as that of the language it is `like` (vocabulary.add), else as
/// the mean of all languages' tags if it is a tag, of all rows if not. Called by all ranks. UserError where
/// weights are not finite.
void load_initial_model(const RunConfig& config, const Catalogue& catalogue, const Vocabulary& vocabulary,
                        Optimizer& optimizer);

}  // namespace chorus::inline train
