// Bodies of devices' kernels give with many lanes what they give with one: threads of the host stand for a device's.
#include "kernels/internal/team.h"

#include <barrier>
#include <thread>
#include <vector>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include "kernels/internal/device_columns.h"
#include "kernels/internal/device_norms.h"
#include "kernels/internal/device_routing.h"
#include "kernels/internal/device_rows.h"
#include "kernels/internal/device_sums.h"

namespace chorus {
namespace {

/// What the lanes of a team share.
struct Shared {
  explicit Shared(int64_t lanes) : barrier(lanes), values(lanes) {}
  std::barrier<> barrier;
  std::vector<double> values;
  std::vector<uint64_t> whole = std::vector<uint64_t>(values.size());
  std::atomic<int> bins[kBins] = {};
};

/// A thread of several that do each piece together.
class ThreadTeam {
 public:
  ThreadTeam(Shared& shared, int64_t lane) : shared_(shared), lane_(lane) {}
  [[nodiscard]] int64_t lane() const { return lane_; }
  [[nodiscard]] int64_t lanes() const { return std::ssize(shared_.values); }
  template <class T>
  T sum(T x) {
    T all = 0;
    for (const double other : share(shared_.values, static_cast<double>(x))) all += static_cast<T>(other);
    sync();
    return all;
  }
  float max(float x) { return greatest(shared_.values, x); }
  uint64_t max(uint64_t x) { return greatest(shared_.whole, x); }
  int64_t before(int64_t x, int64_t& all) {
    int64_t sum = 0, lane = 0;
    all = 0;
    for (const double other : share(shared_.values, static_cast<double>(x))) {
      if (lane++ < lane_) sum += static_cast<int64_t>(other);
      all += static_cast<int64_t>(other);
    }
    sync();
    return sum;
  }
  void clear_bins() {
    sync();
    for (int64_t i = lane_; i < kBins; i += lanes()) shared_.bins[i] = 0;
    sync();
  }
  void add(int64_t bin) { ++shared_.bins[bin]; }
  [[nodiscard]] int bin(int64_t i) const { return shared_.bins[i]; }
  void sync() { shared_.barrier.arrive_and_wait(); }
  [[nodiscard]] static HostTeam squad() { return {}; }
  [[nodiscard]] int64_t squad_number() const { return lane_; }
  [[nodiscard]] int64_t squads() const { return lanes(); }

 private:
  template <class T>
  std::vector<T> share(std::vector<T>& all, T x) {
    all[lane_] = x;
    sync();
    return all;
  }
  template <class T, class X>
  X greatest(std::vector<T>& all, X x) {
    const std::vector<T> each = share(all, static_cast<T>(x));
    sync();
    return static_cast<X>(*std::max_element(each.begin(), each.end()));
  }

