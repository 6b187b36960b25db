#include "model/expert_store.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <numeric>
#include <tuple>
#include <utility>

#include <ATen/ops/from_blob.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/text.h"
#include "io/files.h"
#include "io/json.h"

namespace chorus::inline model {

namespace {

constexpr size_t kHugePage = size_t{1} << 21;
constexpr double kFading = 0.8;        // what a use counts for later, after
constexpr int64_t kFadingLoans = 16;   // so many loans by each layer
constexpr double kProbable = 0.5;      // what is at least as probable is read ahead
constexpr int64_t kAheadAtOnce = 128;  // experts

/// The whole blocks of a file that a part lies in.
struct Blocks {
  explicit Blocks(const StoredPart& part)
      : first(part.offset / BlockFile::kBlock * BlockFile::kBlock), before(part.offset - first) {
    bytes = (before + part.bytes + BlockFile::kBlock - 1) / BlockFile::kBlock * BlockFile::kBlock;
  }
  uint64_t first, before, bytes = 0;
};

struct SparseLayer;

struct StoredExpert {
  SparseLayer* layer = nullptr;
  int64_t number = 0;  // in its layer
  const std::vector<StoredPart>* parts = nullptr;
  std::byte* slot = nullptr;                // null: it is in its file alone
  std::vector<BlockFile::Request> reading;  // of each part; none: it is there
  bool awaited = false;                     // a thread waits for them
  bool early = false;                       // it was read ahead, and not used since
  int64_t loans = 0;
  double uses = 0, rows = 0;  // fading
  int64_t last = 0;           // use, counted
};

struct SparseLayer {
  std::vector<StoredExpert> experts;
  SparseLayer* next = nullptr;  // in the encoder: the one that runs next
  double rows = 0;              // fading, of all its experts
};

}  // namespace

struct ExpertStore::State {
  Transformer& model;
  ExpertFiles files;
  uint64_t slot_bytes = 0;
  int64_t slots = 0;
  std::unique_ptr<std::byte, decltype(&std::free)> memory = {nullptr, &std::free};

  std::mutex mutex;                      // of all below; nobody holds it while a disk is waited for
  std::condition_variable changed;       // an expert has come, or was given back
  std::map<size_t, SparseLayer> layers;  // by block
  std::vector<StoredExpert*> filled;     // those that have a slot
  std::vector<std::byte*> empty;         // slots
  std::deque<StoredExpert*> next;        // to be read before they are needed, by the layer that runs next
  std::deque<StoredExpert*> warm;        // by any, while there are empty slots
  int64_t on_loan = 0;                   // experts
  int64_t loans = 0, clock = 0;          // made; of uses
  ExpertTraffic traffic;

