#include "surgery/refit.h"

#include <array>
#include <cmath>
#include <optional>
#include <tuple>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/linalg_cholesky.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "kernels/activation.h"
#include "kernels/gates.h"
#include "layout/shapes.h"
#include "surgery/usage.h"

namespace chorus::inline surgery {
namespace {

constexpr std::array kRidges = {1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0};

at::Tensor on_host(const at::Tensor& x) {
  return x.to(at::kCPU, at::kFloat);
}

/// The normal equations of an expert's correction: of some of its tokens.
struct Equations {
  at::Tensor products;  // sum of g^2 h h^T [f, f], where h has a 1 for the bias
  at::Tensor lacking;   // sum of g^2 h (r / s)^T [f, d]

  /// Mean of g^2 h^2, over tokens and units.
  [[nodiscard]] double scale() const { return products.diagonal().mean().item<double>(); }

  /// The correction [f, d] of an output matrix [f, d] for each ridge: a multiple of it, and beyond that what the ridge
  /// allows.
  [[nodiscard]] std::vector<at::Tensor> solve(const at::Tensor& weight,
                                              std::span<const double> ridges) const {
    const at::Tensor given = at::mm(products, weight);
    const double square = at::sum(weight * given).item<double>();
    const double factor = square > 0 ? at::sum(weight * lacking).item<double>() / square : 0;
    const at::Tensor multiple = factor * weight, still_lacking = lacking - factor * given;
    std::vector<at::Tensor> corrections;
    for (const double ridge : ridges) {
      at::Tensor with_ridge = products.clone();
      with_ridge.diagonal().add_(ridge * scale());
      corrections.push_back(multiple + at::cholesky_solve(still_lacking, at::linalg_cholesky(with_ridge)));
    }
    return corrections;
  }

  /// What a correction adds to the sum of g^2 |r / s|^2 over these tokens: below 0, it brings them nearer.
  [[nodiscard]] double change(const at::Tensor& correction) const {
    return at::sum(correction * (at::mm(products, correction) - 2 * lacking)).item<double>();
  }
};

/// The ridge with which what is fitted to each half of the tokens brings the other half nearest; none where none does.
std::optional<double> best_ridge(const std::array<Equations, 2>& halves, const at::Tensor& weight) {
  std::optional<double> best;
  double least = 0;
  if (halves[0].scale() == 0 || halves[1].scale() == 0) return best;
  const std::vector<at::Tensor> one = halves[0].solve(weight, kRidges),
                                other = halves[1].solve(weight, kRidges);
  for (size_t i = 0; i < kRidges.size(); ++i) {
    const double sum = halves[1].change(one[i]) + halves[0].change(other[i]);
    if (sum >= least) continue;
    least = sum;
    best = kRidges[i];
  }
  return best;
}

/// The experts of one layer, and the equations of their corrections.
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
      auto& halves = halves_.emplace_back();
      for (Equations& half : halves)
        half = {at::zeros({units, units}, at::kDouble), at::zeros({units, width}, at::kDouble)};
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
    const int64_t middle = input.size(0) / 2;  // the tokens of a sentence lie side by side
    for (size_t e = 0; e < halves_.size(); ++e) {
      const at::Tensor own = (gate * routing.experts.eq(static_cast<int64_t>(e))).sum(1, true);  // [N, 1]
      const at::Tensor rows = own.squeeze(1).nonzero().squeeze(1);
      if (rows.numel() == 0) continue;
      const at::Tensor weight = own.index_select(0, rows);
      const at::Tensor hidden = hidden_units(input.index_select(0, rows), static_cast<int64_t>(e)) * weight;
      const at::Tensor share = lacks.index_select(0, rows) * (weight / sums.index_select(0, rows));
      const int64_t first = rows.lt(middle).sum().item<int64_t>(), all = rows.numel();
      for (const auto& [half, from, count] : {std::tuple{0, int64_t{0}, first}, {1, first, all - first}}) {
        const at::Tensor h = hidden.narrow(0, from, count).t();
        halves_[e][half].products += at::mm(h, h.t());
        halves_[e][half].lacking += at::mm(h, share.narrow(0, from, count));
      }
    }
  }

  /// Returns the correction of each expert; the model has them from now on.
  std::vector<OutputCorrection> solve() {
    std::vector<OutputCorrection> corrections(halves_.size());
    // Weights may be mapped from a file, which is not to be changed.
    fc2_weight_->value = fc2_weight_->value.clone();
    if (fc2_bias_) fc2_bias_->value = fc2_bias_->value.clone();
    for (size_t e = 0; e < halves_.size(); ++e) {
      const auto& [one, other] = halves_[e];
      const Equations all = {one.products + other.products, one.lacking + other.lacking};
      if (!std::isfinite(all.scale()) || !all.lacking.isfinite().all().item<bool>())
        throw UserError("what the experts compute is not finite: are the model's weights?");
      const auto expert = static_cast<int64_t>(e);
      const at::Tensor weight = output_matrix(expert);
      const std::optional<double> ridge = best_ridge(halves_[e], weight);
      if (!ridge) continue;
      const at::Tensor change = all.solve(weight, {&*ridge, 1}).front().t();  // [d, f]
      const int64_t units = fc2_weight_->value.size(2);
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

  /// fp64 [f, d], its bias as the last row.
  [[nodiscard]] at::Tensor output_matrix(int64_t expert) const {
    at::Tensor weight = fc2_weight_->value[expert].to(at::kCPU, at::kDouble).t();
    if (!fc2_bias_) return weight;
    return at::cat({weight, fc2_bias_->value[expert].to(at::kCPU, at::kDouble).unsqueeze(0)});
  }

  const ModelConfig& config_;
  Parameter *fc1_weight_, *fc1_bias_, *fc2_weight_, *fc2_bias_;
  std::vector<std::array<Equations, 2>> halves_;  // of each expert, over the two halves of each batch
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
