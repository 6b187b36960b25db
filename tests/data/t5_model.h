// A SentencePiece model as T5 has it, made by hand: <pad>, </s>, <unk>, "▁", the letters and a few words.
#pragma once

#include <string>
#include <string_view>

namespace chorus {

/// `types` of the first three pieces (SentencePieceModel::Type).
inline std::string t5_model(std::string_view types = "\3\3\2") {
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
  add("<pad>", 0, types[0]);
  add("</s>", 0, types[1]);
  add("<unk>", 0, types[2]);
  add("▁", -3, 1);
  for (char letter = 'a'; letter <= 'z'; ++letter) add({&letter, 1}, -5, 1);
  for (const char* word : {"▁the", "▁walks", "▁in", "▁park"}) add(word, -4, 1);
  return model;
}
constexpr int kT5Pieces = 34;

}  // namespace chorus
