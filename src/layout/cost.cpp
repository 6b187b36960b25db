#include "layout/cost.h"

#include <fmt/format.h>

#include "layout/shapes.h"

namespace chorus::inline layout {

namespace {

void add(ParameterCount& sum, const ParameterCount& more) {
  sum.embedding += more.embedding;
  sum.dense += more.dense;
  sum.router += more.router;
  sum.experts += more.experts;
  sum.active_experts += more.active_experts;
}

class Counter {
 public:
  Counter(const ModelConfig& config, const Catalogue& catalogue, int64_t length)
      : config_(config), catalogue_(catalogue), length_(static_cast<double>(length)) {}

  [[nodiscard]] ParameterCount dense(std::initializer_list<LinearIndex> linears,
                                     std::initializer_list<NormIndex> norms,
                                     std::initializer_list<size_t> tables = {}) const {
    ParameterCount count;
    for (const LinearIndex& linear : linears) count.dense += elements(linear.weight) + elements(linear.bias);
    for (const NormIndex& norm : norms) count.dense += elements(norm.weight) + elements(norm.bias);
    for (const size_t table : tables) count.dense += elements(table);
    return count;
  }

  [[nodiscard]] LayerCost layer(std::string name, const LayerIndex& index, bool decoder) const {
    LayerCost cost = {.name = std::move(name), .sparse = index.ffn.sparse};
    add(cost.parameters, dense({index.self_qkv, index.self_out}, {index.self_norm, index.ffn_norm}));
    add(cost.parameters, feed_forward(index.ffn));
    const auto width = static_cast<double>(config_.attention_width());
    const double attention = 4 * length_ * width;  // two products with `length` keys and values
    double flops = products(index.self_qkv) + products(index.self_out) + feed_forward_flops(index.ffn) +
                   (decoder ? attention / 2 : attention);
    if (decoder) {
      add(cost.parameters, dense({index.cross_q, index.cross_kv, index.cross_out}, {index.cross_norm}));
      flops += products(index.cross_q) + products(index.cross_out) + attention;
      cost.source_flops = products(index.cross_kv);
      cost.target_flops = flops;
    } else {
      cost.source_flops = flops;
    }
    return cost;
  }

 private:
  [[nodiscard]] int64_t elements(size_t parameter) const {
    return parameter == kNoParameter ? 0 : catalogue_.parameters[parameter].elements();
  }
  [[nodiscard]] double products(const LinearIndex& linear) const {
    return 2 * static_cast<double>(elements(linear.weight));
  }

  [[nodiscard]] int64_t experts(const FeedForwardIndex& ffn) const {
    return catalogue_.parameters[ffn.router].shape[0];
  }

  [[nodiscard]] ParameterCount feed_forward(const FeedForwardIndex& ffn) const {
    ParameterCount count = dense({ffn.fc1, ffn.fc2}, {});
    if (!ffn.sparse) return count;
    count.experts = std::exchange(count.dense, 0);
    count.active_experts = count.experts / experts(ffn) * config_.moe.top_k;
    count.router = elements(ffn.router);
    return count;
  }

  [[nodiscard]] double feed_forward_flops(const FeedForwardIndex& ffn) const {
    const double all = products(ffn.fc1) + products(ffn.fc2);
    if (!ffn.sparse) return all;
    return all * static_cast<double>(config_.moe.top_k) / static_cast<double>(experts(ffn)) +
           2 * static_cast<double>(elements(ffn.router));
  }

  const ModelConfig& config_;
  const Catalogue& catalogue_;
  double length_;
};

}  // namespace

ModelCost cost_of(const ModelConfig& config, int64_t length) {
  const Catalogue catalogue = shapes_of(config);
  const Counter counter(config, catalogue, length);
  ModelCost cost = {.length = length};
  for (size_t i = 0; i < catalogue.encoder.size(); ++i)
    cost.layers.push_back(counter.layer(fmt::format("encoder.layers.{}", i), catalogue.encoder[i], false));
  for (size_t i = 0; i < catalogue.decoder.size(); ++i)
    cost.layers.push_back(counter.layer(fmt::format("decoder.layers.{}", i), catalogue.decoder[i], true));
  const int64_t embedding = catalogue.parameters[catalogue.embedding].elements();
  cost.parameters =
      counter.dense({}, {catalogue.encoder_norm, catalogue.decoder_norm},
                    {catalogue.encoder_positions, catalogue.decoder_positions, catalogue.output_bias});
  cost.parameters.embedding = config.tied_output ? embedding : 2 * embedding;
  cost.output_flops = 2 * static_cast<double>(embedding);
  cost.target_flops = cost.output_flops;
  for (const LayerCost& layer : cost.layers) {
    add(cost.parameters, layer.parameters);
    cost.source_flops += layer.source_flops;
    cost.target_flops += layer.target_flops;
  }
  return cost;
}

ModelMemory memory_of(const ParameterCount& parameters, bool bf16) {
  constexpr int64_t kGradientAndMoments = 12;
  const int64_t total = parameters.total(), wide = bf16 ? parameters.router : total;  // the router stays fp32
  const int64_t weights = 4 * wide + 2 * (total - wide), masters = 4 * (total - wide);
  return {.inference = weights, .training = weights + masters + kGradientAndMoments * total};
}

}  // namespace chorus::inline layout
