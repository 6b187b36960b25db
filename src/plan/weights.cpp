#include "plan/weights.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "chorus/base/scratch_file.h"
#include "chorus/model/shapes.h"
#include "chorus/optim/compact_state.h"

namespace chorus {

namespace {

constexpr int64_t kBeingWritten = 2 * Arrays::kChunk;  // of memory/arrays.cpp
constexpr int64_t kScratch = 16 << 20;                 // of comm/group.cpp
// Elements of a shard whose chunks are gone through: what comes after them is more of the same.
constexpr int64_t kSeen = 16 * Arrays::kChunk;

}  // namespace

Ledger& Ledgers::of(Tier tier) {
  return tier == Tier::device ? device : tier == Tier::host ? host : nvme;
}

ArraysShadow::ArraysShadow(Ledgers& ledgers, Purpose purpose, Tier tier, int64_t count, Arrays::Cuts cuts,
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

/// In whole blocks of the file.
int64_t ArraysShadow::bytes_of(int64_t chunk) const {
  constexpr auto kBlock = static_cast<int64_t>(ScratchFile::kBlock);
  return count_ * ((size(chunk) * element_bytes_ + kBlock - 1) / kBlock * kBlock);
}

void ArraysShadow::drop_written(int64_t chunk) {
  if (writing_.erase(chunk) > 0) being_written_ -= size(chunk);
}

void ArraysShadow::prefetch(int64_t chunk) {
  if (!on_disk_ || reading_.contains(chunk)) return;
  drop_written(chunk);
  reading_[chunk] = memory_of(chunk);
}

Block ArraysShadow::load(int64_t chunk) {
  if (!on_disk_) return {};
  prefetch(chunk);
  return std::move(reading_.extract(chunk).mapped());
}

Block ArraysShadow::blank(int64_t chunk) {
  return on_disk_ ? memory_of(chunk) : Block();
}

void ArraysShadow::store(int64_t chunk, Block values) {
  if (!on_disk_) return;
  drop_written(chunk);
  while (!writing_.empty() && being_written_ + size(chunk) > kBeingWritten)
    drop_written(writing_.begin()->first);
  writing_[chunk] = std::move(values);
  being_written_ += size(chunk);
}

void ArraysShadow::finish() {
  writing_.clear();
  being_written_ = 0;
}

void WeightsShadow::Shard::finish_writing() {
  for (ArraysShadow* arrays : {&value, &gradient, &state}) arrays->finish();
}

WeightsShadow::WeightsShadow(const Job& job, int rank, Ledgers& ledgers)
    : ledgers_(ledgers), keeps_pace_(job.memory_case == MemoryCase::typical) {
  const MemoryConfig& memory = job.memory;
  const int zero = job.mesh.zero;
  const Catalogue catalogue = shapes_of(job.model);
  const Place place = {.mesh = job.mesh, .rank = rank};
  for (const Bucket& bucket : plan_buckets(catalogue, place, job.compute)) {
    const bool expert = bucket.role == Role::expert;
    const auto tier = [&](Tier all, std::optional<Tier> experts) {
      return expert ? experts.value_or(all) : all;
    };
    const Tier values = tier(memory.parameters, memory.expert_parameters);
    const Tier gradients = tier(memory.gradients, memory.expert_gradients);
    const int sharing = expert ? job.mesh.edp() : job.mesh.dp();
    Shard shard = {.elements = bucket.elements,
                   .kept = zero >= 1 ? bucket.elements / sharing : bucket.elements,
                   .value_bytes = static_cast<int64_t>(c10::elementSize(bucket.type)),
                   .expert = expert,
                   .shared = sharing > 1};
    shard.values_go = (zero >= 3 && shard.shared) || values != Tier::device;
    shard.gradients_go = (zero >= 2 && shard.shared) || gradients != Tier::device;
    shard.has_master = bucket.type != at::kFloat;
    shard.rests = !job.frozen.empty() &&
                  std::ranges::all_of(bucket.parameters, [&](size_t p) { return job.frozen[p]; });
    if (!shard.values_go)
      shard.values = Block(ledgers.device, Purpose::parameters, shard.elements * shard.value_bytes);
    if (!shard.gradients_go) shard.gradients = Block(ledgers.device, Purpose::gradients, shard.elements * 4);
    const int64_t begin =
        zero >= 1 ? shard.kept * (expert ? job.mesh.edp_index(rank) : job.mesh.dp_index(rank)) : 0;
    const int64_t seen = std::min(kSeen, shard.kept);
    const double times = static_cast<double>(shard.kept) / static_cast<double>(std::max<int64_t>(1, seen));
    shard.cuts = divide(bucket, catalogue, place, begin, begin + seen).cuts;
    const auto arrays = [&](Purpose purpose, Tier where, int64_t count, int64_t bytes) {
      return ArraysShadow(ledgers, purpose, where, count, shard.cuts, bytes, times);
    };
    if (shard.values_go) shard.value = arrays(Purpose::parameters, values, 1, shard.value_bytes);
    if (shard.gradients_go) shard.gradient = arrays(Purpose::gradients, gradients, 1, 4);
    shard.leaves_slowly = !keeps_pace_ || (gradients == Tier::nvme && shard.kept > kBeingWritten);
    const Tier state = tier(memory.optimizer, memory.expert_optimizer);
    const int64_t rows = shard.has_master ? 3 : 2;
    if (expert && job.expert_state != StateForm::fp32) {
      shard.state = ArraysShadow(ledgers, Purpose::optimizer, state, 1,
                                 packed_cuts(shard.cuts, job.expert_state, rows), 1, times);
      shard.unpacked_bytes = 4 * rows;
    } else {
      shard.state = arrays(Purpose::optimizer, state, rows, 4);
    }
    if (of_block_.size() <= bucket.block) of_block_.resize(bucket.block + 1);
    of_block_[bucket.block].push_back(shards_.size());
    shards_.push_back(std::move(shard));
  }
}

std::vector<WeightsShadow::Chunk> WeightsShadow::chunks_of(Shard& shard) {
  std::vector<Chunk> chunks;
  chunks.reserve(shard.chunks());
  for (int64_t number = 0; number < shard.chunks(); ++number) chunks.push_back({shard, number});
  return chunks;
}

void WeightsShadow::gather(Shard& shard) {
  shard.values = Block(ledgers_.device, Purpose::parameters, shard.elements * shard.value_bytes);
  if (!shard.values_go) return;
  for_prefetched(
      chunks_of(shard), [](const Chunk& chunk) { chunk.shard.value.prefetch(chunk.number); },
      [](const Chunk& chunk) { chunk.shard.value.load(chunk.number); });
}

void WeightsShadow::settle(Shard& shard) {
  shard.moving = {};
  if (std::exchange(shard.leaving, false)) shard.gradients = {};
}

void WeightsShadow::reduce(Shard& shard) {
  shard.summed = true;
  if (!shard.shared && !shard.gradients_go) return;
  const bool adds = std::exchange(shard.started, true) && shard.shared;
  const int64_t scratch = shard.shared ? std::min(kScratch, shard.elements * 4) : 0;
  if (!shard.gradients_go) {  // one after the other
    (shard.expert ? summing_experts_ : summing_dense_) = Block(ledgers_.device, Purpose::exchange, scratch);
    return;
  }
  shard.moving = Block(ledgers_.device, Purpose::exchange, scratch + (shard.in_parts() ? shard.kept * 4 : 0));
  for (int64_t chunk = 0; chunk < shard.chunks(); ++chunk) {
    shard.gradient.store(chunk, adds ? shard.gradient.load(chunk) : shard.gradient.blank(chunk));
  }
  shard.leaving = true;
}

void WeightsShadow::begin_update() {
  last_ = false;
  for (Shard& shard : shards_) shard.summed = shard.started = false;
}

void WeightsShadow::before(size_t block, bool backward) {
  if (keeps_pace_) summing_dense_ = summing_experts_ = {};
  if (backward && block > 0 && block + 2 < of_block_.size()) {
    for (const size_t i : of_block_[block + 2]) {
      settle(shards_[i]);
      shards_[i].gradient.finish();
    }
  }
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (shard.values_go && shard.values.empty()) gather(shard);
    if (shard.gradients_go && backward) {
      settle(shard);
      shard.gradients = Block(ledgers_.device, Purpose::gradients, shard.elements * 4);
      if (shard.started && !shard.shared) {
        for_prefetched(
            chunks_of(shard), [](const Chunk& chunk) { chunk.shard.gradient.prefetch(chunk.number); },
            [](const Chunk& chunk) { chunk.shard.gradient.load(chunk.number); });
      }
    }
  }
  if (backward && block + 1 < of_block_.size()) {  // what is quick has left when the block begins
    for (const size_t i : of_block_[block + 1]) {
      if (!shards_[i].leaves_slowly) settle(shards_[i]);
    }
  }
  const size_t next = backward ? block - 1 : block + 1;
  if (block == 0 || next == 0 || next >= of_block_.size()) return;
  for (const size_t i : of_block_[next]) {
    if (shards_[i].values_go && shards_[i].values.empty()) gather(shards_[i]);
  }
}

void WeightsShadow::after(size_t block, bool backward) {
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (shard.values_go) shard.values = {};
    if (backward && (shard.gradients_go || (last_ && shard.shared))) reduce(shard);
  }
}

