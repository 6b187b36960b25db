#include "server/batcher.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/log.h"
#include "base/message.h"
#include "base/text.h"

namespace chorus::inline server {

struct Batcher::Job : Waiting {
  explicit Job(TranslationJob job) : asked(std::move(job)), translated(asked.lines.size()) {}

  [[nodiscard]] bool late() const { return TranslationJob::Clock::now() > asked.deadline; }
  [[nodiscard]] size_t left() const { return asked.lines.size() - next; }
  [[nodiscard]] bool over() const { return left() == 0 || failed || dropped || abandoned() || late(); }

  TranslationJob asked;
  std::vector<TranslatedLine> translated;
  size_t next = 0;  // the first line that no batch has had
  bool failed = false, dropped = false;
};

/// Lines of several jobs, those of a job together.
struct Batcher::Batch {
  struct Line {
    Job* job = nullptr;
    size_t index = 0;  // in the job
  };
  std::vector<std::shared_ptr<Job>> jobs;
  std::vector<Line> of;
  std::vector<SourceLine> lines;  // what `of` refers to
};

Batcher::Batcher(const BatcherLimits& limits) : limits_(limits), thread_([this] { work(); }) {}

Batcher::~Batcher() {
  drain();
}

std::shared_ptr<Waiting> Batcher::submit(TranslationJob asked) {
  const auto job = std::make_shared<Job>(std::move(asked));
  const size_t count = job->asked.lines.size();
  {
    const std::scoped_lock lock(mutex_);
    const bool full = load_.lines > 0 && load_.lines + count > limits_.waiting_lines;
    if (ending_ || full) return nullptr;
    if (count > 0) {
      queue_.push_back(job);
      ++load_.jobs;
      load_.lines += count;
    }
  }
  if (count == 0) job->asked.finish(JobEnd::done, {});
  changed_.notify_all();
  return job;
}

void Batcher::drain() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Batcher::Load Batcher::load() const {
  const std::scoped_lock lock(mutex_);
  return load_;
}

void Batcher::work() {
  while (true) {
    Batch batch;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ending_ || !queue_.empty(); });
      if (queue_.empty()) return;
      if (last_jobs_ > 1)
        changed_.wait_for(lock, limits_.gather, [this] { return ending_ || queue_.size() >= last_jobs_; });
      batch = next_batch();
      last_jobs_ = batch.jobs.size();
    }
    if (!batch.lines.empty()) run(batch);
    settle(batch);
  }
}

/// A turn of the first job, and of those behind it that share its route as long as there is room.
Batcher::Batch Batcher::next_batch() {
  Batch batch;
  std::shared_ptr<const TranslationRoute> route;
  size_t bytes = 0;
  for (const std::shared_ptr<Job>& job : queue_) {
    if (job->abandoned() || job->late()) {
      batch.jobs.push_back(job);
      continue;
    }
    if (route && (job->asked.route != route || !route->shares)) continue;
    route = job->asked.route;
    const size_t begin = job->next, end = begin + std::min(limits_.turn_lines, job->left());
    while (job->next < end) {
      const size_t size = job->asked.lines[job->next].text.size();
      const bool full = batch.lines.size() == limits_.batch_lines || bytes + size > limits_.batch_bytes;
      if (full && !batch.lines.empty()) break;
      bytes += size;
      batch.of.push_back({job.get(), job->next});
      batch.lines.push_back(std::move(job->asked.lines[job->next++]));
    }
    if (job->next == begin) break;
    batch.jobs.push_back(job);
  }
  std::erase_if(queue_,
                [&](const auto& job) { return std::ranges::find(batch.jobs, job) != batch.jobs.end(); });
  return batch;
}

void Batcher::run(Batch& batch) {
  const TranslationRoute& route = *batch.of.front().job->asked.route;
  const size_t count = batch.lines.size();
  {
    const std::scoped_lock lock(mutex_);
    ++load_.batches;
    load_.batched_lines += static_cast<int64_t>(count);
  }
  try {
    run_lines(route, batch, 0, count);
    return;
  } catch (const std::exception& error) {
    log_warning("a batch of {} failed: {}", counted(static_cast<int64_t>(count), "line"),
                message_line(error.what()));
    if (batch.of.front().job == batch.of.back().job) {
      batch.of.front().job->failed = true;
      return;
    }
  }
  // Whose line it was is not known: each job by itself.
  for (size_t begin = 0; begin < count;) {
    Job* const job = batch.of[begin].job;
    size_t end = begin;
    while (end < count && batch.of[end].job == job) ++end;
    try {
      run_lines(route, batch, begin, end);
    } catch (const std::exception&) {
      job->failed = true;
    }
    begin = end;
  }
}

void Batcher::run_lines(const TranslationRoute& route, Batch& batch, size_t begin, size_t end) {
  const auto stopped = [&](size_t line) {
    const Job& job = *batch.of[begin + line].job;
    return job.abandoned() || job.late();
  };
  std::vector<TranslatedLine> translated =
      route.run(std::span(batch.lines).subspan(begin, end - begin), stopped);
  for (size_t i = begin; i < end; ++i) {
    Job& job = *batch.of[i].job;
    TranslatedLine& line = job.translated[batch.of[i].index] = std::move(translated[i - begin]);
    job.dropped = job.dropped || (line.best.empty() && line.fault.empty());
    if (job.asked.progress && !job.dropped && !job.abandoned()) job.asked.progress(batch.of[i].index, line);
  }
}

/// Jobs that are done, or that nobody waits for, leave; others go to the end of the queue.
void Batcher::settle(Batch& batch) {
  std::vector<std::shared_ptr<Job>> finished;
  {
    const std::scoped_lock lock(mutex_);
    load_.lines -= batch.lines.size();
    for (std::shared_ptr<Job>& job : batch.jobs) {
      if (!job->over()) {
        queue_.push_back(std::move(job));
        continue;
      }
      load_.lines -= job->left();
      --load_.jobs;
      finished.push_back(std::move(job));
    }
  }
  for (const std::shared_ptr<Job>& job : finished) {
    if (job->abandoned()) continue;
    const bool whole = job->left() == 0 && !job->dropped;
    const JobEnd end = job->failed ? JobEnd::failed : whole ? JobEnd::done : JobEnd::late;
    job->asked.finish(end, end == JobEnd::done ? std::move(job->translated) : std::vector<TranslatedLine>());
  }
}

}  // namespace chorus::inline server
