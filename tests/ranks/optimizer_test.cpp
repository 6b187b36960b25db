// What the optimizer sends and holds, stage by stage, against the formulas of docs/parallelism.md.
#include "state/optimizer.h"

#include <gtest/gtest.h>

#include "ranks/ranks.h"

namespace chorus {
namespace {

constexpr int64_t kMicroBatches = 3;

ModelConfig dense_model(int64_t layers) {
  ModelConfig config;
  config.vocabulary = 300;
  config.d_model = 64;
  config.encoder_layers = config.decoder_layers = layers;
  config.attention_heads = 4;
  config.ffn_dim = 128;
  config.max_positions = 16;
  config.moe.experts = 0;
  return config;
}

/// One update by all ranks, each with `kMicroBatches` of one sentence.
struct Trained {
  Parallel parallel;
  Transformer model;
  Optimizer optimizer;

  Trained(int64_t zero, const ModelConfig& config)
      : parallel(ranks(), make_mesh({.zero = zero}, ranks().size(), {})),
        model(config, {.gradients = true, .parallel = &parallel}),
        optimizer(model, {}, parallel) {
    optimizer.initialise(RandomKey(1));
    before = parallel.dp.bytes_sent();
    MicroBatch batch = {.rows = 1, .source_length = 5, .target_length = 4};
    batch.source = {7, 8, 9, 10, kEos};
    batch.target_input = {kEos, 11, 12, 13};
    batch.target_labels = {11, 12, 13, kEos};
    batch.target_tokens = 4;
    optimizer.begin_update();
    for (int64_t i = 0; i < kMicroBatches; ++i) {
      if (i + 1 == kMicroBatches) optimizer.last_micro_batch();
      model.train(model.to_batch(batch), {.training = true, .key = RandomKey(i)}, {});
    }
    optimizer.update(1e-3, optimizer.gradient_norm());
    sent = parallel.dp.bytes_sent() - before;
  }
  int64_t before = 0, sent = 0;
};

TEST(OptimizerOverRanks, SendsWhatTheFormulasSay) {
  const int64_t n = ranks().size();
  for (int64_t zero = 0; zero <= 3; ++zero) {
    Trained run(zero, dense_model(2));
    int64_t bytes = 0;  // by all ranks
    for (const Bucket& bucket : run.model.buckets()) {
      const int64_t size = 4 * bucket.elements;  // of values, and of gradients
      // What several blocks share is fetched once per micro-batch, a block's weights twice.
      const int64_t fetched = bucket.block == 0 ? 1 : 2;
      bytes += zero == 0   ? 2 * (n - 1) * size
               : zero == 1 ? (n - 1) * 2 * size
               : zero == 2 ? (n - 1) * (kMicroBatches + 1) * size
                           : (n - 1) * kMicroBatches * (1 + fetched) * size;
    }
    bytes += n * (n - 1) * 8;  // the norm
    EXPECT_EQ(ranks().sum(static_cast<double>(run.sent)), static_cast<double>(bytes)) << "stage " << zero;
  }
}

TEST(OptimizerOverRanks, StageThreeHoldsAFewBlocksHoweverManyThereAre) {
  if (ranks().size() == 1) GTEST_SKIP() << "one rank holds everything";
  for (const int64_t layers : {2, 6}) {
    Trained run(3, dense_model(layers));
    std::vector<int64_t> of_block(1 + 2 * layers);
    int64_t all = 0;
    for (const Bucket& bucket : run.model.buckets()) {
      of_block[bucket.block] += 4 * bucket.elements;
      all += 8 * bucket.elements;
    }
    // The shared block; the values and gradients of the block that runs back, those of the block before it
    // being summed, the values of the next.
    const int64_t largest = *std::ranges::max_element(of_block.begin() + 1, of_block.end());
    EXPECT_LE(run.optimizer.peak_bytes(), 2 * of_block[0] + 4 * largest) << layers;
    if (layers == 6) {
      EXPECT_LT(run.optimizer.peak_bytes(), all / 2);
    }
  }
}

}  // namespace
}  // namespace chorus
