#include "corpus/ui_text.h"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace chorus {
namespace {

TEST(CleanUiText, EveryRuleOfTheHeader) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      // mnemonics
      {"_File", "File"},
      {"Sa~ve As...", "Save As..."},
      {"&Open", "Open"},
      {"Sa&ve", "Save"},
      {"Datei_endung", "Dateiendung"},
      {"Ä_nderungen:", "Änderungen:"},
      {"_Übernehmen", "Übernehmen"},
      {"0.~5 inch", "0.5 inch"},
      {"ファイル(_F)", "ファイル"},
      {"名前 (~N):", "名前:"},
      {"保存（&S）...", "保存..."},
      {"HT_ML Source", "HTML Source"},
      {"Archive (P_DF/A, ISO 19005)", "Archive (PDF/A, ISO 19005)"},
      {"Remove %PRODUCT_NAME n_ow", "Remove %PRODUCT_NAME now"},
      {"a__b", "a_b"},
      {"Fish && Chips", "Fish & Chips"},
      // what only looks like them
      {"Black & white", "Black & white"},
      {"R&D", "R&D"},
      {"Date&Time", "Date&Time"},
      {"AT&T", "AT&T"},
      {"Automatic _underline_", "Automatic _underline_"},
      {"%FILE_NAME is missing", "%FILE_NAME is missing"},
      {"<wizard_name>", "<wizard_name>"},
      {"CONVERT_OOO", "CONVERT_OOO"},
      {"http://a.org/b_c", "http://a.org/b_c"},
      {"john_doe@example.org", "john_doe@example.org"},
      {"a ~ b", "a ~ b"},
      {"(_)", "(_)"},
      // markup
      {"<b>Bold</b> and <a href=\"x\">link</a>", "Bold and link"},
      {"one.<BR>Two<br/>three", "one. Two three"},
      {"<font size=1>small", "small"},
      {"<User settings>", "<User settings>"},
      {"a < b", "a < b"},
      {"<bold", "<bold"},
      {"R&amp;D &lt;x&gt; &quot;q&quot;", "R&D <x> \"q\""},
      {"Tom &amp;Jerry", "Tom &Jerry"},
      // space
      {"  a\n\n b\tc\u00A0: ", "a b c :"},
      {"soft\u00ADhyphen \u200Eltr\u202C", "softhyphen ltr"},
      {"\u200Fمرحبا", "مرحبا"},
      {"می\u200Cخواهم", "می\u200Cخواهم"},
      {"\u0001a\u007F", "a"},
      {"", ""},
      {"\n", ""},
  };
  for (const auto& [raw, clean] : cases) EXPECT_EQ(clean_ui_text(raw), clean) << raw;
}

TEST(CleanUiText, IsDoneAfterOnePass) {
  for (const char* text :
       {"_File", "Sa~ve As...", "<b>x</b>", "ファイル(_F)", "  a  b ", "Date&Time", "OPT_TOUCH"}) {
    const std::string once = clean_ui_text(text);
    EXPECT_EQ(clean_ui_text(once), once);
  }
}

TEST(CleanUiText, TakesTagsThatNeverEnd) {  // in minutes, if each were looked for to the end
  std::string open;
  for (int i = 0; i < 4'000'000; ++i) open += "<b ";
  EXPECT_EQ(clean_ui_text(open + "<"), open + "<");
  EXPECT_EQ(clean_ui_text("<b>x</b> " + open + "<"), "x " + open + "<");
}

TEST(PlaceholderLength, KnowsTheKinds) {
  for (const char* text : {"%1", "%12", "%s", "%ld", "%1$s", "%PRODUCTNAME", "%OBJECT_NAME%", "%{link}", "$1",
                           "$(ARG1)", "${x}", "$name$", "$BINDINGNAME", "#1", "#object#"}) {
    EXPECT_EQ(placeholder_length(text), std::string_view(text).size()) << text;
  }
  EXPECT_EQ(placeholder_length("%1 of"), 2U);
  EXPECT_EQ(placeholder_length("%PRODUCTNAME is"), 12U);
  for (const char* text :
       {"", "%", "% of", "%)", "$", "$ 5", "#", "# x", "x%1", "%{", "$(", "$(A", "%Save"}) {
    EXPECT_EQ(placeholder_length(text), 0U) << text;
  }
}

TEST(UiText, LettersAndWordsAreThoseOutsidePlaceholders) {
  EXPECT_FALSE(has_letters("%1: $(ARG1) %PRODUCTNAME 100% ..."));
  EXPECT_TRUE(has_letters("%1 x"));
  EXPECT_TRUE(has_letters("日"));
  EXPECT_EQ(count_words("Save %1 as: file-name, 3 times!"), 4);
  EXPECT_EQ(count_words(""), 0);
}

TEST(FoldText, IsBlindToCaseSpacePunctuation) {
  EXPECT_EQ(fold_text("Save As..."), "saveas");
  EXPECT_EQ(fold_text("save-as"), "saveas");
  EXPECT_EQ(fold_text("STRASSE"), fold_text("Straße"));
  EXPECT_EQ(fold_text("ＡＢＣ１"), "abc1");
  EXPECT_EQ(fold_text("Cafe\u0301"), fold_text("CAFÉ"));
  EXPECT_NE(fold_text("Heading 1"), fold_text("Heading 2"));
  EXPECT_EQ(fold_letters("Heading 1"), fold_letters("heading, 22"));
  EXPECT_EQ(fold_letters("123 %"), "");
}

}  // namespace
}  // namespace chorus
