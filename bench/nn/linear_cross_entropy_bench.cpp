// The output layer and its loss, with gradients, against libtorch's linear and cross_entropy_loss under
// autograd: time, and how far each raises the process's peak memory.
#include <fstream>

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <malloc.h>

#include "chorus/nn/linear_cross_entropy.h"

#include "compare.h"

namespace chorus {
namespace {

/// A line of /proc/self/status in MiB.
double status_mib(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) {
      return std::stod(line.substr(key.size() + 1)) / 1024;
    }
  }
  return 0;
}

template <class Work>
double peak_mib(const Work& work) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts again from what is resident now
  const double before = status_mib("VmRSS");
  work();
  return status_mib("VmHWM") - before;
}

void linear_cross_entropy_with_gradients(benchmark::State& state) {
  const int64_t tokens = state.range(0), vocabulary = state.range(1), width = 512;
  const auto type = state.range(2) != 0 ? at::kBFloat16 : at::kFloat;
  const at::Tensor hidden = at::randn({tokens, width}).to(type);
  const at::Tensor value = at::randn({vocabulary, width}).mul_(0.05).to(type);
  const at::Tensor labels = at::randint(2, vocabulary, {tokens}, at::kLong);
  Parameter weight = {value, at::zeros({vocabulary, width})};
  const auto ours = [&] {
    weight.has_gradient = false;
    benchmark::DoNotOptimize(
        linear_cross_entropy(hidden, weight, labels, {.label_smoothing = 0.1, .gradient = true}));
  };
  // bf16 as autocast has it: the product in bf16, the loss in fp32.
  const at::Tensor h = hidden.detach().clone().requires_grad_(), w = value.detach().clone().requires_grad_();
  const auto peer = [&] {
    h.mutable_grad().reset();
    w.mutable_grad().reset();
    at::cross_entropy_loss(at::linear(h, w).to(at::kFloat), labels, {}, at::Reduction::Sum, 1, 0.1)
        .backward();
  };
  ours();
  peer();
  const double our_peak = peak_mib(ours), peer_peak = peak_mib(peer);
  bench::compare(state, ours, peer);
  state.counters["ours_MiB"] = our_peak;
  state.counters["peer_MiB"] = peer_peak;
}
BENCHMARK(linear_cross_entropy_with_gradients)
    ->ArgsProduct({{4096}, {32'000, 256'000}, {0, 1}})
    ->ArgNames({"tokens", "vocabulary", "bf16"})
    ->UseManualTime()
    ->Iterations(3)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace chorus
