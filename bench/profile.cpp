// Where a repetition's time goes, operator by operator.
#include "profile.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include <ATen/Context.h>
#include <torch/csrc/autograd/profiler_kineto.h>

namespace chorus::bench {

namespace {

struct Sum {
  int64_t count = 0;
  uint64_t nanoseconds = 0;
  uint64_t idle = 0;  // the device was, before these began
};

struct Span {
  uint64_t begin, end;
  Sum* sum;
};

/// Notes how long nothing was under way before each span; returns how long something was.
uint64_t note_idle(std::vector<Span> spans) {
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  uint64_t busy = 0, end = spans.empty() ? 0 : spans.front().begin;
  for (const Span& span : spans) {
    if (span.begin > end) span.sum->idle += span.begin - end;
    if (span.end > end) busy += span.end - std::max(span.begin, end);
    end = std::max(end, span.end);
  }
  return busy;
}

double in_seconds(uint64_t nanoseconds) {
  return 1e-9 * static_cast<double>(nanoseconds);
}

Json longest_first(const std::map<std::string, Sum>& sums) {
  Json rows = Json::array();
  for (const auto& [name, sum] : sums) {
    rows.push_back({{"name", name},
                    {"count", sum.count},
                    {"seconds", in_seconds(sum.nanoseconds)},
                    {"idle", in_seconds(sum.idle)}});
  }
  std::sort(rows.begin(), rows.end(),
            [](const Json& a, const Json& b) { return a["seconds"] > b["seconds"]; });
  return rows;
}

}  // namespace

Json profile(const std::function<void()>& work) {
  namespace profiler = torch::autograd::profiler;
  const bool device = at::hasCUDA();
  const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
  const std::set<profiler::ActivityType> activities = {device ? profiler::ActivityType::CUDA
                                                              : profiler::ActivityType::CPU};
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  const auto began = std::chrono::steady_clock::now();
  work();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const std::unique_ptr<profiler::ProfilerResult> result = profiler::disableProfiler();

  std::map<std::string, Sum> kernels;
  std::vector<Span> spans;
  Sum waits;
  std::map<std::string, Sum> calls;
  const auto add = [](Sum& sum, const profiler::KinetoEvent& event) {
    ++sum.count;
    sum.nanoseconds += event.durationNs();
  };
  for (const profiler::KinetoEvent& event : result->events()) {
    if (device && event.deviceType() != c10::DeviceType::CUDA) {
      static const std::set<std::string> kWaits = {"cudaStreamSynchronize", "cudaEventSynchronize",
                                                   "cudaDeviceSynchronize"};
      if (kWaits.contains(event.name())) add(waits, event);
      add(calls[event.name()], event);
      continue;
    }
    Sum& sum = kernels[event.name()];
    add(sum, event);
    spans.push_back({.begin = event.startNs(), .end = event.endNs(), .sum = &sum});
  }
  const uint64_t busy = note_idle(std::move(spans));
  return {{"seconds", seconds},
          {"busy", in_seconds(busy)},
          {"waits", waits.count},
          {"waits_seconds", in_seconds(waits.nanoseconds)},
          {"kernels", longest_first(kernels)},
          {"calls", longest_first(calls)}};
}

}  // namespace chorus::bench
