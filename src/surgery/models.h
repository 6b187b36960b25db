// New models out of trained ones: experts united, copied or averaged.
//
// Models are folders (a model's, a run's, or RUN/checkpoints/NAME), and so are results: any other command takes them.
// Weights go from mapped files to a new one, one tensor at a time; memory does not grow with the model. `out` must
// not exist. UserError as load_model(), before anything is written. Each function returns the configuration of the
// new model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "architecture/config.h"
#include "data/vocabulary.h"
#include "formats/quantize.h"

namespace chorus::inline surgery {

/// Throws UserError when there is something at `out`. All functions below call it; a caller with long work to do
/// before them calls it first.
void check_absent(const std::filesystem::path& out);

/// Returns the bytes of the files of a model folder's weights.
int64_t bytes_of_weights(const std::filesystem::path& folder);

/// A model as messages call it.
struct NamedModel {
  std::string name;
  const ModelConfig& config;
  const Vocabulary& vocabulary;
};

/// Returns the configuration of what merge_models() makes of such models; UserError as there.
ModelConfig merged_config(std::span<const NamedModel> models);

enum class DenseWeights { average, first };

/// Aggregates experts (2109.10465, section 3.2): MoE layers get the experts of all models, in order, and the rows of
/// all routers; other weights are the average, or those of the first. Two or more models with the same vocabulary
/// and, but for the number of experts, the same configuration; UserError naming the first difference. `types`: what
/// to quantize the result to. Returns the first model's configuration, with the sums of the expert counts, the
/// directions of all models, and `types`.
ModelConfig merge_models(std::span<const std::filesystem::path> models, DenseWeights dense,
                         const std::filesystem::path& out, const QuantizationConfig& types = {});

/// Averages every weight of two or more models with the same vocabulary and configuration. Returns the first model's
/// configuration (its directions too, while OUT/config.json has those of all).
ModelConfig average_models(std::span<const std::filesystem::path> models, const std::filesystem::path& out);

struct UpcycleOptions {
  int64_t experts = 8;
  int64_t top_k = 1;
  int64_t encoder_every = 2, decoder_every = 2;  // as MoeConfig
  // Where the gates sum to 1 and nothing is added as noise, the new model computes what the dense one does.
  // With `none` its MoE layers begin with the router's probability, about 1 / experts, as a factor.
  GateNormalization gates = GateNormalization::after_drop;
  double noise = 0;  // added to the copies: normal, in standard deviations of each tensor
  uint64_t seed = 1;
};
/// Upcycles a dense model (2212.05055): in an MoE layer every expert is a copy of the dense feed-forward layer that
/// was there, and the router is drawn at random. `dense` must be a model without experts, and not of T5. Returns the
/// model's configuration with these options in `moe`, whose others are the defaults.
ModelConfig upcycle_model(const std::filesystem::path& dense, const UpcycleOptions& options,
                          const std::filesystem::path& out);

/// Quantizes a model's weights to int8 or int4 (kernels/quantized.h); `types` names one of them. UserError when they
/// are quantized already. `importance`: as calibrate() finds it. Returns the model's configuration with `types`.
ModelConfig quantize_model(const std::filesystem::path& model, const QuantizationConfig& types,
                           const std::filesystem::path& out, const ColumnImportance& importance = {});

struct GrowOptions {
  int64_t experts = 0;  // of each MoE layer afterwards
  // As above, on the copies and their rows of the router: without it a token's best expert stays the one that was
  // there.
  double noise = 0.01;
  uint64_t seed = 1;
};
/// Adds experts to each MoE layer: expert e of the new ones is a copy of expert e mod E with noise, its row of the
/// router too. Those that were there stay as they are. Warns where tokens go to several experts: the copy of a
/// token's best one then takes the place of its second. Returns the model's configuration with options.experts
/// experts in each MoE layer.
ModelConfig grow_model(const std::filesystem::path& model, const GrowOptions& options,
                       const std::filesystem::path& out);

}  // namespace chorus::inline surgery
