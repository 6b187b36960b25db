#include "chorus/data/vocabulary.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>

#include <fmt/ranges.h>
#include <sentencepiece_processor.h>

#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/base/json.h"
#include "chorus/base/text.h"
#include "chorus/data/batch.h"
#include "chorus/data/languages.h"
#include "chorus/data/sentencepiece.h"

#include "added_words.h"
#include "sentencepiece_model.h"

namespace chorus {
namespace {

constexpr int32_t kPieceOffset = 1;  // from SentencePiece's ids to ours, beyond the special ones
constexpr int32_t kFirstPiece = kUnk + 1;
constexpr int32_t kLargestId = 1 << 24, kMostExtraIds = 1 << 16;
constexpr std::string_view kExtraId = "<extra_id_";
constexpr std::string_view kWordStart = "\u2581", kTaskTag = "<task:";
constexpr std::array<std::string_view, 4> kSpecial = {"<s>", "<pad>", "</s>", "<unk>"};

// "de" of "__de__", the tags of vocabularies that chorus trains.
std::optional<std::string> language_of_symbol(std::string_view symbol) {
  if (symbol.size() < 5 || !symbol.starts_with("__") || !symbol.ends_with("__")) return std::nullopt;
  return std::string(symbol.substr(2, symbol.size() - 4));
}

/// Whether it stands for <mask> or a task: no language's name begins so.
bool is_symbol_name(std::string_view name) {
  if (name == kMask) return true;
  if (!name.starts_with(kTaskTag) || !name.ends_with('>')) return false;
  return is_language_name(name.substr(kTaskTag.size(), name.size() - kTaskTag.size() - 1));
}

std::string symbol_of_language(std::string_view language) {
  return fmt::format("__{}__", language);
}

/// Whether the first pieces are special tokens of these names, among which <unk> alone is the unknown piece.
bool begins_with(std::span<const SentencePieceModel::Piece> pieces,
                 std::initializer_list<std::string_view> names) {
  using Type = SentencePieceModel::Type;
  return pieces.size() >= names.size() &&
         std::equal(names.begin(), names.end(), pieces.begin(), [](std::string_view name, const auto& piece) {
           return piece.text == name && piece.type == (name == "<unk>" ? Type::unknown : Type::control);
         });
}

/// The first "<extra_id_7>" of a text whose number is below `count`; its id is the number.
AddedWords::Found find_extra_id(std::string_view text, int32_t count) {
  for (size_t begin = text.find(kExtraId); begin != text.npos; begin = text.find(kExtraId, begin + 1)) {
    const char* const digits = text.data() + begin + kExtraId.size();
    AddedWords::Found found = {.begin = begin};
    const auto [end, error] = std::from_chars(digits, text.data() + text.size(), found.id);
    if (error != std::errc() || found.id < 0 || found.id >= count) continue;
    found.size = kExtraId.size() + static_cast<size_t>(end - digits) + 1;
    if (text.substr(begin, found.size) == fmt::format("{}{}>", kExtraId, found.id)) return found;
  }
  return {.begin = text.size()};
}

}  // namespace

struct Vocabulary::State {
  std::string model;  // bytes
  VocabularyLayout layout;
  sentencepiece::SentencePieceProcessor processor;
  std::vector<int32_t> ids;  // of each piece of the model
  bool is_t5 = false;
  int32_t pieces_end = 0;  // ids below it are special tokens, pieces and extra ids, from it on added tags
  std::vector<std::string> languages;
  std::vector<int32_t> tags;                            // of each language
  std::map<std::string, int32_t, std::less<>> symbols;  // <mask> and the tags of tasks
  std::map<int32_t, std::string> spelling;  // of the tags and symbols that are pieces, found in text so
  std::vector<bool> is_text, starts_word;   // of each piece's id
  std::array<int32_t, 256> byte_ids{};      // kUnk in a model without byte pieces
  std::unordered_map<std::string, int32_t> language_index;
  AddedWords words;
  int32_t end = 0;  // of all ids
  uint64_t hash = 0;

