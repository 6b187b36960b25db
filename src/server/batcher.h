// Lines of many requests, translated together.
//
// A request is a job: some lines, what they are translated by, and until when. One thread takes lines from the jobs
// that wait, those of one route together, and hands each job its translations when all its lines are done. A job of
// many lines gives a few at a time, so that others behind it get their turn. It knows neither HTTP nor models.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "decode/translator.h"

namespace chorus::inline server {

/// What lines are translated by: a direction of a model, with options.
struct TranslationRoute {
  /// Translates lines: line i gives element i; one without `best` and fault was dropped, since stopped(i) said so
  /// between two steps. One thread at a time. An exception is the failure of all the lines.
  std::function<std::vector<TranslatedLine>(std::span<const SourceLine>,
                                            const std::function<bool(size_t line)>& stopped)>
      run;
  // Whether a line's translation is the same bits whatever is translated with it; if not, jobs do not share batches.
  bool shares = true;
};

/// What became of a job.
enum class JobEnd {
  done,
  late,    // its deadline passed first
  failed,  // what its lines are translated by threw
};

struct TranslationJob {
  using Clock = std::chrono::steady_clock;

  std::shared_ptr<const TranslationRoute> route;
  std::vector<SourceLine> lines;
  Clock::time_point deadline = Clock::time_point::max();
  /// Called once unless the job was abandoned: with a translation for each line where the end is `done`. On the
  /// batcher's thread, which waits for it.
  std::function<void(JobEnd, std::vector<TranslatedLine>)> finish;
  /// Called before, likewise, with lines that are done, in no order; may be empty.
  std::function<void(size_t line, const TranslatedLine&)> progress = {};
};

/// What is waited for.
class Waiting {
 public:
  /// Nobody waits any more: the lines are dropped at the next step, and nothing is called.
  void abandon() { abandoned_ = true; }
  [[nodiscard]] bool abandoned() const { return abandoned_; }

 private:
  std::atomic<bool> abandoned_ = false;
};

struct BatcherLimits {
  size_t waiting_lines = 4096;  // of all jobs together; a job alone is taken whatever it has
  size_t batch_lines = 64;      // translated together
  size_t batch_bytes = 16384;   // of them, so that a batch takes seconds at most
  size_t turn_lines = 16;       // of a job, before others get their turn
  // After a batch of several jobs their clients are likely to ask again at once: for so long the next batch waits for
  // as many jobs. After a batch of one job nothing waits.
  std::chrono::microseconds gather{2000};
};

class Batcher {
 public:
  explicit Batcher(const BatcherLimits& limits = {});
  /// Does what drain() does.
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  /// Takes a job. Null, and nothing will be called, when too many lines wait, or after drain(). A job without lines
  /// is finished at once, on the calling thread. Threads may call it.
  std::shared_ptr<Waiting> submit(TranslationJob job);
  /// Takes no more jobs, and returns when all are finished.
  void drain();

  struct Load {
    size_t jobs = 0, lines = 0;              // that wait, with those that are being translated
    int64_t batches = 0, batched_lines = 0;  // so far
  };
  [[nodiscard]] Load load() const;

 private:
  struct Job;
  struct Batch;

  void work();
  [[nodiscard]] Batch next_batch();
  void run(Batch& batch);
  void run_lines(const TranslationRoute& route, Batch& batch, size_t begin, size_t end);
  void settle(Batch& batch);

  BatcherLimits limits_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> queue_;
  Load load_;
  size_t last_jobs_ = 0;  // of the last batch
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace chorus::inline server
