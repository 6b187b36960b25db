// Models of which only a part of the experts is in memory (model/expert_store.h).
#pragma once

#include <cstdint>
#include <memory>

#include "formats/stored_tensors.h"
#include "io/safetensors.h"
#include "model/expert_store.h"

namespace chorus::inline formats {

/// Whether a parameter may stay in its file: a stack of the experts' matrices.
bool may_stay_in_file(const ParameterSpec& spec);
/// By the names of their tensors.
TensorFilter experts_in_file(const Catalogue& catalogue);

/// Gives what `memory` leaves beside the other weights to the experts of `model`, whose matrices have no memory.
/// UserError where that is not enough for one layer, or where they are of another type than the model computes with.
std::unique_ptr<ExpertStore> store_experts(Transformer& model, const SafetensorsFolder& folder,
                                           const StoredTensors& stored, uint64_t memory);

}  // namespace chorus::inline formats