  void add_language(const std::string& name, int32_t id) {
    if (!is_language_name(name)) throw Error("{} is no name for a language", in_quotes(name));
    if (!language_index.emplace(name, static_cast<int32_t>(languages.size())).second)
      throw Error("language '{}' has two tags", name);
    languages.push_back(name);
    tags.push_back(id);
  }
  /// A language's or a symbol's.
  void add_tag(const std::string& name, int32_t id) {
    if (!is_symbol_name(name)) {
      add_language(name, id);
    } else if (!symbols.emplace(name, id).second) {
      throw Error("{} is there twice", name);
    }
  }
  /// Which id each piece of the model has.
  void number_pieces(const std::vector<SentencePieceModel::Piece>& pieces) {
    ids.assign(pieces.size(), kUnk);
    hash = hash_bytes(std::string_view(model));
    if (layout.pieces.empty()) {
      for (size_t i = 3; i < pieces.size(); ++i) ids[i] = static_cast<int32_t>(i) + kPieceOffset;
      pieces_end = static_cast<int32_t>(pieces.size()) + kPieceOffset + layout.extra_ids;
      if (layout.extra_ids > 0)
        hash = hash_bytes(fmt::format("{} extra_ids={}", hash_text(hash), layout.extra_ids));
      return;
    }
    if (layout.pieces.size() < kSpecial.size() ||
        !std::equal(kSpecial.begin(), kSpecial.end(), layout.pieces.begin()))
      throw Error("the list of its pieces does not begin with {}", fmt::join(kSpecial, " "));
    Hasher hasher;
    hasher.update(std::as_bytes(std::span(model)));
    std::unordered_map<std::string_view, int32_t> id_of;
    for (const std::string& piece : layout.pieces) {
      if (!id_of.emplace(piece, static_cast<int32_t>(id_of.size())).second)
        throw Error("the list of its pieces names {} twice", in_quotes(piece));
      hasher.update(std::as_bytes(std::span(piece.c_str(), piece.size() + 1)));
    }
    hash = hasher.digest();
    for (size_t i = 3; i < pieces.size(); ++i)
      if (const auto found = id_of.find(pieces[i].text); found != id_of.end()) ids[i] = found->second;
    pieces_end = static_cast<int32_t>(layout.pieces.size());
  }
  void find_symbols(const std::vector<SentencePieceModel::Piece>& pieces) {
    using Type = SentencePieceModel::Type;
    byte_ids.fill(kUnk);
    starts_word.resize(pieces_end);
    is_text.resize(pieces_end);
    std::fill(is_text.end() - layout.extra_ids, is_text.end(), true);
    for (size_t i = 3; i < pieces.size(); ++i) {
      const Type type = pieces[i].type;
      if (ids[i] != kUnk) {
        starts_word[ids[i]] = pieces[i].text.starts_with(kWordStart);
        is_text[ids[i]] = type == Type::normal || type == Type::user_defined || type == Type::byte;
      }
      if (type == Type::byte) {  // "<0x0A>": the library has checked it
        byte_ids[std::stoul(std::string(pieces[i].text.substr(3, 2)), nullptr, 16)] = ids[i];
      } else if (type == Type::user_defined && ids[i] != kUnk) {
        const std::string text(pieces[i].text);
        const auto language = language_of_symbol(text);
        if (!is_symbol_name(text) && !(language && is_language_name(*language))) continue;
        add_tag(language.value_or(text), ids[i]);
        spelling[ids[i]] = text;
        is_text[ids[i]] = false;
      }
    }
  }
  /// What an id below pieces_end stands for.
  [[nodiscard]] std::string piece(int32_t id) const {
    if (!layout.pieces.empty()) return layout.pieces[id];
    return id < kFirstPiece ? std::string(kSpecial[id]) : processor.IdToPiece(id - kPieceOffset);
  }
  /// After the tags.
  void add_words() {
    if (is_t5 && !layout.words.empty()) throw Error("a vocabulary of T5 has no added words");
    words = AddedWords(layout.words);
    end = layout.tags.empty() ? pieces_end : layout.tags.back().id + 1;
    for (const AddedWord& word : layout.words) {
      const bool is_piece = word.id >= kFirstPiece && word.id < pieces_end && piece(word.id) == word.text;
      if (!is_piece && (word.id < pieces_end || word.id > kLargestId))
        throw Error("the added word {} has the id {}, which is not beyond the pieces", in_quotes(word.text),
                    word.id);
      if (std::ranges::find(layout.tags, word.id, &LanguageTag::id) != layout.tags.end())
        throw Error("the added word {} has the id {} of a tag", in_quotes(word.text), word.id);
      end = std::max(end, word.id + 1);
      hash = hash_bytes(fmt::format("{} {}={} {}", hash_text(hash), word.text, word.id, word.special));
    }
  }
  /// The text's pieces, with no regard to extra ids and added words.
  void encode(std::string_view text, std::vector<int32_t>& out) const {
    const auto status = processor.Encode(text, &out);
    if (!status.ok()) throw Error("SentencePiece could not encode a sentence: {}", status.ToString());
    bool has_symbol = false;
    for (int32_t& id : out) {
      id = ids[id];
      has_symbol = has_symbol || spelling.contains(id);
    }
    if (!has_symbol) return;
    std::vector<int32_t> spelt;
    for (const int32_t id : out) {
      const auto symbol = spelling.find(id);
      if (symbol == spelling.end()) {
        spelt.push_back(id);
        continue;
      }
      for (const char ch : symbol->second) spelt.push_back(byte_ids[static_cast<unsigned char>(ch)]);
    }
    out = std::move(spelt);
  }
  [[nodiscard]] std::string decode(const std::vector<std::string>& pieces) const {
    std::string text;
    const auto status = processor.Decode(pieces, &text);
    if (!status.ok()) throw Error("SentencePiece could not decode: {}", status.ToString());
    return text;
  }
  void add_tags() {
    int32_t next = pieces_end;
    for (LanguageTag& tag : layout.tags) {
      const bool follows = tag.id == LanguageTag::kNext || tag.id == next;
      if (follows) tag.id = next;
      if (tag.id < next || tag.id > kLargestId)
        throw Error("the tag of language '{}' has the id {}, which is not above those before it",
                    tag.language, tag.id);
      next = tag.id + 1;
      add_tag(tag.language, tag.id);
      hash = hash_bytes(hash_text(hash) + tag.language + (follows ? "" : fmt::format("={}", tag.id)));
    }
  }
};

std::string task_tag(std::string_view task) {
  return fmt::format("{}{}>", kTaskTag, task);
}

Vocabulary Vocabulary::load(const std::filesystem::path& path, const VocabularyLayout& layout) {
  return parse(read_sentencepiece(path), layout, path.string());
}

Vocabulary Vocabulary::with_tags(std::span<const std::string> names) const {
  VocabularyLayout layout = state_->layout;
  for (const std::string& name : names) {
    if (state_->symbols.contains(name) || state_->language_index.contains(name)) continue;
    const bool first = layout.tags.size() == state_->layout.tags.size();
    layout.tags.push_back({.language = name, .id = first ? state_->end : LanguageTag::kNext});
  }
  if (layout.tags.size() == state_->layout.tags.size()) return *this;
  if (is_t5()) throw UserError("a vocabulary of T5 can get no tags");
  return parse(state_->model, layout, "the vocabulary");
}

Vocabulary Vocabulary::parse(std::string model, const VocabularyLayout& layout, const std::string& where) {
  auto state = std::make_shared<State>();
  state->model = std::move(model);
  state->layout = layout;
  const auto refuse = [&](const std::string& why) {
    return UserError("{} is not a usable SentencePiece model: {}", where, why);
  };
  if (state->model.size() > kMaxSentencePieceBytes) throw refuse("it is too large");
  try {
    const SentencePieceModel parsed = parse_sentencepiece_model(state->model);
    const std::vector<SentencePieceModel::Piece>& pieces = parsed.pieces;
    state->is_t5 = begins_with(pieces, {"<pad>", "</s>", "<unk>"});
    if (!state->is_t5 && !begins_with(pieces, {"<unk>", "<s>", "</s>"}))
      throw Error("its first pieces are neither <unk>, <s> and </s> nor T5's <pad>, </s> and <unk>");
    if (layout.extra_ids < 0 || layout.extra_ids > (state->is_t5 ? kMostExtraIds : 0))
      throw Error("it is to have {}; T5's models may have up to {}, others none",
                  counted(layout.extra_ids, "extra id"), kMostExtraIds);
    chorus::load(parsed, state->processor);
    state->number_pieces(pieces);
    state->find_symbols(pieces);
    state->add_tags();
    state->add_words();
  } catch (const Error& error) {
    throw refuse(error.what());
  }
  Vocabulary vocabulary;
  vocabulary.state_ = std::move(state);
  return vocabulary;
}

int64_t Vocabulary::size() const {
  return state_->end;
}

std::vector<int32_t> Vocabulary::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  encode(text, ids);
  return ids;
}