/// As Optimizer::for_update; all experts take part.
template <class Prefetch, class Work>
void WeightsShadow::for_update(const Prefetch& prefetch, const Work& work) {
  constexpr size_t kBehind = 2;
  std::vector<Chunk> all;
  for (Shard& shard : shards_) {
    if (shard.rests) continue;
    for (const Chunk& chunk : chunks_of(shard)) all.push_back(chunk);
  }
  auto unfinished = shards_.begin();
  for_prefetched(all, prefetch, [&](const Chunk& chunk) {
    for (; &*unfinished + kBehind <= &chunk.shard; ++unfinished) unfinished->finish_writing();
    work(chunk);
  });
  for (; unfinished != shards_.end(); ++unfinished) unfinished->finish_writing();
}

void WeightsShadow::norm_and_update() {
  for (Shard& shard : shards_) settle(shard);
  summing_dense_ = summing_experts_ = {};
  for_update([](const Chunk& chunk) { chunk.shard.gradient.prefetch(chunk.number); },
             [](const Chunk& chunk) { chunk.shard.gradient.load(chunk.number); });
  for_update(
      [](const Chunk& chunk) {
        Shard& shard = chunk.shard;
        for (ArraysShadow* arrays : {&shard.gradient, &shard.state, &shard.value})
          arrays->prefetch(chunk.number);
      },
      [&](const Chunk& chunk) {
        Shard& shard = chunk.shard;
        Block value = shard.value.load(chunk.number), state = shard.state.load(chunk.number);
        const Block unpacked(ledgers_.device, Purpose::buffers, shard.unpacked_bytes * chunk.size());
        if (shard.unpacked_bytes > 0) state = {};
        const Block gradient = shard.gradient.load(chunk.number);
        shard.value.store(chunk.number, std::move(value));
        if (shard.unpacked_bytes > 0) state = shard.state.blank(chunk.number);
        shard.state.store(chunk.number, std::move(state));
        if (chunk.number + 1 == shard.chunks() && !shard.values_go && shard.in_parts()) gather(shard);
      });
}

}  // namespace chorus
