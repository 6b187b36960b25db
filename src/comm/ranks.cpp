#include "comm/ranks.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <future>
#include <mutex>

#include "base/error.h"

namespace chorus::inline comm {

namespace {

constexpr auto kSignOfLife = std::chrono::milliseconds(200);

}  // namespace

void side_by_side(Group& group, std::string_view what, const std::function<void()>& work) {
  if (group.size() == 1) {
    work();
    return;
  }
  enum class Stage : uint8_t { working, done, failed };
  Stage stage = Stage::working;
  std::mutex mutex;
  std::condition_variable changed;
  std::future<void> company = group.later([&] {
    for (bool all = false; !all;) {
      Stage seen = Stage::working;
      {
        std::unique_lock lock(mutex);
        changed.wait_for(lock, kSignOfLife, [&] { return stage != Stage::working; });
        seen = stage;
      }
      const double failed = group.sum(seen == Stage::failed ? 1 : 0);
      if (seen == Stage::failed) return;
      if (failed > 0) group.barrier(what);  // until those who failed have said so, and ended all
      all = group.sum(seen == Stage::done ? 1 : 0) == group.size();
    }
  });
  const auto leave = [&](Stage how) {
    {
      const std::lock_guard lock(mutex);
      stage = how;
    }
    changed.notify_all();
    company.wait();
  };
  try {
    work();
  } catch (...) {
    leave(Stage::failed);
    throw;
  }
  leave(Stage::done);
  company.get();
}

void first_rank_first(Group& group, std::string_view what, const std::function<void()>& work) {
  side_by_side(group, what, [&] {
    if (group.rank() == 0) work();
  });
  side_by_side(group, what, [&] {
    if (group.rank() > 0) work();
  });
}

void check_same_on_ranks(Group& group, std::string_view what, std::string_view text) {
  const std::vector<std::string> texts = group.gather_text(text);
  for (size_t r = 1; r < texts.size(); ++r) {
    if (texts[r] != texts[0])
      throw UserError("rank {} has {} other than rank 0's: {} instead of {}", r, what, texts[r], texts[0]);
  }
}

std::string pack(std::span<const std::string> texts) {
  std::string packed;
  for (const std::string& text : texts) {
    const uint64_t bytes = text.size();
    packed.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
    packed += text;
  }
  return packed;
}

std::vector<std::string> unpack(std::string_view packed) {
  std::vector<std::string> texts;
  while (!packed.empty()) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, packed.data(), sizeof bytes);
    texts.emplace_back(packed.substr(sizeof bytes, bytes));
    packed.remove_prefix(sizeof bytes + bytes);
  }
  return texts;
}

std::vector<std::string> deal_to_ranks(
    Group& group, std::span<const std::string> texts,
    const std::function<std::vector<std::string>(std::span<const std::string> own)>& work) {
  const std::vector<std::string> all = unpack(group.broadcast_text(pack(texts)));
  const size_t ranks = group.size();
  std::vector<std::string> own;
  for (size_t i = group.rank(); i < all.size(); i += ranks) own.push_back(all[i]);
  const std::vector<std::string> packed = group.gather_text(pack(work(own)));
  std::vector<std::string> made(all.size());
  for (size_t r = 0; r < ranks; ++r) {
    const std::vector<std::string> part = unpack(packed[r]);
    for (size_t i = r; i < made.size(); i += ranks) made[i] = part[i / ranks];
  }
  return made;
}

}  // namespace chorus::inline comm
