#include "moe/layer.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>

#include "comm/background.h"
#include "kernels/device.h"
#include "kernels/dropout.h"
#include "kernels/experts.h"
#include "kernels/rows.h"
#include "kernels/stream.h"
#include "moe/exchange.h"

#include "moe/internal/counting.h"

namespace chorus::inline moe {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/// What the experts held here work on, for a chunk of the micro-batch's tokens: those tokens, or what the
/// ranks sent of theirs. R rows, M choices.
struct Dispatched {
  std::optional<Exchange> exchange;
  at::Tensor rows;        // [R, d]
  at::Tensor row_weight;  // [R, k]
  at::Tensor row_keys;    // int64 [R, 1]; undefined without activation dropout
  ExpertOrder order;
  at::Tensor kept;  // what the activation keeps (ExpertRun), once they have run
};

/// Everything forward leaves for backward.
struct Saved : torch::CustomClassHolder {
  MoeWeights weights;
  MoeConfig config;
  MoeCall call;
  at::Tensor hidden;         // [N, d]
  at::Tensor probabilities;  // [N, E]
  at::Tensor log_partition;  // [N] logsumexp of the logits; undefined without z-loss
  Routing routing;
  at::Tensor kept_on_host;  // the routing's, where ranks exchange tokens
  at::Tensor output_scale;  // [N, k] expert output dropout; undefined without
  at::Tensor weight;        // [N, k] fp32: gates times output_scale

