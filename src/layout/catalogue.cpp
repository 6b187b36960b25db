#include "layout/catalogue.h"

#include <numeric>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "base/error.h"
#include "data/batch.h"

namespace chorus::inline layout {

namespace {

constexpr int64_t kMostExperts = 1 << 17;  // of all layers; the names of more take over 100 MB

int64_t product(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

/// A matrix of a linear layer. One that is used as a stack of others must have them in whole blocks of rows.
bool can_be_quantized(const ParameterSpec& spec) {
  const bool one_product = spec.sliced && spec.role == Role::dense;
  return spec.decay && !spec.fp32 && !(one_product && spec.shape[1] % kQuantizedRows != 0);
}

struct Cut {
  bool by_inputs = false;
  int blocks = 1;
};

/// Adds parameters in the order in which the model uses them.
struct Builder {
  const ModelConfig& config;
  bool gates_apart;  // Architecture
  Catalogue catalogue = {};
  size_t block = 0;
  std::vector<int64_t> expert_counts = config.expert_counts();
  size_t sparse_number = 0;  // of the next MoE layer

  size_t add(ParameterSpec spec) {
    spec.block = block;
    catalogue.parameters.push_back(std::move(spec));
    return catalogue.parameters.size() - 1;
  }

  NormIndex norm(const std::string& name) {
    const std::vector<int64_t> shape = {config.d_model};
    NormIndex index;
    index.weight = add({.name = name + ".weight",
                        .shape = shape,
                        .stored = {"model." + name + ".weight"},
                        .initializer = Initializer::one});
    if (config.norm == Norm::layer)
      index.bias = add({.name = name + ".bias", .shape = shape, .stored = {"model." + name + ".bias"}});
    return index;
  }

  /// Tensor parallelism cuts the layer by its outputs (in `blocks`, see ParameterSpec) or by its inputs, as
  /// Megatron-LM does (1909.08053, section 3).
  LinearIndex linear(const std::string& name, int64_t out, int64_t in, Cut cut) {
    LinearIndex index;
    index.weight = add({.name = name + ".weight",
                        .shape = {out, in},
                        .stored = {"model." + name + ".weight"},
                        .initializer = Initializer::xavier,
                        .cut = cut.by_inputs ? 1 : 0,
                        .cut_blocks = cut.blocks,
                        .decay = true});
    if (config.biases) {
      index.bias = add({.name = name + ".bias",
                        .shape = {out},
                        .stored = {"model." + name + ".bias"},
                        .cut = cut.by_inputs ? -1 : 0,
                        .cut_blocks = cut.blocks});
    }
    return index;
  }

  /// A stack of linear layers, one per name in `slices`.
  LinearIndex stack(const std::string& name, const std::vector<std::string>& slices, int64_t out, int64_t in,
                    Initializer initializer, Role role, Cut cut) {
    const auto count = static_cast<int64_t>(slices.size());
    ParameterSpec weight = {.name = name + ".weight",
                            .shape = {count, out, in},
                            .sliced = true,
                            .initializer = initializer,
                            .role = role,
                            .cut = cut.by_inputs ? 2 : 1,
                            .cut_blocks = cut.blocks,
                            .decay = true};
    ParameterSpec bias = {.name = name + ".bias",
                          .shape = {count, out},
                          .sliced = true,
                          .role = role,
                          .cut = cut.by_inputs ? -1 : 1,
                          .cut_blocks = cut.blocks};
    for (const std::string& slice : slices) {
      weight.stored.push_back("model." + slice + ".weight");
      bias.stored.push_back("model." + slice + ".bias");
    }
    LinearIndex index = {.weight = add(std::move(weight))};
    if (config.biases) index.bias = add(std::move(bias));
    return index;
  }

  LinearIndex projections(const std::string& attention, const std::string& which) {
    std::vector<std::string> slices;
    for (const char c : which) {
      slices.push_back(attention + "." + c + "_proj");
    }
    return stack(attention + "." + which, slices, config.attention_width(), config.d_model,
                 Initializer::xavier_qkv, Role::dense, {});
  }

  LinearIndex experts(const std::string& ffn, const std::string& layer, int64_t out, int64_t in, Cut cut) {
    std::vector<std::string> slices;
    for (int64_t e = 0; e < expert_counts[sparse_number]; ++e) {
      slices.push_back(fmt::format("{}.experts.expert_{}.{}", ffn, e, layer));
    }
    return stack(ffn + ".experts." + layer, slices, out, in, Initializer::xavier, Role::expert, cut);
  }

  size_t positions(const std::string& stack) {
    if (config.positions != Positions::relative) return kNoParameter;
    return add({.name = stack + ".relative_attention_bias.weight",
                .shape = {config.relative_buckets, config.attention_heads},
                .stored = {"model." + stack + ".relative_attention_bias.weight"},
                .initializer = Initializer::xavier,
                .cut = 1});
  }

  FeedForwardIndex feed_forward(const std::string& name, bool sparse) {
    const int64_t d = config.d_model, f = config.ffn_dim, inputs = activation_inputs(config.activation, f);
    const Cut by_outputs = {.blocks = static_cast<int>(inputs / f)}, by_inputs = {.by_inputs = true};
    FeedForwardIndex index = {.sparse = sparse};
    if (sparse) {
      index.number = static_cast<int64_t>(sparse_number);
      index.router = add({.name = name + ".router.classifier.weight",
                          .shape = {expert_counts[sparse_number], d},
                          .stored = {"model." + name + ".router.classifier.weight"},
                          .initializer = Initializer::xavier,
                          .decay = true,
                          .fp32 = true});
      index.fc1 = experts(name, "fc1", inputs, d, by_outputs);
      index.fc2 = experts(name, "fc2", d, f, by_inputs);
      ++sparse_number;
    } else {
      const bool apart = gates_apart && is_gated(config.activation);
      index.fc1 = apart ? stack(name + ".fc1", {name + ".fc1_0", name + ".fc1_1"}, f, d, Initializer::xavier,
                                Role::dense, {})
                        : linear(name + ".fc1", inputs, d, by_outputs);
      index.fc2 = linear(name + ".fc2", d, f, by_inputs);
    }
    return index;
  }

  LayerIndex layer(const std::string& name, bool decoder, bool sparse) {
    const int64_t d = config.d_model;
    LayerIndex index;
    index.block = block = 1 + catalogue.encoder.size() + catalogue.decoder.size();
    index.self_norm = norm(name + ".self_attn_layer_norm");
    index.self_qkv = projections(name + ".self_attn", "qkv");
    index.self_out = linear(name + ".self_attn.out_proj", d, config.attention_width(), {.by_inputs = true});
    if (decoder) {
      const std::string cross = name + ".cross_attention";
      index.cross_norm = norm(name + ".cross_attention_layer_norm");
      index.cross_q = projections(cross, "q");
      index.cross_kv = projections(cross, "kv");
      index.cross_out = linear(cross + ".out_proj", d, config.attention_width(), {.by_inputs = true});
    }
    index.ffn_norm = norm(name + ".ff_layer_norm");
    index.ffn = feed_forward(name + ".ffn", sparse);
    block = 0;
    return index;
  }
};

}  // namespace

int64_t ParameterSpec::elements() const {
  return product(shape);
}

std::vector<int64_t> ParameterSpec::stored_shape() const {
  return sliced ? std::vector<int64_t>(shape.begin() + 1, shape.end()) : shape;
}

std::vector<int64_t> ParameterSpec::file_shape() const {
  const std::vector<int64_t> matrix = stored_shape();
  return quantization == Quantization::none ? matrix : quantized_shape(matrix[0], matrix[1], quantization);
}

int64_t Catalogue::elements(Role role) const {
  int64_t sum = 0;
  for (const ParameterSpec& spec : parameters) {
    sum += spec.role == role ? spec.elements() : 0;
  }
  return sum;
}

int64_t Catalogue::sparse_layers() const {
  const auto sparse = [](const LayerIndex& layer) { return layer.ffn.sparse; };
  return std::count_if(encoder.begin(), encoder.end(), sparse) +
         std::count_if(decoder.begin(), decoder.end(), sparse);
}

Catalogue make_catalogue(const ModelConfig& config, Format format) {
  const std::vector<int64_t> counts = config.expert_counts();
  if (const auto all = std::accumulate(counts.begin(), counts.end(), int64_t{0}); all > kMostExperts) {
    throw UserError("{} MoE layers of up to {} experts: the head of a file of weights can name {} in all",
                    counts.size(), config.moe.experts, kMostExperts);
  }
  const Architecture& architecture = architecture_of(format);
  Builder builder{config, architecture.gates_apart};
  builder.catalogue.embedding = builder.add({.name = "shared.weight",
                                             .shape = {config.vocabulary, config.d_model},
                                             .stored = {"model.shared.weight"},
                                             .initializer = Initializer::embedding,
                                             .cut = 0,
                                             .decay = true});
  builder.catalogue.encoder_positions = builder.positions("encoder");
  for (int64_t i = 0; i < config.encoder_layers; ++i) {
    const bool sparse = config.is_sparse(i, config.moe.encoder_every);
    builder.catalogue.encoder.push_back(builder.layer(fmt::format("encoder.layers.{}", i), false, sparse));
  }
  if (!config.post_norm) builder.catalogue.encoder_norm = builder.norm("encoder.layer_norm");
  builder.catalogue.decoder_positions = builder.positions("decoder");
  for (int64_t i = 0; i < config.decoder_layers; ++i) {
    const bool sparse = config.is_sparse(i, config.moe.decoder_every);
    builder.catalogue.decoder.push_back(builder.layer(fmt::format("decoder.layers.{}", i), true, sparse));
  }
  if (!config.post_norm) builder.catalogue.decoder_norm = builder.norm("decoder.layer_norm");
  builder.catalogue.output = builder.catalogue.embedding;
  if (!config.tied_output) {
    builder.catalogue.output = builder.add({.name = "lm_head.weight",
                                            .shape = {config.vocabulary, config.d_model},
                                            .stored = {"lm_head.weight"},
                                            .initializer = Initializer::embedding,
                                            .cut = 0,
                                            .decay = true});
  }
  if (config.output_bias) {
    builder.catalogue.output_bias = builder.add(
        {.name = "output.bias", .shape = {1, config.vocabulary}, .stored = {"final_logits_bias"}, .cut = 1});
  }
  for (ParameterSpec& spec : builder.catalogue.parameters)
    for (std::string& name : spec.stored) name = architecture.stored_name(std::move(name));
  const int64_t shift = architecture.ids == TokenIds::marian                               ? 2
                        : architecture.ids == TokenIds::t5 && config.decoder_start != kUnk ? 1
                                                                                           : 0;
  for (const size_t p :
       {builder.catalogue.embedding, builder.catalogue.output, builder.catalogue.output_bias})
    if (p != kNoParameter) builder.catalogue.parameters[p].row_shift = shift;
  for (ParameterSpec& spec : builder.catalogue.parameters) {
    if (!can_be_quantized(spec)) continue;
    spec.quantization = spec.role == Role::expert ? config.quantization.experts : config.quantization.dense;
    if (spec.quantization != Quantization::none) spec.row_shift = 0;
  }
  return std::move(builder.catalogue);
}

Catalogue make_catalogue(const ModelConfig& config) {
  return make_catalogue(config, native_architecture(config).format);
}

namespace {

/// Fills out[i] = draw(first + i), in parallel.
template <class Draw>
void fill(float* out, int64_t first, int64_t n, Draw draw) {
  at::parallel_for(0, n, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      out[i] = draw(static_cast<uint64_t>(first + i));
    }
  });
}

}  // namespace

