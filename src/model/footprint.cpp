#include "model/footprint.h"

#include <utility>

#include "model/internal/layer_footprint.h"

namespace chorus::inline model {

/// Follows Executor and Transformer::train() step by step.
class StepFootprint::Run {
 public:
  Run(const StepShape& job, int rank, Ledger& device)
      : job_(job),
        device_(device),
        layers_(job, rank, device),
        source_{job.batch.rows, job.batch.source_length, job.batch.source_padding},
        target_{job.batch.rows, job.batch.target_length, job.batch.target_padding},
        positions_(device, Purpose::buffers,
                   job.model.positions != Positions::relative
                       ? job.model.max_positions * job.model.d_model *
                             static_cast<int64_t>(c10::elementSize(job.compute))
                       : 0) {}

  void micro_batch(BlockWatcher& weights, StashFootprint* stash) {
    weights_ = &weights;
    stash_ = job_.recompute ? stash : nullptr;
    const Block batch(device_, Purpose::buffers,
                      side_bytes(source_) + side_bytes(target_) + 8 * target_.tokens());  // labels
    weights.before(0, true);
    int64_t sparse = 0;
    const auto sparse_number = [&](int64_t layer, int64_t every) {
      return job_.model.is_sparse(layer, every) ? sparse++ : int64_t{-1};
    };
    Block x = begin(source_);
    for (int64_t i = 0; i < job_.model.encoder_layers; ++i) {
      x = run(1 + i, x, false, sparse_number(i, job_.model.moe.encoder_every));
    }
    const Block memory = end(x, source_);
    if (stash_) memory_on_host_ = stashed(source_);  // once, for all blocks of the decoder
    x = begin(target_);
    for (int64_t i = 0; i < job_.model.decoder_layers; ++i) {
      x = run(1 + job_.model.encoder_layers + i, x, true, sparse_number(i, job_.model.moe.decoder_every));
    }
    const Block hidden = end(x, target_);
    x = {};
    const Block by_hidden = layers_.loss(target_);
    backward(by_hidden);
    weights.after(0, true);
    if (stash_) stash_->end();
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
    if (job_.model.post_norm) return x;
    Record record = {.side = &side, .input = x};
    record.output = layers_.final_norm(x, side, job_.recompute ? nullptr : &record.embedding_or_norm);
    return keep(std::move(record));
  }

  Block keep(Record record) {
    Block output = record.output;
    if (job_.recompute) {
      record.output = {};
      if (stash_ && !record.input.empty()) {
        record.on_host = stashed(*record.side);
        record.input = {};
        record.stashed = true;
      }
    }
    tape_.push_back(std::move(record));
    return output;
  }

  Block stashed(const SideShape& side) {
    return stash_->put(side.tokens() * job_.model.d_model *
                       static_cast<int64_t>(c10::elementSize(job_.compute)));
  }

  Block run(size_t number, const Block& x, bool decoder, int64_t sparse) {
    weights_->before(number, false);
    Record record = {.number = number,
                     .sparse = sparse,
                     .decoder = decoder,
                     .side = decoder ? &target_ : &source_,
                     .input = x};
    record.output = layers_.layer(x, *record.side, decoder ? &source_ : nullptr, sparse,
                                  job_.recompute ? nullptr : &record.branches);
    weights_->after(number, false);
    return keep(std::move(record));
  }

  void backward(Block grad) {
    Block by_memory;
    while (!tape_.empty()) {
      Record record = std::move(tape_.back());
      tape_.pop_back();
      const bool shared = record.number == 0;
      if (!shared) weights_->before(record.number, true);
      // An accelerator has the next one's brought meanwhile.
      for (Record* const near : {&record, job_.accelerator && !tape_.empty() ? &tape_.back() : &record}) {
        if (near->stashed && near->input.empty())
          near->input = layers_.hidden(near->side->tokens(), Purpose::activations);
      }
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
      if (!shared) weights_->after(record.number, true);
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

  const StepShape& job_;
  Ledger& device_;
  LayerFootprint layers_;
  BlockWatcher* weights_ = nullptr;
  StashFootprint* stash_ = nullptr;
  SideShape source_, target_;
  Block positions_, memory_on_host_;
  std::vector<Record> tape_;
};

StepFootprint::StepFootprint(const StepShape& shape, int rank, Ledger& device)
    : run_(std::make_unique<Run>(shape, rank, device)) {}

StepFootprint::~StepFootprint() = default;

void StepFootprint::micro_batch(BlockWatcher& weights, StashFootprint* stash) {
  run_->micro_batch(weights, stash);
}

}  // namespace chorus::inline model
