// bf16 products into fp32, in place, against libtorch's product and the addition of its result.
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "chorus/kernels/gemm.h"

#include "compare.h"

namespace chorus {
namespace {

void weight_gradient(benchmark::State& state) {
  const int64_t n = state.range(0), rows = state.range(1), columns = state.range(2);
  const at::Tensor a = at::randn({n, rows}).to(at::kBFloat16), b = at::randn({n, columns}).to(at::kBFloat16);
  at::Tensor ours = at::zeros({rows, columns}), peer = at::zeros({rows, columns});
  bench::compare(
      state, [&] { add_product(ours, a, b, false); }, [&] { peer.add_(at::mm(a.t(), b)); });
  state.counters["gflops"] = 2e-6 * static_cast<double>(n * rows * columns) / state.counters["ours_ms"];
}
BENCHMARK(weight_gradient)
    ->Args({32, 2048, 512})
    ->Args({128, 2048, 512})
    ->Args({4096, 2048, 512})
    ->Args({512, 32000, 512})
    ->ArgNames({"n", "rows", "columns"})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

void logits(benchmark::State& state) {
  const int64_t n = state.range(0), vocabulary = state.range(1), width = state.range(2);
  const at::Tensor x = at::randn({n, width}).to(at::kBFloat16),
                   weight = at::randn({vocabulary, width}).to(at::kBFloat16);
  const at::Tensor out = at::empty({n, vocabulary});
  bench::compare(
      state, [&] { wide_product(out, x, weight); }, [&] { at::mm(x, weight.t()).to(at::kFloat); });
  state.counters["gflops"] = 2e-6 * static_cast<double>(n * vocabulary * width) / state.counters["ours_ms"];
}
BENCHMARK(logits)
    ->Args({8, 32000, 512})
    ->Args({512, 32000, 512})
    ->ArgNames({"n", "vocabulary", "width"})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace chorus
