// The model in memory: weights, and the passes over them that training, scoring and decoding need.
#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "chorus/data/batch.h"
#include "chorus/model/buckets.h"
#include "chorus/model/catalogue.h"
#include "chorus/model/executor.h"
#include "chorus/model/inference.h"
#include "chorus/model/layers.h"

namespace chorus {

/// A micro-batch as tensors on the model's device.
struct Batch {
  Side source;                // ids [B, S]
  Side target;                // ids [B, T]: the decoder's input
  at::Tensor labels;          // int64 [B T], kPad where nothing is predicted
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

/// The state of decoding a batch of sentences, each with the same number of hypotheses, one row each:
/// sentence by sentence.
struct DecoderState {
  std::vector<LayerCache> layers;
  at::Tensor memory_mask;         // [sentences, 1, 1, S]; undefined: no padding
  int64_t position = 0;           // tokens consumed
  at::Tensor spare;               // where the next cache to be reordered goes
  std::optional<StepCache> rows;  // on the CPU, in place of `layers`, `memory_mask` and `spare`
};

class Transformer {
 public:
  struct Options {
    at::Device device = at::kCPU;
    at::ScalarType compute = at::kFloat;  // kFloat, kBFloat16, or kDouble in gradient checks
    bool gradients = false;               // allocate gradient buffers and record for backward
    // On the CPU: weights have no memory yet; with gradients, an Optimizer gives it to the buckets that stay.
    bool empty = false;
    Parallel* parallel = nullptr;  // what of the weights is held here, and who has the others; null: all
  };

  /// Weights are allocated, not set: call set() for each parameter (initial_value(), or a checkpoint's).
  Transformer(const ModelConfig& config, Options options);
  Transformer(const Transformer&) = delete;  // the layers' graphs hold pointers to parameters
  Transformer& operator=(const Transformer&) = delete;

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const Catalogue& catalogue() const { return catalogue_; }
  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] std::vector<Parameter>& parameters() { return parameters_; }

  /// With gradients, the parameters lie in these.
  [[nodiscard]] std::vector<Bucket>& buckets() { return buckets_; }
  /// Is told from now on what blocks are run; null: nobody is.
  void watch(BlockWatcher* watcher) { watcher_ = watcher; }

  /// Copies `value` (any floating type, the spec's shape) into parameter `index`, what of it is held here,
  /// converting as needed.
  void set(size_t index, const at::Tensor& value);

  /// `languages`: source and target language of each direction, for the load statistics; empty: none are
  /// kept.
  [[nodiscard]] Batch to_batch(const MicroBatch& micro_batch,
                               std::span<const std::pair<int32_t, int32_t>> languages = {}) const;

  /// One token that is none: what a rank runs while others, with whom it shares experts or weights, run a
  /// micro-batch and it has none left. It adds zeros to the gradients.
  [[nodiscard]] Batch idle_batch() const;

  struct TrainOptions {
    double label_smoothing = 0;
    double gradient_scale = 1;  // what each token's loss is multiplied by before backward
    bool recompute = false;     // activation checkpointing
    Stash* stash = nullptr;     // with it, where what is kept waits; null: on the device
    bool per_token = false;     // return LossSums::token_nll
  };
  /// Forward and backward: adds to the parameters' gradient buffers.
  LossSums train(const Batch& batch, const Pass& pass, const TrainOptions& options);

  struct EvaluateOptions {
    std::vector<MoeStatistics>* statistics = nullptr;  // one a sparse layer; null: nothing is counted
    std::vector<RoutingRecord>* routings = nullptr;    // likewise: what each layer decided
    int64_t group_count = 0;                           // languages
    bool per_token = false;                            // return LossSums::token_nll
    bool dropless = false;                             // whatever moe.evaluation_capacity_factor says
  };
  /// Teacher-forced loss without gradients or dropout.
  LossSums evaluate(const Batch& batch, const EvaluateOptions& options);

  // Encoding and decoding drop no token, whatever the configuration says.

  /// Encoder output [B, S, d]; on the CPU fp32 for a bf16 model too.
  at::Tensor encode(const Side& source);
  /// Ready for up to `max_tokens` steps from the encoder's output, with one hypothesis a sentence, and later
  /// at most `hypotheses`.
  DecoderState start_decoding(const at::Tensor& memory, const at::Tensor& memory_mask, int64_t max_tokens,
                              int64_t hypotheses = 1);
  /// Feeds one token a row (ids int64 [rows]) and returns the next token's logits, fp32 [rows, V], which the
  /// next step may overwrite.
  at::Tensor decode_step(DecoderState& state, const at::Tensor& ids);
  /// Rows of the state become rows `rows` (int64 [new rows]) of it, and its sentences `sentences` (int64 [new
  /// sentences]; undefined: all stay): hypotheses that go on, sentences that are done. Each new sentence has
  /// the same number of rows.
  static void reorder(DecoderState& state, const at::Tensor& rows, const at::Tensor& sentences);

 private:
  [[nodiscard]] bool infers_by_rows() const {
    return options_.device.is_cpu() &&
           (options_.compute == at::kFloat || options_.compute == at::kBFloat16) &&
           chorus::infers_by_rows(config_);
  }
  /// The pass with who has the weights that are not here, and who brings them.
  [[nodiscard]] Pass over_ranks(Pass pass) const;
  [[nodiscard]] Weights weights() { return {config_, parameters_}; }
  [[nodiscard]] LayerPlace encoder_place(size_t layer) const;
  [[nodiscard]] LayerPlace decoder_place(size_t layer) const;
  /// One value for all blocks of a stack; none without relative positions.
  std::vector<Value> run_position_bias(Executor& executor, size_t table, int64_t length, bool causal,
                                       const at::Tensor& mask);
  Value run_encoder(Executor& executor, const Side& source, const Pass& pass);
  Value run_decoder(Executor& executor, const Value& memory, const Batch& batch, const Pass& pass);
  [[nodiscard]] Side make_side(const std::vector<int32_t>& ids, int64_t rows, int64_t length) const;

  ModelConfig config_;
  Options options_;
  Catalogue catalogue_;
  std::vector<Parameter> parameters_;
  std::vector<Bucket> buckets_;
  BlockWatcher* watcher_ = nullptr;
  at::Tensor positions_;  // [max_positions, d_model], compute type
};

}  // namespace chorus