  int64_t chunks = 1;                  // of the tokens
  bool crowded = false;                // a rank would get too many rows (kCrowd): nothing is kept of a chunk
  std::vector<Dispatched> dispatched;  // each chunk, unless crowded
};

at::ScalarType router_type(const at::Tensor& hidden) {
  return hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor router_input(const Saved& s) {
  const at::Tensor x = s.hidden.to(router_type(s.hidden));
  return s.call.training && s.config.jitter > 0
             ? jitter_by_key(x, s.config.jitter, s.call.key.derive("jitter"))
             : x;
}

Experts experts_of(const Saved& s, const Dispatched& d) {
  Experts experts = {.weights = s.weights,
                     .order = d.order,
                     .activation = s.call.activation,
                     .dropout = s.call.training ? s.call.activation_dropout : 0,
                     .row_keys = d.row_keys};
  if (d.exchange) {
    const Group& etp = s.call.parallel->etp;
    experts.first_expert = s.call.parallel->first_expert(s.probabilities.size(1));
    experts.first_inner = part_of(s.call.inner_width, etp.rank(), etp.size()).first;
    experts.adds_bias = etp.rank() == 0;
  }
  return experts;
}

/// Returns the keys of tokens first .. first + count in activation dropout: int64 [count, 1].
at::Tensor token_keys(const Saved& s, const Stretch& tokens) {
  const RandomKey key = s.call.key.derive("activation");
  at::Tensor keys = at::empty({tokens.count, 1}, at::kLong);
  for (int64_t i = 0; i < tokens.count; ++i) {
    keys.mutable_data_ptr<int64_t>()[i] =
        static_cast<int64_t>(key.derive(static_cast<uint64_t>(tokens.first + i)).value());
  }
  return send_to(s.hidden.device(), keys);
}

at::Tensor rows_of(const at::Tensor& x, const Stretch& tokens) {
  return x.narrow(0, tokens.first, tokens.count);
}

Stretch chunk_of(const Saved& s, int64_t chunk) {
  return part_of(s.hidden.size(0), static_cast<int>(chunk), static_cast<int>(s.chunks));
}

std::optional<Exchange> exchange_of(const Saved& s, const Stretch& tokens) {
  if (!s.call.parallel || !s.call.parallel->shares_experts()) return std::nullopt;
  return std::optional<Exchange>(std::in_place, *s.call.parallel, rows_of(s.kept_on_host, tokens),
                                 s.probabilities.size(1), s.hidden.device());
}

/// Brings tokens to their experts, by `exchange` where there is one.
Dispatched dispatch(const Saved& s, const Stretch& tokens, std::optional<Exchange> exchange) {
  Dispatched d = {.exchange = std::move(exchange),
                  .rows = rows_of(s.hidden, tokens),
                  .row_weight = rows_of(s.weight, tokens)};
  at::Tensor kept = rows_of(s.routing.kept, tokens);
  int64_t experts = s.probabilities.size(1), most = s.routing.tokens * kept.size(1);
  if (s.call.training && s.call.activation_dropout > 0) d.row_keys = token_keys(s, tokens);
  if (d.exchange) {
    kept = d.exchange->kept();
    most = kept.numel();
    experts = s.call.parallel->expert_count(experts);
    d.rows = d.exchange->send_rows(d.rows);
    d.row_weight = d.exchange->send_rows(d.row_weight);
    if (d.row_keys.defined()) d.row_keys = d.exchange->send_rows(d.row_keys);
  }
  d.order = sort_by_expert(kept, experts, most);
  return d;
}

/// Runs the experts, and returns their outputs [M, d].
at::Tensor run_experts_on(const Saved& s, Dispatched& d) {
  if (s.call.before_experts) s.call.before_experts(rows_of_experts(d.order).counts, false);
  ExpertRun run = run_experts(experts_of(s, d), gather_rows(d.rows, d.order.token));
  d.kept = std::move(run.kept);
  return run.output;
}

/// Given the gradient w.r.t. each received row's weighted sum [R, d], returns the gradients w.r.t. the rows [R, d]
/// and w.r.t. their combine weights [R, k]. Adds those of the experts' weights.
std::pair<at::Tensor, at::Tensor> experts_backward(const Saved& s, const Dispatched& d,
                                                   const at::Tensor& grad) {
  const ExpertOrder& order = d.order;
  const at::Tensor by_output = gather_rows(grad, order.token);
  const at::Tensor expert_input = gather_rows(d.rows, order.token);  // cheaper to make again than to keep
  const at::Tensor weight = d.row_weight.to(router_type(s.hidden)).reshape(-1).index_select(0, order.choice);
  Experts experts = experts_of(s, d);
  experts.by_use = s.call.before_experts && s.call.before_experts(rows_of_experts(order).counts, true);
  const ExpertGradients by = run_experts_backward(experts, expert_input, d.kept, by_output, weight);
  const at::Tensor by_choice = sum_rows(by.weight.unsqueeze(1), order.slot.view({-1, 1}));
  return {sum_rows(by.input, order.slot), by_choice.view(order.slot.sizes())};
}

/// Brings, for each chunk, its rows here, computes with them, and brings results back. Of several chunks, one is
/// exchanged, on a stream for that, while another is computed, in the same order on every rank. bring_back() follows
/// compute() there: until then nothing that bring() allocated may go, and behind it all may.
void for_chunks(const Saved& s, const std::function<void(int64_t)>& bring,
                const std::function<void(int64_t)>& compute, const std::function<void(int64_t)>& bring_back) {
  if (s.chunks == 1) {
    bring(0);
    compute(0);
    bring_back(0);
    return;
  }
  struct Pending {
    std::vector<Background> works;
    ~Pending() {  // also where an exception passes: they use what lies below
      for (const Background& work : works) {
        if (work.pending()) work.wait();
      }
    }
  } pending = {.works = std::vector<Background>(2 * s.chunks)};
  const auto brought = pending.works.begin(), back = brought + s.chunks;
  const auto begin = [&](Background& background, const auto& work, int64_t chunk) {
    background.begin(s.call.parallel->ep, SideStream::exchange, s.hidden.device(),
                     [&work, chunk] { work(chunk); });
  };
  begin(brought[0], bring, 0);
  for (int64_t chunk = 0; chunk < s.chunks; ++chunk) {
    if (chunk + 1 < s.chunks) begin(brought[chunk + 1], bring, chunk + 1);
    brought[chunk].finish();
    compute(chunk);
    begin(back[chunk], bring_back, chunk);
  }
  std::for_each(back, back + s.chunks, [](Background& work) { work.finish(); });
}

/// Copies the rows of a chunk to their place in `whole`, which becomes `part` itself where there are no other chunks.
void put(const Saved& s, int64_t chunk, at::Tensor part, at::Tensor& whole) {
  if (s.chunks == 1) {
    whole = std::move(part);
  } else {
    rows_of(whole, chunk_of(s, chunk)).copy_(part);
  }
}

/// Returns [N, d]: the weighted sum of what the experts make of each token. Where a rank would get too many rows, the
/// tokens go in chunks, of which nothing is kept: a rank's memory is bounded, however tokens are routed.
at::Tensor run(Saved& s) {
  if (s.call.parallel && s.call.parallel->shares_experts()) s.kept_on_host = s.routing.kept.to(at::kCPU);
  std::optional<Exchange> whole = exchange_of(s, {.count = s.hidden.size(0)});
  if (whole) {
    const int64_t bearable = whole->chunks(kCrowd);
    s.crowded = bearable > 1;
    s.chunks = s.crowded ? bearable : s.call.parallel->mesh().exchange_chunks;
  }
  if (s.chunks > 1) whole.reset();
  std::vector<Dispatched> chunks(s.chunks);
  std::vector<at::Tensor> results(s.chunks);
  at::Tensor output = s.chunks == 1 ? at::Tensor() : at::empty_like(s.hidden);
  for_chunks(
      s,
      [&](int64_t c) {
        const Stretch tokens = chunk_of(s, c);
        chunks[c] = dispatch(s, tokens, whole ? std::move(whole) : exchange_of(s, tokens));
      },
      [&](int64_t c) {
        const at::Tensor outputs = run_experts_on(s, chunks[c]);
        results[c] = combine_rows(outputs, chunks[c].order.slot, chunks[c].row_weight);
      },
      [&](int64_t c) {
        const at::Tensor result = std::move(results[c]);
        keep_for_current_stream(result);
        put(s, c, chunks[c].exchange ? chunks[c].exchange->return_rows(result) : result, output);
        if (s.crowded) chunks[c] = {};
      });
  if (!s.crowded) s.dispatched = std::move(chunks);
  return output;
}

/// Given the gradient w.r.t. run()'s result [N, d], returns those w.r.t. `hidden` [N, d] and w.r.t. `weight` [N, k].
std::pair<at::Tensor, at::Tensor> run_backward(Saved& s, const at::Tensor& grad) {
  std::vector<Dispatched> chunks = std::move(s.dispatched);
  chunks.resize(s.chunks);
  std::vector<at::Tensor> arrived(s.chunks);
  std::vector<std::pair<at::Tensor, at::Tensor>> results(s.chunks);
  at::Tensor grad_hidden, grad_weight;
  if (s.chunks > 1) {
    grad_hidden = at::empty_like(s.hidden);
    grad_weight = at::empty_like(s.weight);
  }
  for_chunks(
      s,
      [&](int64_t c) {
        const Stretch tokens = chunk_of(s, c);
        if (s.crowded) chunks[c] = dispatch(s, tokens, exchange_of(s, tokens));
        arrived[c] = rows_of(grad, tokens);
        if (chunks[c].exchange) arrived[c] = chunks[c].exchange->send_rows(arrived[c]);
      },
      [&](int64_t c) {
        keep_for_current_stream(arrived[c]);
        if (s.crowded) static_cast<void>(run_experts_on(s, chunks[c]));
        results[c] = experts_backward(s, chunks[c], arrived[c]);
        arrived[c].reset();
        chunks[c].kept.reset();
      },
      [&](int64_t c) {
        auto [by_rows, by_weight] = std::move(results[c]);
        keep_for_current_stream(by_rows);
        keep_for_current_stream(by_weight);
        if (const std::optional<Exchange>& exchange = chunks[c].exchange) {
          by_rows = exchange->return_rows(by_rows);
          by_weight = exchange->return_rows(by_weight);
        }
        put(s, c, by_rows, grad_hidden);
        put(s, c, by_weight, grad_weight);
        if (s.crowded) chunks[c] = {};
      });
  return {grad_hidden, grad_weight};
}

/// Given the gradient w.r.t. the gates [N, k], returns that w.r.t. the router's input [N, d]. Adds the router's own.
at::Tensor by_router_input(const Saved& s, const at::Tensor& grad_gates) {
  const double scale = s.call.auxiliary_scale;
  const at::Tensor grad_logits =
      router_backward(s.probabilities, s.routing, s.config.gate_normalization, grad_gates, s.call.active,
                      {.balance = s.config.balance_loss * scale,
                       .z = s.config.z_loss * scale,
                       .log_partition = s.log_partition});
  s.weights.router->accumulate_product(grad_logits, router_input(s));
  at::Tensor grad_input = at::mm(grad_logits, s.weights.router->value);
  return s.config.jitter > 0 ? jitter_by_key(grad_input, s.config.jitter, s.call.key.derive("jitter"))
                             : grad_input;
}

/// Multiplies the weights: in training by 1 or 0 for each choice, not rescaled; when evaluating by one number, the
/// expectation.
void apply_output_dropout(Saved& s) {
  const double p = s.config.expert_output_dropout;
  if (p == 0) {
    return;
  }
  if (!s.call.training) {
    s.weight.mul_(1 - p);
    return;
  }
  const RandomKey key = s.call.key.derive("expert output");
  at::Tensor scale = at::empty(s.weight.sizes(), at::kFloat);
  auto* const choices = scale.mutable_data_ptr<float>();
  for (int64_t i = 0; i < scale.numel(); ++i)
    choices[i] = key.uniform(static_cast<uint64_t>(i)) < p ? 0.0F : 1.0F;
  s.output_scale = send_to(s.weight.device(), scale).to(s.weight.scalar_type());
  s.weight.mul_(s.output_scale);
}

struct MoeFunction : Function<MoeFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden,
                            const at::Tensor& /*router value*/, const MoeWeights& weights,
                            const MoeConfig& config, const MoeCall& call) {
    auto saved = c10::make_intrusive<Saved>();
    Saved& s = *saved;
    s.weights = weights;
    s.config = config;
    s.call = call;
    s.hidden = hidden;
    const at::Tensor logits = at::mm(router_input(s), weights.router->value.t());
    s.probabilities = at::softmax(logits, -1);
    if (config.z_loss > 0) {
      s.log_partition = at::logsumexp(logits, {1});
    }
    const RoutingOptions options = {
        .top_k = config.top_k,
        .capacity_factor = call.dropless   ? 0
                           : call.training ? config.capacity_factor
                                           : config.evaluation_capacity_factor,
        .selection = call.training ? config.selection : TokenSelection::position,
        .sentence_capacity = config.sentence_capacity,
        .sentence_length = call.sentence_length,
        .wants_assigned = call.training || call.observer.record,
    };
    s.routing = route(s.probabilities, call.active, options, call.key.derive("selection"));
    if (call.observer.statistics) {
      leave_to_count(s.call, s.routing, s.probabilities, s.log_partition);
    }
    s.weight = gates(s.probabilities, s.routing, config.gate_normalization);
    apply_output_dropout(s);
    at::Tensor output = run(s);
    if (call.observer.record) {
      *call.observer.record = {s.probabilities, s.routing, hidden, output};
    }
    if (call.training) {
      ctx->saved_data["saved"] = c10::IValue::make_capsule(saved);
    }
    return output;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto holder = ctx->saved_data["saved"].toCapsule();
    Saved& s = *static_cast<Saved*>(holder.get());
    auto [grad_hidden, grad_gates] = run_backward(s, grads[0].contiguous());
    if (s.output_scale.defined()) {
      grad_gates = grad_gates * s.output_scale;
    }
    grad_hidden.add_(by_router_input(s, grad_gates.to(s.probabilities.scalar_type())));
    ctx->saved_data.erase("saved");
    return {grad_hidden, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor moe_layer(const at::Tensor& hidden, const MoeWeights& weights, const MoeConfig& config,
                     const MoeCall& call) {
  return MoeFunction::apply(hidden, weights.router->value, weights, config, call);
}

}  // namespace chorus::inline moe
