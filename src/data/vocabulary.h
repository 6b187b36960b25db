// The vocabulary: SentencePiece pieces, the reserved ids of fairseq, and one tag per language.
//
// Ids (data/batch.h): 0 bos, 1 pad, 2 eos, 3 unk; SentencePiece's id i >= 3 is i + 1, unless a list of pieces
// says otherwise (M2M100); then the tags of languages that are not pieces (NLLB and M2M100). In a vocabulary
// that chorus trained, the tag of "de" is the user-defined symbol "__de__" of the SentencePiece model.
//
// Words may have been added beyond the pieces, each with an id of its own (AddedWord).
//
// Denoising needs the symbols <mask> and, for the task "denoise", <task:denoise>. They are pieces or, as tags
// of languages, beyond them.
//
// T5's SentencePiece models begin with <pad>, </s> and <unk>; there too, SentencePiece's id i is our i + 1.
// They have no languages. Their extra ids follow the pieces, counted downwards, and are spelt in text:
// "<extra_id_0>" is the last of them.
//
// MADLAD's begins with <unk>, <s>, </s>, a newline and the tags of languages, "<2de>". SentencePiece's id i >= 4 is
// ours, and the newline, which no line of text holds, is our bos. The target's tag stands on the source.
//
// OPUS-MT's (Marian's) have a SentencePiece model for each side and one list of pieces for both, which begins with any
// piece in the place of bos. The tags of targets are the pieces ">>deu<<", on the source; where there are none, source
// and target are one language each, without a tag.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/batch.h"
#include "data/config.h"

namespace chorus::inline data {

inline constexpr std::string_view kMask = "<mask>";
inline constexpr int32_t kLargestId = 1 << 24;  // of a layout
/// "<task:denoise>".
std::string task_tag(std::string_view task);

/// The tag of a language, or <mask> or a task's tag, beyond the pieces.
struct LanguageTag {
  static constexpr int32_t kNext = -1;  // one more than the last tag, or than the last piece
  std::string language;                 // or the symbol, which begins with '<'
  int32_t id = kNext;
};

/// A word that was added to a vocabulary: it is found in text as it stands, before the pieces are, and what
/// is around it is cut into pieces apart.
struct AddedWord {
  std::string text;
  int32_t id = 0;        // beyond the pieces and no tag's; or that of the piece of this text
  bool special = false;  // left out of decoded text
};

/// What a vocabulary has beyond its SentencePiece model.
struct VocabularyLayout {
  std::vector<std::string> pieces;  // of each id, as M2M100's vocab.json; empty: SentencePiece's order
  std::vector<LanguageTag> tags;    // of languages and symbols that are not pieces
  int32_t extra_ids = 0;            // of T5
  std::vector<AddedWord> words;     // as transformers' add_tokens() makes them; T5 has none
  // SMaLL-100: the source begins with the target's tag, and the target with none.
  bool target_tag_on_source = false;
  // OPUS-MT: the SentencePiece model of targets, and what is known of the languages; "": not known.
  std::string target_model;
  std::string source_language, target_language;
};

/// The tags that a pair's source and target begin with, or kNoTag.
struct PairTags {
  int32_t before_source = kNoTag;  // what stands before the source's: MADLAD's SentencePiece puts a "▁" there
  int32_t source = kNoTag, target = kNoTag;
};

class Vocabulary {
 public:
  /// Reads and checks a SentencePiece model (unigram or BPE). UserError naming the file when it is missing,
  /// damaged, its special ids are neither 0 unk, 1 bos, 2 eos nor T5's (OPUS-MT's may be any), or the layout does not
  /// fit it: pieces that are named twice or do not begin with <s> <pad> </s> <unk>, a tag that is a piece or another
  /// tag, an added word with another's id.
  static Vocabulary load(const std::filesystem::path& model, const VocabularyLayout& layout = {});
  /// Returns the vocabulary with a tag, after all others, for each of these languages and symbols that has none.
  /// UserError if it is T5's or OPUS-MT's.
  [[nodiscard]] Vocabulary with_tags(std::span<const std::string> names) const;

  /// Returns a vocabulary that finds each of these symbols whole in text: as an added word, behind all other ids,
  /// unless it is a symbol of its SentencePiece model or an added word. UserError if it is T5's, MADLAD's or
  /// OPUS-MT's.
  [[nodiscard]] Vocabulary with_symbols(std::span<const std::string> symbols) const;
  /// The symbols in text: user-defined ones of the SentencePiece model but tags, and added words.
  [[nodiscard]] std::vector<std::string> symbols_in_text() const;

