#include "plan/measure.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <unistd.h>

#include "base/clock.h"
#include "kernels/gemm.h"
#include "memory/scratch_file.h"
#include "memory/usage.h"

namespace chorus::inline plan {

namespace {

/// Returns the seconds of the fastest of some runs: others may have disturbed the rest.
double seconds_of(Group& group, int runs, const std::function<void()>& work) {
  double best = 0;
  for (int i = 0; i < runs; ++i) {
    group.barrier("measuring");
    const double began = steady_seconds();
    work();
    const double took = steady_seconds() - began;
    best = i == 0 ? took : std::min(best, took);
  }
  return best;
}

double product_flops(Group& group, at::ScalarType compute) {
  constexpr int64_t kRows = 2048, kWidth = 1024, kInner = 4096;
  const auto options = at::TensorOptions(compute);
  const at::Tensor input = at::zeros({kRows, kWidth}, options), weight = at::zeros({kInner, kWidth}, options);
  const at::Tensor output = at::empty({kRows, kInner}, options);
  const double seconds = seconds_of(group, 5, [&] { linear_product(output, input, weight); });
  return 2.0 * kRows * kWidth * kInner / seconds;
}

/// Writes and reads `bytes` with as many requests in flight as the tiers have.
std::pair<double, double> disk_rates(Group& group, const MeasureOptions& o) {
  constexpr int64_t kRequest = int64_t{12} << 20, kInFlight = 4;
  ScratchFile file(o.folder);
  const int64_t requests = std::max<int64_t>(kInFlight, o.disk_bytes / kRequest);
  const uint64_t begin = file.reserve(requests * kRequest);
  const at::Tensor memory = allocate_blocks_on_host(kInFlight, kRequest, at::kByte);
  memory.fill_(1);
  const auto pass = [&](bool writes) {
    std::array<ScratchFile::Request, kInFlight> pending{};
    for (int64_t i = 0; i < requests + kInFlight; ++i) {
      ScratchFile::Request& slot = pending.at(i % kInFlight);
      if (i >= kInFlight) file.wait(slot);
      if (i >= requests) continue;
      void* const data = memory[i % kInFlight].mutable_data_ptr();
      slot = writes ? file.write(begin + i * kRequest, data, kRequest)
                    : file.read(begin + i * kRequest, data, kRequest);
    }
  };
  const auto bytes = static_cast<double>(requests * kRequest);
  const double write = bytes / seconds_of(group, 2, [&] { pass(true); });
  return {bytes / seconds_of(group, 2, [&] { pass(false); }), write};
}

}  // namespace

Machine measure_machine(Group& group, const MeasureOptions& o) {
  char host[256] = "this machine";
  ::gethostname(host, sizeof host - 1);
  Machine m = {.name = host, .ranks_per_host = group.ranks_here()};
  m.flops = product_flops(group, o.compute);
  const at::Tensor from = at::zeros({o.memory_bytes}, at::kByte), to = at::zeros({o.memory_bytes}, at::kByte);
  // Without a GPU, device and host are one memory.
  const double copied = static_cast<double>(o.memory_bytes) / seconds_of(group, 5, [&] { to.copy_(from); });
  m.device_memory = m.host_memory = 2 * copied;
  m.host_link = copied;
  std::tie(m.disk_read, m.disk_write) = disk_rates(group, o);
  m.link = m.network = copied;
  m.latency = 1e-6;
  if (group.size() > 1) {
    const int64_t each = (int64_t{32} << 20) / group.size();
    const at::Tensor in = at::zeros({each * group.size(), 1}, at::kByte), out = at::empty_like(in);
    const std::vector<int64_t> rows(group.size(), each);
    const double seconds = seconds_of(group, 5, [&] { group.all_to_all(out, rows, in, rows); });
    const double rate = static_cast<double>(each * (group.size() - 1)) / seconds;
    m.network = rate;
    if (group.ranks_here() == group.size()) m.link = rate;
    const at::Tensor word = at::zeros({1}, at::kFloat);
    m.latency = seconds_of(group, 20, [&] { group.all_reduce(word); });
  }
  return m;
}

}  // namespace chorus::inline plan
