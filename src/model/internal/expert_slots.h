// The memory of an ExpertStore: its slots, what is in them and on its way, and which is emptied for another.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "model/expert_store.h"

namespace chorus::inline model {

/// The whole blocks of a file that a part lies in.
struct PartBlocks {
  explicit PartBlocks(const StoredPart& part)
      : first(part.offset / BlockFile::kBlock * BlockFile::kBlock), before(part.offset - first) {
    bytes = (before + part.bytes + BlockFile::kBlock - 1) / BlockFile::kBlock * BlockFile::kBlock;
  }
  uint64_t first, before, bytes = 0;
};

struct StoredExpert {
  int64_t number = 0;  // in its layer
  const std::vector<StoredPart>* parts = nullptr;
  std::byte* slot = nullptr;                // null: it is in its file alone
  std::vector<BlockFile::Request> reading;  // of each part; none: it is there
  bool awaited = false;                     // a thread waits for them
  std::exception_ptr failed;                // why it could not be read, since it was tried last
  bool early = false;                       // it was read for the next run of its layer
  int64_t loans = 0;
  double uses = 0;   // fading
  int64_t last = 0;  // use, counted
};

using ExpertLayer = std::vector<StoredExpert>;

/// Whoever calls holds the mutex; nobody holds it while a disk is waited for.
struct ExpertSlots {
  ExpertSlots(Transformer& transformer, ExpertFiles where, int64_t count);
  ~ExpertSlots();
  ExpertSlots(const ExpertSlots&) = delete;
  ExpertSlots& operator=(const ExpertSlots&) = delete;

  /// Begins to read an expert that is on loan, in the place of another where no slot is empty.
  void fetch(std::unique_lock<std::mutex>& lock, StoredExpert& expert);
  /// Waits until it is there. UserError when what has come is not what was written, Error when it cannot be read.
  void finish_reading(std::unique_lock<std::mutex>& lock, StoredExpert& expert);
  /// Begins to read as many of `next` and `favourites` as there is room for.
  void read_ahead();
  void fade();

  Transformer& model;
  ExpertFiles files;
  uint64_t slot_bytes = 0;
  int64_t slots = 0;

  std::mutex mutex;
  std::condition_variable changed;       // an expert has come, or was given back
  std::map<size_t, ExpertLayer> layers;  // by block
  std::deque<StoredExpert*> next;        // to be read before they are needed, by the layer that runs next
  std::deque<StoredExpert*> favourites;  // to be read while there are empty slots
  int64_t on_loan = 0;                   // experts
  int64_t loans = 0, clock = 0;          // made; of uses
  ExpertTraffic traffic;

 private:
  /// Waits for the disk. Returns what went wrong; null: nothing.
  [[nodiscard]] std::exception_ptr wait_for_disk(const StoredExpert& expert) const;
  void check(const StoredExpert& expert) const;
  /// Gives the model the expert's weights.
  void publish(const StoredExpert& expert);
  void drop(StoredExpert& expert);
  /// Returns the expert that is worth least among those that are there (or still come) and that nobody has on loan;
  /// those read ahead are worth more than any other. Null: there is none.
  [[nodiscard]] StoredExpert* least_worth(bool there) const;
  /// Begins to read the expert into an empty slot.
  void begin_reading(StoredExpert& expert);

  std::unique_ptr<std::byte, decltype(&std::free)> memory_ = {nullptr, &std::free};
  std::vector<StoredExpert*> filled_;  // those that have a slot
  std::vector<std::byte*> empty_;      // slots
};

}  // namespace chorus::inline model
