// Looking at a catalogue: without names, by MoE layer.
#pragma once

#include <string>
#include <vector>

#include "layout/catalogue.h"

namespace chorus::inline layout {

/// make_catalogue() without the names on disk of experts, which for a hundred thousand of them take
/// gigabytes.
Catalogue shapes_of(ModelConfig model);

/// Parameters of each MoE layer, encoder first, and the layer's name ("encoder.layers.1").
struct SparseLayer {
  std::string name;
  FeedForwardIndex ffn;
};
std::vector<SparseLayer> sparse_layers(const Catalogue& catalogue);
/// What everything that tells about MoE layers calls them.
std::vector<std::string> sparse_layer_names(const Catalogue& catalogue);

}  // namespace chorus::inline layout