  State(Transformer& transformer, ExpertFiles where, int64_t count)
      : model(transformer),
        files(std::move(where)),
        slot_bytes(ExpertStore::slot_bytes(files)),
        slots(count) {
    const size_t bytes = (slots * slot_bytes + kHugePage - 1) / kHugePage * kHugePage;
    memory.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePage, bytes)));
    if (!memory) throw Error("there is no memory for {} of experts", human_bytes(bytes));
    static_cast<void>(::madvise(memory.get(), bytes, MADV_HUGEPAGE));  // which only makes it faster
    for (int64_t i = slots; i-- > 0;) empty.push_back(memory.get() + i * slot_bytes);
    SparseLayer* previous = nullptr;
    for (const LayerIndex& index : model.catalogue().encoder) {
      if (!index.ffn.sparse) continue;
      SparseLayer& layer = layers[index.block];
      if (previous) previous->next = &layer;
      previous = &layer;
    }
    for (const auto& [block, experts] : files.blocks) {
      SparseLayer& layer = layers[block];
      layer.experts.resize(experts.size());
      for (size_t e = 0; e < experts.size(); ++e) {
        layer.experts[e].layer = &layer;
        layer.experts[e].number = static_cast<int64_t>(e);
        layer.experts[e].parts = &experts[e];
        for (const StoredPart& part : experts[e]) {
          const ParameterSpec& spec = model.catalogue().parameters[part.parameter];
          const std::vector<int64_t> shape = spec.stored_shape();
          model.parameters()[part.parameter].set_pieces(experts.size(), spec.quantization, shape[0],
                                                        shape[1]);
        }
      }
    }
  }

  ~State() {  // the memory is not to be written to any more
    for (auto& [block, layer] : layers)
      for (const StoredExpert& expert : layer.experts) static_cast<void>(wait_for_disk(expert));
  }

  /// What went wrong; null: nothing.
  [[nodiscard]] std::exception_ptr wait_for_disk(const StoredExpert& expert) const {
    std::exception_ptr failed;
    for (size_t i = 0; i < expert.reading.size(); ++i) {
      try {
        files.files[(*expert.parts)[i].file]->wait(expert.reading[i]);
      } catch (const Error&) {
        failed = std::current_exception();
      }
    }
    return failed;
  }

  /// fn(part, its bytes in the expert's slot)
  template <class Fn>
  static void for_parts(const StoredExpert& expert, const Fn& fn) {
    std::byte* slot = expert.slot;
    for (const StoredPart& part : *expert.parts) {
      const Blocks blocks(part);
      fn(part, slot + blocks.before);
      slot += blocks.bytes;
    }
  }

  /// UserError where what has come is not what was written.
  void check(const StoredExpert& expert) const {
    for_parts(expert, [&](const StoredPart& part, const std::byte* bytes) {
      if (!part.checksum || hash_bytes({bytes, part.bytes}) == *part.checksum) return;
      throw UserError("{}: damaged: tensor {} does not agree with its checksum; restore the file from a copy",
                      files.names[part.file],
                      in_quotes(model.catalogue().parameters[part.parameter].stored[expert.number]));
    });
  }

  // ---- with the mutex held

  void begin_reading(StoredExpert& expert, std::byte* slot) {
    expert.slot = slot;
    filled.push_back(&expert);
    ++traffic.reads;
    for (const StoredPart& part : *expert.parts) {
      const Blocks blocks(part);
      expert.reading.push_back(
          files.files[part.file]->read(blocks.first, slot, blocks.bytes, blocks.before + part.bytes));
      traffic.bytes += blocks.bytes;
      slot += blocks.bytes;
    }
  }

  /// From now on the model has it.
  void publish(const StoredExpert& expert) {
    for_parts(expert, [&](const StoredPart& part, std::byte* bytes) {
      const ParameterSpec& spec = model.catalogue().parameters[part.parameter];
      model.parameters()[part.parameter].pieces[expert.number] =
          at::from_blob(bytes, spec.file_shape(),
                        spec.quantization == Quantization::none ? model.options().compute : at::kByte);
    });
  }

  void drop(StoredExpert& expert) {
    for (const StoredPart& part : *expert.parts)
      model.parameters()[part.parameter].pieces[expert.number].reset();
    std::erase(filled, &expert);
    empty.push_back(std::exchange(expert.slot, nullptr));
  }

  /// Until it is there.
  void finish_reading(std::unique_lock<std::mutex>& lock, StoredExpert& expert) {
    while (expert.awaited) changed.wait(lock);
    if (!expert.slot) throw Error("an expert could not be read");  // another thread was told why
    if (expert.reading.empty()) return;
    expert.awaited = true;
    lock.unlock();
    std::exception_ptr failed = wait_for_disk(expert);
    try {
      if (!failed) check(expert);
    } catch (const Error&) {
      failed = std::current_exception();
    }
    lock.lock();
    expert.awaited = false;
    expert.reading.clear();
    failed ? drop(expert) : publish(expert);
    changed.notify_all();
    if (failed) std::rethrow_exception(failed);
  }

  /// Of those that are there, or still come, and that nobody has on loan, the one that is worth least, those read ahead
  /// being worth more than any other; null: there is none.
  [[nodiscard]] StoredExpert* least_worth(bool there) const {
    const auto worth = [](const StoredExpert& expert) {
      return std::tuple(expert.early, expert.uses, -expert.last);
    };
    StoredExpert* least = nullptr;
    for (StoredExpert* const expert : filled)
      if (expert->loans == 0 && !expert->awaited && expert->reading.empty() == there &&
          (!least || worth(*expert) < worth(*least)))
        least = expert;
    return least;
  }

  std::byte* take_empty() {
    std::byte* const slot = empty.back();
    empty.pop_back();
    return slot;
  }

  /// For an expert that is needed.
  std::byte* take_slot(std::unique_lock<std::mutex>& lock) {
    while (empty.empty()) {
      if (StoredExpert* const expert = least_worth(true)) {
        drop(*expert);
      } else if (StoredExpert* const coming = least_worth(false)) {
        try {
          finish_reading(lock, *coming);
        } catch (const Error&) {  // who needs it will be told
        }
      } else {
        changed.wait(lock);
      }
    }
    return take_empty();
  }

  // ---- reading ahead, with the mutex held

  /// The experts of the next layer that so many rows will probably need, the most probable ones first.
  void look_ahead(const SparseLayer& layer, double rows) {
    next.clear();
    if (!layer.next) return;
    const double all = layer.next->rows + static_cast<double>(layer.next->experts.size());
    std::vector<StoredExpert*> probable;
    for (StoredExpert& expert : layer.next->experts)
      if (!expert.slot && 1 - std::pow(1 - (expert.rows + 1) / all, rows) >= kProbable)
        probable.push_back(&expert);
    std::ranges::stable_sort(probable, std::greater(), &StoredExpert::rows);
    next.assign(probable.begin(), probable.end());
  }

  void read_ahead() {
    int64_t coming = std::ranges::count_if(filled, [](const StoredExpert* e) { return !e->reading.empty(); });
    const auto begin = [&](std::deque<StoredExpert*>& queue) {
      StoredExpert* const expert = queue.front();
      queue.pop_front();
      if (expert->slot) return;
      begin_reading(*expert, take_empty());
      expert->early = true;
      ++coming;
    };
    while (!next.empty() && coming < kAheadAtOnce) {
      if (empty.empty()) {
        StoredExpert* const least = least_worth(true);
        if (!least || least->early || least->uses > next.front()->uses + 1) return;
        drop(*least);
      }
      begin(next);
    }
    while (!warm.empty() && !empty.empty() && coming < kAheadAtOnce) begin(warm);
  }

  void fade() {
    for (auto& [block, layer] : layers) {
      layer.rows *= kFading;
      for (StoredExpert& expert : layer.experts) {
        expert.uses *= kFading;
        expert.rows *= kFading;
      }
    }
  }
};

