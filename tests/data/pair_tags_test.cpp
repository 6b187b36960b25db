// What stands before the pieces of a pair's sides.
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/batch.h"
#include "data/corpus.h"
#include "data/vocabulary.h"
#include "io/files.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

TEST(Vocabulary, ThePlaceOfTheTagsIsItsOwnRule) {
  const Vocabulary& both = small_vocabulary();
  EXPECT_EQ(both.pair_tags("en", "de").source, both.tag("en"));
  EXPECT_EQ(both.pair_tags("en", "de").target, both.tag("de"));
  EXPECT_TRUE(both.needs_source_language());
  EXPECT_THROW((void)both.pair_tags("", "de"), UserError);

  const TemporaryFolder folder;
  write_file_atomically(folder / "pieces.model", both.sentencepiece());
  const Vocabulary source = Vocabulary::load(folder / "pieces.model", {.target_tag_on_source = true});
  for (const char* from : {"en", ""}) {
    EXPECT_EQ(source.pair_tags(from, "de").source, source.tag("de"));
    EXPECT_EQ(source.pair_tags(from, "de").target, kNoTag);
  }
  EXPECT_FALSE(source.needs_source_language());
  EXPECT_THROW((void)source.pair_tags("xx", "de"), UserError);
  EXPECT_THROW((void)source.pair_tags("en", ""), UserError);
  EXPECT_NE(source.hash(), both.hash());
}

}  // namespace
}  // namespace chorus
