// AdamW over a model's parameters on one rank or many: sums of gradients, the global norm, clipping, updates,
// and what ZeRO keeps in parts (Rajbhandari et al., "ZeRO: memory optimizations toward training trillion
// parameter models").
//
// The ranks that share a bucket's weights (dp, of experts edp) cut its flat tensors into equal parts, one a
// rank.
//
//   stage  whole on every rank              only the own part
//   0      values, gradients, moments
//   1      values, gradients                moments; masters of bf16 weights
//   2      values; a block's gradients      besides, gradients
//          while it runs back
//   3      a block's values and gradients   besides, values
//          while it runs
//
// What MemoryConfig keeps on the host or on disk is never there as a whole: values come to the device for as
// long as their block runs (at stages 1 and 2 then from all ranks' parts, as at stage 3); gradients leave it
// as soon as their block has run back; masters and moments pass through memory a chunk after the other while
// they are updated.
//
// Experts off the device are there by use, where no other rank shares their weights: those without tokens are
// neither fetched nor read, their gradient is zero without being written, and the updates that they miss are
// made up for, to the same bits, when they are needed again or read() shows them.
//
// Gradients are summed in the background while the backward pass goes on, a bucket as soon as its block has
// run back.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "chorus/memory/arrays.h"
#include "chorus/memory/config.h"
#include "chorus/model/transformer.h"
#include "chorus/optim/adamw.h"
#include "chorus/optim/config.h"

namespace chorus {

class Optimizer : public BlockWatcher {
 public:
  /// `model` and `parallel`, with which it was made, must outlive it. Moments start at zero; masters are not
  /// set. UserError where there is no room for what goes on disk.
  Optimizer(Transformer& model, const OptimConfig& config, Parallel& parallel,
            const MemoryConfig& memory = {});
  ~Optimizer() override;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Consecutive elements of what this rank holds of one parameter, as flat tensors that lie in its state, or
  /// in what of it is in memory.
  struct Part {
    size_t parameter = 0;
    LocalPart local;
    int64_t first = 0;        // in what is held
    at::Tensor master, m, v;  // fp32, also where state is kept in fewer bytes
  };
  using Visit = std::function<void(const Part&)>;
  /// Shows what is this rank's to write: every element of every parameter is in exactly one rank's.
  void read(const Visit& visit);
  /// Lets `visit` write all that this rank keeps of masters and moments; values follow.
  void change(const Visit& visit);
  /// Sets the masters to initial_value().
  void initialise(RandomKey seed);

  /// From now on the parameters so marked (one a parameter) get no update, and no part in the norm.
  void freeze(std::vector<bool> parameters) { frozen_ = std::move(parameters); }

  /// Forgets the gradients of the update before.
  void begin_update();
  /// The next micro-batch is the last that this rank adds to the update.
  void last_micro_batch() { last_ = true; }
  /// The norm of all gradients together, those of all ranks but of frozen parameters. A parameter that took
  /// no part counts as zero.
  double gradient_norm();
  /// One AdamW update with gradients scaled so that their norm is at most config.clip_norm.
  void update(double learning_rate, double norm);

  int64_t updates = 0;  // made so far: what the bias corrections count

  /// Most bytes of values and gradients that were there at one time.
  [[nodiscard]] int64_t peak_bytes() const { return peak_bytes_; }
  /// Of the scratch file.
  [[nodiscard]] uint64_t bytes_on_disk() const { return file_ ? file_->size() : 0; }
  [[nodiscard]] ScratchFile::Traffic traffic() const {
    return file_ ? file_->traffic() : ScratchFile::Traffic();
  }
  /// Whether the model's values are all there, and have had all updates, whatever the model is doing.
  [[nodiscard]] bool values_stay() const;

  void before(size_t block, bool backward) override;
  bool before_experts(size_t block, const std::vector<int64_t>& rows, bool backward) override;
  void after(size_t block, bool backward) override;

 private:
  struct Shard;
  struct Chunk;
  struct Loaded;
  static std::vector<Chunk> chunks_of(Shard& shard, const std::vector<int64_t>& numbers);
  void gather(Shard& shard, bool backward);
  void bring_values(Shard& shard, const std::vector<int64_t>& numbers);
  void bring_gradients(Shard& shard, const std::vector<int64_t>& numbers);
  void reduce(Shard& shard);
  void allocate(const at::Tensor& flat);
  void free(const at::Tensor& flat);
  [[nodiscard]] LocalPart local(const Shard& shard, size_t i) const;
  [[nodiscard]] bool is_frozen(const Shard& shard, size_t i) const;
  [[nodiscard]] bool rests(const Shard& shard) const;
  Loaded load(const Chunk& chunk);
  void store(const Chunk& chunk, const Loaded& loaded) const;
  void for_weights(const Chunk& chunk, const Loaded& loaded,
                   const std::function<void(AdamWTensor&, int64_t)>& f);
  void visit_chunk(const Chunk& chunk, bool changes, const Visit& visit);
  void gather_all();
  template <class Prefetch, class Work>
  void for_update(const Prefetch& prefetch, const Work& work);
  void forget_steps();

  Transformer& model_;
  OptimConfig config_;
  Parallel& parallel_;
  int zero_ = 0;
  std::unique_ptr<ScratchFile> file_;          // where something goes on disk
  std::vector<Shard> shards_;                  // one a bucket
  std::vector<std::vector<size_t>> of_block_;  // their indices
  std::vector<bool> frozen_;                   // empty: none
  int64_t made_ = 0;                           // updates
  std::vector<AdamWStep> recent_;              // the last of them: what chunks may have missed
  bool last_ = false;
  std::atomic<int64_t> bytes_ = 0;  // of values and gradients that are there
  int64_t peak_bytes_ = 0;
};

}  // namespace chorus
