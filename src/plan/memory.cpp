#include "chorus/plan/memory.h"

#include <deque>
#include <numeric>
#include <utility>

#include "plan/layers.h"
#include "plan/weights.h"

namespace chorus {

int64_t Holdings::total() const {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0});
}

namespace {

/// The shadow of model/executor.cpp and of Transformer::train().
class StepShadow {
 public:
  StepShadow(const Job& job, int rank, Ledgers& ledgers)
      : job_(job),
        ledgers_(ledgers),
        layers_(job, rank, ledgers.device),
        weights_(job, rank, ledgers),
        source_{job.batch.rows, job.batch.source_length, job.batch.source_padding},
        target_{job.batch.rows, job.batch.target_length, job.batch.target_padding},
        positions_(ledgers.device, Purpose::buffers,
                   job.model.positions == Positions::sinusoidal
                       ? job.model.max_positions * job.model.d_model *
                             static_cast<int64_t>(c10::elementSize(job.compute))
                       : 0) {}

  void update() {
    weights_.begin_update();
    const int64_t rounds = std::min<int64_t>(2, job_.rounds());  // those between hold no more than the last
    for (int64_t i = 0; i < rounds; ++i) {
      if (i + 1 == rounds) weights_.last_micro_batch();
      micro_batch();
    }
    weights_.norm_and_update();
  }

 private:
  /// What the tape keeps of a block.
  struct Record {
    size_t number = 0;
    int64_t sparse = -1;  // the number of its sparse layer
    bool decoder = false;
    const SideShape* side = nullptr;
    Block input, output;
    std::vector<Branch> branches;  // empty when recomputing
    Branch embedding_or_norm;
    bool stashed = false;  // instead of `input`; then perhaps
    Block on_host;
  };

  void micro_batch() {
    const Block batch(ledgers_.device, Purpose::buffers,
                      side_bytes(source_) + side_bytes(target_) + 8 * target_.tokens());  // labels
    weights_.before(0, true);
    int64_t sparse = 0;
    const auto sparse_number = [&](int64_t layer, int64_t every) {
      return job_.model.is_sparse(layer, every) ? sparse++ : int64_t{-1};
    };
    Block x = begin(source_);
    for (int64_t i = 0; i < job_.model.encoder_layers; ++i) {
      x = run(1 + i, x, false, sparse_number(i, job_.model.moe.encoder_every));
    }
    const Block memory = end(x, source_);
    if (stashes()) memory_on_host_ = stash(source_);  // once, for all blocks of the decoder
    x = begin(target_);
    for (int64_t i = 0; i < job_.model.decoder_layers; ++i) {
      x = run(1 + job_.model.encoder_layers + i, x, true, sparse_number(i, job_.model.moe.decoder_every));
    }
    const Block hidden = end(x, target_);
    x = {};
    const Block by_hidden = layers_.loss(target_);
    backward(by_hidden);
    weights_.after(0, true);
    writing_.clear();
    stash_end_ = 0;
  }

  /// Ids, languages, and masks where there is padding.
  [[nodiscard]] int64_t side_bytes(const SideShape& side) const {
    const int64_t mask = 1 + static_cast<int64_t>(c10::elementSize(job_.compute));
    return side.tokens() * (8 + 4 + (side.padding > 0 ? mask : 0));
  }

  Block begin(const SideShape& side) {
    Record record = {.side = &side};
    record.output = layers_.embedding(side, job_.recompute ? nullptr : &record.embedding_or_norm);
    return keep(std::move(record));
  }

  Block end(const Block& x, const SideShape& side) {
    Record record = {.side = &side, .input = x};
    record.output = layers_.final_norm(x, side, job_.recompute ? nullptr : &record.embedding_or_norm);
    return keep(std::move(record));
  }

  Block keep(Record record) {
    Block output = record.output;
    if (job_.recompute) {
      record.output = {};
      if (stashes() && !record.input.empty()) {
        record.on_host = stash(*record.side);
        record.input = {};
        record.stashed = true;
      }
    }
    tape_.push_back(std::move(record));
    return output;
  }

