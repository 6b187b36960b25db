#include "server/kept_documents.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace chorus {
namespace {

using std::chrono::seconds;

TEST(KeptDocuments, AreKeptForAWhile) {
  KeptDocuments kept({.time = seconds(10)});
  const auto now = KeptDocuments::Clock::now();
  const std::string word = kept.keep({"a.de.txt", "text"}, now);
  ASSERT_NE(kept.find(word, now + seconds(10)), nullptr);
  EXPECT_EQ(kept.find(word, now)->bytes, "text");
  EXPECT_EQ(kept.find(word + "0", now), nullptr);
  EXPECT_EQ(kept.find("", now), nullptr);
  EXPECT_EQ(kept.find(word, now + seconds(11)), nullptr);
  EXPECT_EQ(kept.find(word, now), nullptr) << "it is gone for good";
}

TEST(KeptDocuments, LetTheOldestGoBeyondTheirLimits) {
  KeptDocuments few({.count = 2});
  std::vector<std::string> words;
  words.reserve(3);
  for (int i = 0; i < 3; ++i) words.push_back(few.keep({"a", "text"}));
  EXPECT_EQ(few.find(words[0]), nullptr);
  EXPECT_NE(few.find(words[1]), nullptr);
  EXPECT_NE(few.find(words[2]), nullptr);

  KeptDocuments small({.bytes = 10});
  const std::string first = small.keep({"a", std::string(4, 'a')}),
                    second = small.keep({"b", std::string(6, 'b')});
  EXPECT_NE(small.find(first), nullptr);
  const std::string third = small.keep({"c", std::string(6, 'c')});
  EXPECT_EQ(small.find(first), nullptr);
  EXPECT_EQ(small.find(second), nullptr) << "with the third there would be 12 bytes";
  EXPECT_NE(small.find(third), nullptr);
  const std::string large = small.keep({"d", std::string(100, 'd')});
  EXPECT_NE(small.find(large), nullptr) << "one alone may be longer";
  EXPECT_EQ(small.find(third), nullptr);
}

TEST(KeptDocuments, AreUnderWordsThatNobodyGuesses) {
  std::set<std::string> words;
  for (int i = 0; i < 1000; ++i) words.insert(random_word());
  EXPECT_EQ(words.size(), 1000U);
  EXPECT_THAT(*words.begin(), testing::MatchesRegex("[0-9a-f]{32}"));
}

}  // namespace
}  // namespace chorus
