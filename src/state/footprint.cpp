#include "state/footprint.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <numeric>
#include <utility>

#include "comm/group.h"
#include "layout/shapes.h"
#include "memory/scratch_file.h"
#include "optim/compact_state.h"
#include "state/division.h"
#include "state/stash.h"

#include "state/internal/schedule.h"
#include "state/internal/shard_plan.h"

namespace chorus::inline state {

namespace {

// Elements of a shard whose chunks are gone through one by one: those after them are alike.
constexpr int64_t kSeen = 16 * Arrays::kChunk;

// Elements that are copied to or from an accelerator at a time, as from or to disk.
constexpr int64_t kPassing = 3 * Arrays::kChunk + InFlight<Block>::kBeingWritten;
// What AdamW holds besides, by libtorch's operators, as an accelerator without kernels of ours has it: the scaled
// gradient, and the root of v. Of a chunk that is 8 MiB.
constexpr int64_t kAdamWBytes = 8;

struct CountedBuffer {
  Block memory;
  static void wait() {}
};

/// Arrays of which only the bytes are kept.
class CountedArrays {
 public:
  CountedArrays() = default;
  /// `times`: of how many like it in all the cuts are one.
  CountedArrays(Ledgers& ledgers, Purpose purpose, Tier tier, int64_t count, Arrays::Cuts cuts,
                int64_t element_bytes, double times)
      : ledgers_(&ledgers),
        on_disk_(tier == Tier::nvme),
        count_(count),
        element_bytes_(element_bytes),
        cuts_(std::move(cuts)) {
    int64_t bytes = on_disk_ ? 0 : count * cuts_.back() * element_bytes;
    for (int64_t chunk = 0; on_disk_ && chunk + 1 < std::ssize(cuts_); ++chunk) bytes += bytes_of(chunk);
    bytes = std::llround(static_cast<double>(bytes) * times);
    if (on_disk_) {
      ledgers.nvme.add(purpose, bytes);
    } else {
      whole_ = Block(ledgers.of(tier), purpose, bytes);
    }
  }

  // As those of Arrays.
  void prefetch(int64_t chunk) {
    if (on_disk_) in_flight_.read(chunk, [&](CountedBuffer& read) { read.memory = memory_of(chunk); });
  }
  Block load(int64_t chunk) {
    if (!on_disk_) return {};
    prefetch(chunk);
    return in_flight_.take(chunk).memory;
  }
  Block blank(int64_t chunk) { return on_disk_ ? memory_of(chunk) : Block(); }
  void store(int64_t chunk, Block values) {
    if (!on_disk_) return;
    in_flight_.write(chunk, size(chunk), [&](CountedBuffer& write) { write.memory = std::move(values); });
  }
  void finish() { in_flight_.finish(); }

 private:
  [[nodiscard]] int64_t size(int64_t chunk) const { return cuts_[chunk + 1] - cuts_[chunk]; }
  [[nodiscard]] int64_t bytes_of(int64_t chunk) const;
  [[nodiscard]] Block memory_of(int64_t chunk) const {
    return {ledgers_->host, Purpose::buffers, bytes_of(chunk)};
  }

  Ledgers* ledgers_ = nullptr;
  bool on_disk_ = false;
  int64_t count_ = 0, element_bytes_ = 0;
  Arrays::Cuts cuts_ = {0};
  Block whole_;
  InFlight<CountedBuffer> in_flight_;
};

/// Returns the bytes of a chunk in whole blocks of the file.
int64_t CountedArrays::bytes_of(int64_t chunk) const {
  constexpr auto kBlock = static_cast<int64_t>(ScratchFile::kBlock);
  return count_ * ((size(chunk) * element_bytes_ + kBlock - 1) / kBlock * kBlock);
}

struct CountedShard : ShardPlan {
  bool expert = false;
  int64_t value_bytes = 4;               // of an element
  bool rests = false;                    // all of it is frozen
  bool started = false;                  // what is kept of its gradients holds something of this update
  bool leaving = false;                  // gradients that wait to leave,
  bool leaves_slowly = false;            // still there while backward of the next block is at its highest
  Block on_device, gradients_on_device;  // values and gradients, whole
  Block moving;                          // what a sum over ranks takes
  CountedArrays value, gradient, moments;
  Arrays::Cuts cuts;           // of values and gradients
  int64_t unpacked_bytes = 0;  // of a weight's state where it is packed
  // Of a weight, while its chunk is updated: copies of what lies elsewhere than at Shard::home, and what AdamW takes.
  int64_t beside_on_device = 0, beside_on_host = 0;
  // And what comes to the host from disk, where an accelerator has other things to do.
  int64_t read_on_host = 0;

