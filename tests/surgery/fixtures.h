// For tests of surgery: models in folders, and what they make of the same text.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>

#include "data/t5_model.h"
#include "formats/saved_model.h"
#include "surgery/models.h"

namespace chorus {

/// The tiny model with gates that sum to 1.
inline ModelConfig summing_config(int64_t top_k) {
  ModelConfig config = tiny_config();
  config.moe.top_k = top_k;
  config.moe.gate_normalization = GateNormalization::after_drop;
  return config;
}

/// [rows, T] of the same sentences for every model.
inline at::Tensor losses(Transformer& model) {
  const Batch batch = model.to_batch(tiny_batch(5, 9, 8, model.config().vocabulary));
  return model.evaluate(batch, {.per_token = true}).token_nll;
}

inline at::Tensor losses(const fs::path& folder) {
  return losses(*load_model(folder, {}).model);
}

inline void expect_same_losses(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_TRUE(at::allclose(a, b, 1e-5, 1e-5)) << (a - b).abs().max().item<double>();
}

/// The parameters of a model with this part of their names.
inline std::vector<size_t> parameters_called(const Catalogue& catalogue, const std::string& part) {
  std::vector<size_t> found;
  for (size_t p = 0; p < catalogue.parameters.size(); ++p)
    if (has(catalogue.parameters[p].name, part)) found.push_back(p);
  return found;
}

inline bool has_experts(const ParameterSpec& spec) {
  return spec.role == Role::expert || has(spec.name, ".router.");
}

/// A Switch model in folder/NAME, with T5's vocabulary.
inline std::unique_ptr<Transformer> save_switch_model(const fs::path& folder, const std::string& name,
                                                      uint64_t seed) {
  write_file_atomically(folder / "spiece.model", t5_model());
  const Vocabulary vocabulary = Vocabulary::load(folder / "spiece.model", {.extra_ids = 3});
  ModelConfig config = switch_config();
  config.vocabulary = vocabulary.size() + 2;
  auto model = std::make_unique<Transformer>(config, Transformer::Options{});
  initialise(*model, seed);
  save_model(folder / name, {.config = config,
                             .catalogue = model->catalogue(),
                             .weights = [&](size_t i) { return model->parameters()[i].value; },
                             .vocabulary = vocabulary});
  return model;
}

inline std::string weights_of(const fs::path& folder) {
  return read_file(folder / "model.safetensors");
}

}  // namespace chorus