  Shared& shared_;
  int64_t lane_;
};

/// Pieces 0 .. pieces - 1; with one lane as the tests' devices do it.
template <class Body>
void run(int64_t lanes, int64_t pieces, const Body& body) {
  if (lanes == 1) {
    HostTeam team;
    for (int64_t piece = 0; piece < pieces; ++piece) body(team, piece);
    return;
  }
  Shared shared(lanes);
  std::vector<std::jthread> threads;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    threads.emplace_back([&, lane] {
      ThreadTeam team(shared, lane);
      for (int64_t piece = 0; piece < pieces; ++piece) body(team, piece);
    });
  }
}

constexpr int64_t kRows = 70, kExperts = 5, kChoices = 2, kSlots = kRows * kChoices;

TEST(Team, RoutesWithAnyNumberOfLanes) {
  const at::Tensor p = at::softmax(at::randn({kRows, kExperts}).mul_(2).round_(), 1),
                   active = at::rand({kRows}) > 0.2;
  for (const auto selection :
       {TokenSelection::position, TokenSelection::probability, TokenSelection::random}) {
    const auto route_with = [&](int64_t lanes) {
      const at::Tensor chosen = at::zeros({kSlots}, at::kLong), kept = at::zeros({kSlots}, at::kLong),
                       precedence = at::zeros({kSlots}, at::kLong),
                       assigned = at::zeros({kExperts}, at::kLong), slot = at::zeros({kSlots}, at::kLong),
                       token = at::zeros({kSlots}, at::kLong), choice = at::zeros({kSlots}, at::kLong),
                       ends = at::zeros({kExperts}, at::kInt);
      auto* const order = reinterpret_cast<uint64_t*>(precedence.mutable_data_ptr<int64_t>());
      run(lanes, kRows,
          ChooseExperts{.probabilities = p.const_data_ptr<float>(),
                        .active = active.const_data_ptr<bool>(),
                        .rows = kRows,
                        .experts = kExperts,
                        .k = kChoices,
                        .selection = selection,
                        .key = RandomKey(5),
                        .chosen = chosen.mutable_data_ptr<int64_t>(),
                        .kept = kept.mutable_data_ptr<int64_t>(),
                        .precedence = order});
      run(lanes, kExperts,
          KeepChoices{.chosen = chosen.const_data_ptr<int64_t>(),
                      .precedence = order,
                      .slots = kSlots,
                      .capacity = 11,
                      .kept = kept.mutable_data_ptr<int64_t>(),
                      .assigned = assigned.mutable_data_ptr<int64_t>()});
      run(lanes, kExperts,
          PlaceRows{.kept = kept.const_data_ptr<int64_t>(),
                    .slots = kSlots,
                    .k = kChoices,
                    .experts = kExperts,
                    .most = kSlots,
                    .slot_of = slot.mutable_data_ptr<int64_t>(),
                    .token = token.mutable_data_ptr<int64_t>(),
                    .choice = choice.mutable_data_ptr<int64_t>(),
                    .ends = ends.mutable_data_ptr<int32_t>()});
      return at::cat({chosen, kept, precedence, assigned, slot, token, choice, ends.to(at::kLong)});
    };
    EXPECT_TRUE(at::equal(route_with(1), route_with(3)));
    EXPECT_TRUE(at::equal(route_with(1), route_with(8)));
  }
}

TEST(Team, SumsWithAnyNumberOfLanes) {
  const at::Tensor logits = at::randn({4, 333}), labels = at::tensor({0, 332, 7, 100}, at::kLong);
  const auto losses_with = [&](int64_t lanes) {
    const at::Tensor rows = at::empty({4, kCrossEntropyColumns}, at::kDouble), gradient = logits.clone();
    run(lanes, 4,
        LossOfRow<float>{.logits = gradient.const_data_ptr<float>(),
                         .labels = labels.const_data_ptr<int64_t>(),
                         .parts = nullptr,
                         .own_parts = nullptr,
                         .width = 333,
                         .weights = LossWeights({.label_smoothing = 0.1}, 333),
                         .rows = rows.mutable_data_ptr<double>(),
                         .gradient = gradient.mutable_data_ptr<float>()});
    return at::cat({rows.view(-1), gradient.to(at::kDouble).view(-1)});
  };
  EXPECT_TRUE(at::allclose(losses_with(5), losses_with(1), 1e-6, 1e-6));
}

/// Of groups without rows, and of more than a segment.
TEST(Team, SumsColumnsAndNormsRowsWithAnyNumberOfLanes) {
  constexpr int64_t kGroups = 4, kAll = 300;
  const at::Tensor ends = at::tensor({0, 70, 70, 300}, at::kInt);
  for (const int64_t width : {4, 30, 1028}) {
    const at::Tensor rows = at::randn({kAll, width}), weight = at::randn({width}), bias = at::randn({width});
    const auto done_with = [&](int64_t lanes) {
      const Segments segments = {.ends = ends.const_data_ptr<int32_t>(), .groups = kGroups, .rows = kAll};
      const at::Tensor of_segments = at::full({segments.count(), width}, std::nan("")),
                       sums = at::ones({kGroups, width}), out = at::empty_like(rows),
                       mean = at::empty({kAll}), scale = at::empty({kAll});
      run(lanes, segments.count() * pieces_of(width),
          SumOfSegment<float>{.of = segments,
                              .width = width,
                              .rows = rows.const_data_ptr<float>(),
                              .sums = of_segments.mutable_data_ptr<float>()});
      run(lanes, kGroups * width,
          Each<SumOfSegments>{.body = {.of = segments,
                                       .of_segments = of_segments.const_data_ptr<float>(),
                                       .width = width,
                                       .overwrite = false,
                                       .sums = sums.mutable_data_ptr<float>()},
                              .count = kGroups * width});
      run(lanes, (kAll + 7) / 8,
          EachRow<NormRow<float>>{.body = {.rows = rows.const_data_ptr<float>(),
                                           .weight = weight.const_data_ptr<float>(),
                                           .bias = bias.const_data_ptr<float>(),
                                           .width = width,
                                           .epsilon = 1e-5F,
                                           .out = out.mutable_data_ptr<float>(),
                                           .mean = mean.mutable_data_ptr<float>(),
                                           .scale = scale.mutable_data_ptr<float>()},
                                  .count = kAll});
      EXPECT_TRUE(at::allclose(out, at::layer_norm(rows, {width}, weight, bias, 1e-5), 1e-4, 1e-5));
      const std::vector<at::Tensor> expected = {at::ones({width}), 1 + rows.narrow(0, 0, 70).sum(0),
                                                at::ones({width}), 1 + rows.narrow(0, 70, 230).sum(0)};
      EXPECT_TRUE(at::allclose(sums, at::stack(expected), 1e-4, 1e-4));
      return at::cat({sums, out});
    };
    EXPECT_TRUE(at::equal(done_with(1), done_with(5)));
  }
}

TEST(Team, DrawsWithAnyNumberOfLanes) {
  const at::Tensor in = at::randn({3, 150});
  const auto drawn_with = [&](int64_t lanes) {
    at::Tensor out = at::zeros_like(in);
    run(lanes, 3,
        DrawStretch<float, DropBy>{.in = in.const_data_ptr<float>(),
                                   .out = out.mutable_data_ptr<float>(),
                                   .by = {.threshold = 20'000, .scale = 1.5F},
                                   .key = RandomKey(3),
                                   .keys = nullptr,
                                   .length = 150,
                                   .first = 30,
                                   .distance = 200});
    return out;
  };
  EXPECT_TRUE(at::equal(drawn_with(1), drawn_with(7)));
}

TEST(Team, GivesRouterGradientsWithAnyNumberOfLanes) {
  const at::Tensor p = at::softmax(at::randn({9, 37}), 1), grad = at::randn({9, 2}),
                   assigned = at::randint(5, {37}, at::kLong), partition = at::randn({9});
  const at::Tensor chosen = std::get<1>(at::topk(p, 2, 1)),
                   kept = at::where(at::rand({9, 2}) > 0.3, chosen, -1);
  const auto gradients_with = [&](int64_t lanes) {
    at::Tensor out = at::zeros_like(p);
    run(lanes, 9,
        RouterRow{.choices = {.probabilities = p.const_data_ptr<float>(),
                              .chosen = chosen.const_data_ptr<int64_t>(),
                              .kept = kept.const_data_ptr<int64_t>(),
                              .experts = 37,
                              .k = 2,
                              .normalization = GateNormalization::after_drop},
                  .grad_gate = grad.const_data_ptr<float>(),
                  .active = nullptr,
                  .assigned = assigned.const_data_ptr<int64_t>(),
                  .log_partition = partition.const_data_ptr<float>(),
                  .balance = 0.1F,
                  .z = 0.2F,
                  .out = out.mutable_data_ptr<float>()});
    return out;
  };
  EXPECT_TRUE(at::allclose(gradients_with(6), gradients_with(1), 1e-5, 1e-6));
}

TEST(Team, GoesOverManyWeightsWithAnyNumberOfLanes) {
  const std::vector<at::Tensor> stretches = {at::randn({1}), at::randn({20'000}), at::randn({8192}),
                                             at::randn({5})};
  const auto squares_with = [&](int64_t lanes) {
    SquaresOfStretches body = {};
    double all = 0;
    for (const at::Tensor& x : stretches) body.many.add(x.const_data_ptr<float>(), x.numel());
    const at::Tensor sums = at::empty({body.many.pieces()}, at::kDouble);
    body.sums = sums.mutable_data_ptr<double>();
    run(lanes, body.many.pieces(), body);
    all = sums.sum().item<double>();
    return all;
  };
  double expected = 0;
  for (const at::Tensor& x : stretches) expected += x.to(at::kDouble).square().sum().item<double>();
  EXPECT_NEAR(squares_with(1), expected, 1e-9 * expected);
  EXPECT_NEAR(squares_with(5), expected, 1e-9 * expected);
}

/// What CUDA's arithmetic gives has no sign; expert 0 must be found all the same where all are chosen.
TEST(Team, ChoosesAmongWhatIsNoNumber) {
  const at::Tensor p = at::full({1, 2}, std::bit_cast<float>(0x7FFFFFFFU)),
                   out = at::full({4}, -7, at::kLong);
  auto* const chosen = out.mutable_data_ptr<int64_t>();
  run(1, 1,
      ChooseExperts{.probabilities = p.const_data_ptr<float>(),
                    .active = nullptr,
                    .rows = 1,
                    .experts = 2,
                    .k = 2,
                    .selection = TokenSelection::position,
                    .key = RandomKey(1),
                    .chosen = chosen,
                    .kept = chosen + 2,
                    .precedence = nullptr});
  EXPECT_TRUE(at::equal(out.narrow(0, 0, 2), at::arange(2)));
}

}  // namespace
}  // namespace chorus
