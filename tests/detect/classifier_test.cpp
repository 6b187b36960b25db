#include "detect/classifier.h"

#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

using testing::HasSubstr;
using Names = std::vector<std::string>;

/// Languages made up: words of the letters of each.
std::vector<std::vector<std::string>> made_up(size_t lines) {
  const Names letters = {"abcde", "defgh", "абвгд"};
  std::vector<std::vector<std::string>> text(3);
  for (size_t i = 0; i < lines; ++i) {
    for (size_t language = 0; language < 3; ++language) {
      std::string line;
      for (size_t word = 0; word < 1 + i % 5; ++word) {
        if (word > 0) line += ' ';
        const size_t width = language == 2 ? 2 : 1;
        for (size_t c = 0; c < 4; ++c)
          line += letters[language].substr(width * ((i * 7 + word * 3 + c * (i % 3 + 1)) % 5), width);
      }
      text[language].push_back(line);
    }
  }
  return text;
}

LanguageClassifier small_classifier() {
  return train_classifier({"xx", "yy", "zz_Cyrl"}, made_up(50));
}

std::string best(const LanguageDetector& detector, std::string_view text) {
  const std::vector<DetectedLanguage> found = detector.detect(text);
  return found.empty() ? "" : found.front().language;
}

TEST(LanguageClassifier, TellsLanguagesApartAndKeepsThemInAFile) {
  const TemporaryFolder folder;
  const LanguageClassifier classifier = small_classifier();
  classifier.save(folder / "a.lid");
  small_classifier().save(folder / "b.lid");
  EXPECT_EQ(read_file(folder / "a.lid"), read_file(folder / "b.lid"));
  const LanguageClassifier read(folder / "a.lid");
  for (const LanguageDetector* const detector :
       {static_cast<const LanguageDetector*>(&classifier), static_cast<const LanguageDetector*>(&read)}) {
    EXPECT_EQ(best(*detector, "abca"), "xx");
    EXPECT_EQ(best(*detector, "GHGF hghf!"), "yy");
    EXPECT_EQ(best(*detector, "абва"), "zz_Cyrl");
    double sum = 0;
    for (const DetectedLanguage& one : detector->detect("abcd dede ghgh")) sum += one.confidence;
    EXPECT_GT(sum, 97);
    EXPECT_LE(sum, 100 + 1e-9);
    EXPECT_GT(detector->detect("abca abca bcab").front().confidence,
              detector->detect("a").front().confidence);
  }
}

TEST(LanguageClassifier, DetectsNothingWhereThereIsNoLetter) {
  const LanguageClassifier classifier = small_classifier();
  for (const std::string& text : {std::string(), std::string("12 ?"), std::string("\0\xff", 2)})
    EXPECT_EQ(best(classifier, text), "");
  EXPECT_EQ(best(classifier,
                 "\xff ab\xc3"
                 "ca"),
            "xx");
}

TEST(LanguageClassifier, IsRestrictedToTheLanguagesAskedFor) {
  const TemporaryFolder folder;
  EXPECT_EQ(best(*open_detector(folder.path(), Names{"en", "de"}), "This is a sentence in English."), "en");
  small_classifier().save(folder / kClassifierFile);
  EXPECT_EQ(best(*open_detector(folder.path(), Names{"xx", "yy"}), "abca"), "xx");
  EXPECT_EQ(best(*open_detector(folder.path(), Names{"yy", "qq"}), "abca"), "yy");
  EXPECT_EQ(best(*open_detector(folder.path(), Names{"qq"}), "abca"), "");
}

TEST(LanguageClassifier, NeedsTextOfEveryLanguage) {
  EXPECT_THROW(train_classifier({"xx"}, {{"a"}}), UserError);
  EXPECT_THROW(train_classifier({"xx", "yy"}, {{"a"}, {}}), UserError);
  EXPECT_THROW(train_classifier({"xx", "yy"}, {{"a"}, {"12", ""}}), UserError);
  EXPECT_NO_THROW(train_classifier({"xx", "yy"}, {{"a", "", "  "}, {"b"}}));
}

TEST(LanguageClassifier, RefusesFilesThatAreNone) {
  const TemporaryFolder folder;
  const auto refuses = [&](const char* words) {
    try {
      LanguageClassifier{folder / "x.lid"};
      ADD_FAILURE() << "read; expected: " << words;
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(words));
      EXPECT_THAT(error.what(), HasSubstr("x.lid"));
    }
  };
  small_classifier().save(folder / "x.lid");
  std::string bytes = read_file(folder / "x.lid");
  bytes[bytes.size() - 1000] ^= 1;
  write_file_atomically(folder / "x.lid", bytes);
  refuses("damaged");
  write_file_atomically(folder / "x.lid", bytes.substr(0, bytes.size() / 2));
  refuses("x.lid");
  const auto write = [&](const TensorSpec& weights, const TensorSpec& scales, const std::string& names,
                         float scale) {
    SafetensorsWriter writer(folder / "x.lid", {weights, scales}, {{"chorus.languages", names}});
    writer.write(weights.name, std::vector<std::byte>(bytes_of(weights)));
    std::vector<float> all(bytes_of(scales) / sizeof(float), scale);
    writer.write(scales.name, std::as_bytes(std::span(all)));
    writer.commit();
  };
  const TensorSpec weights = {"weights", DType::i8, {8, 2}}, scales = {"scales", DType::f32, {2}};
  write(weights, scales, "xx\nyy", 1);
  EXPECT_NO_THROW(LanguageClassifier{folder / "x.lid"});
  write(weights, scales, "xx\nxx", 1);
  refuses("twice");
  write(weights, scales, "xx\n../y", 1);
  refuses("no names");
  write(weights, scales, "xx\nyy\nzz", 1);
  refuses("weights");
  write({"weights", DType::i8, {6, 2}}, scales, "xx\nyy", 1);
  refuses("weights");
  write({"weights", DType::u8, {8, 2}}, scales, "xx\nyy", 1);
  refuses("weights");
  write({"weights", DType::i8, {0, 2}}, scales, "xx\nyy", 1);
  refuses("weights");
  write({"weights", DType::i8, {1 << 23, 2}}, scales, "xx\nyy", 1);
  refuses("weights");
  write(weights, {"scales", DType::f32, {3}}, "xx\nyy", 1);
  refuses("scales");
  write({"other", DType::i8, {8, 2}}, scales, "xx\nyy", 1);
  refuses("weights");
  write(weights, scales, "xx\nyy", std::numeric_limits<float>::quiet_NaN());
  refuses("scale");
  write(weights, scales, "xx\nyy", -1);
  refuses("scale");
}

}  // namespace
}  // namespace chorus
