#include "layout/shapes.h"

#include <utility>

#include <fmt/format.h>

namespace chorus::inline layout {

Catalogue shapes_of(ModelConfig model) {
  const std::vector<int64_t> counts = model.expert_counts();
  if (counts.empty()) return make_catalogue(model);
  model.set_expert_counts(std::vector<int64_t>(counts.size(), model.moe.top_k));
  Catalogue catalogue = make_catalogue(model);
  const std::vector<SparseLayer> layers = sparse_layers(catalogue);
  for (size_t l = 0; l < layers.size(); ++l) {
    const FeedForwardIndex& ffn = layers[l].ffn;
    for (const size_t i : {ffn.router, ffn.fc1.weight, ffn.fc1.bias, ffn.fc2.weight, ffn.fc2.bias}) {
      if (i != kNoParameter) catalogue.parameters[i].shape[0] = counts[l];
    }
  }
  return catalogue;
}

std::vector<SparseLayer> sparse_layers(const Catalogue& catalogue) {
  std::vector<SparseLayer> layers;
  for (const auto& [stack, name] :
       {std::pair{&catalogue.encoder, "encoder"}, {&catalogue.decoder, "decoder"}})
    for (size_t i = 0; i < stack->size(); ++i)
      if ((*stack)[i].ffn.sparse) layers.push_back({fmt::format("{}.layers.{}", name, i), (*stack)[i].ffn});
  return layers;
}

std::vector<std::string> sparse_layer_names(const Catalogue& catalogue) {
  std::vector<std::string> names;
  for (SparseLayer& layer : sparse_layers(catalogue)) names.push_back(std::move(layer.name));
  return names;
}

}  // namespace chorus::inline layout