void fill_initial(const ParameterSpec& spec, RandomKey seed, int64_t first, int64_t count, float* out) {
  if (spec.initializer == Initializer::zero || spec.initializer == Initializer::one) {
    std::fill_n(out, count, spec.initializer == Initializer::one ? 1.0F : 0.0F);
    return;
  }
  const std::vector<int64_t> shape = spec.stored_shape();
  const int64_t size = product(shape);
  while (count > 0) {
    const RandomKey key = seed.derive("initial value").derive(spec.stored[first / size]);
    const int64_t at = first % size, n = std::min(count, size - at);  // of one stored tensor
    if (spec.initializer == Initializer::embedding) {
      const float deviation = 1 / std::sqrt(static_cast<float>(shape[1]));
      fill(out, at, n, [&](uint64_t i) {
        return i / static_cast<uint64_t>(shape[1]) == kPad ? 0.0F : deviation * key.normal(i);
      });
    } else {
      const double gain = spec.initializer == Initializer::xavier_qkv ? std::sqrt(0.5) : 1.0;
      const auto bound = static_cast<float>(gain * std::sqrt(6.0 / static_cast<double>(shape[0] + shape[1])));
      fill(out, at, n, [&](uint64_t i) { return bound * (2 * key.uniform(i) - 1); });
    }
    first += n;
    count -= n;
    out += n;
  }
}

at::Tensor initial_value(const ParameterSpec& spec, RandomKey seed) {
  at::Tensor value = at::empty(spec.shape, at::kFloat);
  fill_initial(spec, seed, 0, value.numel(), value.mutable_data_ptr<float>());
  return value;
}

}  // namespace chorus::inline layout
