// AdamW against a copy of as many bytes as it must read and write, and against torch's own fused AdamW.
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "chorus/optim/adamw.h"

#include "compare.h"

namespace chorus {
namespace {

using bench::compare;

AdamWTensor tensor_of(int64_t size, bool bf16) {
  const at::Tensor value = at::randn({size});
  return {bf16 ? value.to(at::kBFloat16) : value, bf16 ? value : at::Tensor(), at::randn({size}),
          at::zeros({size}), at::zeros({size})};
}

/// 28 bytes a parameter (read 4 fp32, write 3), 30 with the bf16 copy; a copy of n bytes moves 2n.
void adamw_against_copy(benchmark::State& state) {
  const bool bf16 = state.range(1) != 0;
  AdamWTensor tensor = tensor_of(state.range(0), bf16);
  const int64_t bytes = state.range(0) * (bf16 ? 30 : 28);
  const at::Tensor from = at::zeros({bytes / 8});
  at::Tensor to = at::zeros({bytes / 8});
  compare(
      state, [&] { adamw_step(tensor, {.learning_rate = 1e-3, .weight_decay = 0.01}); },
      [&] { to.copy_(from); });
  state.counters["ns_per_parameter"] = state.counters["ours_ms"] * 1e6 / static_cast<double>(state.range(0));
  state.SetBytesProcessed(state.iterations() * bytes);
}
BENCHMARK(adamw_against_copy)
    ->ArgsProduct({{1 << 20, 1 << 25}, {0, 1}})
    ->ArgNames({"parameters", "bf16"})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

void adamw_against_torch_fused(benchmark::State& state) {
  AdamWTensor ours = tensor_of(state.range(0), false), torchs = tensor_of(state.range(0), false);
  const at::Tensor step = at::full({}, 1.0);
  compare(
      state, [&] { adamw_step(ours, {.learning_rate = 1e-3, .weight_decay = 0.01}); },
      [&] {
        at::_fused_adamw_({torchs.value}, {torchs.gradient}, {torchs.m}, {torchs.v}, {}, {step}, 1e-3, 0.9,
                          0.98, 0.01, 1e-8, false, false);
      });
}
BENCHMARK(adamw_against_torch_fused)
    ->Args({1 << 25})
    ->ArgNames({"parameters"})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

void squared_norm_against_copy(benchmark::State& state) {
  const at::Tensor x = at::randn({state.range(0)});
  at::Tensor to = at::zeros({state.range(0) / 2});
  const at::Tensor from = at::zeros({state.range(0) / 2});
  compare(
      state, [&] { benchmark::DoNotOptimize(squared_norm(x)); }, [&] { to.copy_(from); });
}
BENCHMARK(squared_norm_against_copy)
    ->Args({1 << 25})
    ->ArgNames({"elements"})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace chorus