  [[nodiscard]] int64_t chunks() const { return std::ssize(cuts) - 1; }
  [[nodiscard]] int64_t kept() const { return end - begin; }
  void finish_writing() {
    for (CountedArrays* arrays : {&value, &gradient, &moments}) arrays->finish();
  }
};

struct CountedChunk {
  CountedShard& shard;
  int64_t number;
  [[nodiscard]] int64_t size() const { return shard.cuts[number + 1] - shard.cuts[number]; }
};

std::vector<CountedChunk> all_chunks_of(CountedShard& shard) {
  std::vector<int64_t> numbers(shard.chunks());
  std::iota(numbers.begin(), numbers.end(), 0);
  return chunks_of<CountedChunk>(shard, numbers);
}

}  // namespace

Ledger& Ledgers::of(Tier tier) {
  return tier == Tier::device ? device : tier == Tier::host ? host : nvme;
}

/// What the schedule asks for.
class WeightsFootprint::Moves {
 public:
  Moves(const WeightsShape& shape, Ledgers& ledgers);

  bool last = false;
  [[nodiscard]] ShardList<CountedShard>& shards() { return shards_; }

  static bool values_come(const CountedShard& shard) { return !shard.on_device.empty(); }
  void begin_to_bring(CountedShard& shard, bool /*backward*/) { gather(shard); }
  static void await_values(CountedShard& /*shard*/) {}
  static void await_departure(CountedShard& shard) {
    settle(shard);
    shard.gradient.finish();
  }
  void bring_gradients(CountedShard& shard);
  void begins(size_t block, bool backward);
  static void drop_values(CountedShard& shard) { shard.on_device = {}; }
  static void ran(CountedShard& /*shard*/) {}
  void reduce(CountedShard& shard);

  void begin_update();
  void norm_and_update();

 private:
  void gather(CountedShard& shard);
  /// Counts the gradients that were leaving as gone from here on.
  static void settle(CountedShard& shard);
  std::vector<CountedChunk> in_update();
  /// What passes through the host's memory in an update: `bytes_of` a weight.
  [[nodiscard]] Block passing(const std::function<int64_t(const CountedShard&)>& bytes_of);

