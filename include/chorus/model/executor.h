// The executor: runs blocks forward, remembers them on a tape, and walks the tape backward.
//
// A block is any function from activations to one activation. Each is differentiated on its own, its inputs
// detached, so that this one place decides what is kept between forward and backward (the block's graph, or
// only its inputs, the block being run again), and sees each block's parameter gradients complete as soon as
// its backward has run.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace chorus {

/// An activation, and the cell in which its gradient gathers.
struct Value {
  at::Tensor data;
  std::shared_ptr<at::Tensor> gradient;
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

  explicit Executor(Mode mode) : mode_(mode) {}

  Value run(Block block, std::vector<Value> inputs);

  /// Gradients of everything on the tape from that of `output`; the tape is empty afterwards.
  void backward(const Value& output, const at::Tensor& gradient);

 private:
  struct Record {
    Block block;
    std::vector<Value> inputs;
    std::vector<at::Tensor>
        leaves;         // the inputs, detached, as the block's graph sees them; empty when recomputing
    at::Tensor output;  // with its graph; undefined when recomputing
    std::shared_ptr<at::Tensor> gradient;
  };
  static void record_graph(Record& record, bool again);

  Mode mode_;
  std::vector<Record> tape_;
};

}  // namespace chorus
