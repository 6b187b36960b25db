// What the encoder makes of sources, and where its routers send them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "data/dataset.h"
#include "model/transformer.h"

namespace chorus::inline decode {

struct EncodedSource {
  std::vector<int32_t> ids;         // tags, pieces, </s>
  at::Tensor states;                // fp32 [ids, d] on the host
  std::vector<at::Tensor> routers;  // of each MoE layer of the encoder: fp32 [ids, experts] on the host
};

/// Encodes each pair's source, in order; targets are not looked at. `batch_tokens` as score_pairs() has it. UserError
/// on a source longer than the model has positions.
std::vector<EncodedSource> encode_sources(Transformer& model, std::span<const SentencePair> pairs,
                                          int64_t batch_tokens);

}  // namespace chorus::inline decode
