#include "data/sentencepiece.h"

#include <cstring>

#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include "base/error.h"
#include "data/t5_model.h"

namespace chorus {
namespace {

using namespace std::string_literals;

std::string field(int number, std::string_view bytes) {
  std::string out;
  for (size_t value : {static_cast<size_t>(number << 3 | 2), bytes.size()}) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
  }
  return out.append(bytes);
}

/// A model whose normaliser writes something else for "a", its table ending in `replacements`.
std::string with_replacement(std::string_view replacements) {
  // A double array: the root's children from 256 on, those of "a" from 512 on, where its value lies.
  constexpr uint32_t kRoot = 256, kAfterA = 512, kLeaf = 1U << 8, kValue = 1U << 31;
  std::vector<uint32_t> units(768);
  units[0] = kRoot << 10;
  units[kRoot ^ 'a'] = (kRoot ^ 'a' ^ kAfterA) << 10 | kLeaf | 'a';
  units[kAfterA] = kValue;
  const auto bytes = static_cast<uint32_t>(units.size() * sizeof(uint32_t));
  std::string table(sizeof bytes + bytes, '\0');
  std::memcpy(table.data(), &bytes, sizeof bytes);
  std::memcpy(table.data() + sizeof bytes, units.data(), bytes);
  return t5_model() + field(3, field(2, table.append(replacements)));
}

std::vector<std::string> pieces(const std::string& model, const std::string& text) {
  std::vector<std::string> found;
  EXPECT_TRUE(load_sentencepiece(model, "a model")->Encode(text, &found).ok());
  return found;
}

std::string refusal(const std::string& model) {
  try {
    (void)load_sentencepiece(model, "a model");
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "";
}

TEST(SentencePiece, UsesACheckedTable) {
  EXPECT_EQ(pieces(t5_model(), "a"), (std::vector<std::string>{"▁", "a"}));
  EXPECT_EQ(pieces(with_replacement("bc\0"s), "a"), (std::vector<std::string>{"▁", "b", "c"}));
}

TEST(SentencePiece, ReplacementsEndAndAreShort) {
  const std::string damaged =
      "a model is not a usable SentencePiece model: its normalisation table is damaged";
  EXPECT_EQ(refusal(with_replacement("bc")), damaged);
  EXPECT_EQ(refusal(with_replacement("")), damaged);
  EXPECT_EQ(refusal(with_replacement(std::string(129, 'b') + '\0')), damaged);
  EXPECT_EQ(refusal(with_replacement(std::string(128, 'b') + '\0')), "");
}

TEST(SentencePiece, SamplesAndListsAreNotLookedAt) {
  const std::string sample = field(1, field(1, "the") + field(2, "something else"));
  EXPECT_EQ(pieces(t5_model() + field(4, sample), "the"), (std::vector<std::string>{"▁the"}));
  std::string trainer;
  for (int i = 0; i < 1000; ++i) trainer += field(1, "text") + field(31, "▁the");
  EXPECT_EQ(pieces(t5_model() + field(2, trainer), "the"), (std::vector<std::string>{"▁the"}));
  EXPECT_NE(refusal(t5_model() + field(2, field(44, std::string(5000, '?')))), "");
}

TEST(SentencePiece, DamagedFieldsAreRefused) {
  const std::string damaged = "a model is not a usable SentencePiece model: it is truncated or damaged";
  for (const std::string& bytes : {
           "\x0A"s,  // no length
           "\x0A\x05"
           "abc"s,  // shorter than its length
           "\x0A\x83\x80\x80\x80\x10"
           "abc"s,                           // a length of 2^32 + 3
           "\x8A\x80\x80\x80\x80\x01\x00"s,  // a key of 2^35 + 10
           "\x02\x00"s,                      // field 0
           "\x0B"s,                          // a group
           std::string(11, '\xFF'),          // a number of more than ten bytes
       }) {
    EXPECT_EQ(refusal(t5_model() + bytes), damaged) << testing::PrintToString(bytes);
    EXPECT_EQ(refusal(t5_model() + field(1, bytes)), damaged) << testing::PrintToString(bytes);
  }
}

TEST(SentencePiece, WhatTheLibraryThrowsIsOneError) {
  const std::string nul = field(1, field(1, "a\0b"s) + "\x15\0\0\x80\xBF"s);
  EXPECT_EQ(refusal(t5_model() + nul),
            "a model is not a usable SentencePiece model: the piece \"a\\u0000b\" holds a NUL character");
  const std::string twice = field(1, field(1, "the") + "\x15\0\0\x80\xBF"s);
  EXPECT_NE(refusal(t5_model() + twice + twice).find("SentencePiece refuses it"), std::string::npos);
}

}  // namespace
}  // namespace chorus
