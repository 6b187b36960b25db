// SentencePiece models made by hand: as T5 has it, <pad>, </s>, <unk>, "▁", the letters and a few words; and as MADLAD
// has it, <unk>, <s>, </s>, a newline, the tags of three languages and the same.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace chorus {

/// `first` pieces and their types (SentencePieceModel::Type), then the letters and words.
inline std::string model_beginning_with(std::initializer_list<std::pair<std::string_view, char>> first) {
  const auto field = [](int number, std::string_view bytes) {
    std::string out(1, static_cast<char>(number << 3 | 2));
    out += static_cast<char>(bytes.size());  // below 128
    return out.append(bytes);
  };
  std::string model;
  const auto add = [&](std::string_view text, float score, char type) {
    std::string piece = field(1, text);
    piece += static_cast<char>(2 << 3 | 5);
    piece.append(reinterpret_cast<const char*>(&score), sizeof score);
    piece += {static_cast<char>(3 << 3), type};
    model += field(1, piece);
  };
  for (const auto& [text, type] : first) add(text, 0, type);
  add("▁", -3, 1);
  for (char letter = 'a'; letter <= 'z'; ++letter) add({&letter, 1}, -5, 1);
  for (const char* word : {"▁the", "▁walks", "▁in", "▁park"}) add(word, -4, 1);
  return model;
}

inline std::string t5_model(std::string_view types = "\3\3\2") {
  return model_beginning_with({{"<pad>", types[0]}, {"</s>", types[1]}, {"<unk>", types[2]}});
}
constexpr int kT5Pieces = 34;

inline std::string madlad_model() {
  return model_beginning_with(
      {{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}, {"\n", 1}, {"<2de>", 1}, {"<2en>", 1}, {"<2zh_Latn>", 1}});
}
constexpr int kMadladPieces = 38;

}  // namespace chorus
