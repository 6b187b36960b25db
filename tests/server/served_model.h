// A model of random weights, as it is served.
#pragma once

#include <memory>
#include <span>
#include <utility>

#include "decode/small_model.h"
#include "formats/folder.h"
#include "server/served_models.h"
#include "temporary_folder.h"

namespace chorus {

inline std::shared_ptr<const ServedModels> serve_small_model(
    int64_t beam, std::shared_ptr<const LanguageDetector> detector) {
  const TemporaryFolder folder;
  Transformer& model = small_model();
  save_model(folder / "model", {.config = model.config(),
                                .catalogue = model.catalogue(),
                                .weights = [&](size_t i) { return model.parameters()[i].value; },
                                .vocabulary = small_vocabulary()});
  const std::filesystem::path path = folder / "model";
  return std::make_shared<const ServedModels>(std::span(&path, 1), ServedOptions{.beam = beam},
                                              std::move(detector));
}

}  // namespace chorus
