// main() of the test programs that use libtorch: seeds its generator anew for each test, since it starts out
// with a random seed, and a test has to give the same result every time and alone.
#include <ATen/Context.h>
#include <gtest/gtest.h>

namespace {

class Seed : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& /*info*/) override { at::manual_seed(1); }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::UnitTest::GetInstance()->listeners().Append(new Seed);
  return RUN_ALL_TESTS();
}
