// The catalogue: a model as data, before it is tensors. A pure function of the configuration that allocates
// nothing.
//
// Initialisation, checkpoints, the optimizer, `inspect`, sharding, offloading and surgery are maps over it. No role is
// ever guessed from a name.
//
// Weights that are used together are one parameter: query, key and value are one [3, d, d], the experts of a
// layer one [E, f, d]. On disk each slice is a tensor of its own, under the name transformers gives it
// (`stored`).
#pragma once

#include <limits>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "architecture/config.h"
#include "architecture/format.h"
#include "base/random.h"
#include "kernels/quantized.h"

namespace chorus::inline layout {

enum class Role { dense, expert };

enum class Initializer {
  zero,
  one,
  embedding,   // normal, deviation d_model^-0.5, the row of the padding zero
  xavier,      // uniform within sqrt(6 / (in + out)), in and out those of one slice
  xavier_qkv,  // the same over sqrt(2), as fairseq does for query, key and value
};

struct ParameterSpec {
  std::string name;            // "encoder.layers.3.self_attn.qkv.weight"
  std::vector<int64_t> shape;  // logical shape
  // Checkpoint tensors: one per slice along dimension 0 when `sliced`, else one in all.
  std::vector<std::string> stored;
  bool sliced = false;
  // Stored row r is row (r + row_shift) mod rows: T5's ids, 0 pad, 1 eos, 2 unk, are ours less one, and its
  // last row is our bos, which nothing uses; Marian's are ours less two. Rows are those along `cut`: of the
  // output's bias [1, V] its entries.
  int64_t row_shift = 0;
  // The model's block that uses it, in the order of their use: 0 for what several share (embedding, final
  // norms, output layer, tables of positions), then the encoder's layers, then the decoder's.
  size_t block = 0;
  Initializer initializer = Initializer::zero;
  Role role = Role::dense;
  // Tensor parallelism cuts this dimension, and in it each of `cut_blocks` equal blocks (the gate and the
  // value of swiglu) on its own; -1: it is whole on every rank.
  int cut = -1;
  int cut_blocks = 1;
  bool decay = false;  // weight decay applies (matrices only)
  bool fp32 = false;   // kept in fp32 whatever the compute type (the router)
  // On disk, and in memory on the host: each stored tensor is uint8 of quantized_shape().
  Quantization quantization = Quantization::none;

  [[nodiscard]] int64_t elements() const;
  /// Shape of one stored tensor; of a quantized one, of the matrix that it stands for.
  [[nodiscard]] std::vector<int64_t> stored_shape() const;
  /// Shape of one stored tensor as it is in a file.
  [[nodiscard]] std::vector<int64_t> file_shape() const;
};

inline constexpr size_t kNoParameter = std::numeric_limits<size_t>::max();

// Indices into Catalogue::parameters.
struct LinearIndex {
  size_t weight = 0, bias = kNoParameter;
};
struct NormIndex {
  size_t weight = kNoParameter, bias = kNoParameter;
};
struct FeedForwardIndex {
  bool sparse = false;
  int64_t number = 0;  // when sparse: its number among the model's MoE layers, encoder first
  size_t router = 0;   // when sparse; fc1 and fc2 are then stacks over the experts
  LinearIndex fc1, fc2;
};
struct LayerIndex {
  size_t block = 0;  // ParameterSpec::block; it keys the layer's random draws
  NormIndex self_norm;
  LinearIndex self_qkv, self_out;
  NormIndex cross_norm;  // decoder only, as the three below
  LinearIndex cross_q, cross_kv, cross_out;
  NormIndex ffn_norm;
  FeedForwardIndex ffn;
};

struct Catalogue {
  std::vector<ParameterSpec> parameters;
  size_t embedding = 0;
  size_t output = 0;                  // the output layer's weight: the embedding when tied
  size_t output_bias = kNoParameter;  // [1, V]
  // [buckets, heads], the bias of the self-attention by distance; kNoParameter without relative positions
  size_t encoder_positions = kNoParameter, decoder_positions = kNoParameter;
  std::vector<LayerIndex> encoder, decoder;
  NormIndex encoder_norm, decoder_norm;  // the ends of the stacks; kNoParameter with ModelConfig::post_norm

  [[nodiscard]] int64_t elements(Role role) const;
  [[nodiscard]] int64_t sparse_layers() const;
};

/// The format decides ParameterSpec::stored and row_shift, and whether the first weight of a gated feed-forward layer
/// is [2 f, d] or [2, f, d], gate and value; nothing else.
Catalogue make_catalogue(const ModelConfig& config, Format format);
/// Makes the catalogue in the format of native folders.
Catalogue make_catalogue(const ModelConfig& config);

/// The initial value of a parameter of a native catalogue, fp32: each element is a function of (seed, stored
/// name, index in the stored tensor) alone, so any layout starts from the same weights.
at::Tensor initial_value(const ParameterSpec& spec, RandomKey seed);
/// Its elements first .. first + count, row-major.
void fill_initial(const ParameterSpec& spec, RandomKey seed, int64_t first, int64_t count, float* out);

}  // namespace chorus::inline layout
