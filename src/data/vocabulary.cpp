#include "chorus/data/vocabulary.h"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>

#include <fmt/ranges.h>
#include <sentencepiece_processor.h>

#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/base/text.h"
#include "chorus/data/batch.h"

#include "sentencepiece_model.h"

namespace chorus {
namespace {

constexpr int32_t kPieceOffset = 1;  // from SentencePiece's ids to ours, beyond the special ones
constexpr size_t kMaxModelBytes = size_t{1} << 30;

// "de" of "__de__", the tags of vocabularies that chorus trains.
std::optional<std::string> language_of_symbol(std::string_view symbol) {
  if (symbol.size() < 5 || !symbol.starts_with("__") || !symbol.ends_with("__")) return std::nullopt;
  return std::string(symbol.substr(2, symbol.size() - 4));
}

}  // namespace

struct Vocabulary::State {
  sentencepiece::SentencePieceProcessor processor;
  int32_t pieces_end = 0;  // ids below it are special tokens and pieces, from it on added tags
  std::vector<std::string> languages;
  std::vector<int32_t> tags;            // of each language
  std::vector<bool> is_symbol;          // of each piece's id: user-defined, so found in text as it stands
  std::array<int32_t, 256> byte_ids{};  // kUnk in a model without byte pieces
  std::unordered_map<std::string, int32_t> language_index;
  uint64_t hash = 0;

  void add_language(const std::string& name, int32_t id, const std::filesystem::path& path) {
    if (!language_index.emplace(name, static_cast<int32_t>(languages.size())).second) {
      throw UserError("{}: language '{}' has two tags", path.string(), name);
    }
    languages.push_back(name);
    tags.push_back(id);
  }
};

Vocabulary Vocabulary::load(const std::filesystem::path& path, const std::vector<std::string>& added) {
  const std::string bytes = read_file(path);
  const auto refuse = [&](const std::string& why) {
    return UserError("{} is not a usable SentencePiece model: {}", path.string(), why);
  };
  if (bytes.size() > kMaxModelBytes) throw refuse("it is larger than 1 GiB");
  SentencePieceModel model;
  try {
    model = parse_sentencepiece_model(bytes);
  } catch (const Error& error) {
    throw refuse(error.what());
  }
  using Type = SentencePieceModel::Type;
  const auto& pieces = model.pieces;
  if (pieces.size() < 3 || pieces[0].type != Type::unknown || pieces[1].text != "<s>" ||
      pieces[2].text != "</s>") {
    throw refuse("its first pieces are not <unk>, <s> and </s>");
  }

  auto state = std::make_shared<State>();
  if (const auto status = state->processor.LoadFromSerializedProto(bytes); !status.ok()) {
    throw refuse(status.ToString());
  }
  state->pieces_end = static_cast<int32_t>(pieces.size()) + kPieceOffset;
  state->is_symbol.resize(state->pieces_end);
  state->byte_ids.fill(kUnk);
  for (size_t i = 3; i < pieces.size(); ++i) {
    const auto id = static_cast<int32_t>(i) + kPieceOffset;
    if (pieces[i].type == Type::byte) {  // "<0x0A>": the library has checked it
      state->byte_ids[std::stoul(std::string(pieces[i].text.substr(3, 2)), nullptr, 16)] = id;
    } else if (pieces[i].type == Type::user_defined) {
      if (const auto language = language_of_symbol(pieces[i].text)) {
        state->is_symbol[id] = true;
        state->add_language(*language, id, path);
      }
    }
  }
  state->hash = hash_bytes(std::string_view(bytes));
  for (const auto& language : added) {
    state->add_language(language, state->pieces_end + static_cast<int32_t>(&language - added.data()), path);
    state->hash = hash_bytes(hash_text(state->hash) + language);
  }
  Vocabulary vocabulary;
  vocabulary.state_ = std::move(state);
  return vocabulary;
}

int64_t Vocabulary::size() const {
  const int32_t last_tag = state_->tags.empty() ? 0 : state_->tags.back();
  return std::max<int64_t>(state_->pieces_end, last_tag + 1);
}

std::vector<int32_t> Vocabulary::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  encode(text, ids);
  return ids;
}

void Vocabulary::encode(std::string_view text, std::vector<int32_t>& ids) const {
  const auto status = state_->processor.Encode(text, &ids);
  if (!status.ok()) throw Error("SentencePiece could not encode a sentence: {}", status.ToString());
  bool has_symbol = false;
  for (int32_t& id : ids) {
    id = id < 3 ? kUnk : id + kPieceOffset;
    has_symbol = has_symbol || state_->is_symbol[id];
  }
  if (!has_symbol) return;
  std::vector<int32_t> spelt;
  for (const int32_t id : ids) {
    if (!state_->is_symbol[id]) {
      spelt.push_back(id);
      continue;
    }
    for (const char ch : state_->processor.IdToPiece(id - kPieceOffset)) {
      spelt.push_back(state_->byte_ids[static_cast<unsigned char>(ch)]);
    }
  }
  ids = std::move(spelt);
}

std::string Vocabulary::decode(std::span<const int32_t> ids) const {
  std::vector<int> pieces;
  pieces.reserve(ids.size());
  for (const int32_t id : ids) {
    if (id < 0 || id >= size()) throw UserError("token id {} is outside the vocabulary of {}", id, size());
    if (id == kBos || id == kPad || id == kEos || is_tag(id)) continue;
    pieces.push_back(id == kUnk ? 0 : id - kPieceOffset);
  }
  std::string text;
  const auto status = state_->processor.Decode(pieces, &text);
  if (!status.ok()) throw Error("SentencePiece could not decode: {}", status.ToString());
  return text;
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
                  did_you_mean(name, known));
}

int32_t Vocabulary::tag(std::string_view name) const {
  return state_->tags[language(name)];
}

int32_t Vocabulary::tag(int32_t language) const {
  return state_->tags.at(language);
}

bool Vocabulary::is_tag(int32_t id) const {
  return id >= state_->pieces_end || (id >= 0 && state_->is_symbol[id]);
}

uint64_t Vocabulary::hash() const {
  return state_->hash;
}

}  // namespace chorus
