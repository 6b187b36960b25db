// The architecture: an encoder-decoder Transformer, a superset of NLLB-MoE, M2M100, Switch (T5) and Marian.
//
// Encoder and decoder share an embedding; one of every n blocks of a stack has an MoE layer in place of its
// feed-forward layer (moe.encoder_every, moe.decoder_every). Run files make models as NLLB-MoE and M2M100
// have them; what follows `max_positions` below differs in Switch, T5 and Marian models, which are imported.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/options.h"
#include "data/batch.h"
#include "kernels/activation.h"
#include "kernels/quantized.h"
#include "moe/config.h"

namespace chorus::inline architecture {

/// How run files and config.json spell them.
extern const std::vector<std::pair<std::string, Activation>> kActivations;

/// In which types a model's weights are (kernels/quantized.h). What is not a matrix stays in a floating type, and so
/// does the router, whose near ties would turn.
struct QuantizationConfig {
  Quantization experts = Quantization::none;
  Quantization dense = Quantization::none;  // outside experts

  [[nodiscard]] bool any() const { return experts != Quantization::none || dense != Quantization::none; }
  bool operator==(const QuantizationConfig&) const = default;
};
/// How users and config.json spell them.
extern const std::vector<std::pair<std::string, Quantization>> kQuantizations;
std::string name_of(Quantization type);

enum class Norm {
  layer,
  rms,  // see nn/functions.h
};

/// How a model knows where a token stands.
enum class Positions {
  sinusoidal,  // added to the embeddings
  relative,    // T5: a bias of the self-attention by distance, one table per stack, shared by its blocks
  marian,      // added to the embeddings; other frequencies (model/layers.h)
};

struct ModelConfig {
  int64_t vocabulary = 0;  // rows of the embedding; the vocabulary's size decides, not the run file
  // By default what two cores train in about an hour on some 100,000 pairs; a base Transformer is 512, 6, 6,
  // 8 and 2048.
  int64_t d_model = 256;
  int64_t encoder_layers = 4;
  int64_t decoder_layers = 2;
  int64_t attention_heads = 4;
  int64_t ffn_dim = 1024;
  Activation activation = Activation::relu;
  double dropout = 0.1;           // on the embeddings and on each sub-layer's output
  double attention_dropout = 0;   // on the attention probabilities
  double activation_dropout = 0;  // inside feed-forward layers, experts included
  double layer_dropout = 0;       // probability of skipping a whole block in training
  int64_t max_positions = 1024;   // longest sequence
  Norm norm = Norm::layer;
  double norm_epsilon = 1e-5;
  // Each norm follows the sum of a sub-layer's input and output, and none ends a stack (1706.03762); else it stands
  // before the sub-layer, and one ends each stack.
  bool post_norm = false;
  bool biases = true;  // of the linear layers, experts included
  Positions positions = Positions::sinusoidal;
  int64_t relative_buckets = 32;  // RelativePositions, for relative positions
  int64_t relative_max_distance = 128;
  int64_t head_dim = 0;               // width of a head; 0: d_model / attention_heads
  bool scale_attention = true;        // scores times 1 / sqrt(head width)
  bool scale_embedding = true;        // embeddings times sqrt(d_model)
  bool tied_output = true;            // the output layer's weight is the embedding
  bool scale_output = false;          // the output layer's input times 1 / sqrt(d_model)
  bool output_bias = false;           // of the output layer
  SpecialToken decoder_start = kEos;  // what the decoder reads first; a token like any other, kPad too
  MoeConfig moe;
  // Experts of each MoE layer, encoder first, where pruning left different numbers; moe.experts is then the
  // most. Empty: moe.experts in each.
  std::vector<int64_t> layer_experts;
  QuantizationConfig quantization;
  // What it was trained to translate: "en-de". Empty: not known.
  std::vector<std::string> directions;
  // Which decoder layer's cross-attention tells which words belong together, and which of its heads (-1: the mean of
  // all); layer -1: nobody has chosen (decode/alignment_choice.h).
  int64_t alignment_layer = -1, alignment_head = -1;

  [[nodiscard]] int64_t head_width() const { return head_dim > 0 ? head_dim : d_model / attention_heads; }
  /// Returns the width of queries, keys and values of all heads together.
  [[nodiscard]] int64_t attention_width() const { return attention_heads * head_width(); }

  /// Whether block `layer` of a stack in which one of every `every` blocks is sparse has an MoE layer.
  [[nodiscard]] bool is_sparse(int64_t layer, int64_t every) const {
    if (moe.experts == 0 || every == 0) return false;
    return layer % every == (moe.sparse_block == SparseBlock::last ? every - 1 : 1 % every);
  }
  /// Experts of each MoE layer, encoder first.
  [[nodiscard]] std::vector<int64_t> expert_counts() const;
  /// Sets moe.experts and layer_experts; one number for each MoE layer, of which there is one at least.
  void set_expert_counts(const std::vector<int64_t>& counts);
};

void describe(Schema& schema, ModelConfig& config);

/// ModelConfig::directions of a model made of two others, or of a model by more training: the directions of
/// both; unknown where those of one side are.
std::vector<std::string> united_directions(const std::vector<std::string>& a,
                                           const std::vector<std::string>& b);

/// Throws UserError where settings contradict each other (d_model not divisible by the heads, top_k above the
/// experts...).
void check(const ModelConfig& config);

}  // namespace chorus::inline architecture
