#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "document/document.h"
#include "document/documents.h"

namespace chorus {
namespace {

using testing::ElementsAre;

constexpr const char* kUnits =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<tmx version=\"1.4\"><header srclang=\"en-US\"/>\n<body>\n"
    "  <tu tuid=\"1\">\n    <tuv xml:lang=\"en-US\"><seg>A <bpt i=\"1\">&lt;b></bpt>red<ept "
    "i=\"1\">&lt;/b></ept> car &amp; more</seg></tuv>\n"
    "  </tu>\n  <tu>\n    <tuv xml:lang=\"EN\"><seg>Done</seg></tuv>\n    <tuv "
    "xml:lang=\"de\"><seg>Fertig</seg></tuv>\n  </tu>\n"
    "  <tu><tuv xml:lang=\"fr\"><seg>Oui</seg></tuv></tu>\n  <tu><tuv xml:lang=\"en\"><seg><ph "
    "x=\"1\"/>Last</seg></tuv></tu>\n</body></tmx>\n";

TEST(TmxDocument, UnitsGetTheSegmentThatTheyLack) {
  const Document document(DocumentFormat::tmx, kUnits, {"eng_Latn", "deu_Latn"});
  EXPECT_THAT(segments_of(document), ElementsAre("A red car & more", "Last"));
  std::string expected = kUnits;
  const auto add = [&](const std::string& behind, const std::string& text) {
    expected.insert(expected.find(behind) + behind.size(), text);
  };
  add("car &amp; more</seg></tuv>",
      "\n    <tuv xml:lang=\"de\"><seg>Ein <bpt i=\"1\">&lt;b></bpt>rotes<ept i=\"1\">&lt;/b></ept> Auto "
      "&lt; mehr</seg></tuv>");
  add("Last</seg></tuv>", "<tuv xml:lang=\"de\"><seg><ph x=\"1\"/>Letzte</seg></tuv>");
  EXPECT_EQ(document.write(std::vector<TranslatedSegment>{
                {"Ein rotes Auto < mehr", {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 4}}}, {"Letzte"}}),
            expected);
}

TEST(TmxDocument, ReadsTheLanguageFromItsAttribute) {
  for (const std::string attributes :
       {"creationid=\"langer\" xml:lang=\"en\"", "xml:lang='en' o-lang='fr'", "lang = \"en\"",
        "lang=\"fr\" xml:lang=\"en\"", "xml:lang=\"en\" lang=\"fr\"",
        "note=\" xml:lang='fr'\" xml:lang=\"en\""}) {
    const std::string tmx = "<tu><tuv " + attributes + "><seg>x</seg></tuv></tu>";
    EXPECT_THAT(segments_of(Document(DocumentFormat::tmx, tmx, {"en", "de"})), ElementsAre("x")) << tmx;
    EXPECT_THAT(segments_of(Document(DocumentFormat::tmx, tmx, {"fr", "de"})), testing::IsEmpty()) << tmx;
  }
}

TEST(TmxDocument, CodesThatTouchStayTogether) {
  const std::string tmx =
      "<tu><tuv xml:lang=\"en\"><seg>Click <ph x=\"1\"/><ph x=\"2\"/> to save the file.</seg></tuv>";
  const Document document(DocumentFormat::tmx, tmx + "</tu>", {"en", "de"});
  EXPECT_EQ(
      document.write(std::vector<TranslatedSegment>{
          {"Klicken Sie, um die Datei zu speichern.", {{0, 0}, {0, 1}, {1, 2}, {2, 5}, {3, 3}, {4, 4}}}}),
      tmx +
          "<tuv xml:lang=\"de\"><seg>Klicken Sie <ph x=\"1\"/><ph x=\"2\"/>, um die Datei zu "
          "speichern.</seg></tuv></tu>");
}

/// A unit with these languages, of which each says its name.
std::string unit_of(const std::vector<std::string>& languages) {
  std::string tmx = "<tu>";
  for (const std::string& language : languages)
    tmx += "<tuv xml:lang=\"" + language + "\"><seg>" + language + "</seg></tuv>";
  return tmx + "</tu>";
}

TEST(TmxDocument, LanguagesAreWrittenByTheirCode) {
  const std::vector<std::pair<std::string, std::string>> names = {
      {"pt-BR", "pt-BR"},      {"pt_BR", "pt-BR"}, {"por_Latn", "pt"},   {"pt_XX", "pt"},
      {"zh-CN", "zh-CN"},      {"zh-TW", "zh-TW"}, {"es-419", "es-419"}, {"sr_Latn_RS", "sr-Latn-RS"},
      {"zho_Hant", "zh-Hant"}, {"deu", "de"},      {"xx", "xx"}};
  for (const auto& [to, name] : names) {
    const Document document(DocumentFormat::tmx, unit_of({"en"}), {"en", to});
    EXPECT_EQ(
        document.write(std::vector<TranslatedSegment>{{"x"}}),
        "<tu><tuv xml:lang=\"en\"><seg>en</seg></tuv><tuv xml:lang=\"" + name + "\"><seg>x</seg></tuv></tu>");
  }
}

TEST(TmxDocument, ALanguageIsThereInItsScriptAndRegion) {
  const auto lacks = [](const std::vector<std::string>& languages, const std::string& to) {
    return !segments_of(Document(DocumentFormat::tmx, unit_of(languages), {"en", to})).empty();
  };
  EXPECT_TRUE(lacks({"en", "pt"}, "pt-BR"));
  EXPECT_TRUE(lacks({"en", "pt-PT"}, "pt_BR"));
  EXPECT_FALSE(lacks({"en", "pt-br"}, "pt_BR"));
  EXPECT_FALSE(lacks({"en", "pt"}, "por_Latn"));
  EXPECT_FALSE(lacks({"en-US", "de-AT"}, "deu_Latn"));
  EXPECT_FALSE(lacks({"en", "de"}, "de_XX"));
  EXPECT_TRUE(lacks({"en", "zh-TW"}, "zh-CN"));
  EXPECT_TRUE(lacks({"en", "zh-TW"}, "zho_Hans"));
  EXPECT_FALSE(lacks({"en", "zh-TW"}, "zho_Hant"));
  EXPECT_FALSE(lacks({"en", "zh-CN"}, "zh"));
  EXPECT_FALSE(lacks({"en", "xx"}, "xx"));
}

TEST(TmxDocument, TheSourceIsTheVariantThatIsNearest) {
  const auto source = [](const std::vector<std::string>& languages, const std::string& from,
                         const std::string& to) {
    return segments_of(Document(DocumentFormat::tmx, unit_of(languages), {from, to}));
  };
  EXPECT_THAT(source({"en-US", "en-GB", "en"}, "en_GB", "de"), ElementsAre("en-GB"));
  EXPECT_THAT(source({"en-US", "en-GB"}, "eng_Latn", "de"), ElementsAre("en-US"));
  EXPECT_THAT(source({"en-US"}, "en_GB", "de"), ElementsAre("en-US"));
  EXPECT_THAT(source({"zh-TW", "zh"}, "zho_Hans", "de"), ElementsAre("zh"));
  EXPECT_THAT(source({"sr-Latn"}, "sr", "de"), ElementsAre());
  EXPECT_THAT(source({"pt-BR"}, "pt-BR", "pt"), ElementsAre("pt-BR"));
  EXPECT_THAT(source({"pt"}, "pt", "pt-BR"), ElementsAre("pt"));
}

TEST(TmxDocument, AVariantIsOfOneUnit) {
  const std::string variant = "<tuv xml:lang=\"en\"><seg>Save <ph/> it</seg>";
  std::string ends;
  for (int i = 0; i < 1000; ++i) ends += "</tuv></tu>";
  const auto segments = [](const std::string& tmx) {
    return segments_of(Document(DocumentFormat::tmx, tmx, {"en", "de"}));
  };
  EXPECT_THAT(segments("<tu>" + variant + ends), ElementsAre("Save it"));
  EXPECT_THAT(segments("<tu>" + variant + "</tu>" + ends), ElementsAre());
  EXPECT_THAT(segments("<tu>" + variant + "<tu>" + ends), ElementsAre());
  // The end of a segment that has not begun would make one of all that is before.
  EXPECT_THAT(segments("<tu>Text<tuv xml:lang=\"en\">g</seg></tuv></tu>"), ElementsAre());
}

TEST(TmxDocument, NeedsLanguagesAndSurvivesBrokenUnits) {
  EXPECT_THROW(Document(DocumentFormat::tmx, kUnits), UserError);
  for (const std::string tmx :
       {"<tu><tuv xml:lang='en'><seg>x</tuv></tu>", "</tuv></tu>", "<tu><tuv lang=en><seg>x</seg></tuv></tu>",
        "<tu></seg><seg></tuv></tu>", "<tu><tuv xml:lang='en'><seg>a <bpt>b</seg></tuv></tu>",
        "<tu><tuv xml:lang=\"en", "text"}) {
    const Document document(DocumentFormat::tmx, tmx, {"en", "de"});
    std::vector<TranslatedSegment> translations(document.segments().size(), {"y"});
    EXPECT_GE(document.write(translations).size(), tmx.size());
  }
  const Document chinese(DocumentFormat::tmx, "<tu><tuv xml:lang='en'><seg>x</seg></tuv></tu>",
                         {"en", "zho_Hant"});
  EXPECT_THAT(chinese.write(std::vector<TranslatedSegment>{{"y"}}),
              testing::HasSubstr("xml:lang=\"zh-Hant\""));
}

TEST(TmxDocument, CdataIsText) {
  const std::string tmx = "<tu><tuv xml:lang=\"en\"><seg><![CDATA[a < b &amp; c]]></seg></tuv></tu>";
  const Document document(DocumentFormat::tmx, tmx, {"en", "de"});
  EXPECT_THAT(segments_of(document), ElementsAre("a < b &amp; c"));
  EXPECT_THAT(document.write(std::vector<TranslatedSegment>{{"x < y"}}),
              testing::HasSubstr("<tuv xml:lang=\"de\"><seg>x &lt; y</seg></tuv>"));
}

}  // namespace
}  // namespace chorus
