// What a Model holds.
#pragma once

#include "chorus/model.h"
#include "formats/folder.h"

namespace chorus::inline face {

struct Model::Loaded {
  std::unique_ptr<Transformer> transformer;
  Vocabulary vocabulary;
};

}  // namespace chorus::inline face
