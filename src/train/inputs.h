// What a run reads: its vocabulary and its text, made ready in the run folder where they are not.
#pragma once

#include <filesystem>
#include <memory>

#include "chorus/comm/group.h"
#include "chorus/data/dataset.h"
#include "chorus/data/vocabulary.h"
#include "chorus/train/config.h"

namespace chorus {

struct Data {
  Vocabulary vocabulary;                  // with the tags of vocabulary.add and of the denoising tasks
  std::unique_ptr<DataSet> train, valid;  // valid: null without text for it
};

/// Made ready by rank 0, then found by the others. Trains a vocabulary if there is none, nor one of
/// train.init; builds the stores if they are not there. Logs reports of the text, which go to
/// RUN/data.train.json and data.valid.json. For validation, denoising tasks take the text of data.valid.
std::unique_ptr<Data> open_inputs(const RunConfig& config, const std::filesystem::path& run, Group& group);

}  // namespace chorus
