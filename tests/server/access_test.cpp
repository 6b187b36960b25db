#include "server/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "io/files.h"
#include "server/request_fields.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

const std::string kKey = "0123456789abcdef", kOther = "fedcba9876543210", kTabs = "abcdef9876543210";

/// 0 where it is admitted, or else the status of the refusal.
int status_of(AccessControl& access, std::string_view key, int64_t characters,
              AccessControl::Clock::time_point now) {
  try {
    access.admit(key, characters, now);
    return 0;
  } catch (const Refusal& refusal) {
    return refusal.status();
  }
}

std::vector<AccessKey> read_text(const std::string& text) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "keys", text);
  std::filesystem::permissions(folder / "keys", std::filesystem::perms::owner_read);
  return read_keys(folder / "keys");
}

TEST(AccessKeys, AreReadWithTheirLimits) {
  const auto keys =
      read_text("# ours\n\n" + kKey + "\r\n  " + kOther + "  7  900 \n" + kTabs + "\t8\t 901\t\n");
  ASSERT_EQ(keys.size(), 3U);
  EXPECT_EQ(keys[0].key, kKey);
  EXPECT_EQ(keys[0].requests, 0);
  EXPECT_EQ(keys[1].key, kOther);
  EXPECT_EQ(keys[1].requests, 7);
  EXPECT_EQ(keys[1].characters, 900);
  EXPECT_EQ(keys[2].key, kTabs);
  EXPECT_EQ(keys[2].requests, 8);
  EXPECT_EQ(keys[2].characters, 901);
  for (const std::string& text :
       {std::string(), std::string("# none\n"), std::string("short\n"), std::string(200, 'x'),
        kKey + "\n" + kKey, kKey + " x", kKey + " -1", kKey + " 1 2 3", kKey + " 99999999999999999999"}) {
    try {
      read_text(text);
      ADD_FAILURE() << text;
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(), testing::Not(HasSubstr(kKey)));
    }
  }
  const TemporaryFolder folder;
  write_file_atomically(folder / "open", kKey);
  std::filesystem::permissions(folder / "open", std::filesystem::perms::all);
  EXPECT_THROW(read_keys(folder / "open"), UserError);
}

TEST(AccessControl, KnowsItsKeysAlone) {
  const auto now = AccessControl::Clock::now();
  AccessControl open, closed({{.key = kKey}, {.key = kOther}});
  EXPECT_FALSE(open.needs_key());
  EXPECT_EQ(status_of(open, "", 1 << 30, now), 0);
  EXPECT_TRUE(closed.needs_key());
  EXPECT_EQ(status_of(closed, "", 1, now), 400);
  for (const std::string& wrong :
       {kKey.substr(1), kKey + "0", "1" + kKey.substr(1), kKey.substr(0, 15) + "e",
        kKey + std::string(200, '\0'), std::string(1000, 'a'), std::string(1, '\0')})
    EXPECT_EQ(status_of(closed, wrong, 1, now), 403) << wrong;
  EXPECT_EQ(status_of(closed, kOther, 1 << 30, now), 0);
}

TEST(AccessControl, FillsLimitsUpEvenly) {
  const auto now = AccessControl::Clock::now();
  AccessControl access({{.key = kKey, .requests = 6, .characters = 600}, {.key = kOther, .requests = 1}});
  for (int i = 0; i < 6; ++i) EXPECT_EQ(status_of(access, kKey, 10, now), 0);
  EXPECT_EQ(status_of(access, kKey, 10, now), 429);
  EXPECT_EQ(status_of(access, kOther, 10, now), 0) << "each key has its own";
  EXPECT_EQ(status_of(access, kKey, 10, now + seconds(9)), 429);
  EXPECT_EQ(status_of(access, kKey, 10, now + seconds(11)), 0);
  EXPECT_EQ(status_of(access, kKey, 10, now + seconds(12)), 429);
  const auto later = now + seconds(1000);
  EXPECT_EQ(status_of(access, kKey, 601, later), 400) << "more than it may ever";
  EXPECT_EQ(status_of(access, kKey, 600, later), 0);
  EXPECT_EQ(status_of(access, kKey, 100, later), 429);
  EXPECT_EQ(status_of(access, kKey, 100, later + seconds(11)), 0) << "what was refused was not counted";
  try {
    access.admit(kKey, 300, later + seconds(11));
    ADD_FAILURE();
  } catch (const Refusal& refusal) {
    EXPECT_NEAR(refusal.retry(), 29, 1);
  }
}

}  // namespace
}  // namespace chorus
