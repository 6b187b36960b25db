// chorus_timeline FOLDER: three updates of an MoE model that lies on NVMe, and what the tiers held meanwhile:
// a line each 0.5 ms of the last update, "seconds device host read written block phase". bench/timeline.py
// draws it.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "base/error.h"
#include "data/batches.h"
#include "memory/usage.h"
#include "state/optimizer.h"
#include "state/stash.h"

namespace chorus {
namespace {

enum Phase { kForward, kBackward, kNorm, kUpdate };
std::atomic<int> phase = kForward, block = 0;

/// Passes on what blocks do to the optimizer, and notes it.
class Watch : public BlockWatcher {
 public:
  explicit Watch(Optimizer& optimizer) : optimizer_(optimizer) {}
  void before(size_t number, bool backward) override {
    optimizer_.watcher().before(number, backward);
    if (number == 0) return;
    block = static_cast<int>(number);
    phase = backward ? kBackward : kForward;
  }
  void after(size_t number, bool backward) override { optimizer_.watcher().after(number, backward); }
  bool before_experts(size_t number, const std::vector<int64_t>& rows, bool backward) override {
    return optimizer_.watcher().before_experts(number, rows, backward);
  }

 private:
  Optimizer& optimizer_;
};

MicroBatch batch_of(int64_t rows, int64_t length, int64_t vocabulary) {
  std::vector<SentencePair> pairs(rows);
  int64_t i = 0;
  for (SentencePair& pair : pairs) {
    for (std::vector<int32_t>* side : {&pair.source, &pair.target}) {
      for (int64_t token = 2; token < length; ++token)
        side->push_back(static_cast<int32_t>(4 + i++ * 7 % (vocabulary - 4)));
    }
    pair.source_tag = pair.target_tag = 4;
  }
  return make_batch(pairs);
}

void run(const char* folder) {
  const DeviceMemoryCount counting(0);
  ModelConfig config;
  config.vocabulary = 2000;
  config.d_model = 256;
  config.encoder_layers = config.decoder_layers = 5;
  config.attention_heads = 4;
  config.ffn_dim = 1024;
  config.max_positions = 64;
  config.moe = {.experts = 8, .encoder_every = 1, .decoder_every = 1, .capacity_factor = 0};
  const MemoryConfig memory = {.parameters = Tier::nvme,
                               .gradients = Tier::nvme,
                               .optimizer = Tier::nvme,
                               .activations = Tier::nvme,
                               .folder = folder};
  Parallel alone;
  Transformer model(config, {.gradients = true, .empty = true, .parallel = &alone});
  Optimizer optimizer(model, {}, alone, memory);
  TierStash stash(Tier::nvme, folder);
  optimizer.initialise(RandomKey(1));
  Watch watch(optimizer);
  model.watch(&watch);
  const Batch batch = model.to_batch(batch_of(128, 32, config.vocabulary));
  using Clock = std::chrono::steady_clock;
  for (int update = 0; update < 3; ++update) {
    std::atomic<bool> done = update < 2;
    const auto begun = Clock::now();
    std::thread sampler([&] {
      const ScratchFile::Traffic before = optimizer.traffic();
      while (!done) {
        const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
        const ScratchFile::Traffic now = optimizer.traffic();
        std::printf("%.6f %lld %lld %llu %llu %d %d\n", seconds, static_cast<long long>(device_memory().now),
                    static_cast<long long>(host_memory().now),
                    static_cast<unsigned long long>(now.read - before.read),
                    static_cast<unsigned long long>(now.written - before.written), block.load(),
                    phase.load());
        std::this_thread::sleep_for(std::chrono::microseconds(500));
      }
    });
    phase = kForward;
    optimizer.begin_update();
    optimizer.last_micro_batch();
    model.train(batch, {.training = true, .key = RandomKey(3)},
                {.gradient_scale = 1e-3, .recompute = true, .stash = &stash});
    phase = kNorm;
    block = 0;
    const double norm = optimizer.gradient_norm();
    phase = kUpdate;
    optimizer.update(1e-3, norm);
    done = true;
    sampler.join();
  }
}

}  // namespace
}  // namespace chorus

int main(int argc, char** argv) {
  try {
    chorus::run(argc > 1 ? argv[1] : ".");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "chorus_timeline: %s\n", error.what());
    return 1;
  }
}