/// What is not given back is when it ends.
class ExpertStore::Loan final : public BorrowedExperts {
 public:
  Loan(State& state, SparseLayer& layer) : state_(state), layer_(layer), has_(layer.experts.size()) {}
  ~Loan() override {
    for (const int64_t e : order_) give_back(e);
  }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;

  void take(const std::vector<int64_t>& rows) {
    State& s = state_;
    std::unique_lock lock(s.mutex);
    std::vector<StoredExpert*> here, coming, missing;
    const auto find = [&] {
      here.clear(), coming.clear(), missing.clear();
      for (StoredExpert& expert : layer_.experts) {
        if (rows[expert.number] == 0) continue;
        (!expert.slot ? missing : expert.reading.empty() ? here : coming).push_back(&expert);
      }
    };
    int64_t wanted = std::ranges::count_if(rows, [](int64_t count) { return count > 0; });
    s.changed.wait(lock, [&] { return s.on_loan == 0 || s.on_loan + wanted <= s.slots; });
    find();
    for (const std::vector<StoredExpert*>* const group : {&here, &coming, &missing}) {
      for (StoredExpert* const expert : *group) {
        order_.push_back(expert->number);
        has_[expert->number] = true;
        if (expert->loans++ == 0) ++s.on_loan;
        expert->early = false;
        expert->uses += 1;
        expert->last = ++s.clock;
        expert->rows += static_cast<double>(rows[expert->number]);
        layer_.rows += static_cast<double>(rows[expert->number]);
      }
    }
    s.traffic.uses += wanted;
    s.traffic.hits += wanted - std::ssize(missing);
    for (StoredExpert* const expert : missing) {
      std::byte* const slot = s.take_slot(lock);
      expert->slot ? s.empty.push_back(slot)
                   : s.begin_reading(*expert, slot);  // another thread may have begun
    }
    if (++s.loans % (kFadingLoans * std::ssize(s.layers)) == 0) s.fade();
    s.look_ahead(layer_, static_cast<double>(std::accumulate(rows.begin(), rows.end(), int64_t{0})));
    s.read_ahead();
  }

