#include "data/vocabulary.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/text.h"
#include "data/batch.h"
#include "data/languages.h"
#include "data/sentencepiece.h"
#include "io/files.h"
#include "io/json.h"

#include "data/internal/vocabulary_state.h"

namespace chorus::inline data {
namespace {

constexpr int32_t kMostExtraIds = 1 << 16;
constexpr std::string_view kExtraId = "<extra_id_";

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
  if (is_t5() || is_marian())
    throw UserError("a vocabulary of {} can get no tags", is_t5() ? "T5" : "OPUS-MT");
  return parse(state_->model, layout, "the vocabulary");
}

Vocabulary Vocabulary::with_symbols(std::span<const std::string> symbols) const {
  const std::vector<std::string> known = symbols_in_text();
  VocabularyLayout layout = state_->layout;
  auto next = static_cast<int32_t>(size());
  for (const std::string& symbol : symbols) {
    if (std::ranges::find(known, symbol) != known.end()) continue;
    if (is_t5() || is_madlad() || is_marian())
      throw UserError("a vocabulary of T5, MADLAD or OPUS-MT can get no symbols");
    int32_t id = kFirstPiece;  // of the piece of that text, if there is one
    while (id < state_->pieces_end && state_->piece(id) != symbol) ++id;
    layout.words.push_back({.text = symbol, .id = id < state_->pieces_end ? id : next++});
  }
  if (layout.words.size() == state_->layout.words.size()) return *this;
  return parse(state_->model, layout, "the vocabulary");
}

std::vector<std::string> Vocabulary::symbols_in_text() const {
  std::vector<std::string> symbols = state_->own_symbols;
  for (const AddedWord& word : state_->layout.words) symbols.push_back(word.text);
  return symbols;
}

std::shared_ptr<Vocabulary::State> Vocabulary::make_state(std::string model, const VocabularyLayout& layout) {
  auto state = std::make_shared<State>();
  state->model = std::move(model);
  state->layout = layout;
  if (state->model.size() > kMaxSentencePieceBytes) throw Error("it is too large");
  const SentencePieceModel parsed = parse_sentencepiece_model(state->model);
  const std::vector<SentencePieceModel::Piece>& pieces = parsed.pieces;
  state->is_bpe = parsed.is_bpe;
  state->normalization = parsed.normalization;
  const bool is_plain = begins_with(pieces, {"<unk>", "<s>", "</s>"});
  state->is_t5 = !state->is_marian() && begins_with(pieces, {"<pad>", "</s>", "<unk>"});
  state->is_madlad = is_plain && layout.pieces.empty() && pieces.size() > 4 && pieces[3].text == "\n" &&
                     pieces[4].text.starts_with(kMadladTag);
  if (!state->is_t5 && !is_plain && !state->is_marian())
    throw Error("its first pieces are neither <unk>, <s> and </s> nor T5's <pad>, </s> and <unk>");
  if (layout.extra_ids < 0 || layout.extra_ids > (state->is_t5 ? kMostExtraIds : 0))
    throw Error("it is to have {}; T5's models may have up to {}, others none",
                counted(layout.extra_ids, "extra id"), kMostExtraIds);
  chorus::load(parsed, state->processor);
  state->number_pieces(pieces);
  state->find_symbols(pieces);
  state->add_tags();
  state->add_words();
  return state;
}

Vocabulary Vocabulary::parse(std::string model, const VocabularyLayout& layout, const std::string& where) {
  const auto made = [&](std::string bytes, const std::string& of) {
    try {
      return make_state(std::move(bytes), layout);
    } catch (const Error& error) {
      throw UserError("{} is not a usable SentencePiece model: {}", of, error.what());
    }
  };
  const std::shared_ptr<State> state = made(std::move(model), where);
  if (state->is_marian()) state->target = made(layout.target_model, "that of targets beside " + where);
  return Vocabulary(state);
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
    if (!state_->is_piece(id) && id != kUnk) continue;
    if (is_tag(id) || (word != nullptr && word->special)) continue;
    if (word != nullptr || id >= first_extra) {
      append(state_->decode(pieces));
      pieces.clear();
      append(word != nullptr ? word->text : fmt::format("{}{}>", kExtraId, state_->pieces_end - 1 - id));
    } else if (listed.empty()) {
      const auto& processor = state_->processor;
      pieces.push_back(processor.IdToPiece(id == kUnk ? processor.unk_id() : id - state_->piece_offset()));
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

bool Vocabulary::is_madlad() const {
  return state_->is_madlad;
}

bool Vocabulary::is_bpe() const {
  return state_->is_bpe;
}

const std::string& Vocabulary::normalization() const {
  return state_->normalization;
}

bool Vocabulary::is_marian() const {
  return state_->is_marian();
}

Vocabulary Vocabulary::target() const {
  return state_->target ? Vocabulary(state_->target) : *this;
}

Vocabulary Vocabulary::written_in(std::string_view language) const {
  return language == state_->layout.source_language ? *this : target();
}

const std::vector<std::string>& Vocabulary::unusable_tags() const {
  return state_->unusable_tags;
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
  if (known.empty() && name.empty()) return 0;
  if (known.empty()) throw UserError("unknown language '{}': this vocabulary has no language tags", name);
  if (name.empty()) throw UserError("no language is named: this vocabulary knows {}", join(known, ", "));
  throw UserError("unknown language '{}': this vocabulary knows {}{}", name, join(known, ", "),
                  did_you_mean_language(name, known));
}

std::string_view Vocabulary::language_of_label(std::string_view label) const {
  return state_->languages.empty() && is_t5() ? std::string_view() : label;
}

int32_t Vocabulary::tag(std::string_view name) const {
  if (name.empty() && state_->languages.empty()) return kNoTag;
  return state_->tags[language(name)];
}

int32_t Vocabulary::tag(int32_t language) const {
  return state_->tags.at(language);
}

PairTags Vocabulary::pair_tags(std::string_view from, std::string_view to) const {
  if (is_marian()) return {.source = state_->marian_tag(*this, from, to)};
  if (!state_->target_tag_on_source()) return {.source = tag(from), .target = tag(to)};
  if (!from.empty()) static_cast<void>(tag(from));
  return {.before_source = state_->before_tag, .source = tag(to)};
}

int64_t Vocabulary::tags_and_end() const {
  return kTagAndEnd + (state_->before_tag == kNoTag ? 0 : 1);
}

bool Vocabulary::needs_source_language() const {
  return !state_->languages.empty() && !state_->target_tag_on_source();
}

bool Vocabulary::needs_target_language() const {
  return std::ranges::any_of(state_->tags, [](int32_t id) { return id != kNoTag; });
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

}  // namespace chorus::inline data
