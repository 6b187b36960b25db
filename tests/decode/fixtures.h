// A model with opinions: the tiny one, its weights large enough for peaked distributions that end early now
// and then.
#pragma once

#include <memory>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/norm.h>

#include "decode/beam.h"
#include "model/fixtures.h"

namespace chorus {

inline std::unique_ptr<Transformer> opinionated_model(ModelConfig config, uint64_t seed,
                                                      at::Device device = at::kCPU) {
  at::set_num_threads(1);  // so tiny a model is faster without threads
  auto model = std::make_unique<Transformer>(std::move(config), Transformer::Options{.device = device});
  for (size_t i = 0; i < model->parameters().size(); ++i) {
    const ParameterSpec& spec = model->catalogue().parameters[i];
    const bool matrix = spec.decay && i != model->catalogue().embedding;
    model->set(i, initial_value(spec, RandomKey(seed)) * (matrix ? 2.5 : 1.5));
  }
  // All logits are products with this: a constant added to that of </s>.
  const Catalogue& catalogue = model->catalogue();
  const at::Tensor end = model->parameters()[catalogue.embedding].value[kEos];
  model->set(catalogue.decoder_norm.bias, end / end.norm() * 2);
  return model;
}

constexpr int32_t kSourceTag = 4, kTargetTag = 5;

/// `count` inputs of 3 to 2 + longest tokens.
inline std::vector<DecodeInput> random_inputs(int64_t count, int64_t longest, int64_t vocabulary) {
  const RandomKey key(3);
  std::vector<DecodeInput> inputs;
  for (int64_t i = 0; i < count; ++i) {
    const RandomKey line = key.derive(static_cast<uint64_t>(i));
    DecodeInput input = {.source = {kSourceTag}, .forced = {kTargetTag}};
    for (uint64_t k = 0; k < 1 + line.below(0, static_cast<uint64_t>(longest)); ++k)
      input.source.push_back(6 +
                             static_cast<int32_t>(line.below(k + 1, static_cast<uint64_t>(vocabulary - 6))));
    input.source.push_back(kEos);
    inputs.push_back(std::move(input));
  }
  return inputs;
}

}  // namespace chorus
