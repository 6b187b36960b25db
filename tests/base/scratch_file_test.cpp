#include "chorus/base/scratch_file.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "chorus/base/error.h"

#include "temporary_folder.h"

namespace chorus {
namespace {

constexpr size_t kBlock = ScratchFile::kBlock;

struct Block {
  explicit Block(size_t bytes) : data(static_cast<char*>(std::aligned_alloc(kBlock, bytes)), std::free) {}
  std::unique_ptr<char, decltype(&std::free)> data;
};

class ScratchFileTest : public testing::TestWithParam<ScratchFile::Engine> {
 protected:
  TemporaryFolder folder_;
};

TEST_P(ScratchFileTest, GivesBackWhatWasWrittenWithManyRequestsAtOnce) {
  ScratchFile file(folder_ / "new" / "folder", GetParam());
  EXPECT_TRUE(GetParam() == ScratchFile::Engine::best || !file.uses_io_uring());
  const size_t count = 200, bytes = 3 * kBlock;  // more than the kernel takes at once
  EXPECT_EQ(file.reserve(5), 0U);
  const uint64_t begin = file.reserve(count * bytes);
  EXPECT_EQ(begin, kBlock);  // whole blocks
  Block written(count * bytes), read(count * bytes);
  for (size_t i = 0; i < count * bytes; ++i) written.data.get()[i] = static_cast<char>(i * 7 / 3);
  std::vector<ScratchFile::Request> requests;
  for (size_t i = 0; i < count; ++i) {
    requests.push_back(file.write(begin + i * bytes, written.data.get() + i * bytes, bytes));
  }
  for (const ScratchFile::Request request : requests) file.wait(request);
  requests.clear();
  for (size_t i = 0; i < count; ++i) {
    requests.push_back(file.read(begin + i * bytes, read.data.get() + i * bytes, bytes));
  }
  for (size_t i = count; i-- > 0;) file.wait(requests[i]);  // in any order
  EXPECT_EQ(std::memcmp(written.data.get(), read.data.get(), count * bytes), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "new" / "folder"));  // it has no name
}

TEST_P(ScratchFileTest, SaysWhatFails) {
  ScratchFile file(folder_.path(), GetParam());
  file.reserve(kBlock);
  Block block(2 * kBlock);
  EXPECT_THROW(file.read(0, block.data.get() + 1, kBlock), Error);
  EXPECT_THROW(file.read(kBlock / 2, block.data.get(), kBlock), Error);
  EXPECT_THROW(file.wait(file.read(0, block.data.get(), 2 * kBlock)), Error);  // behind its end
  EXPECT_THROW(file.reserve(uint64_t{1} << 60), UserError);
  file.wait(file.write(0, block.data.get(), kBlock));  // goes on
}

INSTANTIATE_TEST_SUITE_P(Engines, ScratchFileTest,
                         testing::Values(ScratchFile::Engine::best, ScratchFile::Engine::thread));

TEST(ScratchFile, NeedsAFolderItCanWriteTo) {
  EXPECT_THROW(ScratchFile("/proc/nothing/here"), UserError);
}

}  // namespace
}  // namespace chorus
