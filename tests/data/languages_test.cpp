#include "data/languages.h"

#include <gtest/gtest.h>

namespace chorus {
namespace {

using Names = std::vector<std::string>;

TEST(LanguagesLike, MatchCaseScriptAndIsoForms) {
  const Names known = {"eng_Latn", "deu_Latn", "zho_Hans", "zho_Hant", "arb_Arab",
                       "nob_Latn", "srp_Cyrl", "ace_Arab", "ace_Latn"};
  const auto is = [&](const char* name, const Names& expected) {
    EXPECT_EQ(languages_like(name, known), expected) << name;
  };
  for (const char* english :
       {"en", "EN", "eng", "en-US", "en_GB", "ENG_LATN", "eng-Latn", "__en__", "eng_Latm"})
    is(english, {"eng_Latn"});
  for (const char* german : {"de", "deu", "ger", "de-DE", "de_AT", "DEU"}) is(german, {"deu_Latn"});
  is("zh", {"zho_Hans"});
  is("zh-TW", {"zho_Hant"});
  is("cmn_Hant", {"zho_Hant"});
  is("ar", {"arb_Arab"});
  is("no", {"nob_Latn"});
  is("sr-Latn", {"srp_Cyrl"});
  is("ace", {"ace_Latn"});
  is("ace_Cyrl", {"ace_Arab", "ace_Latn"});
  is("fr", {});  // another language, though "ar" is near
  is("", {});
  is("en-de", {"eng_Latn"});
}

TEST(LanguagesLike, MatchNamesThatAreNoCodes) {
  const Names known = {"de", "en", "pt_BR", "pt_PT", "xx", "klingon"};
  EXPECT_EQ(languages_like("deu_Latn", known), Names{"de"});
  EXPECT_EQ(languages_like("DE", known), Names{"de"});
  EXPECT_EQ(languages_like("pt-br", known), Names{"pt_BR"});
  EXPECT_EQ(languages_like("por_PT", known), Names{"pt_PT"});
  EXPECT_EQ(languages_like("pt_AO", known), (Names{"pt_BR", "pt_PT"}));
  EXPECT_EQ(languages_like("XX", known), Names{"xx"});
  EXPECT_EQ(languages_like("klingn", known), Names{"klingon"});
  EXPECT_EQ(languages_like("dee", known), Names{"de"});
  EXPECT_EQ(languages_like(std::string(100000, 'd'), known), Names());
  EXPECT_EQ(did_you_mean_language("pt_AO", known), "; did you mean 'pt_BR' or 'pt_PT'?");
  EXPECT_EQ(did_you_mean_language("ja", known), "");
}

}  // namespace
}  // namespace chorus
