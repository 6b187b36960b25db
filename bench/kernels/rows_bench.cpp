// Dispatch and combine, forward and backward, against a copy of the bytes they must read and write.
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/zeros.h>

#include "chorus/kernels/rows.h"

#include "compare.h"

namespace chorus {
namespace {

constexpr int64_t kWidth = 512, kExperts = 32;

struct Layer {
  Layer(int64_t tokens, int64_t k, bool bf16)
      : kept(at::randint(0, kExperts, {tokens, k}, at::kLong)),
        order(sort_by_expert(kept, kExperts, at::kCPU)),
        x(at::randn({tokens, kWidth}).to(bf16 ? at::kBFloat16 : at::kFloat)),
        rows(gather_rows(x, order.token)),
        weight(at::rand({tokens, k})) {}
  at::Tensor kept;
  ExpertOrder order;
  at::Tensor x, rows, weight;
};

/// A copy that moves (reads and writes) `elements` elements like `like`.
struct Copy {
  Copy(const at::Tensor& like, int64_t elements)
      : from(at::zeros({elements / 2}, like.options())), to(at::zeros({elements / 2}, like.options())) {}
  void operator()() const { at::Tensor(to).copy_(from); }
  at::Tensor from, to;
};

void dispatch_and_combine(benchmark::State& state) {
  const int64_t tokens = state.range(0), k = state.range(1);
  Layer layer(tokens, k, state.range(2) != 0);
  const Copy copy(layer.x, tokens * kWidth * (3 * k + 1));  // gather k + k, combine k + 1
  bench::compare(
      state,
      [&] {
        const ExpertOrder order = sort_by_expert(layer.kept, kExperts, at::kCPU);
        benchmark::DoNotOptimize(gather_rows(layer.x, order.token));
        benchmark::DoNotOptimize(combine_rows(layer.rows, order.slot, layer.weight));
      },
      copy);
}

void backward(benchmark::State& state) {
  const int64_t tokens = state.range(0), k = state.range(1);
  Layer layer(tokens, k, state.range(2) != 0);
  const at::Tensor grad = at::randn_like(layer.x);
  const Copy copy(layer.x, tokens * kWidth * (1 + 2 * k + k + 1));  // combine's 1 + k + k, the gather's k + 1
  bench::compare(
      state,
      [&] {
        benchmark::DoNotOptimize(combine_rows_backward(grad, layer.rows, layer.order.slot, layer.weight));
        benchmark::DoNotOptimize(sum_rows(layer.rows, layer.order.slot));
      },
      copy);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgsProduct({{512, 4096, 16384}, {1, 2}, {0, 1}})
      ->ArgNames({"tokens", "k", "bf16"})
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}
BENCHMARK(dispatch_and_combine)->Apply(shapes);
BENCHMARK(backward)->Apply(shapes);

}  // namespace
}  // namespace chorus
