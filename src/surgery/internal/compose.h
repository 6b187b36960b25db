// What all surgery is: a model folder whose experts are made of experts of other folders.
//
// A recipe says of each new expert which experts it is the weighted sum of; a dense feed-forward layer counts
// as the one expert of its layer. Rows of the router go with their experts. Tensors that stay as they are
// go from file to file byte for byte, others are made when their turn comes, sums piece by piece: memory does
// not grow with the model.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/random.h"
#include "data/vocabulary.h"
#include "formats/quantize.h"
#include "layout/shapes.h"
#include "surgery/models.h"
#include "surgery/refit.h"

namespace chorus::inline surgery {

/// A model whose weights are mapped, not read.
struct Source {
  std::filesystem::path folder;  // as the user gave it
  ModelConfig config;
  Vocabulary vocabulary;
  Catalogue catalogue;
  std::unique_ptr<SafetensorsFolder> weights;
  StoredTensors tensors;
};

/// What find_model() finds. Every checksum is verified. UserError as load_model().
Source open_source(const std::filesystem::path& dir);

/// UserError naming the first difference, unless `b` has the vocabulary and the configuration of `a`; with
/// `experts_may_differ` their number may be another.
void check_alike(const NamedModel& a, const NamedModel& b, bool experts_may_differ);

/// An expert, times `weight`.
struct Ingredient {
  size_t source = 0;
  int64_t expert = 0;
  double weight = 1;
  std::vector<int64_t> units = {};  // its hidden units in this order; empty: in their own
};

struct NewExpert {
  std::vector<Ingredient> of;
  double noise = 0;  // normal, in standard deviations of each tensor (of the router: of the row)
  OutputCorrection correction = {};
};

struct Recipe {
  ModelConfig config;                           // of the new model
  std::vector<std::vector<NewExpert>> experts;  // [MoE layer][expert]
  bool average_dense = false;                   // dense weights: the mean over the sources, or the first's
  RandomKey key = RandomKey();                  // of noise, and of routers where the source is dense
  ColumnImportance importance = {};             // where `config` is quantized and the sources are not
};

/// UserError when `out` is there already, and where a quantized weight would have to change. Types are those of the
/// first source, unless recipe.config.quantization says otherwise.
void compose(std::span<const Source> sources, const Recipe& recipe, const std::filesystem::path& out);

}  // namespace chorus::inline surgery
