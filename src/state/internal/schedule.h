// When weights come and go, gradients leave, and chunks pass through memory. Written once, for the optimizer,
// which moves memory, and for its footprint, which counts it.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "memory/arrays.h"

namespace chorus::inline state {

/// Shards in the order of their buckets, and by block.
template <class Shard>
class ShardList {
 public:
  void add(size_t block, Shard shard) {
    if (of_block_.size() <= block) of_block_.resize(block + 1);
    of_block_[block].push_back(all_.size());
    all_.push_back(std::move(shard));
  }
  [[nodiscard]] std::vector<Shard>& all() { return all_; }
  [[nodiscard]] const std::vector<Shard>& all() const { return all_; }
  [[nodiscard]] size_t blocks() const { return of_block_.size(); }
  [[nodiscard]] std::vector<Shard*> of(size_t block) {
    std::vector<Shard*> shards;
    for (const size_t i : of_block_[block]) shards.push_back(&all_[i]);
    return shards;
  }

 private:
  std::vector<Shard> all_;
  std::vector<std::vector<size_t>> of_block_;  // indices into it
};

// `moves` has, for one of the shards, each of which is a ShardPlan:
//
//   values_come(shard)              whether its values are on their way, or there
//   begin_to_bring(shard, backward) its values
//   await_values(shard)
//   bring_gradients(shard)          there is memory for them, with what earlier micro-batches left where this
//                                   rank alone adds to them
//   await_departure(shard)          its gradients have left
//   begins(block, backward)         what the block needs is there
//   drop_values(shard)
//   ran(shard)                      whether its values go or not
//   reduce(shard)                   its gradients begin to leave, or to be summed

/// Does what comes before a block runs, or runs back.
template <class Moves, class Shard>
void before_block(Moves& moves, ShardList<Shard>& shards, size_t block, bool backward) {
  // At most one other block's gradients wait to leave, however slowly they go.
  if (backward && block > 0 && block + 2 < shards.blocks()) {
    for (Shard* shard : shards.of(block + 2))
      if (shard->gradients_go) moves.await_departure(*shard);
  }
  for (Shard* shard : shards.of(block)) {
    if (shard->values_go && !moves.values_come(*shard)) moves.begin_to_bring(*shard, backward);
    if (shard->gradients_go && backward) moves.bring_gradients(*shard);
  }
  for (Shard* shard : shards.of(block)) moves.await_values(*shard);
  moves.begins(block, backward);
  // The block that is run next, while this one computes.
  const size_t next = backward ? block - 1 : block + 1;
  if (block == 0 || next == 0 || next >= shards.blocks()) return;
  for (Shard* shard : shards.of(next))
    if (shard->values_go && !moves.values_come(*shard)) moves.begin_to_bring(*shard, backward);
}

/// Does what comes after that. `last`: no other micro-batch of this rank adds to the gradients.
template <class Moves, class Shard>
void after_block(Moves& moves, ShardList<Shard>& shards, size_t block, bool backward, bool last) {
  for (Shard* shard : shards.of(block)) {
    if (shard->values_go) moves.drop_values(*shard);
    moves.ran(*shard);
    if (backward && (shard->gradients_go || (last && shard->shared()))) moves.reduce(*shard);
  }
}

/// work(chunk) for the chunks of an update, which lie shard by shard in the order of `shards`;
/// prefetch(chunk) some time before. What was written two shards ago is waited for, so that its memory is
/// free.
template <class Shard, class Chunk, class Prefetch, class Work>
void for_update(std::vector<Shard>& shards, std::vector<Chunk> chunks, const Prefetch& prefetch,
                const Work& work) {
  constexpr size_t kBehind = 2;
  auto unfinished = shards.begin();
  for_prefetched(std::move(chunks), prefetch, [&](const Chunk& chunk) {
    for (; &*unfinished + kBehind <= &chunk.shard; ++unfinished) unfinished->finish_writing();
    work(chunk);
  });
  for (; unfinished != shards.end(); ++unfinished) unfinished->finish_writing();
}

/// The chunks of a shard that are numbered so.
template <class Chunk, class Shard>
std::vector<Chunk> chunks_of(Shard& shard, const std::vector<int64_t>& numbers) {
  std::vector<Chunk> chunks;
  chunks.reserve(numbers.size());
  for (const int64_t number : numbers) chunks.push_back({shard, number});
  return chunks;
}

}  // namespace chorus::inline state
