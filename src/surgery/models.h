// New models out of trained ones: experts united, copied or averaged.
//
// Models are folders (a model's, a run's, or RUN/checkpoints/NAME), and so are results: any other command
// takes them. Weights go from mapped files to a new one, one tensor at a time; memory does not grow with the
// model. `out` must not exist. UserError as load_model(), before anything is written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "architecture/config.h"
#include "data/vocabulary.h"
#include "formats/quantize.h"

namespace chorus::inline surgery {

/// UserError when there is something at `out`. All functions below call it; a caller with long work to do
/// before them calls it first.
void check_absent(const std::filesystem::path& out);

/// Bytes of the files of a model folder's weights.
int64_t bytes_of_weights(const std::filesystem::path& folder);

/// A model as messages call it.
struct NamedModel {
  std::string name;
  const ModelConfig& config;
  const Vocabulary& vocabulary;
};

/// The configuration of what merge_models() makes of such models; UserError as there.
ModelConfig merged_config(std::span<const NamedModel> models);

enum class DenseWeights { average, first };

/// Aggregation of experts (2109.10465, section 3.2): MoE layers with the experts of all models, in order, and
/// the rows of all routers; other weights are the average, or those of the first. Two or more models with the
/// same vocabulary and, but for the number of experts, the same configuration; UserError naming the first
/// difference.
ModelConfig merge_models(std::span<const std::filesystem::path> models, DenseWeights dense,
                         const std::filesystem::path& out, const QuantizationConfig& types = {});

/// The mean of every weight, of two or more models with the same vocabulary and configuration.
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
/// Sparse upcycling (2212.05055): in an MoE layer every expert is a copy of the dense feed-forward layer that
/// was there, and the router is drawn at random. `dense` must be a model without experts, and not of T5.
ModelConfig upcycle_model(const std::filesystem::path& dense, const UpcycleOptions& options,
                          const std::filesystem::path& out);

/// The same model with its weights in int8 or int4 (kernels/quantized.h); `types` names one of them. UserError where they
/// are already. `importance`: as calibrate() finds it.
ModelConfig quantize_model(const std::filesystem::path& model, const QuantizationConfig& types,
                           const std::filesystem::path& out, const ColumnImportance& importance = {});

struct GrowOptions {
  int64_t experts = 0;  // of each MoE layer afterwards
  double noise =
      0.01;  // as above, on the copies and their rows of the router: without it a token's best expert
             // stays the one that was there
  uint64_t seed = 1;
};
/// More experts in each MoE layer: expert e of the new ones is a copy of expert e mod E with noise, its row
/// of the router too. Those that were there stay as they are. Warns where tokens go to several experts: the copy of a
/// token's best one then takes the place of its second.
ModelConfig grow_model(const std::filesystem::path& model, const GrowOptions& options,
                       const std::filesystem::path& out);

}  // namespace chorus::inline surgery
