#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "detect/detector.h"

namespace chorus {
namespace {

using Names = std::vector<std::string>;

constexpr const char* kEnglish = "The committee has decided to postpone the meeting until further notice.";
constexpr const char* kGerman = "Der Ausschuss hat beschlossen, die Sitzung bis auf Weiteres zu verschieben.";
constexpr const char* kSimplified = "这个委员会决定把会议推迟到以后再说，请大家注意时间的变化。";
constexpr const char* kTraditional = "這個委員會決定把會議推遲到以後再說，請大家注意時間的變化。";
constexpr const char* kHebrew = "הוועדה החליטה לדחות את הישיבה עד להודעה חדשה";
constexpr const char* kArabic = "قررت اللجنة تأجيل الاجتماع حتى إشعار آخر بسبب الظروف الجوية";
constexpr const char* kMalay =
    "Jawatankuasa telah memutuskan untuk menangguhkan mesyuarat itu sehingga diberitahu kelak";
constexpr const char* kSerbian =
    "Одбор је одлучио да одложи састанак до даљњег због лоших временских услова.";
constexpr const char* kSerbianLatin =
    "Odbor je odlučio da odloži sastanak do daljnjeg zbog loših vremenskih uslova ovde.";

std::string best(const Names& languages, std::string_view text) {
  const std::vector<DetectedLanguage> found = cld2_detector(languages)->detect(text);
  return found.empty() ? "" : found.front().language;
}

TEST(Cld2, NamesLanguagesAsTheModelDoes) {
  EXPECT_EQ(best({"de", "en"}, kEnglish), "en");
  EXPECT_EQ(best({"de", "en"}, kGerman), "de");
  const Names nllb = {"eng_Latn", "deu_Latn", "zho_Hans", "zho_Hant", "heb_Hebr",
                      "arb_Arab", "zsm_Latn", "srp_Cyrl", "yue_Hant"};
  EXPECT_EQ(best(nllb, kEnglish), "eng_Latn");
  EXPECT_EQ(best(nllb, kGerman), "deu_Latn");
  EXPECT_EQ(best(nllb, kHebrew), "heb_Hebr");
  EXPECT_EQ(best(nllb, kArabic), "arb_Arab");
  EXPECT_EQ(best(nllb, kMalay), "zsm_Latn");
  EXPECT_EQ(best(nllb, kSerbian), "srp_Cyrl");
  EXPECT_EQ(best(nllb, kSimplified), "zho_Hans");
  EXPECT_EQ(best(nllb, kTraditional), "zho_Hant");
  EXPECT_EQ(best({"zh", "en"}, kTraditional), "zh");
  EXPECT_EQ(best({"zh_CN", "zh_TW", "en"}, kTraditional), "zh_TW");
  EXPECT_EQ(best({"zh_CN", "zh_TW", "en"}, kSimplified), "zh_CN");
}

TEST(Cld2, KnowsTheLanguagesOfTheLargeTables) {
  EXPECT_EQ(best({"tat_Cyrl", "kir_Cyrl"}, "Комитет утырышны башка вакытка калдырырга карар итте"),
            "tat_Cyrl");
}

TEST(Cld2, TheScriptDecidesBetweenNamesOfOneLanguage) {
  for (const Names& names : {Names{"srp_Latn", "srp_Cyrl"}, Names{"srp_Cyrl", "srp_Latn"}}) {
    EXPECT_EQ(best(names, kSerbian), "srp_Cyrl");
    EXPECT_EQ(best(names, kSerbianLatin).substr(0, 4), "srp_");
  }
  EXPECT_EQ(best({"pt_PT", "pt_BR"}, "O comitê decidiu adiar a reunião até novo aviso por causa do tempo."),
            "pt_BR");
}

TEST(Cld2, ConfidencesAreSharesBestFirst) {
  const std::string mixed =
      std::string(kEnglish) +
      " All members will be told in good time where and when it is going to take place, "
      "and which of the proposals that were made last year are to be discussed there.\n" +
      kGerman;
  const std::vector<DetectedLanguage> found = cld2_detector(Names{"de", "en"})->detect(mixed);
  ASSERT_EQ(found.size(), 2);
  EXPECT_EQ(found[0].language, "en");
  EXPECT_EQ(found[1].language, "de");
  EXPECT_GT(found[0].confidence, found[1].confidence);
  EXPECT_GT(found[1].confidence, 0);
  EXPECT_LE(found[0].confidence + found[1].confidence, 100);
  EXPECT_GT(cld2_detector(Names{"de", "en"})->detect(kEnglish).front().confidence, 90);
}

TEST(Cld2, DetectsNothingWhereNothingTells) {
  const Names names = {"en", "de"};
  for (const std::string& text : {std::string(), std::string(" \n"), std::string("12345 !?"),
                                  std::string("\0\x01", 2), std::string("\xff\xfe\x80")})
    EXPECT_EQ(best(names, text), "");
  EXPECT_EQ(best(names, kHebrew), "");
  EXPECT_EQ(best({}, kEnglish), "");
  EXPECT_EQ(best({"klingon", "xx"}, kEnglish), "");
}

TEST(Cld2, SurvivesControlsBrokenBytesAndLength) {
  const Names names = {"en", "de"};
  std::string broken(kEnglish);
  broken.insert(10, "\x01\xc3\xed\xa0\x80");
  EXPECT_EQ(best(names, broken), "en");
  EXPECT_EQ(best(names, std::string(kGerman) + '\0' + kGerman), "de");
  std::string is_long;
  while (is_long.size() < (3 << 20)) is_long += kEnglish;
  EXPECT_EQ(best(names, is_long), "en");
}

}  // namespace
}  // namespace chorus
