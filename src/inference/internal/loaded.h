// What a Model holds.
#pragma once

#include "chorus/model.h"
#include "formats/folder.h"

namespace chorus::inline face {

struct Model::Loaded {
  std::unique_ptr<Transformer> transformer;
  Vocabulary vocabulary;
};

/// UserError unless the model has such a language, or has none and `language` is empty.
void check_language(const Model& model, const std::string& language);

}  // namespace chorus::inline face
