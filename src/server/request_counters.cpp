#include "server/request_counters.h"

#include <fmt/format.h>

namespace chorus::inline server {

void RequestCounters::count(const std::string& endpoint, int status, double seconds) {
  const std::scoped_lock lock(mutex_);
  ++requests_[{endpoint, status}];
  Durations& durations = durations_[endpoint];
  ++durations.count;
  durations.sum += seconds;
  for (size_t i = 0; i < kBounds.size(); ++i)
    if (seconds <= kBounds[i]) ++durations.within[i];
}

void RequestCounters::count_characters(int64_t characters) {
  const std::scoped_lock lock(mutex_);
  characters_ += characters;
}

std::string RequestCounters::text(const Batcher::Load& load) const {
  std::string text;
  const auto begin = [&](const char* name, const char* type, const char* help) {
    text += fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
  };
  const auto single = [&](const char* name, const char* type, const char* help, auto value) {
    begin(name, type, help);
    text += fmt::format("{} {}\n", name, value);
  };
  const std::scoped_lock lock(mutex_);
  begin("chorus_requests_total", "counter", "Requests that were answered.");
  for (const auto& [key, count] : requests_)
    text += fmt::format("chorus_requests_total{{endpoint=\"{}\",status=\"{}\"}} {}\n", key.first, key.second,
                        count);
  begin("chorus_request_seconds", "histogram", "Time from a request to its answer.");
  for (const auto& [endpoint, durations] : durations_) {
    for (size_t i = 0; i < kBounds.size(); ++i)
      text += fmt::format("chorus_request_seconds_bucket{{endpoint=\"{}\",le=\"{}\"}} {}\n", endpoint,
                          kBounds[i], durations.within[i]);
    text += fmt::format(
        "chorus_request_seconds_bucket{{endpoint=\"{0}\",le=\"+Inf\"}} {1}\n"
        "chorus_request_seconds_sum{{endpoint=\"{0}\"}} "
        "{2}\nchorus_request_seconds_count{{endpoint=\"{0}\"}} {1}\n",
        endpoint, durations.count, durations.sum);
  }
  single("chorus_characters_total", "counter", "Characters of texts that were to be translated or scored.",
         characters_);
  single("chorus_waiting_requests", "gauge", "Requests that wait or are being translated.", load.jobs);
  single("chorus_waiting_lines", "gauge", "Their lines that are not done.", load.lines);
  single("chorus_batches_total", "counter", "Batches that were begun.", load.batches);
  single("chorus_batched_lines_total", "counter", "Lines in them.", load.batched_lines);
  return text;
}

}  // namespace chorus::inline server
