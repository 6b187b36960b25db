#include "model/internal/layer_footprint.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <c10/core/ScalarType.h>

#include "comm/group.h"
#include "kernels/cross_entropy.h"
#include "kernels/experts.h"
#include "moe/layer.h"
#include "nn/linear_cross_entropy.h"

namespace chorus::inline model {

namespace {

constexpr auto kKept = Purpose::activations, kWorking = Purpose::buffers, kMoving = Purpose::exchange;

/// Records, where anything is recorded, what will run back.
void append(Branch* branch, Backward backward) {
  if (branch) branch->push_back(std::move(backward));
}

}  // namespace

LayerFootprint::LayerFootprint(const StepShape& job, int rank, Ledger& device)
    : job_(job), device_(device), element_bytes_(static_cast<int64_t>(c10::elementSize(job.compute))) {
  const ModelConfig& m = job.model;
  const Mesh& mesh = job.mesh;
  const auto here = [](int64_t n, int index, int parts) { return part_of(n, index, parts).count; };
  const int64_t gated = is_gated(m.activation) ? 2 : 1;
  d_ = m.d_model;
  heads_ = m.attention_heads / mesh.tp;
  attention_width_ = heads_ * m.head_width();
  ffn_outer_ = here(m.ffn_dim, mesh.tp_index(rank), mesh.tp);
  ffn_inner_ = gated * ffn_outer_;
  expert_outer_ = here(m.ffn_dim, mesh.etp_index(rank), mesh.etp);
  expert_inner_ = gated * expert_outer_;
  vocabulary_ = here(m.vocabulary, mesh.tp_index(rank), mesh.tp);
  const PaddedShape& batch = job.batch;
  int64_t number = 0;
  for (int64_t i = 0; i < m.encoder_layers; ++i) {
    if (m.is_sparse(i, m.moe.encoder_every))
      shares_.push_back(routing_shares(job, number++, batch.source_tokens()));
  }
  for (int64_t i = 0; i < m.decoder_layers; ++i) {
    if (m.is_sparse(i, m.moe.decoder_every))
      shares_.push_back(routing_shares(job, number++, batch.target_tokens()));
  }
}

Block LayerFootprint::block(Purpose purpose, int64_t elements) const {
  return {device_, purpose, elements * element_bytes_};
}

Block LayerFootprint::wide(Purpose purpose, int64_t elements) const {
  return {device_, purpose, elements * 4};
}

Block LayerFootprint::hidden(int64_t tokens, Purpose purpose) const {
  return block(purpose, tokens * d_);
}

/// What the sum of all ranks' outputs takes while it is made.
Block LayerFootprint::sum_over_tp(int64_t elements) const {
  if (job_.mesh.tp == 1) return {};
  return {device_, kMoving, std::min(Group::kScratch, elements * element_bytes_)};
}

Block LayerFootprint::norm(const Block& x, int64_t tokens, Branch* branch) const {
  const Block statistics = wide(branch ? kKept : kWorking, 2 * tokens);
  append(branch, [this, x, statistics, tokens](const Block& /*grad*/) { return hidden(tokens, kWorking); });
  return hidden(tokens, branch ? kKept : kWorking);
}

/// Keeps its input; the norm's output is computed again.
Block LayerFootprint::norm_linear(const Block& x, int64_t tokens, int64_t width, Branch* branch) const {
  if (job_.model.post_norm) return linear(x, tokens, d_, width, branch);
  const Block statistics = wide(branch ? kKept : kWorking, 2 * tokens);
  const Block normed = hidden(tokens, kWorking);
  Block output = block(branch ? kKept : kWorking, tokens * width);
  append(branch, [this, x, statistics, tokens, width](const Block& /*grad*/) {
    { const Block normed_again = hidden(tokens, kWorking); }
    const Block by_normed = hidden(tokens, kWorking), sum = sum_over_tp(tokens * d_);
    return hidden(tokens, kWorking);
  });
  return output;
}

Block LayerFootprint::linear(const Block& x, int64_t tokens, int64_t in, int64_t out, Branch* branch) const {
  append(branch, [this, x, tokens, in](const Block& /*grad*/) { return block(kWorking, tokens * in); });
  return block(branch ? kKept : kWorking, tokens * out);
}

Block LayerFootprint::drop(double p, const Block& x, int64_t elements, Branch* branch) const {
  if (p == 0) return x;
  append(branch, [this, elements](const Block& /*grad*/) { return block(kWorking, elements); });
  return block(branch ? kKept : kWorking, elements);
}

Block LayerFootprint::residual(const Block& output, int64_t tokens, Branch* branch) const {
  const Block dropped = drop(job_.model.dropout, output, tokens * d_, branch);
  const Block sum = hidden(tokens, branch ? kKept : kWorking);
  return job_.model.post_norm ? norm(sum, tokens, branch) : sum;
}

/// Counts attention. On the host scores are never there as a whole, unless attention dropout or relative positions
/// want them. Without bf16 arithmetic, what is bf16 is copied to fp32 for it (nn/attention.cpp). libtorch's own
/// attention, which takes most, does both on any device; what an accelerator has instead takes less.
Block LayerFootprint::attention(const Block& query, const Block& keys, const SideShape& side,
                                int64_t keys_length, Branch* branch) const {
  const Purpose purpose = branch ? kKept : kWorking;
  const int64_t width = side.tokens() * attention_width_;
  const int64_t scores = side.rows * heads_ * side.length * keys_length;
  const int64_t by_inputs = width + 2 * side.rows * keys_length * attention_width_;
  const bool composed =
      job_.accelerator || job_.model.attention_dropout > 0 || job_.model.positions == Positions::relative;
  const bool copies = job_.compute == at::kBFloat16 && (job_.accelerator || job_.isa == Isa::plain);
  const auto sized = [this, copies](Purpose what, int64_t elements) {
    return copies ? wide(what, elements) : block(what, elements);
  };
  std::vector<Block> kept = {query, keys};
  if (copies) kept = {wide(purpose, by_inputs)};
  Block probabilities, dropped;
  if (composed) {
    probabilities = sized(purpose, scores);
    { const Block before = sized(kWorking, width + 2 * scores); }
    dropped = job_.model.attention_dropout > 0 ? sized(purpose, scores) : probabilities;
  } else {
    if (copies) kept.push_back(wide(purpose, width));  // the output
    kept.push_back(wide(purpose, side.rows * heads_ * side.length));
  }
  append(branch, [=, this](const Block& /*grad*/) mutable {
    const Block by_output = wide(kWorking, copies ? width : 0);
    const Block by_dropped = sized(kWorking, composed ? scores : 0);
    dropped = {};
    const Block by_scores = sized(kWorking, composed ? scores : 0);
    Block by_input = sized(kWorking, by_inputs);
    kept.clear();
    probabilities = {};
    return copies ? block(kWorking, by_inputs) : by_input;
  });
  return block(purpose, width);
}

Block LayerFootprint::self_attention(const Block& x, const SideShape& side, Branch* branch) const {
  const int64_t tokens = side.tokens();
  const Block projected = norm_linear(x, tokens, 3 * attention_width_, branch);
  append(branch, [this, tokens](const Block& /*grad*/) {  // the three are put together
    return block(kWorking, 3 * tokens * attention_width_);
  });
  const Block context = attention(projected, {}, side, side.length, branch);
  const Block output = linear(context, tokens, attention_width_, d_, branch);
  const Block sum = sum_over_tp(tokens * d_);
  return residual(output, tokens, branch);
}

Block LayerFootprint::cross_attention(const Block& x, const SideShape& side, const SideShape& memory,
                                      Branch* branch) const {
  const int64_t tokens = side.tokens(), keys = memory.tokens();
  const Block key_value = block(branch ? kKept : kWorking, keys * 2 * attention_width_);
  const Block query = norm_linear(x, tokens, attention_width_, branch);
  append(branch, [this, keys](Block grad) {  // keys and values are put together, and go back to the memory
    const Block together = block(kWorking, keys * 2 * attention_width_);
    const Block by_memory = hidden(keys, kWorking);
    return grad;
  });
  const Block context = attention(query, key_value, side, memory.length, branch);
  const Block output = linear(context, tokens, attention_width_, d_, branch);
  const Block sum = sum_over_tp(tokens * d_);
  return residual(output, tokens, branch);
}

/// Holds what kernels/activation.cpp needs, besides the result, until the gradient w.r.t. the activation's input is
/// there.
Block LayerFootprint::activation_backward(int64_t elements) const {
  return block(kWorking, is_gated(job_.model.activation) ? 4 * elements : 0);
}

Block LayerFootprint::dense(const Block& x, int64_t tokens, Branch* branch) const {
  const ModelConfig& m = job_.model;
  const Block inner = norm_linear(x, tokens, ffn_inner_, branch);
  Block active = inner;  // relu works in its place
  if (m.activation != Activation::relu) active = block(branch ? kKept : kWorking, tokens * ffn_outer_);
  append(branch, [this, inner, tokens](const Block& /*grad*/) {
    const Block along = activation_backward(tokens * ffn_outer_);
    return block(kWorking, tokens * ffn_inner_);
  });
  active = drop(m.activation_dropout, active, tokens * ffn_outer_, branch);
  const Block output = linear(active, tokens, ffn_outer_, d_, branch);
  const Block sum = sum_over_tp(tokens * d_);
  return residual(output, tokens, branch);
}

/// Rows and choices of one MoE layer on this rank, of each chunk that its tokens are cut into.
struct LayerFootprint::Experts {
  int64_t sent = 0;     // rows that leave for a rank, this one included; 0 without exchange
  int64_t arrived = 0;  // rows that the experts here work on
  int64_t choices = 0;  // of these rows, of the experts here
  int64_t chunks = 1;
  bool crowded = false;  // more than kCrowd allows: nothing is kept of a chunk
};

LayerFootprint::Experts LayerFootprint::experts_of(const SideShape& side, int64_t number) const {
  const Mesh& mesh = job_.mesh;
  const auto n = static_cast<double>(side.tokens() - side.padding);
  const auto k = static_cast<double>(job_.model.moe.top_k);
  const RoutingShares& shares = shares_[number];
  if (mesh.ep * mesh.etp * mesh.tp == 1) {
    return {.arrived = side.tokens(), .choices = static_cast<int64_t>(n * k * shares.kept)};
  }
  // A token travels once to each rank that has any of its k experts. How many these are, on average over
  // choices:
  const int64_t experts = job_.model.expert_counts()[number];
  const double each = static_cast<double>(experts) / mesh.ep;
  double none = 1;  // the probability that a rank has none of the k
  for (int64_t i = 0; i < job_.model.moe.top_k; ++i) {
    const auto left = static_cast<double>(experts - i);
    none *= std::max(0.0, left - each) / left;
  }
  const double ranks = mesh.ep * (1 - none);
  const double bearable = kCrowd * k / ranks;
  double load = shares.load;
  if (job_.memory_case == MemoryCase::worst) load = std::min(load, bearable);  // beyond it nothing is kept
  Experts e;
  // A rank gets rows of all that have the other experts, or other parts of its own, and a micro-batch.
  const int together_with = mesh.ep * mesh.etp;
  const int64_t working = std::min<int64_t>(together_with, job_.micro_batches * mesh.tp);
  const double own = n / mesh.tp, sources = static_cast<double>(working) / mesh.ep;
  const double arrived = own * ranks * load * sources;
  e.crowded = load > bearable;
  e.chunks = e.crowded ? static_cast<int64_t>(std::ceil(mesh.ep / (kCrowd * k))) : mesh.exchange_chunks;
  const auto chunks = static_cast<double>(e.chunks);
  e.sent = static_cast<int64_t>(own * ranks * shares.kept / chunks);
  e.arrived = static_cast<int64_t>(arrived / chunks);
  e.choices = static_cast<int64_t>(std::min(own * k * load * sources, arrived * std::min(k, each)) / chunks);
  return e;
}

Block LayerFootprint::experts(const Block& x, const SideShape& side, int64_t number, Branch* branch) const {
  const ModelConfig& m = job_.model;
  const MoeConfig& moe = m.moe;
  const int64_t tokens = side.tokens();
  const Experts e = experts_of(side, number);
  const Purpose kept = branch && !e.crowded ? kKept : kWorking;
  const bool exchanges = e.sent > 0;
  const int64_t at_once = e.crowded ? 1 : e.chunks;  // chunks that are there together, of what is kept
  const int64_t chunk_tokens = tokens / e.chunks;
  const Block normed = m.post_norm ? x : norm(x, tokens, branch);
  const int64_t scores = tokens * m.expert_counts()[number];
  const Block probabilities = wide(branch ? kKept : kWorking, scores);
  const Block logits = wide(kWorking, scores);
  { const Block jittered = wide(kWorking, moe.jitter > 0 ? tokens * d_ : 0); }
  { const Block counted = wide(kWorking, 3 * scores); }
  // experts, kept and slot: int64; gates: fp32; and each row's token and choice
  const Block routing = wide(branch ? kKept : kWorking, tokens * moe.top_k * 7 + 4 * at_once * e.choices);
  Block result = e.chunks > 1 ? hidden(tokens, branch ? kKept : kWorking) : Block();
  Block rows = block(exchanges ? kMoving : kept, exchanges ? at_once * e.arrived * d_ : 0);
  { const Block sent = block(kMoving, e.sent * d_); }
  Block inner = block(kept, at_once * e.choices * expert_inner_);
  // What each thread has of the block that it works on.
  const int64_t in_tasks = std::min(e.choices, job_.threads * kExpertTaskRows) * expert_outer_;
  const int64_t dropped = m.activation_dropout > 0 ? in_tasks : 0;
  Block output;
  {
    output = block(kWorking, e.choices * d_);
    const Block input = block(kWorking, e.choices * d_);
    const Block active = block(kWorking, (m.activation == Activation::relu ? 0 : in_tasks) + dropped);
  }
  {
    const Block combined = block(kWorking, e.arrived * d_);
    output = {};
    const Block returned = block(kMoving, exchanges ? (e.sent + chunk_tokens) * d_ : 0);
  }
  if (e.crowded) rows = inner = {};
  append(branch, [=, this, keeps = std::vector{normed, probabilities, routing, rows},
                  ran = inner](const Block& /*grad*/) mutable {
    const Block by_hidden = e.chunks > 1 ? hidden(tokens, kWorking) : Block();
    // of the chunk that is computed, and of the one that is brought meanwhile
    const Block arrived = block(kMoving, exchanges ? std::min<int64_t>(e.chunks, 2) * e.arrived * d_ : 0);
    { const Block sent = block(kMoving, e.sent * d_); }
    Block again;  // what was not kept
    if (e.crowded) again = block(kWorking, e.arrived * d_ + e.choices * (expert_inner_ + d_));
    Block by_rows;
    {
      const Block by_output = block(kWorking, e.choices * d_), input = block(kWorking, e.choices * d_);
      const Block by_input = block(kWorking, e.choices * d_);
      {
        const Block by_inner = block(kWorking, e.choices * expert_inner_);
        const bool in_place = m.activation == Activation::relu && m.activation_dropout == 0;
        const Block active = block(kWorking, in_place ? 0 : e.choices * expert_outer_);
        // the gradients w.r.t. the active values, and w.r.t. the inner ones before that is copied
        const Block by_block =
            block(kWorking, dropped + (m.activation == Activation::relu
                                           ? 0
                                           : in_tasks + in_tasks / expert_outer_ * expert_inner_));
        const Block along = activation_backward(m.activation == Activation::relu ? 0 : in_tasks);
        // The experts' gradients, computed by a grouped product, before they are added to what is there.
        const int64_t here = m.expert_counts()[number] / job_.mesh.ep;
        const Block product = block(kWorking, job_.accelerator ? here * expert_inner_ * d_ : 0);
      }
      by_rows = block(kWorking, e.arrived * d_);
    }
    ran = {};
    if (exchanges) {
      const Block returned = block(kMoving, e.sent * d_);
      by_rows = e.chunks > 1 ? by_hidden : hidden(tokens, kWorking);
    }
    const Block by_router = wide(kWorking, 3 * scores + tokens * d_ * (moe.jitter > 0 ? 2 : 1));
    return by_rows;
  });
  if (result.empty()) result = hidden(tokens, branch ? kKept : kWorking);
  return residual(result, tokens, branch);
}

Block LayerFootprint::layer(Block x, const SideShape& side, const SideShape* memory, int64_t sparse,
                            std::vector<Branch>* branches) const {
  const auto next = [&]() -> Branch* { return branches ? &branches->emplace_back() : nullptr; };
  x = self_attention(x, side, next());
  if (memory) x = cross_attention(x, side, *memory, next());
  return sparse >= 0 ? experts(x, side, sparse, next()) : dense(x, side.tokens(), next());
}

Block LayerFootprint::embedding(const SideShape& side, Branch* branch) const {
  const int64_t tokens = side.tokens();
  const Purpose purpose = branch ? kKept : kWorking;
  append(branch, [this, tokens](const Block& /*grad*/) {
    const Block picked = hidden(tokens, kWorking);
    return wide(kWorking, element_bytes_ == 4 ? 0 : tokens * d_);
  });
  Block x = hidden(tokens, kWorking);
  const Block sum = sum_over_tp(tokens * d_);
  if (job_.model.positions != Positions::relative) x = hidden(tokens, kWorking);
  return job_.model.dropout > 0 ? hidden(tokens, purpose) : x;
}

Block LayerFootprint::final_norm(const Block& x, const SideShape& side, Branch* branch) const {
  return norm(x, side.tokens(), branch);
}

Block LayerFootprint::loss(const SideShape& side) const {
  // The language's tag is not predicted.
  const int64_t rows = std::max<int64_t>(1, side.tokens() - side.padding - side.rows);
  const int64_t widest = (job_.model.vocabulary + job_.mesh.tp - 1) / job_.mesh.tp;
  const int64_t chunk =
      chunk_rows(rows, widest, job_.accelerator ? kLeastLossRowsOnDevice : kLeastLossRowsOnHost);
  Block by_hidden = hidden(side.tokens(), kWorking);
  const Block index(device_, kWorking, 2 * 8 * rows);  // and labels
  const Block logits = wide(kWorking, chunk * vocabulary_);
  const Block by_logits = block(kWorking, element_bytes_ == 4 ? 0 : chunk * vocabulary_);
  const Block input = hidden(chunk, kWorking);
  // What libtorch's products of bf16 give before it becomes fp32, or is added to the weight's gradient.
  const bool apart = job_.accelerator && element_bytes_ == 2;
  { const Block narrow = block(kWorking, apart ? chunk * vocabulary_ : 0); }
  { const Block by_bias = wide(kWorking, job_.model.output_bias ? vocabulary_ : 0); }
  { const Block by_weight = wide(kWorking, apart ? vocabulary_ * d_ : 0); }
  const Block by_input = hidden(chunk, kWorking);
  return by_hidden;
}

}  // namespace chorus::inline model
