// What a run reads: its vocabulary and its text, made ready in the run folder where they are not.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "comm/group.h"
#include "data/dataset.h"
#include "data/direction_text.h"
#include "data/vocabulary.h"
#include "train/config.h"

namespace chorus::inline train {

struct Data {
  // With vocabulary.symbols, the tags of vocabulary.add and those of the denoising tasks.
  Vocabulary vocabulary;
  std::unique_ptr<DataSet> train, valid;  // valid: null without text for it
  std::vector<DirectionText> translated;  // of validation.decode: as much text of data.valid
};

struct InputsOf {
  const std::filesystem::path& run;
  const Vocabulary* initial = nullptr;  // of train.init
  std::string trained_with;             // hash of the vocabulary of a run that has begun; "": it has not
};

/// The vocabulary with the tags and symbols that the run adds to it.
Vocabulary extended(const Vocabulary& vocabulary, const RunConfig& config);

/// Made ready by rank 0, then found by the others. Trains a vocabulary if there is none, nor one of
/// train.init, or if the one in the run's folder was made for other settings or text and the run has not
/// begun; builds the stores if they are not there. Logs reports of the text. For validation, denoising tasks
/// take the text of data.valid. UserError, before any store is built, where the vocabulary is not the one
/// that the run was trained with or lacks a language.
std::unique_ptr<Data> open_inputs(const RunConfig& config, const InputsOf& of, Group& group);

/// The whole reports of the text: RUN/data.train.json and data.valid.json.
void write_reports(const Data& data, const std::filesystem::path& run);

}  // namespace chorus::inline train
