#include "io/metrics_log.h"

#include <csignal>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "io/files.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

struct MetricsLogTest : testing::Test {
  MetricsLogTest() {
    fs::remove_all(folder);
    fs::create_directories(folder);
  }
  ~MetricsLogTest() override { fs::remove_all(folder); }

  void fill(const std::string& text) { std::ofstream(jsonl, std::ios::binary) << text; }

  const fs::path folder = fs::path(testing::TempDir()) / ("metrics_log_test." + std::to_string(::getpid()));
  const fs::path jsonl = folder / "metrics.jsonl";
};

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

TEST_F(MetricsLogTest, WritesALineARecordAtOnce) {
  JsonlWriter writer(jsonl);
  writer.write({{"update", 1}, {"loss", 1.5}});
  EXPECT_EQ(read_file(jsonl), "{\"loss\":1.5,\"update\":1}\n");
  writer.write({{"text", "a\nb\xFF"}, {"nan", std::numeric_limits<double>::quiet_NaN()}});
  EXPECT_EQ(read_file(jsonl), "{\"loss\":1.5,\"update\":1}\n{\"nan\":null,\"text\":\"a\\nb\xEF\xBF\xBD\"}\n");
}

TEST_F(MetricsLogTest, OpeningCutsTheHalfLineOfACrash) {
  for (const std::string whole : {"", "{\"update\":1}\n", "{\"update\":1}\n\n"}) {
    for (const std::string half : {"", "{", "{\"update\":2}"}) {
      fill(whole + half);
      JsonlWriter(jsonl).write({{"update", 3}});
      EXPECT_EQ(read_file(jsonl), whole + "{\"update\":3}\n");
    }
  }
}

TEST_F(MetricsLogTest, LongRecordsComeBackAndThoseThatCannotAreLeftOut) {
  const std::string large(size_t{3} << 20, '1');  // of 200 languages and 256 experts in 12 layers
  JsonlWriter(jsonl).write({{"load", large}, {"update", 3}});
  console().set_quiet(true);
  JsonlWriter(jsonl).write({{"load", std::string(kLongestRecord, '1')}, {"update", 4}});
  console().set_quiet(false);
  JsonlWriter(jsonl).write({{"update", 5}});
  drop_records_after(jsonl, 4);
  EXPECT_EQ(read_file(jsonl), "{\"load\":\"" + large + "\",\"update\":3}\n");
}

TEST_F(MetricsLogTest, ResumingDropsWhatWillComeAgain) {
  drop_records_after(jsonl, 5);
  EXPECT_FALSE(fs::exists(jsonl));
  const std::string kept =
      "{\"update\":1}\nnot json\n[1]\n{\"valid\":1}\n{\"update\":\"x\"}\n{\"update\":5}\n";
  fill(kept + "{\"update\":6}\n{\"loss\":1,\"update\":7.5}\n");
  drop_records_after(jsonl, 5);
  EXPECT_EQ(read_file(jsonl), kept);
  drop_records_after(jsonl, 5);
  EXPECT_EQ(read_file(jsonl), kept);
  fill("");
  drop_records_after(jsonl, 5);
  EXPECT_EQ(read_file(jsonl), "");
}

TEST_F(MetricsLogTest, ALinkIsNotFollowed) {
  const fs::path other = folder / "other";
  std::ofstream(other, std::ios::binary) << "{\"update\":9}\nhalf a line";
  fs::create_symlink("other", jsonl);
  EXPECT_NE(std::string_view(message_of<UserError>([&] { JsonlWriter writer(jsonl); })).find("symbolic link"),
            std::string_view::npos);
  EXPECT_THROW(drop_records_after(jsonl, 5), UserError);
  EXPECT_EQ(read_file(other), "{\"update\":9}\nhalf a line");
  EXPECT_TRUE(fs::is_symlink(jsonl));
  fs::remove(other);  // where it leads to nothing, nothing is made
  EXPECT_THROW(JsonlWriter writer(jsonl), UserError);
  EXPECT_THROW(drop_records_after(jsonl, 5), UserError);
  EXPECT_FALSE(fs::exists(other));
  fs::remove(jsonl);
  ASSERT_EQ(::mkfifo(jsonl.c_str(), 0600), 0);
  EXPECT_THROW(JsonlWriter writer(jsonl), UserError);  // and does not wait for a reader
}

TEST_F(MetricsLogTest, AFileThatIsNoneOfOursIsNotReadToItsEnd) {
  // Of holes. ThreadSanitizer leaves a program 1.5 TiB of addresses.
  constexpr uint64_t kBytes = uint64_t{1} << 40;
  fill("{}\n");
  fs::resize_file(jsonl, kBytes);
  EXPECT_THROW(JsonlWriter{jsonl}, UserError);
  EXPECT_THROW(drop_records_after(jsonl, 0), UserError);
  EXPECT_EQ(fs::file_size(jsonl), kBytes);
}

TEST_F(MetricsLogTest, PathsThatCannotBeWritten) {
  EXPECT_THROW(JsonlWriter(folder / "none" / "metrics.jsonl"), UserError);
  EXPECT_THROW(JsonlWriter{folder}, UserError);
  fill("");
  EXPECT_THROW(TensorBoardWriter(jsonl / "tb"), UserError);
}

// A file size limit stands in for a full disk.
TEST_F(MetricsLogTest, ARecordThatDoesNotFitLeavesNoPieceBehind) {
  JsonlWriter writer(jsonl);
  writer.write({{"update", 1}});
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {40, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(writer.write({{"text", std::string(100, 'x')}}), Error);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old);
  writer.write({{"update", 2}});
  EXPECT_EQ(read_file(jsonl), "{\"update\":1}\n{\"update\":2}\n");
}

TEST(Crc32c, MatchesThePublishedCheckValues) {
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);  // RFC 3720, B.4
}

// The bytes were packed by hand with Python's struct from the definitions of TFRecord and Event.
TEST_F(MetricsLogTest, EventFilesHaveTheBytesTensorBoardReads) {
  const std::string version =
      from_hex("1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a");
  const std::string session = from_hex("100000000000000095fbfe1809000000000000f03f10ac023a020801560b5da5");
  const std::string loss =
      from_hex("1b000000000000001a0d9e1309000000000000044010ac022a0d0a0b0a046c6f7373150000c03f88533e1c");
  const std::vector<std::pair<std::string, double>> scalars = {{"loss", 1.5}};
  TensorBoardWriter fresh(folder, 0, 1.0);
  EXPECT_EQ(read_file(fresh.path()), version);
  TensorBoardWriter resumed(folder, 300, 1.0);
  resumed.write(300, scalars, 2.5);
  EXPECT_EQ(read_file(resumed.path()), version + session + loss);
  EXPECT_NE(fresh.path(), resumed.path());
  EXPECT_TRUE(resumed.path().filename().string().starts_with("events.out.tfevents.0000000001."));
}

}  // namespace
}  // namespace chorus
