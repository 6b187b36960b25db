// The model in memory: weights, and the passes over whole sentences that training and scoring need. Decoding
// token by token: model/step_decoder.h.
#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "data/batch.h"
#include "layout/buckets.h"
#include "layout/catalogue.h"
#include "model/executor.h"
#include "model/layers.h"

namespace chorus::inline model {

struct Stacks;

/// A micro-batch as tensors on the model's device.
struct Batch {
  Side source;                // ids [B, S]
  Side target;                // ids [B, T]: the decoder's input
  at::Tensor labels;          // int64 [B T] on the host, kPad where nothing is predicted
  int64_t target_tokens = 0;  // labels that are predicted
};

struct LossSums {
  double loss = 0;       // sum over target tokens of the label-smoothed cross-entropy, in nats
  double nll = 0;        // the same without smoothing
  int64_t tokens = 0;    // target tokens
  int64_t correct = 0;   // of these, most probable and right
  at::Tensor token_nll;  // fp32 [B, T] where asked for: 0 where nothing is predicted

  void add(const LossSums& other);
};

/// Threads: several may call encode(), evaluate(), to_batch() and make_side() of one model at a time, as the server and
/// the Python module do, if the model has no gradients and no other ranks (Options), nobody changes weights, and no
/// Parameter::input_squares are defined. All else is for one thread.
class Transformer {
 public:
  struct Options {
    at::Device device = at::kCPU;
    at::ScalarType compute = at::kFloat;  // kFloat, kBFloat16, or kDouble in gradient checks
    // Type of the keys and values that a decoding by rows keeps (model/step_decoder.h): kFloat or kBFloat16; none: as
    // compute.
    std::optional<at::ScalarType> caches = {};
    bool gradients = false;  // allocate gradient buffers and record for backward
    // Weights have no memory yet: with gradients, an Optimizer gives it to the buckets that stay; without,
    // only on the CPU.
    bool empty = false;
    Parallel* parallel = nullptr;  // which weights this rank holds, and who has the others; null: all
  };

  /// Weights are allocated, not set: call set() for each parameter (initial_value(), or a checkpoint's).
  Transformer(const ModelConfig& config, Options options);
  Transformer(const Transformer&) = delete;  // the layers' graphs hold pointers to parameters
  Transformer& operator=(const Transformer&) = delete;

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const Catalogue& catalogue() const { return catalogue_; }
  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] std::vector<Parameter>& parameters() { return parameters_; }

  /// Returns the buckets in which the parameters of a model with gradients lie.
  [[nodiscard]] std::vector<Bucket>& buckets() { return buckets_; }
  /// Sets the watcher, which is told from now on which blocks run; null: none.
  void watch(BlockWatcher* watcher) { watcher_ = watcher; }

  /// Sets who has the experts' weights in keeping: passes without gradients borrow them from `source`; null: all are
  /// there.
  void borrow_experts(ExpertSource* source) { experts_ = source; }

  /// Copies `value` (any floating type, the spec's shape) into parameter `index`, or the part of it that is
  /// held here, converting as needed.
  void set(size_t index, const at::Tensor& value);

  /// Makes tensors of a micro-batch. `languages`: source and target language of each direction, for the load
  /// statistics; empty: none are kept. UserError when a sentence is longer than the model's positions.
  [[nodiscard]] Batch to_batch(const MicroBatch& micro_batch,
                               std::span<const std::pair<int32_t, int32_t>> languages = {}) const;

  /// Returns a single token of padding, for a rank that has no micro-batch left while others, with whom it shares
  /// experts or weights, still run theirs. It adds zeros to the gradients.
  [[nodiscard]] Batch idle_batch() const;

  struct TrainOptions {
    double label_smoothing = 0;
    double gradient_scale = 1;  // what each token's loss is multiplied by before backward
    bool recompute = false;     // activation checkpointing
    Stash* stash = nullptr;     // with it, where what is kept waits; null: on the device
    bool per_token = false;     // return LossSums::token_nll
  };
  /// Runs forward and backward: adds to the parameters' gradient buffers. Only for a model with gradients. Waits for
  /// the device.
  LossSums train(const Batch& batch, const Pass& pass, const TrainOptions& options);

  struct EvaluateOptions {
    std::vector<MoeStatistics>* statistics = nullptr;  // one per sparse layer; null: nothing is counted
    std::vector<RoutingRecord>* routings = nullptr;    // likewise: what each layer decided
    int64_t group_count = 0;                           // languages
    bool per_token = false;                            // return LossSums::token_nll
    bool dropless = false;                             // whatever moe.evaluation_capacity_factor says
    std::span<CrossAttention> cross_attention = {};    // of the layers in which it is kept
  };
  /// Returns the encoder's output [B, S, d], without gradients or dropout. No capacity factor binds; a Switch encoder
  /// still keeps at most moe.sentence_capacity tokens per expert and sentence, as transformers does. `routings`: as
  /// above; the encoder's layers are the first of them.
  at::Tensor encode(const Side& source, std::vector<RoutingRecord>* routings = nullptr);
  /// Computes the teacher-forced loss, without gradients or dropout. Waits for the device.
  LossSums evaluate(const Batch& batch, const EvaluateOptions& options);

  /// The weights, and what the passes add to the embeddings (undefined where positions are relative).
  [[nodiscard]] Weights weights() { return {config_, parameters_, experts_}; }
  [[nodiscard]] const at::Tensor& positions() const { return positions_; }
  /// Returns both with the catalogue, as encoder and decoder run (internal/stacks.h).
  [[nodiscard]] Stacks stacks();

  /// Makes one side of a batch from token ids [rows, length], padded with kPad, on the model's device.
  [[nodiscard]] Side make_side(const std::vector<int32_t>& ids, int64_t rows, int64_t length) const;

 private:
  /// Fills in, for a pass, who has the weights that are not here, and who brings them.
  [[nodiscard]] Pass over_ranks(Pass pass) const;

  ModelConfig config_;
  Options options_;
  Catalogue catalogue_;
  std::vector<Parameter> parameters_;
  std::vector<Bucket> buckets_;
  BlockWatcher* watcher_ = nullptr;
  ExpertSource* experts_ = nullptr;
  at::Tensor positions_;  // [max_positions, d_model], compute type
};

}  // namespace chorus::inline model
