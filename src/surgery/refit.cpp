#include "surgery/refit.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/linalg_cholesky.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "kernels/activation.h"
#include "kernels/gates.h"
#include "layout/shapes.h"
#include "surgery/usage.h"

namespace chorus::inline surgery {
namespace {

constexpr double kRidge = 1e-3;

at::Tensor on_host(const at::Tensor& x) {
  return x.to(at::kCPU, at::kFloat);
}

/// The experts of one layer, and the normal equations of their corrections.
class LayerFit {
 public:
  LayerFit(Transformer& model, const FeedForwardIndex& ffn)
      : config_(model.config()),
        fc1_weight_(parameter(model, ffn.fc1.weight)),
        fc1_bias_(parameter(model, ffn.fc1.bias)),
        fc2_weight_(parameter(model, ffn.fc2.weight)),
        fc2_bias_(parameter(model, ffn.fc2.bias)) {
    const int64_t width = fc2_weight_->value.size(1),
                  units = fc2_weight_->value.size(2) + (fc2_bias_ ? 1 : 0);
    for (int64_t e = 0; e < fc2_weight_->value.size(0); ++e) {
      products_.push_back(at::zeros({units, units}, at::kDouble));
      lacking_.push_back(at::zeros({units, width}, at::kDouble));
    }
  }

  /// The tokens of a batch: what the layer did, and what it should have given.
  void add(const RoutingRecord& record, const at::Tensor& wanted) {
    Routing routing = record.routing;
    for (at::Tensor* const x : {&routing.experts, &routing.kept}) *x = x->to(at::kCPU);
    const at::Tensor input = on_host(record.input), lacks = on_host(wanted) - on_host(record.output);
    const at::Tensor gate =
        gates(on_host(record.probabilities).contiguous(), routing, config_.moe.gate_normalization) *
        (1 - config_.moe.expert_output_dropout);
    const at::Tensor sums = gate.sum(1, true);
    for (size_t e = 0; e < products_.size(); ++e) {
      const at::Tensor own = (gate * routing.experts.eq(static_cast<int64_t>(e))).sum(1, true);  // [N, 1]
      const at::Tensor rows = own.squeeze(1).nonzero().squeeze(1);
      if (rows.numel() == 0) continue;
      const at::Tensor weight = own.index_select(0, rows);
      const at::Tensor hidden = hidden_units(input.index_select(0, rows), static_cast<int64_t>(e)) * weight;
      const at::Tensor share = lacks.index_select(0, rows) * (weight / sums.index_select(0, rows));
      products_[e] += at::mm(hidden.t(), hidden);
      lacking_[e] += at::mm(hidden.t(), share);
    }
  }

  /// Of each expert; the model has them from now on.
  std::vector<OutputCorrection> solve() {
    std::vector<OutputCorrection> corrections(products_.size());
    // Weights may be mapped from a file, which is not to be changed.
    fc2_weight_->value = fc2_weight_->value.clone();
    if (fc2_bias_) fc2_bias_->value = fc2_bias_->value.clone();
    for (size_t e = 0; e < products_.size(); ++e) {
      const double mean = products_[e].diagonal().mean().item<double>();
      if (!std::isfinite(mean) || !lacking_[e].isfinite().all().item<bool>())
        throw UserError("what the experts compute is not finite: are the model's weights?");
      if (mean == 0) continue;
      products_[e].diagonal().add_(kRidge * mean);
      const at::Tensor change =
          at::cholesky_solve(lacking_[e], at::linalg_cholesky(products_[e])).t();  // [d, f]
      const int64_t units = fc2_weight_->value.size(2), expert = static_cast<int64_t>(e);
      corrections[e].weight = change.narrow(1, 0, units).contiguous();
      fc2_weight_->value[expert].add_(corrections[e].weight.to(fc2_weight_->value.options()));
      if (!fc2_bias_) continue;
      corrections[e].bias = change.select(1, units).contiguous();
      fc2_bias_->value[expert].add_(corrections[e].bias.to(fc2_bias_->value.options()));
    }
    return corrections;
  }

 private:
  static Parameter* parameter(Transformer& model, size_t index) {
    return index == kNoParameter ? nullptr : &model.parameters()[index];
  }

  [[nodiscard]] at::Tensor hidden_units(const at::Tensor& input, int64_t expert) const {
    at::Tensor hidden = at::mm(input, on_host(fc1_weight_->value[expert]).t());
    if (fc1_bias_) hidden.add_(on_host(fc1_bias_->value[expert]));
    hidden = activate(config_.activation, hidden);
    return fc2_bias_ ? at::cat({hidden, at::ones({hidden.size(0), 1})}, 1) : hidden;
  }

  const ModelConfig& config_;
  Parameter *fc1_weight_, *fc1_bias_, *fc2_weight_, *fc2_bias_;
  std::vector<at::Tensor> products_, lacking_;  // of each expert: g^2 h h^T [f, f], g^2 h (r / s)^T [f, d]
};

/// What the MoE layers do with a batch: those of the encoder alone, or all.
std::vector<RoutingRecord> run(Transformer& model, const MicroBatch& micro_batch, bool encoder_alone) {
  std::vector<RoutingRecord> records(model.catalogue().sparse_layers());
  const Batch batch = model.to_batch(micro_batch);
  if (encoder_alone) {
    model.encode(batch.source, &records);
  } else {
    model.evaluate(batch, {.routings = &records, .dropless = true});
  }
  return records;
}

}  // namespace

std::vector<std::vector<OutputCorrection>> refit_outputs(Transformer& pruned, Transformer& whole,
                                                         const Vocabulary& vocabulary,
                                                         std::span<const DirectionText> texts,
                                                         const std::function<void(int64_t pairs)>& progress) {
  const size_t in_encoder = moe_layers_in_encoder(pruned.catalogue());
  std::vector<std::vector<OutputCorrection>> corrections;
  int64_t done = 0;
  for (const SparseLayer& layer : sparse_layers(pruned.catalogue())) {
    const size_t l = corrections.size();
    LayerFit fit(pruned, layer.ffn);
    for (const DirectionText& text : texts) {
      for (const MicroBatch& batch : batches_of(text, vocabulary, pruned.config().max_positions)) {
        const at::Tensor wanted = run(whole, batch, l < in_encoder)[l].output;
        fit.add(run(pruned, batch, l < in_encoder)[l], wanted);
        done += batch.rows;
        if (progress) progress(done);
      }
    }
    corrections.push_back(fit.solve());
  }
  return corrections;
}

}  // namespace chorus::inline surgery
