#include "data/token_store.h"

#include <chrono>
#include <future>
#include <memory>

#include <gtest/gtest.h>

#include "corpus/vocabulary_training.h"
#include "data/corpus.h"
#include "io/files.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

struct StoreCorpus {
  TemporaryFolder folder;
  SourceConfig source{.files = (folder / "text.{lang}").string(), .languages = {"en", "de"}};
  std::vector<std::string> log;
  int builds = 0;
  int threads = 2;

  explicit StoreCorpus(int64_t rows) {
    for (const auto& language : source.languages) write(language, sentences(language, rows));
  }
  void write(const std::string& language, const std::vector<std::string>& lines) const {
    write_lines(folder / ("text." + language), lines);
  }
  TokenStore open(const Vocabulary& vocabulary = small_vocabulary()) {
    StoreOptions options;
    options.threads = threads;
    options.log = [this](const std::string& line) { log.push_back(line); };
    options.progress = [this](const StoreProgress& progress) { builds += progress.finished ? 1 : 0; };
    return TokenStore::open(source, "data.train[0]", vocabulary, folder / "store", options);
  }
  [[nodiscard]] fs::path file() const {
    for (const auto& entry : fs::directory_iterator(folder / "store")) {
      if (entry.path().extension() == ".tokens") return entry.path();
    }
    return {};
  }
};

