// The tests that run on several ranks: each rank is one process of mpirun and runs the same tests. Where one
// fails on a rank, that rank ends all: the others would wait for it.
#include <cstdio>

#include <gtest/gtest.h>

#include "base/log.h"
#include "base/process.h"
#include "mpi/world.h"
#include "ranks/ranks.h"

namespace chorus {

namespace {

Group* world_group = nullptr;

class EndAllOnFailure : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", ranks().rank(), result.file_name(), result.line_number(),
                 result.message());
    std::fflush(stderr);
    end_all(1);
  }
};

}  // namespace

Group& ranks() {
  return *world_group;
}

}  // namespace chorus

int main(int argc, char** argv) {
  chorus::set_up_process();
  chorus::World world;
  world.group().set_timeout(60);
  chorus::world_group = &world.group();
  chorus::console().set_quiet(true);
  ::testing::InitGoogleTest(&argc, argv);
  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  if (world.group().rank() > 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new chorus::EndAllOnFailure);
  return RUN_ALL_TESTS();
}
