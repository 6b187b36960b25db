// The executor: runs blocks forward, remembers them on a tape, and walks the tape backward.
//
// A block is any function from activations to one activation. Each is differentiated on its own, its inputs
// detached, so that this one place decides what is kept between forward and backward (the block's graph, or
// only its inputs, the block being run again), and sees each block's parameter gradients complete as soon as
// its backward has run.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace chorus::inline model {

/// An activation, and the cell in which its gradient gathers.
struct Value {
  at::Tensor data;
  std::shared_ptr<at::Tensor> gradient;
};

/// Is told when the weights of a block are needed and when no longer, and when its gradients are complete.
/// It brings weights from elsewhere and takes gradients away. Blocks are numbered as ParameterSpec::block.
class BlockWatcher {
 public:
  virtual ~BlockWatcher() = default;
  /// Is told that the block is about to run; in a backward pass, to run back.
  virtual void before(size_t block, bool backward) = 0;
  /// Is told that it has run; in a backward pass, its gradients are those of the whole micro-batch.
  virtual void after(size_t block, bool backward) = 0;
  /// Is told of a block's experts between before() and after(); as MoeCall::before_experts.
  virtual bool before_experts(size_t /*block*/, const std::vector<int64_t>& /*rows*/, bool /*backward*/) {
    return false;
  }
};

/// Where a pass leaves activations.
class Stash {
 public:
  virtual ~Stash() = default;

  using Ticket = int64_t;
  /// Keeps a copy of x.
  virtual Ticket put(const at::Tensor& x) = 0;
  /// Says that it will be taken soon.
  virtual void prefetch(Ticket ticket) = 0;
  /// Returns the copy, on the device again, and forgets it.
  virtual at::Tensor take(Ticket ticket) = 0;
};

class Executor {
 public:
  enum class Mode {
    evaluate,   // no tape
    train,      // keep each block's graph
    recompute,  // keep each block's inputs, run it again in backward (activation checkpointing)
  };
  /// `again` tells a block that it is run a second time: it must not count statistics.
  using Block = std::function<at::Tensor(std::span<const at::Tensor> inputs, bool again)>;

  /// `watcher` may be null. Block 0, which is used throughout, runs (and in training, back) from here to
  /// finish(). With a `stash`, what Mode::recompute keeps waits there.
  explicit Executor(Mode mode, BlockWatcher* watcher = nullptr, Stash* stash = nullptr);

  Value run(size_t number, Block block, std::vector<Value> inputs);

  /// Computes gradients of everything on the tape from that of `output`; the tape is empty afterwards. What nothing
  /// depends on is left out, but with a watcher it runs back with zeros: other ranks may wait for this one's watcher.
  void backward(const Value& output, const at::Tensor& gradient);
  /// Ends block 0, after everything else, what was computed beside the executor included.
  void finish();

 private:
  struct Record {
    size_t number;
    Block block;
    std::vector<Value> inputs;
    // The inputs, detached, as the block's graph sees them; empty when recomputing.
    std::vector<at::Tensor> leaves;
    at::Tensor output;           // with its graph; undefined when recomputing
    std::vector<int64_t> sizes;  // of the output
    std::shared_ptr<at::Tensor> gradient;
  };
  /// An activation in the stash, an input of `uses` records.
  struct Stashed {
    Stash::Ticket ticket = 0;
    int64_t uses = 0;
    at::Tensor data;  // once it is back
  };
  static void record_graph(Record& record, bool again);
  void stash_inputs(Record& record);
  void fetch_inputs(Record& record);
  void tell_before(size_t number, bool backward);
  void tell_after(size_t number, bool backward);

  Mode mode_;
  BlockWatcher* watcher_;
  Stash* stash_;
  std::vector<Record> tape_;
  std::map<const at::Tensor*, Stashed> stashed_;  // by Value::gradient
};

}  // namespace chorus::inline model