void Vocabulary::encode(std::string_view text, std::vector<int32_t>& ids) const {
  const int32_t extra_ids = state_->layout.extra_ids;
  if (extra_ids == 0 && state_->layout.words.empty()) {
    state_->encode(text, ids);
    return;
  }
  ids.clear();
  std::vector<int32_t> part;
  for (;;) {
    AddedWords::Found found = state_->words.find(text);
    if (extra_ids > 0) {
      found = find_extra_id(text, extra_ids);
      found.id = state_->pieces_end - 1 - found.id;
    }
    state_->encode(text.substr(0, found.begin), part);
    ids.insert(ids.end(), part.begin(), part.end());
    if (found.size == 0) return;
    ids.push_back(found.id);
    text.remove_prefix(found.begin + found.size);
  }
}

std::string Vocabulary::decode(std::span<const int32_t> ids) const {
  const std::vector<std::string>& listed = state_->layout.pieces;
  const int32_t first_extra = state_->pieces_end - state_->layout.extra_ids;
  std::string text;
  const auto append = [&](std::string_view part) {
    if (!text.empty() && !part.empty()) text += ' ';
    text += part;
  };
  std::vector<std::string> pieces;
  pieces.reserve(ids.size());
  for (const int32_t id : ids) {
    if (id < 0 || id >= size()) throw UserError("token id {} is outside the vocabulary of {}", id, size());
    const AddedWord* const word = state_->words.with_id(id);
    if (id == kBos || id == kPad || id == kEos || is_tag(id) || (word != nullptr && word->special)) continue;
    if (word != nullptr || id >= first_extra) {
      append(state_->decode(pieces));
      pieces.clear();
      append(word != nullptr ? word->text : fmt::format("{}{}>", kExtraId, state_->pieces_end - 1 - id));
    } else if (listed.empty()) {
      const auto& processor = state_->processor;
      pieces.push_back(processor.IdToPiece(id == kUnk ? processor.unk_id() : id - kPieceOffset));
    } else {
      pieces.push_back(listed[id]);
    }
  }
  append(state_->decode(pieces));
  return text;
}

