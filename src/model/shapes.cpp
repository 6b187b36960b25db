#include "chorus/model/shapes.h"

#include <vector>

namespace chorus {

Catalogue shapes_of(ModelConfig model) {
  const std::vector<int64_t> counts = model.expert_counts();
  if (counts.empty()) return make_catalogue(model);
  model.set_expert_counts(std::vector<int64_t>(counts.size(), model.moe.top_k));
  Catalogue catalogue = make_catalogue(model);
  size_t sparse = 0;
  for (const auto* stack : {&catalogue.encoder, &catalogue.decoder}) {
    for (const LayerIndex& layer : *stack) {
      if (!layer.ffn.sparse) continue;
      for (const size_t i : {layer.ffn.router, layer.ffn.fc1.weight, layer.ffn.fc1.bias, layer.ffn.fc2.weight,
                             layer.ffn.fc2.bias}) {
        if (i != kNoParameter) catalogue.parameters[i].shape[0] = counts[sparse];
      }
      ++sparse;
    }
  }
  return catalogue;
}

}  // namespace chorus