TEST(TokenStore, WaitsForAnotherThatBuilds) {
  StoreCorpus corpus(10);
  fs::create_directory(corpus.folder / "store");
  const Vocabulary vocabulary = small_vocabulary();  // which takes its time where it is the first
  auto other = std::make_unique<FolderLock>(corpus.folder / "store");
  auto store = std::async(std::launch::async, [&] { return corpus.open(vocabulary); });
  EXPECT_EQ(store.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  other.reset();
  EXPECT_EQ(store.get().rows(), 10);
  ASSERT_FALSE(corpus.log.empty());
  EXPECT_NE(corpus.log[0].find("waiting: "), std::string::npos) << corpus.log[0];
  EXPECT_NE(corpus.log[0].find("in use by process"), std::string::npos) << corpus.log[0];
  EXPECT_EQ(corpus.builds, 1);
}

TEST(TokenStore, HoldsWhatTheVocabularyMakesOfEachCell) {
  for (const int64_t rows : {1, 2, 1023, 1024, 1025, 3000}) {
    StoreCorpus corpus(rows);
    const TokenStore store = corpus.open();
    ASSERT_EQ(store.rows(), rows);
    ASSERT_EQ(store.columns(), 2);
    for (int64_t column = 0; column < 2; ++column) {
      const auto lines = sentences(corpus.source.languages[column], rows);
      for (int64_t row = 0; row<rows; row += rows> 10 ? 7 : 1) {
        const auto ids = small_vocabulary().encode(lines[row]);
        EXPECT_EQ(store.read(row, column), ids);
        EXPECT_EQ(store.length(row, column), static_cast<int64_t>(ids.size()));
        EXPECT_EQ(store.status(row, column), CellStatus::ok);
      }
    }
    EXPECT_THROW((void)store.read(rows, 0), Error);
    EXPECT_THROW((void)store.read(0, 2), Error);
    EXPECT_THROW((void)store.length(-1, 0), Error);
  }
}

TEST(TokenStore, UnusableCellsAreMarked) {
  StoreCorpus corpus(1);
  std::string many;
  for (int64_t i = 0; i <= kMaxPieces; ++i) many += "z ";
  corpus.write("en", {"good", "", "\xff\xfe bad", std::string(100000, 'x'), many, "\u200d\u200d", "end"});
  corpus.write("de", {"gut", "a", "b", "c", "d", "e", ""});
  const TokenStore store = corpus.open();
  const std::vector<CellStatus> expected{CellStatus::ok, CellStatus::empty, CellStatus::invalid_utf8,
                                         CellStatus::over_long, CellStatus::over_long};
  for (size_t row = 0; row < expected.size(); ++row) {
    EXPECT_EQ(store.status(static_cast<int64_t>(row), 0), expected[row]) << row;
    EXPECT_EQ(store.length(static_cast<int64_t>(row), 0) > 0, expected[row] == CellStatus::ok) << row;
  }
  EXPECT_EQ(store.status(6, 1), CellStatus::empty);
  EXPECT_FALSE(corpus.log.empty());
}

TEST(TokenStore, EmptyFilesMakeAnEmptyStore) {
  StoreCorpus corpus(0);
  EXPECT_EQ(corpus.open().rows(), 0);
  EXPECT_EQ(corpus.open().rows(), 0);
  EXPECT_EQ(corpus.builds, 1);
}

TEST(TokenStore, BytesDoNotDependOnThreads) {
  StoreCorpus corpus(5000);
  corpus.threads = 1;
  const uint64_t hash = corpus.open().hash();
  const std::string one = read_file(corpus.file());
  fs::remove(corpus.file());
  corpus.threads = 5;
  EXPECT_EQ(corpus.open().hash(), hash);
  EXPECT_EQ(read_file(corpus.file()), one);
}

TEST(TokenStore, IsBuiltOnceAndAgainWhenTheTextChanges) {
  StoreCorpus corpus(50);
  const uint64_t hash = corpus.open().hash();
  EXPECT_EQ(corpus.open().hash(), hash);
  EXPECT_EQ(corpus.builds, 1);

  // The same text, written anew: noticed by its time, but its content is the same.
  fs::last_write_time(corpus.folder / "text.de", fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_EQ(corpus.open().hash(), hash);
  EXPECT_EQ(corpus.builds, 1);

  auto lines = sentences("de", 50);
  lines[20][0] = lines[20][0] == 'a' ? 'b' : 'a';  // of the same size
  corpus.write("de", lines);
  fs::last_write_time(corpus.folder / "text.de", fs::file_time_type::clock::now() + std::chrono::hours(2));
  EXPECT_NE(corpus.open().hash(), hash);
  EXPECT_EQ(corpus.builds, 2);
  ASSERT_EQ(corpus.log.size(), 1U);
  EXPECT_NE(corpus.log[0].find("has changed"), std::string::npos) << corpus.log[0];
}

TEST(TokenStore, IsBuiltAgainForAnotherVocabulary) {
  StoreCorpus corpus(50);
  const uint64_t hash = corpus.open().hash();
  VocabularyConfig config;
  config.size = 400;
  train_vocabulary({&corpus.source, 1}, config, corpus.folder / "other.model");
  const Vocabulary other = Vocabulary::load(corpus.folder / "other.model");
  EXPECT_NE(corpus.open(other).hash(), hash);
  EXPECT_EQ(corpus.open(other).read(3, 0), other.encode(sentences("en", 50)[3]));
  EXPECT_EQ(corpus.builds, 2);
}

TEST(TokenStore, DamageIsNoticedWhereverItIsAndRepaired) {
  StoreCorpus corpus(1100);
  const uint64_t hash = corpus.open().hash();
  const fs::path path = corpus.file();
  const std::string good = read_file(path);
  const RandomKey key(11);
  int builds = 1;
  for (uint64_t i = 0; i < 60; ++i) {
    std::string bad = good;
    if (i < 20) {
      bad.resize(i == 0 ? 0 : i == 1 ? good.size() - 1 : key.below(i, good.size()));
    } else {
      const uint64_t at = i < 30 ? key.below(i, 64) : key.below(i, good.size());
      bad[at] ^= static_cast<char>(1 << key.below(i + 1000, 8));
    }
    write_text(path, bad);
    corpus.log.clear();
    EXPECT_EQ(corpus.open().hash(), hash);
    EXPECT_EQ(corpus.builds, ++builds) << i;
    ASSERT_EQ(corpus.log.size(), 1U);
    EXPECT_EQ(read_file(path), good);
  }
}

TEST(TokenStore, WhatDeadProcessesLeftIsRemoved) {
  StoreCorpus corpus(5);
  fs::create_directories(corpus.folder / "store");
  const fs::path left = temporary_name(corpus.folder / "store");
  write_text(left, "half a store");
  corpus.open();
  EXPECT_FALSE(fs::exists(left));
}

TEST(TokenStore, UnusableFilesAreOneErrorThatNamesTheSource) {
  StoreCorpus corpus(10);
  corpus.write("de", sentences("de", 9));
  EXPECT_EQ(message_of<UserError>([&] { corpus.open(); }).find("data.train[0]: "), 0U);
  EXPECT_TRUE(corpus.file().empty());  // nothing half-made
  fs::remove(corpus.folder / "text.de");
  EXPECT_NE(message_of<UserError>([&] { corpus.open(); }).find("text.de"), std::string::npos);
  fs::create_directory(corpus.folder / "text.de");
  EXPECT_NE(message_of<UserError>([&] { corpus.open(); }).find("text.de"), std::string::npos);
}

TEST(TokenStore, UnequalFilesAreFoundLateToo) {
  StoreCorpus corpus(9000);
  corpus.write("de", sentences("de", 8999));
  EXPECT_EQ(message_of<UserError>([&] { corpus.open(); }).find("data.train[0]: "), 0U);
}

}  // namespace
}  // namespace chorus
