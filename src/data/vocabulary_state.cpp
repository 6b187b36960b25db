#include "data/internal/vocabulary_state.h"

#include <algorithm>
#include <functional>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/utf8.h"
#include "data/languages.h"
#include "io/files.h"
#include "io/json.h"

namespace chorus::inline data {
namespace {

// "de" of "__de__", the tags of vocabularies that chorus trains, and of MADLAD's "<2de>".
std::optional<std::string> language_of_symbol(std::string_view symbol, bool madlad) {
  if (madlad) {
    return symbol.starts_with(kMadladTag) && symbol.ends_with('>')
               ? std::optional(
                     std::string(symbol.substr(kMadladTag.size(), symbol.size() - kMadladTag.size() - 1)))
               : std::nullopt;
  }
  if (symbol.size() < 5 || !symbol.starts_with("__") || !symbol.ends_with("__")) return std::nullopt;
  return std::string(symbol.substr(2, symbol.size() - 4));
}

/// "fra" of ">>fra<<".
std::optional<std::string> language_of_marian_tag(std::string_view piece) {
  constexpr std::string_view kBegin = ">>", kEnd = "<<";
  if (!piece.starts_with(kBegin) || !piece.ends_with(kEnd) || piece.size() < kBegin.size() + kEnd.size())
    return std::nullopt;
  std::string name(piece.substr(kBegin.size(), piece.size() - kBegin.size() - kEnd.size()));
  return is_language_name(name) ? std::optional(std::move(name)) : std::nullopt;
}

}  // namespace

bool is_symbol_name(std::string_view name) {
  if (name == kMask) return true;
  if (!name.starts_with(kTaskTag) || !name.ends_with('>')) return false;
  return is_language_name(name.substr(kTaskTag.size(), name.size() - kTaskTag.size() - 1));
}

void Vocabulary::State::add_language(const std::string& name, int32_t id) {
  if (!is_language_name(name)) throw Error("{} is no name for a language", in_quotes(name));
  if (!language_index.emplace(name, static_cast<int32_t>(languages.size())).second)
    throw Error("language '{}' has two tags", name);
  languages.push_back(name);
  tags.push_back(id);
}

void Vocabulary::State::add_tag(const std::string& name, int32_t id) {
  if (!is_symbol_name(name)) {
    add_language(name, id);
  } else if (!symbols.emplace(name, id).second) {
    throw Error("{} is there twice", name);
  }
}

void Vocabulary::State::number_pieces(const std::vector<SentencePieceModel::Piece>& pieces) {
  ids.assign(pieces.size(), kUnk);
  hash = hash_bytes(std::string_view(model));
  if (layout.pieces.empty()) {
    for (size_t i = 3; i < pieces.size(); ++i) ids[i] = static_cast<int32_t>(i) + piece_offset();
    if (is_madlad) ids[3] = kBos;
    pieces_end = static_cast<int32_t>(pieces.size()) + piece_offset() + layout.extra_ids;
    if (layout.extra_ids > 0)
      hash = hash_bytes(fmt::format("{} extra_ids={}", hash_text(hash), layout.extra_ids));
    return;
  }
  const int any = is_marian() ? 1 : 0;  // has a piece in the place of the first
  if (layout.pieces.size() < kSpecial.size() ||
      !std::equal(kSpecial.begin() + any, kSpecial.end(), layout.pieces.begin() + any))
    throw Error("the list of its pieces does not begin with {}", fmt::join(kSpecial, " "));
  Hasher hasher;
  hasher.update(std::as_bytes(std::span(model)));
  for (const std::string& piece : layout.pieces) {
    if (!id_of.emplace(piece, static_cast<int32_t>(id_of.size())).second)
      throw Error("the list of its pieces names {} twice", in_quotes(piece));
    hasher.update(std::as_bytes(std::span(piece.c_str(), piece.size() + 1)));
  }
  hash = hasher.digest();
  for (size_t i = is_marian() ? 0 : 3; i < pieces.size(); ++i)
    if (const auto found = id_of.find(pieces[i].text); found != id_of.end()) ids[i] = found->second;
  for (int32_t& id : ids)
    if (is_marian() && !is_piece(id)) id = kUnk;
  pieces_end = static_cast<int32_t>(layout.pieces.size());
}

void Vocabulary::State::find_symbols(const std::vector<SentencePieceModel::Piece>& pieces) {
  using Type = SentencePieceModel::Type;
  byte_ids.fill(kUnk);
  starts_word.resize(pieces_end);
  is_text.resize(pieces_end);
  std::fill(is_text.end() - layout.extra_ids, is_text.end(), true);
  if (is_marian()) {
    find_marian_symbols();
    return;
  }
  if (is_madlad) find_before_tag(pieces);
  for (size_t i = 3; i < pieces.size(); ++i) {
    const Type type = pieces[i].type;
    if (ids[i] >= kFirstPiece) {
      starts_word[ids[i]] = pieces[i].text.starts_with(kWordStart);
      is_text[ids[i]] = type == Type::normal || type == Type::user_defined || type == Type::byte;
    }
    if (type == Type::byte) {  // "<0x0A>": the library has checked it
      byte_ids[std::stoul(std::string(pieces[i].text.substr(3, 2)), nullptr, 16)] = ids[i];
    } else if ((type == Type::user_defined || is_madlad) && ids[i] >= kFirstPiece) {
      const std::string text(pieces[i].text);
      const auto language = language_of_symbol(text, is_madlad);
      if (!is_symbol_name(text) && !(language && is_language_name(*language))) {
        if (type == Type::user_defined) own_symbols.push_back(text);
        continue;
      }
      if (is_madlad && before_tag_of(text, static_cast<int32_t>(i)) != before_tag) {
        unusable_tags.push_back(text);
        continue;
      }
      add_tag(language.value_or(text), ids[i]);
      spelling[ids[i]] = text;
      is_text[ids[i]] = false;
    }
  }
}

void Vocabulary::State::find_marian_symbols() {
  for (const std::string* name : {&layout.source_language, &layout.target_language})
    if (!name->empty() && !language_index.contains(*name)) add_language(*name, kNoTag);
  for (int32_t id = 0; id < pieces_end; ++id) {
    if (!is_piece(id)) continue;
    const std::string& text = layout.pieces[id];
    starts_word[id] = text.starts_with(kWordStart);
    const std::optional<std::string> name = language_of_marian_tag(text);
    is_text[id] = !name;
    if (!name) continue;
    spelling[id] = text;
    if (const auto there = language_index.find(*name); there == language_index.end()) {
      add_language(*name, id);
    } else {
      tags[there->second] = id;
    }
  }
}

void Vocabulary::State::find_before_tag(const std::vector<SentencePieceModel::Piece>& pieces) {
  std::map<int32_t, int64_t> counts;
  for (size_t i = 3; i < pieces.size(); ++i) {
    const std::string text(pieces[i].text);
    if (!language_of_symbol(text, true)) continue;
    if (const auto before = before_tag_of(text, static_cast<int32_t>(i))) ++counts[*before];
  }
  const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
  if (!counts.empty()) before_tag = std::ranges::max_element(counts, less)->first;
}

std::optional<int32_t> Vocabulary::State::before_tag_of(const std::string& tag, int32_t id) const {
  std::vector<int32_t> cut;
  if (!processor.Encode(tag, &cut).ok() || cut.empty() || cut.back() != id || cut.size() > 2)
    return std::nullopt;
  return cut.size() == 2 ? ids[cut.front()] : kNoTag;
}

int32_t Vocabulary::State::marian_tag(const Vocabulary& own, std::string_view from,
                                      std::string_view to) const {
  if (!from.empty() && from != layout.source_language) {
    static_cast<void>(own.language(from));
    throw UserError("this model translates from {}, not from '{}'", layout.source_language, from);
  }
  if (to.empty() && !own.needs_target_language()) return kNoTag;
  const int32_t tag = own.tag(to);
  if (tag == kNoTag && to != layout.target_language)
    throw UserError("this model does not translate to '{}', its source", to);
  return tag;
}

std::string Vocabulary::State::piece(int32_t id) const {
  if (!layout.pieces.empty()) return layout.pieces[id];
  return id < kFirstPiece ? std::string(kSpecial[id]) : processor.IdToPiece(id - piece_offset());
}

void Vocabulary::State::add_words() {
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

void Vocabulary::State::encode(std::string_view text, std::vector<int32_t>& out) const {
  const auto status = processor.Encode(text, &out);
  if (!status.ok()) throw Error("SentencePiece could not encode a sentence: {}", status.ToString());
  bool has_symbol = false;
  if (is_marian() && std::ranges::find(out, processor.unk_id()) != out.end()) {
    look_up_pieces(text, out);
  } else {
    for (int32_t& id : out) id = ids[id];
  }
  for (int32_t& id : out) {
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

/// The list of pieces may have what this side's SentencePiece model does not know.
void Vocabulary::State::look_up_pieces(std::string_view text, std::vector<int32_t>& out) const {
  std::vector<std::string> pieces;
  const auto status = processor.Encode(text, &pieces);
  if (!status.ok()) throw Error("SentencePiece could not encode a sentence: {}", status.ToString());
  out.clear();
  for (const std::string& piece : pieces) {
    const auto found = id_of.find(piece);
    out.push_back(found != id_of.end() && is_piece(found->second) ? found->second : kUnk);
  }
}

std::string Vocabulary::State::decode(const std::vector<std::string>& pieces) const {
  std::string text;
  const auto status = (target ? target->processor : processor).Decode(pieces, &text);
  if (!status.ok()) throw Error("SentencePiece could not decode: {}", status.ToString());
  if (!target) return text;
  // Pieces that the targets' model does not know come out as they are.
  for (size_t at = text.find(kWordStart); at != text.npos; at = text.find(kWordStart, at))
    text.replace(at, kWordStart.size(), " ");
  return std::string(trim_space(text));
}

void Vocabulary::State::add_tags() {
  int32_t next = pieces_end;
  for (LanguageTag& tag : layout.tags) {
    const bool follows = tag.id == LanguageTag::kNext || tag.id == next;
    if (follows) tag.id = next;
    if (tag.id < next || tag.id > kLargestId)
      throw Error("the tag of language '{}' has the id {}, which is not above those before it", tag.language,
                  tag.id);
    next = tag.id + 1;
    add_tag(tag.language, tag.id);
    hash = hash_bytes(hash_text(hash) + tag.language + (follows ? "" : fmt::format("={}", tag.id)));
  }
  if (is_marian()) {
    hash = hash_bytes(fmt::format("{} {} {}>{}", hash_text(hash),
                                  hash_text(hash_bytes(std::string_view(layout.target_model))),
                                  layout.source_language, layout.target_language));
  }
  if (layout.target_tag_on_source) hash = hash_bytes(hash_text(hash) + " target_tag_on_source");
}

}  // namespace chorus::inline data