  [[nodiscard]] bool stashes() const { return job_.recompute && job_.memory.activations != Tier::device; }

  /// Of memory/stash.cpp: on disk only what is being written or read is in memory. What stays on the host.
  Block stash(const SideShape& side) {
    const int64_t bytes =
        side.tokens() * job_.model.d_model * static_cast<int64_t>(c10::elementSize(job_.compute));
    Block copy(ledgers_.host, Purpose::activations, bytes);
    if (job_.memory.activations == Tier::host) return copy;
    constexpr size_t kWritesInFlight = 4;
    constexpr int64_t kStep = int64_t{64} << 20;
    stash_end_ += bytes;
    for (; stash_end_ > stash_size_; stash_size_ += std::max(kStep, bytes)) {
      ledgers_.nvme.add(Purpose::activations, std::max(kStep, bytes));
    }
    writing_.push_back(std::move(copy));
    if (writing_.size() > kWritesInFlight) writing_.pop_front();
    return {};
  }

  Block run(size_t number, const Block& x, bool decoder, int64_t sparse) {
    weights_.before(number, false);
    Record record = {.number = number,
                     .sparse = sparse,
                     .decoder = decoder,
                     .side = decoder ? &target_ : &source_,
                     .input = x};
    record.output = layers_.layer(x, *record.side, decoder ? &source_ : nullptr, sparse,
                                  job_.recompute ? nullptr : &record.branches);
    weights_.after(number, false);
    return keep(std::move(record));
  }

  void backward(Block grad) {
    Block by_memory;
    while (!tape_.empty()) {
      Record record = std::move(tape_.back());
      tape_.pop_back();
      const bool shared = record.number == 0;
      if (!shared) weights_.before(record.number, true);
      if (record.stashed) record.input = layers_.hidden(record.side->tokens(), Purpose::activations);
      record.on_host = {};
      if (record.decoder) memory_on_host_ = {};
      if (job_.recompute) again(record);
      const Block contribution =
          record.decoder ? layers_.hidden(source_.tokens(), Purpose::buffers) : Block();
      const Block arriving = grad;
      if (shared) {
        for (; !record.embedding_or_norm.empty(); record.embedding_or_norm.pop_back()) {
          grad = record.embedding_or_norm.back()(grad);
        }
        if (record.side == &target_ && !tape_.empty() && tape_.back().side == &source_) {
          grad = std::exchange(by_memory, {});  // the decoder's embedding has run back
        }
      }
      for (; !record.branches.empty(); record.branches.pop_back()) {
        Block along = grad;
        for (Branch& branch = record.branches.back(); !branch.empty(); branch.pop_back()) {
          along = branch.back()(along);
        }
        grad = layers_.hidden(record.side->tokens(), Purpose::buffers);
      }
      if (!shared) weights_.after(record.number, true);
      if (record.decoder) by_memory = layers_.hidden(source_.tokens(), Purpose::buffers);
    }
  }

  /// Runs a block again to go back through it.
  void again(Record& record) {
    if (record.number == 0) {
      record.output = record.input.empty()
                          ? layers_.embedding(*record.side, &record.embedding_or_norm)
                          : layers_.final_norm(record.input, *record.side, &record.embedding_or_norm);
      return;
    }
    record.output = layers_.layer(record.input, *record.side, record.decoder ? &source_ : nullptr,
                                  record.sparse, &record.branches);
  }

  const Job& job_;
  Ledgers& ledgers_;
  LayerShadow layers_;
  WeightsShadow weights_;
  SideShape source_, target_;
  Block positions_, memory_on_host_;
  std::vector<Record> tape_;
  std::deque<Block> writing_;  // of the stash
  int64_t stash_end_ = 0, stash_size_ = 0;
};

}  // namespace

MemoryPlan plan_memory(const Job& job, int rank) {
  Ledgers ledgers;
  {
    StepShadow step(job, rank, ledgers);
    step.update();
  }
  return {.device = ledgers.device.peak(), .host = ledgers.host.peak(), .nvme = ledgers.nvme.peak()};
}

}  // namespace chorus
