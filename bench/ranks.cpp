// Works on several ranks: training steps of a stack of MoE layers, the exchange of tokens, and what moves
// them beside what computes with them.
#include "ranks.h"

#include <map>
#include <numeric>

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <mpi.h>

#include "data.h"
#include "kernels/experts.h"
#include "kernels/rows.h"
#include "moe.h"
#include "moe/exchange.h"
#include "mpi/world.h"
#include "state/optimizer.h"

namespace chorus::bench {

Group& ranks() {
  static World world;
  return world.group();
}

Parallel parallel_of(const Json& options, int64_t experts) {
  const ParallelConfig config = {.ep = options.value("ep", 1), .zero = options.value("zero", 0)};
  return {ranks(), make_mesh(config, ranks().size(), {.experts = experts})};
}

namespace {

/// x + moe(x), a few times, with the optimizer of a whole model: a Transformer in which nothing else runs,
/// and whose other weights (one attention head of width 1 per layer, 16 rows of embeddings) are too few to
/// count.
struct Stack {
  explicit Stack(const Json& options)
      : data(options["data"].get<std::string>()),
        hidden(data.get("hidden")),
        grad(data.get("grad").div_(static_cast<double>(hidden.size(0) * ranks().size()))),
        parallel(parallel_of(options, data.get("router").size(0))),
        model(config_of(options), {.gradients = true, .parallel = &parallel}),
        optimizer(model, {.weight_decay = 0.01, .clip_norm = 1}, parallel),
        statistics(model.catalogue().sparse_layers()),
        rate(options["rate"]) {
    const at::Tensor router = data.get("router");
    const at::Tensor fc1 = experts_like(data.get("fc1"), router.size(0), at::kFloat);
    const at::Tensor fc2 = experts_like(data.get("fc2"), router.size(0), at::kFloat);
    std::map<size_t, at::Tensor> values;  // of the other parameters: zeros
    for (const LayerIndex& layer : model.catalogue().encoder) {
      values[layer.ffn.router] = router;
      values[layer.ffn.fc1.weight] = fc1;
      values[layer.ffn.fc2.weight] = fc2;
    }
    optimizer.change([&](const Optimizer::Part& part) {
      const auto value = values.find(part.parameter);
      if (value == values.end()) {
        part.master.zero_();
      } else {
        const at::Tensor whole = value->second.view(-1);
        part.local.for_runs(
            part.first, part.first + part.master.numel(), [&](int64_t from, int64_t held, int64_t count) {
              part.master.narrow(0, held - part.first, count).copy_(whole.narrow(0, from, count));
            });
      }
    });
  }

  ModelConfig config_of(const Json& options) {
    const at::Tensor fc1 = data.get("fc1");
    ModelConfig config = {.vocabulary = 16,
                          .d_model = fc1.size(1),
                          .encoder_layers = options["layers"],
                          .decoder_layers = 0,
                          .attention_heads = 1,
                          .ffn_dim = fc1.size(0),
                          .max_positions = 1,
                          .head_dim = 1};
    config.moe = moe_config(options, data.get("router").size(0));
    config.moe.encoder_every = 1;
    return config;
  }

  at::Tensor layer(size_t number, const at::Tensor& x, bool counted) {
    const FeedForwardIndex& ffn = model.catalogue().encoder[number].ffn;
    std::vector<Parameter>& w = model.parameters();
    const MoeWeights weights = {&w[ffn.router], &w[ffn.fc1.weight], &w[ffn.fc1.bias], &w[ffn.fc2.weight],
                                &w[ffn.fc2.bias]};
    const RandomKey key = RandomKey(1).derive(static_cast<uint64_t>(optimizer.updates())).derive(number);
    return x + moe_layer(x, weights, model.config().moe,
                         {.parallel = &parallel,
                          .training = true,
                          .key = key,
                          .auxiliary_scale = 1 / static_cast<double>(ranks().size()),
                          .observer = {.statistics = counted ? &statistics[number] : nullptr}});
  }

  /// One update. Returns the output; `input` then has the gradient of the rows.
  at::Tensor step(bool counted = false) {
    optimizer.begin_update();
    optimizer.last_micro_batch();
    Executor executor(Executor::Mode::train, &optimizer.watcher());
    input = {hidden, std::make_shared<at::Tensor>()};
    Value x = input;
    for (size_t i = 0; i < model.catalogue().encoder.size(); ++i) {
      x = executor.run(1 + i, [this, i, counted](auto inputs, bool) { return layer(i, inputs[0], counted); },
                       {x});
    }
    executor.backward(x, grad);
    executor.finish();
    norm = optimizer.gradient_norm();
    optimizer.update(rate, norm);
    return x.data;
  }

