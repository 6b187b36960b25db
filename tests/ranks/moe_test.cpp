// The MoE layer over ranks: what it sends, and what it holds at once, however tokens fall.
#include <mutex>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "device/simulated.h"
#include "moe/layer.h"
#include "parallel/mesh.h"
#include "ranks/ranks.h"

namespace chorus {
namespace {

constexpr int64_t kExperts = 8, kWidth = 16, kInner = 96, kTokens = 600;

/// Counts what libtorch allocates while it is the one that is told.
struct PeakBytes : c10::MemoryReportingInfoBase {
  int64_t now = 0, most = 0;
  std::mutex mutex;
  void reportMemoryUsage(void* /*at*/, int64_t change, size_t /*all*/, size_t /*reserved*/,
                         c10::Device /*device*/) override {
    const std::lock_guard lock(mutex);
    now += change;
    most = std::max(most, now);
  }
  [[nodiscard]] bool memoryProfilingEnabled() const override { return true; }
};

/// What of a parameter a rank holds, as Transformer would set it.
at::Tensor held(const at::Tensor& whole, const Parallel& p, int64_t cut) {
  at::Tensor part = whole.narrow(0, p.first_expert(kExperts), p.expert_count(kExperts));
  if (cut >= 0) {
    const Stretch own = part_of(whole.size(cut), p.etp.rank(), p.etp.size());
    part = part.narrow(cut, own.first, own.count);
  }
  return part.contiguous();
}

struct Layer {
  Parameter router, fc1_weight, fc1_bias, fc2_weight, fc2_bias;
  MoeConfig config = {.experts = kExperts, .top_k = 1, .capacity_factor = 0, .jitter = 0, .balance_loss = 0};

  explicit Layer(Parallel& p, at::Device device = at::kCPU) {
    at::manual_seed(3);
    router.value = 30 * at::eye(kExperts, kWidth);
    fc1_weight.value = held(at::randn({kExperts, kInner, kWidth}), p, 1);
    fc1_bias.value = held(at::randn({kExperts, kInner}), p, 1);
    fc2_weight.value = held(at::randn({kExperts, kWidth, kInner}), p, 2);
    fc2_bias.value = held(at::randn({kExperts, kWidth}), p, -1);
    for (Parameter* x : {&router, &fc1_weight, &fc1_bias, &fc2_weight, &fc2_bias}) {
      x->value = x->value.to(device);
      x->gradient = at::zeros_like(x->value);
      x->value.requires_grad_(true);
    }
  }

