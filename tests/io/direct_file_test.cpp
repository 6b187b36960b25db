#include "io/direct_file.h"

#include <string>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/error.h"
#include "io/files.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

/// Numbered, so that bytes in another place are seen.
std::string bytes_of(size_t n) {
  std::string bytes(n, '\0');
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<char>(i * 31 + i / 251);
  return bytes;
}

TEST(DirectFile, HasWhatWasWrittenInPiecesOfAnySize) {
  const TemporaryFolder folder;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4} << 20, (size_t{9} << 20) + 4097}) {
    for (const size_t piece : {size_t{13'001}, size_t{5} << 20}) {
      const std::string bytes = bytes_of(size), head = bytes.substr(0, std::min<size_t>(size, 70));
      DirectFile file(folder / "file");
      const std::string blank(head.size(), ' ');
      file.write(blank.data(), blank.size());
      for (size_t at = head.size(); at < size; at += piece)
        file.write(bytes.data() + at, std::min(piece, size - at));
      file.commit(head);
      EXPECT_TRUE(read_file(folder / "file") == bytes) << size << " " << piece;
      std::filesystem::remove(folder / "file");
    }
  }
}

TEST(DirectFile, IsRemovedUnlessItIsWhole) {
  const TemporaryFolder folder;
  { DirectFile file(folder / "file"); }
  EXPECT_FALSE(std::filesystem::exists(folder / "file"));
  DirectFile file(folder / "file");
  EXPECT_THROW(DirectFile(folder / "file"), UserError) << "it is there";
  EXPECT_THROW(DirectFile(folder / "nowhere/file"), UserError);
}

}  // namespace
}  // namespace chorus
