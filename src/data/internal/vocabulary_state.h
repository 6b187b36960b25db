// What a Vocabulary knows of its pieces, tags and words.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <sentencepiece_processor.h>

#include "data/batch.h"
#include "data/sentencepiece_model.h"
#include "data/vocabulary.h"

#include "data/internal/added_words.h"

namespace chorus::inline data {

inline constexpr int32_t kFirstPiece = kUnk + 1;
inline constexpr std::string_view kWordStart = "\u2581", kTaskTag = "<task:", kMadladTag = "<2";
inline constexpr std::array<std::string_view, 4> kSpecial = {"<s>", "<pad>", "</s>", "<unk>"};

/// Whether it stands for <mask> or a task: no language's name begins so.
bool is_symbol_name(std::string_view name);

struct Vocabulary::State {
  std::string model;  // bytes
  VocabularyLayout layout;
  sentencepiece::SentencePieceProcessor processor;
  std::vector<int32_t> ids;                             // of each piece of the model
  std::unordered_map<std::string_view, int32_t> id_of;  // of each piece that the layout lists
  std::shared_ptr<const State> target;                  // of OPUS-MT: the same with the model of targets
  bool is_t5 = false, is_madlad = false, is_bpe = false;
  std::string normalization;
  std::vector<std::string> unusable_tags;
  int32_t pieces_end = 0;  // ids below it are special tokens, pieces and extra ids, from it on added tags
  std::vector<std::string> languages;
  std::vector<int32_t> tags;                            // of each language
  std::map<std::string, int32_t, std::less<>> symbols;  // <mask> and the tags of tasks
  std::map<int32_t, std::string> spelling;  // of the tags and symbols that are pieces, found in text so
  std::vector<std::string> own_symbols;     // the user-defined pieces that are neither
  std::vector<bool> is_text, starts_word;   // of each piece's id
  std::array<int32_t, 256> byte_ids{};      // kUnk in a model without byte pieces
  std::unordered_map<std::string, int32_t> language_index;
  int32_t before_tag = kNoTag;  // PairTags::before_source
  AddedWords words;
  int32_t end = 0;  // of all ids
  uint64_t hash = 0;

  /// Returns what is added to SentencePiece's ids to get ours, beyond the special ones.
  [[nodiscard]] int32_t piece_offset() const { return is_madlad ? 0 : 1; }
  [[nodiscard]] bool target_tag_on_source() const {
    return is_madlad || is_marian() || layout.target_tag_on_source;
  }
  [[nodiscard]] bool is_marian() const { return !layout.target_model.empty(); }
  /// Whether it is a piece's, an extra id's, a tag's or a word's, and no special token's.
  [[nodiscard]] bool is_piece(int32_t id) const { return id >= kFirstPiece || (id == kBos && is_marian()); }
  void add_language(const std::string& name, int32_t id);
  /// A language's or a symbol's.
  void add_tag(const std::string& name, int32_t id);
  /// Which id each piece of the model has.
  void number_pieces(const std::vector<SentencePieceModel::Piece>& pieces);
  void find_symbols(const std::vector<SentencePieceModel::Piece>& pieces);
  void find_marian_symbols();
  /// Finds what stands before most tags of MADLAD's vocabulary.
  void find_before_tag(const std::vector<SentencePieceModel::Piece>& pieces);
  /// What stands before the tag that is the piece `id` of the SentencePiece model where a text begins with it; kNoTag:
  /// nothing. None where SentencePiece cuts the tag otherwise.
  [[nodiscard]] std::optional<int32_t> before_tag_of(const std::string& tag, int32_t id) const;
  /// The tag of a pair in `own`, OPUS-MT's. UserError where it does not translate so.
  [[nodiscard]] int32_t marian_tag(const Vocabulary& own, std::string_view from, std::string_view to) const;
  /// What an id below pieces_end stands for.
  [[nodiscard]] std::string piece(int32_t id) const;
  /// Gives the added words their ids; called after the tags have theirs.
  void add_words();
  /// What encode() makes of a text with pieces that its SentencePiece model does not know, before tags are spelt.
  void look_up_pieces(std::string_view text, std::vector<int32_t>& out) const;
  /// The text's pieces, with no regard to extra ids and added words.
  void encode(std::string_view text, std::vector<int32_t>& out) const;
  [[nodiscard]] std::string decode(const std::vector<std::string>& pieces) const;
  void add_tags();
};

}  // namespace chorus::inline data
