// What each block of layers.cpp allocates, keeps and frees, forward and back.
#pragma once

#include <functional>
#include <vector>

#include "model/footprint.h"

#include "model/internal/routing_shares.h"

namespace chorus::inline model {

/// Takes the gradient w.r.t. a function's output and returns that w.r.t. its input. It captures what forward kept.
using Backward = std::function<Block(Block)>;

/// What goes back through each of the functions that f consists of, in y = x + f(x); in forward order.
using Branch = std::vector<Backward>;

/// A stack's side of the micro-batch.
struct SideShape {
  int64_t rows = 0, length = 0;
  int64_t padding = 0;  // of its tokens: they take part, but no expert and no loss has them
  [[nodiscard]] int64_t tokens() const { return rows * length; }
};

class LayerFootprint {
 public:
  /// `job` and `device` must outlive it.
  LayerFootprint(const StepShape& job, int rank, Ledger& device);

  /// One block of a stack; `memory` is the encoder's side for a decoder's block, else null; `sparse`: the
  /// number of its sparse layer, -1 for a dense one. Returns its output; `branches` is what goes back, empty
  /// where nothing is recorded.
  Block layer(Block x, const SideShape& side, const SideShape* memory, int64_t sparse,
              std::vector<Branch>* branches) const;
  [[nodiscard]] Block embedding(const SideShape& side, Branch* branch) const;
  Block final_norm(const Block& x, const SideShape& side, Branch* branch) const;
  /// The output layer and its loss. Returns the gradient w.r.t. the layer's input.
  [[nodiscard]] Block loss(const SideShape& side) const;
  /// [tokens, d] in the type that the model computes in.
  [[nodiscard]] Block hidden(int64_t tokens, Purpose purpose) const;

 private:
  struct Experts;  // what they will have to do
  [[nodiscard]] Block block(Purpose purpose, int64_t elements) const;
  [[nodiscard]] Block wide(Purpose purpose, int64_t elements) const;  // fp32
  [[nodiscard]] Block sum_over_tp(int64_t elements) const;
  Block norm(const Block& x, int64_t tokens, Branch* branch) const;
  Block norm_linear(const Block& x, int64_t tokens, int64_t width, Branch* branch) const;
  Block linear(const Block& x, int64_t tokens, int64_t in, int64_t out, Branch* branch) const;
  Block attention(const Block& query, const Block& keys, const SideShape& side, int64_t keys_length,
                  Branch* branch) const;
  Block residual(const Block& output, int64_t tokens, Branch* branch) const;
  Block drop(double p, const Block& x, int64_t elements, Branch* branch) const;
  Block self_attention(const Block& x, const SideShape& side, Branch* branch) const;
  Block cross_attention(const Block& x, const SideShape& side, const SideShape& memory, Branch* branch) const;
  [[nodiscard]] Block activation_backward(int64_t elements) const;
  Block dense(const Block& x, int64_t tokens, Branch* branch) const;
  Block experts(const Block& x, const SideShape& side, int64_t number, Branch* branch) const;
  [[nodiscard]] Experts experts_of(const SideShape& side, int64_t number) const;

  const StepShape& job_;
  Ledger& device_;
  int64_t element_bytes_;
  int64_t d_, heads_, attention_width_, ffn_inner_, ffn_outer_, vocabulary_;  // of this rank's part
  int64_t expert_inner_, expert_outer_;
  std::vector<RoutingShares> shares_;  // of each MoE layer
};

}  // namespace chorus::inline model
