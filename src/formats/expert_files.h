// Models of which only a part of the experts is in memory (model/expert_store.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "formats/stored_tensors.h"
#include "io/safetensors.h"
#include "model/expert_store.h"

namespace chorus::inline formats {

/// Whether a parameter may stay in its file: a stack of the experts' matrices.
bool may_stay_in_file(const ParameterSpec& spec);
/// Returns a filter for the experts that may stay in their file, by the names of their tensors.
TensorFilter experts_in_file(const Catalogue& catalogue);

/// Gives what `memory` leaves beside the other weights to the experts of `model`, whose matrices have no memory.
/// UserError where that is not enough for one layer, or where they are of another type than the model computes with.
std::unique_ptr<ExpertStore> store_experts(Transformer& model, const SafetensorsFolder& folder,
                                           const StoredTensors& stored, uint64_t memory);

/// Reads what `chorus assess --json` wrote of a model, or `chorus prune --json` when it made it: by
/// ParameterSpec::block, the share of choices that each expert gets, of source tokens in language `from` and target
/// tokens in `to` ("": of all). UserError on a file that is none, or is of another model.
std::map<size_t, std::vector<double>> read_expert_use(const std::filesystem::path& path,
                                                      const Catalogue& catalogue, const std::string& from,
                                                      const std::string& to);

}  // namespace chorus::inline formats
