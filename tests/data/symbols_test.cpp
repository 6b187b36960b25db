// vocabulary.symbols: text that is one piece.
#include <gtest/gtest.h>

#include "corpus/vocabulary_training.h"
#include "data/corpus.h"
#include "data/vocabulary.h"

namespace chorus {
namespace {

TEST(Vocabulary, SymbolsInTextAreOnePieceEach) {
  const TemporaryFolder folder;
  write_lines(folder / "text.en", sentences("en", 300));
  const SourceConfig source{.files = (folder / "text.{lang}").string(), .languages = {"en"}};
  VocabularyConfig config;
  config.size = 500;
  // One that a normalization would change, ones that SentencePiece's list of symbols would cut, and a letter.
  config.symbols = {"<bt>", "{name}", "x²", "a,b", "\"q\"", "z"};
  train_vocabulary({&source, 1}, config, folder / "out.model");
  const Vocabulary trained = Vocabulary::load(folder / "out.model");
  EXPECT_EQ(trained.size(), config.size);
  EXPECT_EQ(trained.symbols_in_text(), config.symbols);
  EXPECT_EQ(trained.normalization(), "nmt_nfkc");
  // The same for a vocabulary that is there.
  const Vocabulary added = small_vocabulary().with_symbols(config.symbols);
  EXPECT_EQ(small_vocabulary().symbols_in_text(), std::vector<std::string>());
  EXPECT_EQ(added.symbols_in_text(), config.symbols);
  const int64_t new_rows = added.size() - small_vocabulary().size();
  EXPECT_EQ(new_rows, 5) << "z is a piece";
  EXPECT_NE(added.hash(), small_vocabulary().hash());
  EXPECT_EQ(added.with_symbols(config.symbols).hash(), added.hash());
  EXPECT_EQ(trained.with_symbols(config.symbols).hash(), trained.hash());
  for (const Vocabulary& vocabulary : {trained, added}) {
    for (const std::string& symbol : config.symbols) {
      const std::string text = "ab " + symbol + "cd" + symbol;
      const auto ids = vocabulary.encode(text);
      std::vector<int32_t> found;
      for (const int32_t id : ids)
        if (vocabulary.name_of(id) == symbol) found.push_back(id);
      EXPECT_EQ(found.size(), 2U) << text;
      for (const int32_t id : found) EXPECT_TRUE(vocabulary.is_text(id) && !vocabulary.is_tag(id));
      EXPECT_NE(vocabulary.decode(ids).find(symbol), std::string::npos);
    }
    EXPECT_EQ(vocabulary.decode(vocabulary.encode("{name} sees {name} y² {nam}")),
              "{name} sees {name} y2 {nam}");
  }
  const Vocabulary tagged = added.with_tags(std::vector<std::string>{"hsb"});
  EXPECT_EQ(tagged.tag("hsb"), added.size());
}

TEST(Vocabulary, WhatCannotBeASymbolIsRefused) {
  const std::vector<std::string> wrong = {"",
                                          "a b",
                                          "a\tb",
                                          "\xff",
                                          "▁a",
                                          "\u00a0",
                                          "</s>",
                                          "<0x41>",
                                          "<pad>",
                                          "<mask>",
                                          "<task:x>",
                                          "__de__",
                                          std::string(65, 'a'),
                                          "\x7f"};
  for (const std::string& symbol : wrong)
    EXPECT_TRUE(message_of<UserError>([&] {
                  check_symbols({symbol}, "vocabulary.symbols");
                }).starts_with("vocabulary.symbols: "))
        << symbol;
  EXPECT_NE(message_of<UserError>([] {
              check_symbols({"a", "b", "a"}, "x");
            }).find("there twice"),
            std::string::npos);
  check_symbols({"<bt>", "{0}", "%s", "日本", "_", "____"}, "x");
}

}  // namespace
}  // namespace chorus