  Tensors data;
  at::Tensor hidden, grad;
  Parallel parallel;
  Transformer model;
  Optimizer optimizer;
  std::vector<MoeStatistics> statistics;  // of the first step
  double rate, norm = 0;
  Value input;
};

/// Of the tensors that the ranks hold, together.
double norm_over_ranks(const at::Tensor& tensor) {
  return std::sqrt(ranks().sum(std::pow(norm_of(tensor), 2)));
}

}  // namespace

/// As moe_layer (moe.cpp), which every rank's rows are from; layers, ep, zero, rate: the optimizer's.
Work stack_step(const Json& options) {
  auto stack = std::make_shared<Stack>(options);
  Work work = {.run = [stack] { stack->step(); }};
  const int64_t sent = stack->parallel.ep.bytes_sent();
  const at::Tensor output = stack->step(true);
  work.facts["exchanged"] =
      ranks().sum(static_cast<double>(stack->parallel.ep.bytes_sent() - sent));  // by all ranks, in a step
  double kept = 0, skew = 0;
  count_calls(stack->statistics);
  for (const MoeStatistics& layer : stack->statistics) {
    kept += static_cast<double>(layer.choices - layer.dropped);
    skew = std::max(skew, skew_of(layer));
  }
  kept = ranks().sum(kept);
  work.facts["kept"] = kept;
  work.facts["skew"] = skew;
  work.facts["flops"] = 12 * kept * static_cast<double>(stack->data.get("fc1").numel());
  work.facts["checks"] = {{"output", norm_over_ranks(output)},
                          {"hidden gradient", norm_over_ranks(*stack->input.gradient)},
                          {"gradient norm", stack->norm}};
  return work;
}

// ---- the exchange -----------------------------------------------------------------------------------------

namespace {

constexpr int64_t kWidth = 512;

/// [tokens, k]: different experts per token, other ones on each rank.
at::Tensor choices(const Json& options) {
  at::manual_seed(1 + ranks().rank());
  const int64_t tokens = options["tokens"], k = options["k"];
  return std::get<1>(at::topk(at::rand({tokens, options["experts"]}), k)).contiguous();
}

}  // namespace

namespace {

struct Spread {
  explicit Spread(const Json& options)
      : kept(choices(options)),
        experts(options["experts"]),
        parallel(ranks(), make_mesh({.ep = ranks().size()}, ranks().size(), {.experts = experts})),
        exchange(parallel, kept, experts, at::kCPU) {}
  at::Tensor kept;
  int64_t experts;
  Parallel parallel;
  Exchange exchange;
};

}  // namespace

/// tokens, k, experts: rows to the ranks of their experts and back, fp32. with_choices: what a layer does
/// for it besides: who sends how much to whom, and the choices and weights of the rows.
Work exchange(const Json& options) {
  const auto spread = std::make_shared<Spread>(options);
  const at::Tensor x = at::randn({spread->kept.size(0), kWidth}), weight = at::rand(spread->kept.sizes());
  const at::Tensor arrived = spread->exchange.send_rows(x);
  if (!options["with_choices"]) {
    return {.run = [=] {
      spread->exchange.send_rows(x);
      spread->exchange.return_rows(arrived);
    }};
  }
  return {.run = [=] {
    const Exchange fresh(spread->parallel, spread->kept, spread->experts, at::kCPU);
    static_cast<void>(fresh.kept());
    fresh.send_rows(x);
    fresh.send_rows(weight);
    fresh.return_rows(arrived);
  }};
}

/// As `exchange`: MPI_Alltoallv of as many bytes, there and back, from and into memory that is there.
Work bare_exchange(const Json& options) {
  const int64_t experts = options["experts"], each = experts / ranks().size();
  const at::Tensor chosen = choices(options);
  std::vector<int> receive(ranks().size()), send(ranks().size());
  for (int r = 0; r < ranks().size(); ++r) {
    const at::Tensor there = chosen.ge(r * each).logical_and(chosen.lt((r + 1) * each)).any(1);
    send[r] = static_cast<int>(there.sum().item<int64_t>() * kWidth);
  }
  MPI_Alltoall(send.data(), 1, MPI_INT, receive.data(), 1, MPI_INT, MPI_COMM_WORLD);
  const auto offsets = [](const std::vector<int>& counts) {
    std::vector<int> result(counts.size());
    std::exclusive_scan(counts.begin(), counts.end(), result.begin(), 0);
    return result;
  };
  const std::vector<int> from = offsets(send), to = offsets(receive);
  const at::Tensor here = at::ones({std::reduce(send.begin(), send.end())});
  const at::Tensor there = at::ones({std::reduce(receive.begin(), receive.end())});
  return {.run = [=] {
    MPI_Alltoallv(here.data_ptr(), send.data(), from.data(), MPI_FLOAT, there.data_ptr(), receive.data(),
                  to.data(), MPI_FLOAT, MPI_COMM_WORLD);
    MPI_Alltoallv(there.data_ptr(), receive.data(), to.data(), MPI_FLOAT, here.data_ptr(), send.data(),
                  from.data(), MPI_FLOAT, MPI_COMM_WORLD);
  }};
}

// ---- moving rows, and computing with them -----------------------------------------------------------------

namespace {

/// One rank's part of an MoE layer, once its rows have arrived: forward and backward.
struct Held {
  explicit Held(const Json& options)
      : kept(choices(options)),
        count(options["experts"]),
        order(sort_by_expert(kept, count, kept.numel())),
        x(at::randn({kept.size(0), kWidth})),
        weight(at::rand(kept.sizes())),
        rows(gather_rows(x, order.token)),
        ones(at::ones({rows.size(0)})),
        fc1_weight(parameter({count, 4 * kWidth, kWidth})),
        fc1_bias(parameter({count, 4 * kWidth})),
        fc2_weight(parameter({count, kWidth, 4 * kWidth})),
        fc2_bias(parameter({count, kWidth})) {}
  static Parameter parameter(at::IntArrayRef shape) {
    return {.value = at::randn(shape).mul_(0.03), .gradient = at::zeros(shape)};
  }
  at::Tensor kept;
  int64_t count;
  ExpertOrder order;
  at::Tensor x, weight, rows, ones;
  Parameter fc1_weight, fc1_bias, fc2_weight, fc2_bias;
};

}  // namespace

/// tokens, k, experts: the experts' products, d 512, FFN 2048, fp32, over rows that lie sorted.
Work experts(const Json& options) {
  auto held = std::make_shared<Held>(options);
  Work work = {.run = [held] {
    const MoeWeights weights = {nullptr, &held->fc1_weight, &held->fc1_bias, &held->fc2_weight,
                                &held->fc2_bias};
    const Experts experts = {.weights = weights, .order = held->order};
    const ExpertRun run = run_experts(experts, held->rows);
    run_experts_backward(experts, held->rows, run.kept, held->rows, held->ones);
  }};
  work.facts["flops"] = 12 * held->rows.size(0) * held->fc1_weight.value[0].numel();
  return work;
}

/// tokens, k, experts: everything else that an MoE layer does with these rows after routing: sorting,
/// counting, gathering, combining, and their backward. With `by_rank` also what the exchange does with them
/// beside sending, if half of the experts were another rank's.
Work moving(const Json& options) {
  auto held = std::make_shared<Held>(options);
  const at::Tensor by_rank = held->kept.div(held->count / 2, "floor");
  by_rank.select(1, 1).masked_fill_(by_rank.select(1, 0).eq(by_rank.select(1, 1)), -1);
  const bool spread = options["by_rank"];
  return {.run = [held, by_rank, spread] {
    if (spread) {
      const ExpertOrder order = sort_by_expert(by_rank, 2, by_rank.numel());
      const at::Tensor sent = gather_rows(held->x, order.token);  // forward
      sum_rows(sent, order.slot);
      gather_rows(held->x, order.token);  // backward
      sum_rows(sent, order.slot);
    }
    const ExpertOrder order = sort_by_expert(held->kept, held->count, held->kept.numel());
    gather_rows(held->x, order.token);
    combine_rows(held->rows, order.slot, held->weight);
    gather_rows(held->x, order.token);  // gradients, and inputs again
    gather_rows(held->x, order.token);
    sum_rows(held->rows, order.slot);
  }};
}

}  // namespace chorus::bench
