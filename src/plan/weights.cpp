#include "plan/weights.h"

#include <utility>

#include "chorus/base/scratch_file.h"
#include "chorus/memory/arrays.h"

namespace chorus {

namespace {

constexpr size_t kWritesInFlight = 2;  // of memory/arrays.cpp

int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace

Ledger& Ledgers::of(Tier tier) {
  return tier == Tier::device ? device : tier == Tier::host ? host : nvme;
}

ArraysShadow::ArraysShadow(Ledgers& ledgers, Purpose purpose, Tier tier, int64_t count, int64_t elements,
                           int64_t element_bytes)
    : ledgers_(&ledgers),
      on_disk_(tier == Tier::nvme),
      count_(count),
      elements_(elements),
      element_bytes_(element_bytes) {
  const int64_t blocks = round_up(std::min(elements, Arrays::kChunk) * element_bytes, ScratchFile::kBlock);
  const int64_t bytes = on_disk_ ? chunks() * count * blocks : count * elements * element_bytes;
  if (on_disk_) {
    ledgers.nvme.add(purpose, bytes);
  } else {
    whole_ = Block(ledgers.of(tier), purpose, bytes);
  }
}

int64_t ArraysShadow::chunks() const {
  return (elements_ + Arrays::kChunk - 1) / Arrays::kChunk;
}

Block ArraysShadow::memory_of(int64_t chunk) const {
  const int64_t size = std::min(Arrays::kChunk, elements_ - chunk * Arrays::kChunk);
  return {ledgers_->host, Purpose::buffers, count_ * round_up(size * element_bytes_, ScratchFile::kBlock)};
}

void ArraysShadow::prefetch(int64_t chunk) {
  if (!on_disk_ || reading_.contains(chunk)) return;
  writing_.erase(chunk);
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
  while (writing_.size() >= kWritesInFlight) writing_.erase(writing_.begin());
  writing_[chunk] = std::move(values);
}

void ArraysShadow::copy_out() {
  for (int64_t chunk = 0; on_disk_ && chunk < chunks(); ++chunk) {
    if (chunk + 1 < chunks()) prefetch(chunk + 1);
    load(chunk);
  }
}

void WeightsShadow::Shard::finish_writing() {
  for (ArraysShadow* arrays : {&value, &gradient, &state}) arrays->finish();
}

WeightsShadow::WeightsShadow(const Job& job, int rank, Ledgers& ledgers) : ledgers_(ledgers) {
  const MemoryConfig& memory = job.memory;
  const int zero = job.mesh.zero;
  for (const Bucket& bucket :
       plan_buckets(make_catalogue(job.model), {.mesh = job.mesh, .rank = rank}, job.compute)) {
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
                   .shared = sharing > 1};
    shard.values_go = (zero >= 3 && shard.shared) || values != Tier::device;
    shard.gradients_go = (zero >= 2 && shard.shared) || gradients != Tier::device;
    shard.has_master = bucket.type != at::kFloat;
    if (!shard.values_go)
      shard.values = Block(ledgers.device, Purpose::parameters, shard.elements * shard.value_bytes);
    if (!shard.gradients_go) shard.gradients = Block(ledgers.device, Purpose::gradients, shard.elements * 4);
    const auto arrays = [&](Purpose purpose, Tier where, int64_t count, int64_t bytes) {
      return ArraysShadow(ledgers, purpose, where, count, shard.kept, bytes);
    };
    if (shard.values_go) shard.value = arrays(Purpose::parameters, values, 1, shard.value_bytes);
    if (shard.gradients_go) shard.gradient = arrays(Purpose::gradients, gradients, 1, 4);
    shard.leaves_slowly = gradients == Tier::nvme && shard.gradient.chunks() > int64_t{kWritesInFlight};
    shard.state = arrays(Purpose::optimizer, tier(memory.optimizer, memory.expert_optimizer),
                         shard.has_master ? 3 : 2, 4);
    if (of_block_.size() <= bucket.block) of_block_.resize(bucket.block + 1);
    of_block_[bucket.block].push_back(shards_.size());
    shards_.push_back(std::move(shard));
  }
}

void WeightsShadow::gather(Shard& shard) {
  shard.values = Block(ledgers_.device, Purpose::parameters, shard.elements * shard.value_bytes);
  if (shard.values_go) shard.value.copy_out();
}

void WeightsShadow::settle(Shard& shard) {
  if (std::exchange(shard.leaving, false)) shard.gradients = {};
}

void WeightsShadow::reduce(Shard& shard) {
  shard.summed = true;
  if (!shard.shared && !shard.gradients_go) return;
  const bool adds = std::exchange(shard.started, true) && shard.shared;
  const bool apart = shard.in_parts() && shard.gradients_go;
  const Block sum(ledgers_.device, Purpose::buffers, apart ? shard.kept * 4 : 0);
  if (!shard.gradients_go) return;
  for (int64_t chunk = 0; chunk < shard.gradient.chunks(); ++chunk) {
    shard.gradient.store(chunk, adds ? shard.gradient.load(chunk) : shard.gradient.blank(chunk));
  }
  shard.leaving = true;
}

void WeightsShadow::begin_update() {
  last_ = false;
  for (Shard& shard : shards_) shard.summed = shard.started = false;
}

void WeightsShadow::before(size_t block, bool backward) {
  if (backward && block > 0 && block + 2 < of_block_.size()) {
    for (const size_t i : of_block_[block + 2]) {
      settle(shards_[i]);
      shards_[i].gradient.finish();
    }
  }
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (shard.values_go) gather(shard);
    if (shard.gradients_go && backward) {
      settle(shard);
      shard.gradients = Block(ledgers_.device, Purpose::gradients, shard.elements * 4);
      if (shard.started && !shard.shared) shard.gradient.copy_out();
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
    if (shards_[i].values_go) gather(shards_[i]);
  }
}

void WeightsShadow::after(size_t block, bool backward) {
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (shard.values_go) shard.values = {};
    if (backward && (shard.gradients_go || (last_ && shard.shared))) reduce(shard);
  }
}