  /// Whether its SentencePiece model has T5's special ids.
  [[nodiscard]] bool is_t5() const;
  /// Whether it begins as MADLAD's.
  [[nodiscard]] bool is_madlad() const;
  /// Whether its SentencePiece model is BPE's, not a unigram model.
  [[nodiscard]] bool is_bpe() const;
  /// SentencePiece's name of its normalization ("nmt_nfkc"); empty: it has none.
  [[nodiscard]] const std::string& normalization() const;
  /// Whether each side has a SentencePiece model of its own.
  [[nodiscard]] bool is_marian() const;
  /// Return the vocabulary with which targets are written, and that of texts of a language: encode() is that of its
  /// SentencePiece model. All else is the same; except for OPUS-MT's, so is encode().
  [[nodiscard]] Vocabulary target() const;
  [[nodiscard]] Vocabulary written_in(std::string_view language) const;
  /// Returns what looks like the tag of a language in MADLAD's vocabulary and is none: SentencePiece does not cut it
  /// from a text as it cuts the others.
  [[nodiscard]] const std::vector<std::string>& unusable_tags() const;

  /// Rows of the embedding: every id is below.
  [[nodiscard]] int64_t size() const;

  /// Returns the pieces of a sentence, without tag and </s>. A tag spelt in the text ("__de__") comes out as bytes
  /// (or unk in a model without byte pieces), never as the tag. Empty or blank text has no pieces. Any number of
  /// threads may call it.
  [[nodiscard]] std::vector<int32_t> encode(std::string_view text) const;
  void encode(std::string_view text, std::vector<int32_t>& ids) const;  // the same, into `ids`

  /// Returns the text of pieces and added words, a space on either side of these; bos, pad, eos, tags and special
  /// words are left out, unk reads " ⁇ ". UserError on an id outside [0, size()).
  [[nodiscard]] std::string decode(std::span<const int32_t> ids) const;

  /// The languages that have a tag, in the order of their ids; before them OPUS-MT's that have none.
  [[nodiscard]] const std::vector<std::string>& languages() const;
  /// Index of a language in languages(), and its tag's id. UserError: unknown language 'xx': this vocabulary
  /// knows ... A vocabulary without languages has one, of the empty name, without a tag (kNoTag).
  [[nodiscard]] int32_t language(std::string_view name) const;
  /// Returns the language of text that is labelled with one, by its file's name, say: the label. "" in T5's vocabulary,
  /// which can have no languages: its text says itself what is wanted.
  [[nodiscard]] std::string_view language_of_label(std::string_view label) const;
  [[nodiscard]] int32_t tag(std::string_view language) const;
  [[nodiscard]] int32_t tag(int32_t language) const;
  /// Returns the tags on a pair's sides. UserError as above, and where the model does not translate from the one or
  /// to the other. Where the target's tag stands on the source, that of the source is not needed, and `from` may be
  /// empty; so may `to`, where there are no tags.
  [[nodiscard]] PairTags pair_tags(std::string_view from, std::string_view to) const;
  /// What a side of a pair holds at most besides its pieces: what pair_tags() says, and </s>.
  [[nodiscard]] int64_t tags_and_end() const;
  /// Whether `from` must be named, and `to`.
  [[nodiscard]] bool needs_source_language() const;
  [[nodiscard]] bool needs_target_language() const;
  /// Whether it is that of a language or a symbol.
  [[nodiscard]] bool is_tag(int32_t id) const;
  /// <mask> and the tags of tasks, as far as they are there, and their ids.
  [[nodiscard]] const std::map<std::string, int32_t, std::less<>>& symbols() const;
  /// The id of one of them, if it is there.
  [[nodiscard]] std::optional<int32_t> symbol(std::string_view name) const;
  /// Whether the id stands for text: a piece that is neither a tag nor a control symbol nor out of use, or an
  /// extra id.
  [[nodiscard]] bool is_text(int32_t id) const;
  /// Whether a word begins with the piece: SentencePiece marks it so.
  [[nodiscard]] bool starts_word(int32_t id) const;
  /// What an id stands for: a piece, "__de__" for the tag of de, however it is stored, a symbol. "" for an id
  /// without meaning.
  [[nodiscard]] std::string name_of(int32_t id) const;

  /// Identifies the vocabulary: of the model's bytes and the layout.
  [[nodiscard]] uint64_t hash() const;

  /// What load() read: the bytes of the SentencePiece model, and the layout, with the ids of the tags.
  [[nodiscard]] const std::string& sentencepiece() const;
  [[nodiscard]] const VocabularyLayout& layout() const;
  /// The first id beyond the pieces.
  [[nodiscard]] int32_t pieces_end() const;

 private:
  struct State;
  explicit Vocabulary(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  static std::shared_ptr<State> make_state(std::string model, const VocabularyLayout& layout);
  static Vocabulary parse(std::string model, const VocabularyLayout& layout, const std::string& where);
  std::shared_ptr<const State> state_;  // immutable: copies share it
};

}  // namespace chorus::inline data