bool Vocabulary::is_t5() const {
  return state_->is_t5;
}

const std::vector<std::string>& Vocabulary::languages() const {
  return state_->languages;
}

int32_t Vocabulary::language(std::string_view name) const {
  const auto& known = state_->languages;
  if (const auto found = state_->language_index.find(std::string(name));
      found != state_->language_index.end()) {
    return found->second;
  }
  if (known.empty()) throw UserError("unknown language '{}': this vocabulary has no language tags", name);
  throw UserError("unknown language '{}': this vocabulary knows {}{}", name, join(known, ", "),
                  did_you_mean_language(name, known));
}

int32_t Vocabulary::tag(std::string_view name) const {
  if (name.empty() && state_->languages.empty()) return kNoTag;
  return state_->tags[language(name)];
}

int32_t Vocabulary::tag(int32_t language) const {
  return state_->tags.at(language);
}

bool Vocabulary::is_tag(int32_t id) const {
  return (id >= state_->pieces_end && state_->words.with_id(id) == nullptr) || state_->spelling.contains(id);
}

const std::map<std::string, int32_t, std::less<>>& Vocabulary::symbols() const {
  return state_->symbols;
}

std::optional<int32_t> Vocabulary::symbol(std::string_view name) const {
  const auto found = state_->symbols.find(name);
  return found == state_->symbols.end() ? std::nullopt : std::optional(found->second);
}

bool Vocabulary::is_text(int32_t id) const {
  if (const AddedWord* const word = state_->words.with_id(id)) return !word->special;
  return id >= 0 && id < state_->pieces_end && state_->is_text[id];
}

bool Vocabulary::starts_word(int32_t id) const {
  return state_->words.with_id(id) != nullptr ||
         (id >= 0 && id < state_->pieces_end && state_->starts_word[id]);
}

std::string Vocabulary::name_of(int32_t id) const {
  const State& s = *state_;
  if (id < s.pieces_end - s.layout.extra_ids) return s.piece(id);
  if (const AddedWord* const word = s.words.with_id(id)) return word->text;
  if (id < s.pieces_end) return fmt::format("{}{}>", kExtraId, s.pieces_end - 1 - id);
  const auto tag = std::ranges::find(s.layout.tags, id, &LanguageTag::id);
  if (tag == s.layout.tags.end()) return "";
  return is_symbol_name(tag->language) ? tag->language : symbol_of_language(tag->language);
}

uint64_t Vocabulary::hash() const {
  return state_->hash;
}

const std::string& Vocabulary::sentencepiece() const {
  return state_->model;
}

const VocabularyLayout& Vocabulary::layout() const {
  return state_->layout;
}

int32_t Vocabulary::pieces_end() const {
  return state_->pieces_end;
}

}  // namespace chorus