/// work(shard, chunk) over all; as Optimizer::for_chunks.
template <class Prefetch, class Work>
void WeightsShadow::for_chunks(const Prefetch& prefetch, const Work& work) {
  constexpr size_t kAhead = 2, kBehind = 2;
  std::vector<std::pair<size_t, int64_t>> all;
  for (size_t i = 0; i < shards_.size(); ++i) {
    for (int64_t chunk = 0; chunk < shards_[i].state.chunks(); ++chunk) all.emplace_back(i, chunk);
  }
  for (size_t i = 0; i < std::min(kAhead, all.size()); ++i) prefetch(shards_[all[i].first], all[i].second);
  for (size_t i = 0; i < all.size(); ++i) {
    const auto [number, chunk] = all[i];
    if (i + kAhead < all.size()) prefetch(shards_[all[i + kAhead].first], all[i + kAhead].second);
    if (chunk == 0 && number >= kBehind) shards_[number - kBehind].finish_writing();
    work(shards_[number], chunk);
  }
  for (Shard& shard : shards_) shard.finish_writing();
}

void WeightsShadow::norm_and_update() {
  for (Shard& shard : shards_) settle(shard);
  for_chunks([](Shard& shard, int64_t chunk) { shard.gradient.prefetch(chunk); },
             [](Shard& shard, int64_t chunk) { shard.gradient.load(chunk); });
  const auto prefetch = [](Shard& shard, int64_t chunk) {
    for (ArraysShadow* arrays : {&shard.gradient, &shard.state, &shard.value}) arrays->prefetch(chunk);
  };
  for_chunks(prefetch, [&](Shard& shard, int64_t chunk) {
    Block value = shard.value.load(chunk), state = shard.state.load(chunk);
    const Block gradient = shard.gradient.load(chunk);
    shard.value.store(chunk, std::move(value));
    shard.state.store(chunk, std::move(state));
    if (chunk + 1 == shard.state.chunks() && !shard.values_go && shard.in_parts()) gather(shard);
  });
}

}  // namespace chorus
