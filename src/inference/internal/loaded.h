// What a Model holds.
#pragma once

#include "chorus/model.h"
#include "formats/folder.h"

namespace chorus::inline face {

struct Model::Loaded {
  std::unique_ptr<Transformer> transformer;
  Vocabulary vocabulary;
  std::unique_ptr<ExpertStore> experts;  // where they are not all in memory
};

}  // namespace chorus::inline face