  /// The output, and the gradient w.r.t. `hidden` of the sum of the output's squares.
  std::pair<at::Tensor, at::Tensor> run(Parallel* parallel, const at::Tensor& tokens,
                                        RoutingRecord* record = nullptr) {
    const at::Tensor hidden = tokens.to(router.value.device()).detach().requires_grad_(true);
    const MoeCall call = {.parallel = parallel,
                          .training = true,
                          .key = RandomKey(5),
                          .activation_dropout = 0.25,
                          .inner_width = kInner,
                          .observer = {.record = record}};
    const at::Tensor output =
        moe_layer(hidden, {&router, &fc1_weight, &fc1_bias, &fc2_weight, &fc2_bias}, config, call);
    const at::Tensor gradient = torch::autograd::grad({output}, {hidden}, {2 * output.detach()})[0];
    return {output.detach(), gradient};
  }
};

/// Tokens that the router sends to the experts named, one after the other.
at::Tensor tokens_for(std::span<const int64_t> experts, uint64_t seed) {
  at::manual_seed(seed);
  const at::Tensor tokens = 0.1 * at::randn({kTokens, kWidth});
  for (int64_t t = 0; t < kTokens; ++t) tokens[t][experts[t % experts.size()]].fill_(1);
  return tokens;
}

/// Those of a rank: the ranks of tp have the same.
at::Tensor own_tokens(const Parallel& p, std::span<const int64_t> experts) {
  return tokens_for(experts, 20 + p.mesh().dp_index(ranks().rank()));
}

void expect_near(const at::Tensor& a, const at::Tensor& b, const char* what) {
  const double difference = (a - b).abs().max().item<double>() / (b.abs().max().item<double>() + 1e-30);
  EXPECT_LT(difference, 1e-5) << what;
}

const std::vector<int64_t> kAll = {0, 1, 2, 3, 4, 5, 6, 7}, kOne = {0};

TEST(MoeOverRanks, GivesWhatOneProcessGivesHoweverTokensFall) {
  const int64_t world = ranks().size();
  for (const ParallelConfig& config :
       {ParallelConfig{.ep = world}, ParallelConfig{.etp = world}, ParallelConfig{.tp = world},
        ParallelConfig{.ep = world, .tp = world}, ParallelConfig{.etp = world, .tp = world},
        ParallelConfig{.ep = world / 2, .etp = 2, .tp = 2}, ParallelConfig{.ep = world, .exchange_chunks = 3},
        ParallelConfig{.etp = world, .tp = world, .exchange_chunks = 40}}) {
    if (config.ep < 1 || world % (config.ep * config.etp) != 0 || kExperts % config.ep != 0) continue;
    SCOPED_TRACE(::testing::Message() << "ep " << config.ep << " etp " << config.etp << " tp " << config.tp
                                      << " chunks " << config.exchange_chunks);
    Parallel p(ranks(), make_mesh(config, static_cast<int>(world),
                                  {.experts = kExperts, .heads = world, .ffn = kInner}));
    Parallel alone;
    Layer spread(p), whole(alone);
    for (const auto& experts : {kAll, kOne, std::vector<int64_t>{7, 1}}) {
      const at::Tensor tokens = own_tokens(p, experts);
      const auto [output, gradient] = spread.run(&p, tokens);
      const auto [expected, expected_gradient] = whole.run(nullptr, tokens);
      expect_near(output, expected, "output");
      expect_near(gradient, expected_gradient, "gradient");
    }
    // Gradients of weights: those of all replicas together.
    if (p.tp.rank() > 0) whole.fc1_weight.gradient.zero_();
    ranks().all_reduce(whole.fc1_weight.gradient);
    p.edp.all_reduce(spread.fc1_weight.gradient);
    expect_near(spread.fc1_weight.gradient, held(whole.fc1_weight.gradient, p, 1), "gradient of fc1");
  }
}

TEST(MoeOverRanks, EveryMeshCutsCrowdedTokensAlike) {
  const int64_t world = ranks().size();
  if (world != 8) GTEST_SKIP() << "it takes ranks of tp in several groups of ep";
  Parallel p(ranks(), make_mesh({.ep = 4, .tp = 8}, 8, {.experts = kExperts, .heads = 8, .ffn = kInner}));
  // The ranks 0 to 3 have the first half of the tokens, all for one expert.
  std::vector<int64_t> experts(kTokens, 0);
  for (int64_t t = kTokens / 2; t < kTokens; ++t) experts[t] = t % kExperts;
  Parallel alone;
  Layer spread(p), whole(alone);
  const at::Tensor tokens = own_tokens(p, experts);
  const auto [output, gradient] = spread.run(&p, tokens);
  const auto [expected, expected_gradient] = whole.run(nullptr, tokens);
  expect_near(output, expected, "output");
  expect_near(gradient, expected_gradient, "gradient");
}

/// What the host waits for in one exchange of rows between simulated devices, which goes through its memory: a copy for
/// each other rank, both ways. NCCL's exchange has none of these.
int64_t waits_of_one_exchange(Parallel& p, at::Device device) {
  const std::vector<int64_t> rows(p.ep.size(), 1);
  const at::Tensor sent = at::zeros({p.ep.size(), 1}, device), received = at::zeros_like(sent);
  testing::take_counts();
  p.ep.all_to_all(received, rows, sent, rows);
  return testing::take_counts().waits;
}

TEST(MoeOverRanks, OnDevicesOneChunkIsExchangedBesideAnother) {
  const int64_t world = ranks().size();
  if (kExperts % world != 0) GTEST_SKIP() << "the experts do not fall on the ranks evenly";
  Parallel alone;
  for (const int64_t chunks : {1, 4}) {
    Parallel p(ranks(), make_mesh({.ep = world, .exchange_chunks = chunks}, static_cast<int>(world),
                                  {.experts = kExperts, .ffn = kInner}));
    const at::Device device(testing::kSimulated.type(), static_cast<at::DeviceIndex>(ranks().rank()));
    const c10::DeviceGuard there(device);
    Layer spread(p, device), whole(alone);
    const at::Tensor tokens = own_tokens(p, kAll), tokens_there = tokens.to(device);
    const int64_t waits_of_exchange = waits_of_one_exchange(p, device);
    testing::take_device_time();
    testing::take_counts();
    const auto [output, gradient] = spread.run(&p, tokens_there);
    const double taken = testing::take_device_time();
    const testing::DeviceCounts counts = testing::take_counts();
    if (chunks > 1 && world > 1) {
      EXPECT_LT(taken, 0.9 * counts.busy);
    }
    // Forward sends choices, rows, weights and keys, and returns results; backward sends gradients, and returns those
    // of rows and weights. The one wait is for the choices.
    EXPECT_EQ(counts.waits, world > 1 ? 1 + 8 * chunks * waits_of_exchange : 0);
    const auto [expected, expected_gradient] = whole.run(nullptr, tokens);
    expect_near(output.cpu(), expected, "output");
    expect_near(gradient.cpu(), expected_gradient, "gradient");
  }
}

TEST(MoeOverRanks, HoldsABoundedNumberOfRowsThoughAllTokensGoToOneExpert) {
  const int64_t world = ranks().size();
  if (kExperts % world != 0 || world < 4) GTEST_SKIP() << "with 4 ranks or more one can be crowded";
  Parallel p(ranks(),
             make_mesh({.ep = world}, static_cast<int>(world), {.experts = kExperts, .ffn = kInner}));
  Layer layer(p);
  const auto peak = [&](const std::vector<int64_t>& experts) {
    const auto counter = std::make_shared<PeakBytes>();
    const at::Tensor tokens = own_tokens(p, experts);
    {
      const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, counter);
      layer.run(&p, tokens);
    }
    return static_cast<double>(counter->most);
  };
  const double even = peak(kAll), crowded = peak(kOne);
  // A rank takes up to twice what falls to it evenly at a time; it would be `world` times.
  EXPECT_LT(crowded, 2.2 * even) << "rank " << ranks().rank();
}

TEST(MoeOverRanks, SendsWhatTheFormulaSays) {
  const int64_t world = ranks().size();
  if (kExperts % world != 0) GTEST_SKIP() << "the experts do not fall on the ranks evenly";
  Parallel p(ranks(),
             make_mesh({.ep = world}, static_cast<int>(world), {.experts = kExperts, .ffn = kInner}));
  Layer layer(p);
  layer.config.top_k = 3;
  RoutingRecord record;
  layer.run(&p, own_tokens(p, kAll), &record);
  const int64_t k = layer.config.top_k, row = 4 * kWidth, each = kExperts / world;
  const auto* const kept = record.routing.kept.const_data_ptr<int64_t>();
  int64_t pairs = 0;  // of a token and another rank
  for (int64_t t = 0; t < kTokens; ++t) {
    std::set<int64_t> holders;
    for (int64_t j = 0; j < k; ++j) {
      if (kept[t * k + j] >= 0) holders.insert(kept[t * k + j] / each);
    }
    pairs += static_cast<int64_t>(holders.size()) - static_cast<int64_t>(holders.count(ranks().rank()));
  }
  const int64_t counts = 8 * (world + 1) * (world - 1);
  // As docs/parallelism.md has it, and 8 bytes per row for activation dropout. What comes back is counted
  // where it is sent from.
  const double expected = static_cast<double>(pairs * (2 * (row + row) + 12 * k + 8 + 4 * k) + counts);
  EXPECT_EQ(ranks().sum(static_cast<double>(p.ep.bytes_sent())), ranks().sum(expected));
}

}  // namespace
}  // namespace chorus
