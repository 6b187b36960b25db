// Encoder and decoder as stacks of blocks (model/layers.h), run by an executor.
#pragma once

#include <ATen/core/Tensor.h>

#include "layout/catalogue.h"
#include "model/executor.h"
#include "model/layers.h"

namespace chorus::inline model {

/// What the blocks of a model are made of; it refers to the model, which must outlive it.
struct Stacks {
  Weights weights;
  const Catalogue& catalogue;
  at::Tensor positions;  // [max_positions, d_model], compute type; undefined where they are relative
};

/// The factor on what the output layer reads.
double output_scale(const ModelConfig& config);

/// [B, S, d]
Value run_encoder(Executor& executor, const Stacks& stacks, const Side& source, const Pass& pass);
/// What the output layer reads, [B, T, d]; `memory` is the encoder's output.
Value run_decoder(Executor& executor, const Stacks& stacks, const Value& memory, const Side& source,
                  const Side& target, const Pass& pass);

}  // namespace chorus::inline model
