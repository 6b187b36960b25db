#include "corpus/gettext.h"

#include <cstring>

#include <gtest/gtest.h>

#include "base/error.h"
#include "corpus/mo_file.h"
#include "data/text_folder.h"

namespace chorus {
namespace {

using namespace std::string_literals;

std::string refusal(const std::string& bytes) {
  return message_of<UserError>([&] { parse_gettext(bytes, "x.mo"); });
}

TEST(Gettext, ReadsBothByteOrdersWithContextsAndPlurals) {
  const MoStrings strings = {{"", "Content-Type: text/plain; charset=utf-8\nPlural-Forms: nplurals=2;\n"},
                             {"Close", "Schließen"},
                             {"Door\4Open", "Offen"},
                             {"\4No context", "Kein"},
                             {"%d file\0%d files"s, "%d Datei\0%d Dateien"s},
                             {"Box\4one\0many"s, "1"},
                             {"empty", ""}};
  for (const bool big_endian : {false, true}) {
    const GettextCatalog catalog = parse_gettext(mo_file(strings, big_endian), "x.mo");
    EXPECT_EQ(catalog.charset, "utf-8");
    EXPECT_EQ(catalog.ill_formed, 0);
    ASSERT_EQ(catalog.entries.size(), 6U);
    EXPECT_EQ(catalog.entries[0].id, "Close");
    EXPECT_EQ(catalog.entries[0].translations, std::vector<std::string>{"Schließen"});
    EXPECT_EQ(catalog.entries[1].context, "Door");
    EXPECT_EQ(catalog.entries[1].id, "Open");
    EXPECT_EQ(catalog.entries[2].context, "");
    EXPECT_EQ(catalog.entries[2].id, "No context");
    EXPECT_EQ(catalog.entries[3].plural_id, "%d files");
    EXPECT_EQ(catalog.entries[3].translations, (std::vector<std::string>{"%d Datei", "%d Dateien"}));
    EXPECT_EQ(catalog.entries[4].context, "Box");
    EXPECT_EQ(catalog.entries[4].plural_id, "many");
    EXPECT_EQ(catalog.entries[5].translations, std::vector<std::string>{""});
  }
  EXPECT_TRUE(parse_gettext(mo_file({}), "x.mo").entries.empty());
}

TEST(Gettext, ConvertsOtherCharacterSets) {
  const auto header = [](const std::string& charset) {
    return std::pair<std::string, std::string>{"", "Content-Type: text/plain; charset=" + charset + "\n"};
  };
  auto catalog = parse_gettext(mo_file({header("ISO-8859-1"),
                                        {"Close",
                                         "Schlie\xDF"
                                         "en"}}),
                               "x.mo");
  EXPECT_EQ(catalog.entries[0].translations[0], "Schließen");
  catalog =
      parse_gettext(mo_file({header("EUC-JP"), {"Japan", "\xC6\xFC\xCB\xDC"}, {"bad", "\xC6"}}), "x.mo");
  ASSERT_EQ(catalog.entries.size(), 1U);
  EXPECT_EQ(catalog.entries[0].translations[0], "日本");
  EXPECT_EQ(catalog.ill_formed, 1);
  catalog = parse_gettext(mo_file({header("GB18030"), {"smile", "\x94\x39\xFC\x36"}}), "x.mo");
  EXPECT_EQ(catalog.entries[0].translations[0], "😀");
  catalog = parse_gettext(mo_file({{"a", "\xFF"}, {"b", "ok"}}), "x.mo");
  EXPECT_EQ(catalog.ill_formed, 1);
  EXPECT_EQ(catalog.entries.size(), 1U);
  EXPECT_EQ(refusal(mo_file({header("KLINGON-8"), {"a", "b"}})), "x.mo: unknown character set KLINGON-8");
}

TEST(Gettext, RefusesWhatIsNoCatalog) {
  EXPECT_NE(refusal(""), "");
  EXPECT_NE(refusal(std::string(27, '\0')).find("too short"), std::string::npos);
  EXPECT_NE(refusal(std::string(28, '\0')).find("not a gettext catalog"), std::string::npos);
  std::string revision = mo_file({{"a", "b"}});
  revision[6] = 2;
  EXPECT_NE(refusal(revision).find("unknown revision"), std::string::npos);
}

TEST(Gettext, EveryTruncationIsRefused) {
  // The last byte is the NUL behind the last string, which no table counts.
  const std::string whole =
      mo_file({{"", "Content-Type: text/plain; charset=UTF-8\n"}, {"Open", "Öffnen"}, {"Close", "Zu"}});
  for (size_t size = 0; size + 1 < whole.size(); ++size)
    EXPECT_NE(refusal(whole.substr(0, size)), "") << size;
}

TEST(Gettext, HostileNumbersAreRefused) {
  const std::string good = mo_file({{"a", "b"}, {"c", "d"}});
  const auto with_word = [&](size_t at, uint32_t value) {
    std::string bytes = good;
    for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(value >> 8 * i & 0xFF);
    return bytes;
  };
  for (const uint32_t value : {0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU, 0xFFFFFFF8U, 0x20000000U}) {
    for (const size_t at : {8, 12, 16, 28, 32, 44, 48})
      EXPECT_NE(refusal(with_word(at, value)), "") << at << " " << value;
  }
  // Ten thousand messages that all are the same 100 kB.
  std::string bytes = mo_file(MoStrings(10000, {"", ""})) + std::string(100000, 'x');
  for (size_t i = 0; i < 20000; ++i) {
    const uint32_t length = 100000, offset = static_cast<uint32_t>(bytes.size()) - length;
    std::memcpy(&bytes[28 + 8 * i], &length, 4);
    std::memcpy(&bytes[32 + 8 * i], &offset, 4);
  }
  EXPECT_EQ(refusal(bytes), "x.mo: a damaged gettext catalog: its strings overlap");
}

TEST(Gettext, PluralsHaveAsManyFormsAsLanguagesDo) {
  const auto forms = [](size_t count) { return std::string(count - 1, '\0') + "x"; };
  const std::string id = std::string("one\0many", 8);
  const GettextCatalog catalog = parse_gettext(mo_file({{id, forms(16)}, {"b" + id, forms(17)}}), "x.mo");
  ASSERT_EQ(catalog.entries.size(), 1U);
  EXPECT_EQ(catalog.entries[0].translations.size(), 16U);
  EXPECT_EQ(catalog.ill_formed, 1);
}

TEST(FindGettextFiles, KnowsTheLayoutsOfProgramsAndOfLibreOffice) {
  const TextFolder folder;
  (void)folder.file("usr/share/locale/de/LC_MESSAGES/tar.mo", "");
  (void)folder.file("usr/share/locale/sr@latin/LC_MESSAGES/tar.mo", "");
  (void)folder.file("usr/lib/libreoffice/program/resource/pt_BR/LC_MESSAGES/sw.mo", "");
  (void)folder.file("usr/share/locale/de/LC_TIME/tar.mo", "");
  (void)folder.file("usr/share/locale/de/LC_MESSAGES/tar.po", "");
  const auto files = find_gettext_files(folder.path());
  ASSERT_EQ(files.size(), 3U);
  EXPECT_EQ(files[0].locale, "pt_BR");
  EXPECT_EQ(files[1].locale, "de");
  EXPECT_EQ(files[2].locale, "sr@latin");
  EXPECT_EQ(files[1].domain, files[2].domain);
  EXPECT_NE(files[0].domain, files[1].domain);
  EXPECT_NE(
      message_of<UserError>([&] { find_gettext_files(folder / "missing"); }).find("cannot look for catalogs"),
      std::string::npos);
}

TEST(SameLocale, IgnoresCaseSeparatorAndCodeset) {
  EXPECT_TRUE(same_locale("pt-BR", "pt_BR"));
  EXPECT_TRUE(same_locale("zh-cn", "zh_CN.UTF-8"));
  EXPECT_TRUE(same_locale("sr@latin", "sr.utf8@latin"));
  EXPECT_FALSE(same_locale("sr", "sr@latin"));
  EXPECT_FALSE(same_locale("pt", "pt_BR"));
}

}  // namespace
}  // namespace chorus