  Ledgers& ledgers_;
  bool keeps_pace_;
  ShardList<CountedShard> shards_;
  Block summing_dense_, summing_experts_;  // what sums of gradients that stay take
  Block updating_;                         // what the update before takes as it goes on
};

/// f(bucket, its plan) for all buckets of the rank.
template <class F>
void for_shards(const WeightsShape& shape, const Catalogue& catalogue, const F& f) {
  const Mesh& mesh = shape.mesh;
  for (const Bucket& bucket : plan_buckets(catalogue, {.mesh = mesh, .rank = shape.rank}, shape.compute)) {
    const bool expert = bucket.role == Role::expert;
    f(bucket,
      plan_shard(bucket, shape.memory, mesh.zero, expert ? mesh.edp() : mesh.dp(),
                 expert ? mesh.edp_index(shape.rank) : mesh.dp_index(shape.rank), shape.expert_state));
  }
}

int64_t bytes_to_save(const WeightsShape& shape) {
  int64_t elements = 0;
  for_shards(shape, shapes_of(shape.model),
             [&](const Bucket&, const ShardPlan& plan) { elements += plan.own_end - plan.own; });
  return 3 * elements * static_cast<int64_t>(sizeof(float));
}

WeightsFootprint::Moves::Moves(const WeightsShape& shape, Ledgers& ledgers)
    : ledgers_(ledgers), keeps_pace_(shape.keeps_pace) {
  const Catalogue catalogue = shapes_of(shape.model);
  const Place place = {.mesh = shape.mesh, .rank = shape.rank};
  for_shards(shape, catalogue, [&](const Bucket& bucket, const ShardPlan& plan) {
    CountedShard shard = {plan, bucket.role == Role::expert,
                          static_cast<int64_t>(c10::elementSize(bucket.type))};
    shard.rests = !shape.frozen.empty() &&
                  std::ranges::all_of(bucket.parameters, [&](size_t p) { return shape.frozen[p]; });
    if (!shard.values_go)
      shard.on_device = Block(ledgers.device, Purpose::parameters, shard.elements * shard.value_bytes);
    if (!shard.gradients_go)
      shard.gradients_on_device = Block(ledgers.device, Purpose::gradients, shard.elements * 4);
    const int64_t seen = std::min(kSeen, shard.kept());
    const double times = static_cast<double>(shard.kept()) / static_cast<double>(std::max<int64_t>(1, seen));
    shard.cuts = divide(bucket, catalogue, place, shard.begin, shard.begin + seen).cuts;
    const auto arrays = [&](Purpose purpose, Tier where, int64_t count, int64_t bytes) {
      return CountedArrays(ledgers, purpose, where, count, shard.cuts, bytes, times);
    };
    if (shard.values_go) shard.value = arrays(Purpose::parameters, shard.values, 1, shard.value_bytes);
    if (shard.gradients_go) shard.gradient = arrays(Purpose::gradients, shard.gradients, 1, 4);
    shard.leaves_slowly = !keeps_pace_ || (shard.gradients == Tier::nvme &&
                                           shard.kept() > InFlight<CountedBuffer>::kBeingWritten);
    if (shape.accelerator) {
      const bool at_home = shard.state == Tier::device && shard.form == StateForm::fp32;
      const auto copied = [&](Tier tier, int64_t bytes) {
        return (tier == Tier::device) != at_home ? bytes : 0;
      };
      const int64_t copies = copied(shard.values, shard.value_bytes) + copied(shard.gradients, 4);
      (at_home ? shard.beside_on_device : shard.beside_on_host) = copies;
      const auto read = [&](Tier tier, int64_t bytes) { return tier == Tier::nvme && !at_home ? bytes : 0; };
      shard.read_on_host = read(shard.values, shard.value_bytes) + read(shard.gradients, 4) +
                           read(shard.state, 4 * shard.state_rows());
      if (at_home) shard.beside_on_device += kAdamWBytes;
    }
    if (shard.form == StateForm::fp32) {
      shard.moments = arrays(Purpose::optimizer, shard.state, shard.state_rows(), 4);
    } else {
      shard.moments = CountedArrays(ledgers, Purpose::optimizer, shard.state, 1,
                                    packed_cuts(shard.cuts, shard.form, shard.state_rows()), 1, times);
      if (!shape.accelerator) shard.unpacked_bytes = 4 * shard.state_rows();
    }
    shards_.add(bucket.block, std::move(shard));
  });
}

void WeightsFootprint::Moves::gather(CountedShard& shard) {
  shard.on_device = Block(ledgers_.device, Purpose::parameters, shard.elements * shard.value_bytes);
  if (!shard.values_go) return;
  for_prefetched(
      all_chunks_of(shard), [](const CountedChunk& chunk) { chunk.shard.value.prefetch(chunk.number); },
      [](const CountedChunk& chunk) { chunk.shard.value.load(chunk.number); });
}

void WeightsFootprint::Moves::settle(CountedShard& shard) {
  shard.moving = {};
  if (std::exchange(shard.leaving, false)) shard.gradients_on_device = {};
}

void WeightsFootprint::Moves::bring_gradients(CountedShard& shard) {
  settle(shard);
  shard.gradients_on_device = Block(ledgers_.device, Purpose::gradients, shard.elements * 4);
  if (!shard.started || shard.shared()) return;
  for_prefetched(
      all_chunks_of(shard), [](const CountedChunk& chunk) { chunk.shard.gradient.prefetch(chunk.number); },
      [](const CountedChunk& chunk) { chunk.shard.gradient.load(chunk.number); });
}

void WeightsFootprint::Moves::begins(size_t block, bool backward) {
  if (keeps_pace_) summing_dense_ = summing_experts_ = {};
  if (!backward || block + 1 >= shards_.blocks()) return;
  for (CountedShard* shard : shards_.of(block + 1))  // what is quick has left when the block begins
    if (!shard->leaves_slowly) settle(*shard);
}

void WeightsFootprint::Moves::reduce(CountedShard& shard) {
  if (!shard.shared() && !shard.gradients_go) return;
  const bool adds = std::exchange(shard.started, true) && shard.shared();
  const int64_t scratch = shard.shared() ? std::min(Group::kScratch, shard.elements * 4) : 0;
  if (!shard.gradients_go) {  // one after the other
    (shard.expert ? summing_experts_ : summing_dense_) = Block(ledgers_.device, Purpose::exchange, scratch);
    return;
  }
  shard.moving =
      Block(ledgers_.device, Purpose::exchange, scratch + (shard.in_parts() ? shard.kept() * 4 : 0));
  for (int64_t chunk = 0; chunk < shard.chunks(); ++chunk)
    shard.gradient.store(chunk, adds ? shard.gradient.load(chunk) : shard.gradient.blank(chunk));
  shard.leaving = true;
}

void WeightsFootprint::Moves::begin_update() {
  last = false;
  for (CountedShard& shard : shards_.all()) shard.started = false;
  if (!keeps_pace_) {
    updating_ = passing([](const CountedShard& shard) { return shard.beside_on_host + shard.read_on_host; });
  }
}

Block WeightsFootprint::Moves::passing(const std::function<int64_t(const CountedShard&)>& bytes_of) {
  int64_t elements = 0, bytes = 0;
  for (const CountedShard& shard : shards_.all()) {
    if (shard.rests || bytes_of(shard) == 0) continue;
    const int64_t some = std::min(shard.kept(), kPassing - elements);
    elements += some;
    bytes += some * bytes_of(shard);
  }
  return {ledgers_.host, Purpose::buffers, bytes};
}

std::vector<CountedChunk> WeightsFootprint::Moves::in_update() {
  std::vector<CountedChunk> chunks;
  for (CountedShard& shard : shards_.all()) {
    if (shard.rests) continue;
    for (const CountedChunk& chunk : all_chunks_of(shard)) chunks.push_back(chunk);
  }
  return chunks;
}

void WeightsFootprint::Moves::norm_and_update() {
  for (CountedShard& shard : shards_.all()) settle(shard);
  summing_dense_ = summing_experts_ = updating_ = {};
  for_update(
      shards_.all(), in_update(),
      [](const CountedChunk& chunk) { chunk.shard.gradient.prefetch(chunk.number); },
      [](const CountedChunk& chunk) { chunk.shard.gradient.load(chunk.number); });
  const Block copies = passing([](const CountedShard& shard) { return shard.beside_on_host; });
  for_update(
      shards_.all(), in_update(),
      [](const CountedChunk& chunk) {
        CountedShard& shard = chunk.shard;
        for (CountedArrays* arrays : {&shard.gradient, &shard.moments, &shard.value})
          arrays->prefetch(chunk.number);
      },
      [&](const CountedChunk& chunk) {
        CountedShard& shard = chunk.shard;
        Block value = shard.value.load(chunk.number), state = shard.moments.load(chunk.number);
        const Block unpacked(ledgers_.device, Purpose::buffers, shard.unpacked_bytes * chunk.size());
        const Block on_device(ledgers_.device, Purpose::buffers, shard.beside_on_device * chunk.size());
        const Block gradient = shard.gradient.load(chunk.number);
        shard.value.store(chunk.number, std::move(value));
        if (shard.unpacked_bytes > 0) state = shard.moments.blank(chunk.number);
        shard.moments.store(chunk.number, std::move(state));
        if (chunk.number + 1 == shard.chunks() && !shard.values_go && shard.in_parts()) gather(shard);
      });
}

WeightsFootprint::WeightsFootprint(const WeightsShape& shape, Ledgers& ledgers)
    : moves_(std::make_unique<Moves>(shape, ledgers)) {}
WeightsFootprint::~WeightsFootprint() = default;

void WeightsFootprint::begin_update() {
  moves_->begin_update();
}
void WeightsFootprint::last_micro_batch() {
  moves_->last = true;
}
void WeightsFootprint::before(size_t block, bool backward) {
  before_block(*moves_, moves_->shards(), block, backward);
}
void WeightsFootprint::after(size_t block, bool backward) {
  after_block(*moves_, moves_->shards(), block, backward, moves_->last);
}
void WeightsFootprint::norm_and_update() {
  moves_->norm_and_update();
}

namespace {

/// On disk only what is being read or written is in memory.
class TierStashFootprint final : public StashFootprint {
 public:
  TierStashFootprint(Tier tier, Ledgers& ledgers) : tier_(tier), ledgers_(ledgers) {}

  Block put(int64_t bytes) override {
    Block copy(ledgers_.host, Purpose::activations, bytes);
    if (tier_ == Tier::host) return copy;
    end_ += bytes;
    for (; end_ > size_; size_ += std::max(TierStash::kStep, bytes))
      ledgers_.nvme.add(Purpose::activations, std::max(TierStash::kStep, bytes));
    writing_.push_back(std::move(copy));
    if (writing_.size() > TierStash::kWritesInFlight) writing_.pop_front();
    return {};
  }
  void end() override {
    writing_.clear();
    end_ = 0;
  }

 private:
  Tier tier_;
  Ledgers& ledgers_;
  std::deque<Block> writing_;
  int64_t end_ = 0, size_ = 0;
};

}  // namespace

std::unique_ptr<StashFootprint> stash_footprint(Tier tier, Ledgers& ledgers) {
  if (tier == Tier::device) return nullptr;
  return std::make_unique<TierStashFootprint>(tier, ledgers);
}

}  // namespace chorus::inline state
