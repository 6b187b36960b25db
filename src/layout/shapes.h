// Looking at a catalogue: without names, by MoE layer.
#pragma once

#include <string>
#include <vector>

#include "layout/catalogue.h"

namespace chorus::inline layout {

/// make_catalogue() without the experts' names on disk, which take gigabytes for a hundred thousand experts.
Catalogue shapes_of(ModelConfig model);

/// Parameters of each MoE layer, encoder first, and the layer's name ("encoder.layers.1").
struct SparseLayer {
  std::string name;
  FeedForwardIndex ffn;
};
std::vector<SparseLayer> sparse_layers(const Catalogue& catalogue);
/// The names of MoE layers, as all reports use them.
std::vector<std::string> sparse_layer_names(const Catalogue& catalogue);

}  // namespace chorus::inline layout
