// What pruning reads of a model on a device.
#include "surgery/usage.h"

#include <gtest/gtest.h>

#include "device/tested_device.h"
#include "formats/saved_model.h"

namespace chorus {
namespace {

TEST(DeviceUsage, OfExpertsIsTheHosts) {
  const Saved saved;
  const auto moved = load_model(saved.path, {.device = testing::device()});
  const DirectionText pairs = {.name = "en-de",
                               .from = "en",
                               .to = "de",
                               .sources = sentences("en", 40),
                               .references = sentences("de", 40)};
  const auto here = measure_usage(*saved.model, saved.vocabulary, {&pairs, 1}, {});
  const auto there = measure_usage(*moved.model, saved.vocabulary, {&pairs, 1}, {});
  ASSERT_EQ(there.size(), here.size());
  for (size_t layer = 0; layer < here.size(); ++layer) {
    EXPECT_GT(here[layer].tokens, 0);
    EXPECT_EQ(there[layer].chosen, here[layer].chosen);
    for (size_t e = 0; e < here[layer].gate.size(); ++e)
      EXPECT_NEAR(there[layer].gate[e], here[layer].gate[e], 1e-3 * (1 + here[layer].gate[e]));
  }
}

}  // namespace
}  // namespace chorus
