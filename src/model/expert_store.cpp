#include "model/expert_store.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <mutex>
#include <utility>

#include "model/internal/expert_slots.h"

namespace chorus::inline model {

namespace {

constexpr int64_t kFadingLoans = 16;  // what counts uses fades after so many by each layer

}  // namespace

/// What is not given back is when it ends.
class ExpertStore::Loan final : public BorrowedExperts {
 public:
  Loan(ExpertSlots& slots, ExpertLayer& layer) : slots_(slots), layer_(layer), has_(layer.size()) {}
  ~Loan() override {
    for (const int64_t e : order_) give_back(e);
  }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;

  void take(const std::vector<int64_t>& rows) {
    ExpertSlots& s = slots_;
    std::unique_lock lock(s.mutex);
    const int64_t wanted = std::ranges::count_if(rows, [](int64_t count) { return count > 0; });
    s.changed.wait(lock, [&] { return s.on_loan == 0 || s.on_loan + wanted <= s.slots; });
    std::vector<StoredExpert*> here, coming, missing;
    for (StoredExpert& expert : layer_) {
      expert.early = false;  // for this run
      if (rows[expert.number] > 0)
        (!expert.slot ? missing : expert.reading.empty() ? here : coming).push_back(&expert);
    }
    for (const std::vector<StoredExpert*>* const group : {&here, &coming, &missing}) {
      for (StoredExpert* const expert : *group) {
        order_.push_back(expert->number);
        has_[expert->number] = true;
        if (expert->loans++ == 0) ++s.on_loan;
        expert->uses += 1;
        expert->last = ++s.clock;
      }
    }
    s.traffic.uses += wanted;
    s.traffic.hits += wanted - std::ssize(missing);
    for (StoredExpert* const expert : missing) s.fetch(lock, *expert);
    if (++s.loans % (kFadingLoans * std::ssize(s.layers)) == 0) s.fade();
    s.next.clear();
    s.read_ahead();
  }

  [[nodiscard]] const std::vector<int64_t>& order() const override { return order_; }
  void wait(int64_t expert) override {
    std::unique_lock lock(slots_.mutex);
    const auto began = std::chrono::steady_clock::now();
    slots_.finish_reading(lock, layer_[expert]);
    slots_.traffic.waited += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }
  void give_back(int64_t expert) override {
    if (!has_[expert]) return;
    has_[expert] = false;
    const std::lock_guard lock(slots_.mutex);
    if (--layer_[expert].loans > 0) return;
    --slots_.on_loan;
    slots_.read_ahead();
    slots_.changed.notify_all();
  }

 private:
  ExpertSlots& slots_;
  ExpertLayer& layer_;
  std::vector<int64_t> order_;
  std::vector<bool> has_;
};

uint64_t ExpertStore::slot_bytes(const ExpertFiles& files) {
  uint64_t most = 0;
  for (const auto& [block, experts] : files.blocks) {
    for (const std::vector<StoredPart>& parts : experts) {
      uint64_t bytes = 0;
      for (const StoredPart& part : parts) bytes += PartBlocks(part).bytes;
      most = std::max(most, bytes);
    }
  }
  return most;
}

int64_t ExpertStore::least_slots(const ExpertFiles& files) {
  int64_t most = 0;
  for (const auto& [block, experts] : files.blocks) most = std::max(most, std::ssize(experts));
  return most;
}

ExpertStore::ExpertStore(Transformer& model, ExpertFiles files, int64_t slots)
    : slots_(std::make_unique<ExpertSlots>(model, std::move(files), slots)) {}

ExpertStore::~ExpertStore() = default;

std::unique_ptr<BorrowedExperts> ExpertStore::borrow(size_t block, const std::vector<int64_t>& rows) {
  auto loan = std::make_unique<Loan>(*slots_, slots_->layers.at(block));
  loan->take(rows);
  return loan;
}

void ExpertStore::expect(size_t block, const std::vector<int64_t>& rows) {
  ExpertSlots& s = *slots_;
  const std::lock_guard lock(s.mutex);
  s.next.clear();
  for (StoredExpert& expert : s.layers.at(block))
    if (rows[expert.number] > 0 && !expert.slot) s.next.push_back(&expert);
  std::ranges::stable_sort(s.next, std::greater(), [&](const StoredExpert* e) { return rows[e->number]; });
  s.read_ahead();
}

void ExpertStore::warm(const std::map<size_t, std::vector<double>>& shares) {
  constexpr double kSentences = 4, kTokens = 30;  // of a batch, of a sentence; a smaller guess than most
  ExpertSlots& s = *slots_;
  const std::lock_guard lock(s.mutex);
  for (const auto& [block, of_block] : shares) {
    ExpertLayer& layer = s.layers.at(block);
    const bool steps = block >= s.model.catalogue().decoder.front().block;  // it runs once per token
    for (StoredExpert& expert : layer) {
      const double share = of_block[expert.number];
      if (share == 0) continue;
      const double unused = std::pow(1 - share, steps ? kSentences : kSentences * kTokens);
      expert.uses = (steps ? kTokens : 1) * (1 - unused);
      s.favourites.push_back(&expert);
    }
  }
  std::ranges::stable_sort(s.favourites, std::greater(), &StoredExpert::uses);
  s.read_ahead();
}

double ExpertStore::measure_rate() {
  constexpr size_t kSample = 16;  // experts
  const auto& [block, layer] = *slots_->layers.begin();
  std::vector<int64_t> rows(layer.size());
  std::fill_n(rows.begin(), std::min(kSample, rows.size()), 1);
  const auto began = std::chrono::steady_clock::now();
  const auto loan = borrow(block, rows);
  for (const int64_t e : loan->order()) loan->wait(e);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const std::lock_guard lock(slots_->mutex);
  slots_->traffic = {};
  return static_cast<double>(loan->order().size() * slots_->slot_bytes) / seconds;
}

uint64_t ExpertStore::slot_bytes() const {
  return slots_->slot_bytes;
}

int64_t ExpertStore::slots() const {
  return slots_->slots;
}

int64_t ExpertStore::experts() const {
  int64_t count = 0;
  for (const auto& [block, layer] : slots_->layers) count += std::ssize(layer);
  return count;
}

ExpertTraffic ExpertStore::traffic() const {
  const std::lock_guard lock(slots_->mutex);
  return slots_->traffic;
}

}  // namespace chorus::inline model
