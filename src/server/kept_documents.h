// Documents that were translated, until they are fetched or forgotten.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace chorus::inline server {

struct KeptDocument {
  std::string name;  // for people, as in "letter.de.txt"
  std::string bytes;
};

struct KeptLimits {
  size_t count = 64;
  size_t bytes = size_t{64} << 20;  // of all; one alone may be longer
  std::chrono::seconds time{600};
};

/// Whoever knows the word that one is kept under may have it. Beyond the limits the oldest go; those whose time is over
/// go when the next one comes or is asked for. Threads may share one.
class KeptDocuments {
 public:
  using Clock = std::chrono::steady_clock;

  explicit KeptDocuments(const KeptLimits& limits = {}) : limits_(limits) {}
  /// The word: as random_word().
  std::string keep(KeptDocument document, Clock::time_point now = Clock::now());
  /// Null where it is not there (any more).
  std::shared_ptr<const KeptDocument> find(std::string_view word, Clock::time_point now = Clock::now());

 private:
  struct Kept {
    std::string word;
    Clock::time_point since;
    std::shared_ptr<const KeptDocument> document;
  };
  void forget_old(Clock::time_point now);

  KeptLimits limits_;
  std::mutex mutex_;
  std::deque<Kept> kept_;  // the oldest first
  size_t bytes_ = 0;
};

/// 32 digits and letters that nobody can guess: 128 bits of the system's random numbers.
std::string random_word();

}  // namespace chorus::inline server
