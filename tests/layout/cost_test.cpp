#include "layout/cost.h"

#include <gtest/gtest.h>

#include "layout/catalogue.h"
#include "model/fixtures.h"

namespace chorus {
namespace {

TEST(Cost, CountsEveryParameterOnce) {
  for (const Activation activation : {Activation::relu, Activation::swiglu}) {
    ModelConfig config = tiny_config();
    config.activation = activation;
    const Catalogue catalogue = make_catalogue(config);
    const ModelCost cost = cost_of(config, 10);
    EXPECT_EQ(cost.parameters.total(), catalogue.elements(Role::dense) + catalogue.elements(Role::expert));
    EXPECT_EQ(cost.parameters.experts, catalogue.elements(Role::expert));
    EXPECT_EQ(cost.parameters.active_experts * 2, cost.parameters.experts) << "top 2 of 4";
    EXPECT_EQ(cost.parameters.router, 2 * 4 * 12);
    EXPECT_EQ(cost.parameters.embedding, 23 * 12);
  }
}

TEST(Cost, OfADenseModelIsTheTextbooks) {
  ModelConfig config = tiny_config();
  config.moe.experts = 0;
  const int64_t d = 12, f = 10, length = 6;
  const ModelCost cost = cost_of(config, length);
  const int64_t encoder = 2 * (2 * (4 * d * d + 2 * d * f) + 4 * length * d);
  const int64_t decoder = 2 * (2 * (6 * d * d + 2 * d * f) + 6 * length * d);
  EXPECT_EQ(cost.source_flops, encoder + 2 * 2 * 2 * d * d) << "and the decoder's keys and values for it";
  EXPECT_EQ(cost.target_flops, decoder + 2 * d * 23);
  EXPECT_EQ(cost.training_flops(), 3 * cost.forward_flops());
  EXPECT_EQ(cost.layers.size(), 4U);
  EXPECT_EQ(cost.parameters.experts + cost.parameters.router + cost.parameters.active_experts, 0);
}

TEST(Cost, TopKExpertsWork) {
  ModelConfig config = tiny_config();
  const double two = cost_of(config, 6).source_flops;
  config.moe.top_k = 1;
  const double one = cost_of(config, 6).source_flops;
  EXPECT_EQ(two - one, 2 * 2 * 12 * 10) << "one more expert in the one sparse layer of the encoder";
}

TEST(Cost, MemoryCountsTheRouterAsFp32) {
  const ParameterCount count = {.embedding = 100, .router = 10};
  EXPECT_EQ(memory_of(count, false).inference, 440);
  EXPECT_EQ(memory_of(count, false).training, 110 * 16);
  EXPECT_EQ(memory_of(count, true).inference, 240);
  EXPECT_EQ(memory_of(count, true).training, 100 * 18 + 10 * 16);
}

}  // namespace
}  // namespace chorus
