// Encoding, and decoding token by token. One interface: another way to compute these (quantised weights, another
// device) is one more StepDecoder, chosen in make_step_decoder().
//
// Decoding drops no token, and no capacity factor binds in encoding, whatever the configuration says. A Switch
// encoder still keeps at most moe.sentence_capacity tokens per expert and sentence, as transformers does.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/candidates.h"
#include "model/transformer.h"

namespace chorus::inline model {

/// A batch of sentences that is being decoded, each with the same number of hypotheses. A hypothesis is one
/// row; those of a sentence lie together. One thread at a time.
class Decoding {
 public:
  virtual ~Decoding() = default;
  /// Feeds one token per row (ids int64 [rows], on the decoder's device) and returns the next token's logits, fp32
  /// [rows, V], which the next step may overwrite; with candidates [rows, columns], those of the row's sentence
  /// (Candidates), and -inf in columns beyond. Error where there is no room for another token.
  virtual at::Tensor step(const at::Tensor& ids) = 0;
  /// Reorders: afterwards row i is what row rows[i] was (int64 [new rows]), as hypotheses go on, and sentence i what
  /// sentence sentences[i] was (int64 [new sentences]; undefined: all stay), as sentences are done. Each new sentence
  /// has the same number of rows.
  virtual void reorder(const at::Tensor& rows, const at::Tensor& sentences) = 0;
};

/// Threads may share one: each has Decodings of its own.
class StepDecoder {
 public:
  /// `model` must outlive it, and its weights must not change while something is decoded.
  explicit StepDecoder(Transformer& model) : model_(model) {}
  virtual ~StepDecoder() = default;
  StepDecoder(const StepDecoder&) = delete;
  StepDecoder& operator=(const StepDecoder&) = delete;

  [[nodiscard]] const ModelConfig& config() const { return model_.config(); }
  /// Returns the most tokens of a source, and of a translation with all that the decoder reads.
  [[nodiscard]] virtual int64_t max_positions() const { return config().max_positions; }
  [[nodiscard]] at::Device device() const { return model_.options().device; }
  /// Whether a sentence's states and logits are the same bits whatever else is in its batch, and with any number of
  /// threads.
  [[nodiscard]] virtual bool independent() const { return false; }
  /// Makes the decoder's input from token ids [rows, length], padded with kPad.
  [[nodiscard]] Side make_side(const std::vector<int32_t>& ids, int64_t rows, int64_t length) const {
    return model_.make_side(ids, rows, length);
  }

  /// Returns the encoder's output [B, S, d].
  [[nodiscard]] virtual at::Tensor encode(const Side& source) const = 0;
  /// Begins to decode: makes room for up to `max_tokens` steps from the encoder's output, with one hypothesis per
  /// sentence, and later at most `hypotheses`. memory_mask: Side::attention_mask of the source. candidates: of each
  /// sentence, with tokens shared that this decoder's take_tokens() returned; none: all tokens for all.
  [[nodiscard]] virtual std::unique_ptr<Decoding> start(const at::Tensor& memory,
                                                        const at::Tensor& memory_mask, int64_t max_tokens,
                                                        int64_t hypotheses = 1,
                                                        std::vector<Candidates> candidates = {}) const = 0;
  /// Prepares tokens for start(): below V, in ascending order, each once.
  [[nodiscard]] virtual std::shared_ptr<const SharedTokens> take_tokens(std::vector<int32_t> tokens) const;

 protected:
  Transformer& model_;
};

/// Returns the fastest decoder that computes what the model is: on the host, rows in fp32 (kernels/decoding.h) unless
/// the architecture is Switch's; else the blocks of model/layers.h.
std::unique_ptr<const StepDecoder> make_step_decoder(Transformer& model);

/// Returns the decoder of one model, or of an ensemble: its logits are the logarithm of the mean of the models'
/// probabilities, as fairseq has it. They have one vocabulary, which the caller knows, are on one device,
/// and must outlive it. UserError when they cannot decode together.
std::unique_ptr<const StepDecoder> make_step_decoder(std::span<Transformer* const> models);

}  // namespace chorus::inline model
