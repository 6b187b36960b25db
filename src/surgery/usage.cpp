#include "surgery/usage.h"

#include <algorithm>

#include "kernels/gates.h"

namespace chorus::inline surgery {
namespace {

/// `language` of so many: that of the tokens.
void add(const RoutingRecord& record, GateNormalization normalization, int64_t language, int64_t languages,
         ExpertUsage& usage) {
  const int64_t experts = record.probabilities.size(1), rows = record.routing.experts.size(0),
                k = record.routing.experts.size(1);
  usage.chosen.resize(experts, 0);
  usage.by_language.resize(languages * experts, 0);
  usage.first.resize(experts, 0);
  usage.gate.resize(experts, 0);
  usage.confidence.resize(experts, 0);
  usage.tokens += record.routing.tokens;
  Routing routing = record.routing;
  for (at::Tensor* const x : {&routing.experts, &routing.kept}) *x = x->to(at::kCPU);
  const at::Tensor probabilities = record.probabilities.to(at::kCPU, at::kFloat).contiguous(),
                   weights = gates(probabilities, routing, normalization).contiguous();
  const auto* const p = probabilities.const_data_ptr<float>();
  const auto* const gate = weights.const_data_ptr<float>();
  const auto* const chosen = routing.experts.const_data_ptr<int64_t>();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t j = 0; j < k; ++j) {
      const int64_t e = chosen[row * k + j];
      if (e < 0) continue;  // padding
      ++usage.chosen[e];
      if (languages > 0) ++usage.by_language[language * experts + e];
      usage.gate[e] += gate[row * k + j];
      if (j > 0) continue;
      ++usage.first[e];
      usage.confidence[e] += p[row * experts + e];
    }
  }
}

}  // namespace

size_t moe_layers_in_encoder(const Catalogue& catalogue) {
  const auto is_sparse = [](const LayerIndex& layer) { return layer.ffn.sparse; };
  return static_cast<size_t>(std::ranges::count_if(catalogue.encoder, is_sparse));
}

std::vector<ExpertUsage> measure_usage(Transformer& model, const Vocabulary& vocabulary,
                                       std::span<const DirectionText> texts,
                                       const std::function<void(int64_t pairs)>& progress) {
  const auto layers = static_cast<size_t>(model.catalogue().sparse_layers());
  const size_t in_encoder = moe_layers_in_encoder(model.catalogue());
  const auto languages = std::ssize(vocabulary.languages());
  check_lengths(texts, vocabulary, model.config().max_positions);
  std::vector<ExpertUsage> usage(layers);
  int64_t done = 0;
  for (const DirectionText& text : texts) {
    const auto index = [&](const std::string& name) {
      return vocabulary.language(vocabulary.language_of_label(name));
    };
    const int64_t from = index(text.from), to = index(text.to);
    for (const MicroBatch& batch : batches_of(text, vocabulary, model.config().max_positions)) {
      std::vector<RoutingRecord> routings(layers);
      model.evaluate(model.to_batch(batch), {.routings = &routings, .dropless = true});
      for (size_t l = 0; l < layers; ++l) {
        add(routings[l], model.config().moe.gate_normalization, l < in_encoder ? from : to, languages,
            usage[l]);
      }
      done += batch.rows;
      if (progress) progress(done);
    }
  }
  return usage;
}

}  // namespace chorus::inline surgery