  [[nodiscard]] const std::vector<int64_t>& order() const override { return order_; }
  void wait(int64_t expert) override {
    std::unique_lock lock(state_.mutex);
    const auto began = std::chrono::steady_clock::now();
    state_.finish_reading(lock, layer_.experts[expert]);
    state_.traffic.waited += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }
  void give_back(int64_t expert) override {
    if (!has_[expert]) return;
    has_[expert] = false;
    const std::lock_guard lock(state_.mutex);
    if (--layer_.experts[expert].loans > 0) return;
    --state_.on_loan;
    state_.read_ahead();
    state_.changed.notify_all();
  }

 private:
  State& state_;
  SparseLayer& layer_;
  std::vector<int64_t> order_;
  std::vector<bool> has_;
};

uint64_t ExpertStore::slot_bytes(const ExpertFiles& files) {
  uint64_t most = 0;
  for (const auto& [block, experts] : files.blocks) {
    for (const std::vector<StoredPart>& parts : experts) {
      uint64_t bytes = 0;
      for (const StoredPart& part : parts) bytes += Blocks(part).bytes;
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
    : state_(std::make_unique<State>(model, std::move(files), slots)) {}

ExpertStore::~ExpertStore() = default;

std::unique_ptr<BorrowedExperts> ExpertStore::borrow(size_t block, const std::vector<int64_t>& rows) {
  auto loan = std::make_unique<Loan>(*state_, state_->layers.at(block));
  loan->take(rows);
  return loan;
}

void ExpertStore::warm(const std::map<size_t, std::vector<double>>& uses) {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  for (const auto& [block, counts] : uses) {
    SparseLayer& layer = s.layers.at(block);
    for (StoredExpert& expert : layer.experts) {
      expert.uses = expert.rows = counts[expert.number];
      layer.rows += expert.rows;
      s.warm.push_back(&expert);
    }
  }
  std::ranges::stable_sort(s.warm, std::greater(), &StoredExpert::uses);
  s.read_ahead();
}

double ExpertStore::measure_rate() {
  constexpr size_t kSample = 16;  // experts
  const auto& [block, layer] = *state_->layers.begin();
  std::vector<int64_t> rows(layer.experts.size());
  std::fill_n(rows.begin(), std::min(kSample, rows.size()), 1);
  const auto began = std::chrono::steady_clock::now();
  const ExpertTraffic before = traffic();
  const auto loan = borrow(block, rows);
  for (const int64_t e : loan->order()) loan->wait(e);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return static_cast<double>(traffic().bytes - before.bytes) / seconds;
}

uint64_t ExpertStore::slot_bytes() const {
  return state_->slot_bytes;
}

int64_t ExpertStore::slots() const {
  return state_->slots;
}

int64_t ExpertStore::experts() const {
  int64_t count = 0;
  for (const auto& [block, layer] : state_->layers) count += std::ssize(layer.experts);
  return count;
}

ExpertTraffic ExpertStore::traffic() const {
  const std::lock_guard lock(state_->mutex);
  return state_->traffic;
}

}  // namespace chorus::inline model
