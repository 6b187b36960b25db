#include "data/sentencepiece_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <exception>
#include <functional>
#include <new>
#include <string>

#include <sentencepiece_processor.h>

#include "base/error.h"
#include "data/sentencepiece.h"
#include "data/utf8.h"
#include "io/file_guard.h"
#include "io/json.h"

namespace chorus::inline data {
namespace {

constexpr size_t kMaxVocabulary = 1 << 21;
constexpr size_t kMaxPieceBytes = 4096;
// What stands for a character in normalised text; Unicode's longest has 33 bytes.
constexpr size_t kMaxReplacementBytes = 128;

// The protocol-buffer wire format: a message is a sequence of (field number, value).
struct Field {
  uint32_t number = 0, wire_type = 0;
  uint64_t value = 0;      // wire types 0, 1, 5
  std::string_view bytes;  // wire type 2
  std::string_view whole;  // the field as it lies in the message
};

uint64_t take_varint(std::string_view& in) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (in.empty()) break;
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  throw Error("it is truncated or damaged");
}

std::string_view take_bytes(std::string_view& in, uint64_t size) {
  if (size > in.size()) throw Error("it is truncated or damaged");
  const std::string_view result = in.substr(0, size);
  in.remove_prefix(size);
  return result;
}

void for_each_field(std::string_view message, const std::function<void(const Field&)>& handle) {
  while (!message.empty()) {
    Field field{.whole = message};
    const uint64_t key = take_varint(message);
    field.number = static_cast<uint32_t>(key >> 3);
    field.wire_type = key & 7;
    if (field.number == 0 || key >> 32 != 0) throw Error("it is damaged");
    if (field.wire_type == 0) {
      field.value = take_varint(message);
    } else if (field.wire_type == 2) {
      field.bytes = take_bytes(message, take_varint(message));
    } else if (field.wire_type == 1 || field.wire_type == 5) {
      const std::string_view raw = take_bytes(message, field.wire_type == 1 ? 8 : 4);
      std::memcpy(&field.value, raw.data(), raw.size());
    } else {
      throw Error("it is damaged");
    }
    field.whole.remove_suffix(message.size());
    handle(field);
  }
}

SentencePieceModel::Piece parse_piece(std::string_view message) {
  SentencePieceModel::Piece piece;
  for_each_field(message, [&](const Field& field) {
    if (field.number == 1 && field.wire_type == 2) {
      piece.text = field.bytes;
    } else if (field.number == 2 && field.wire_type == 5) {
      std::memcpy(&piece.score, &field.value, sizeof(float));
    } else if (field.number == 3 && field.wire_type == 0) {
      if (field.value < 1 || field.value > 6) throw Error("a piece has the unknown type {}", field.value);
      piece.type = static_cast<SentencePieceModel::Type>(field.value);
    }
  });
  if (piece.text.empty() || piece.text.size() > kMaxPieceBytes || !is_valid_utf8(piece.text)) {
    throw Error("a piece is empty, over-long or not UTF-8");
  }
  if (piece.text.find('\0') != std::string_view::npos)
    throw Error("the piece {} holds a NUL character", in_quotes(piece.text));
  if (!std::isfinite(piece.score)) throw Error("the score of piece {} is not finite", in_quotes(piece.text));
  return piece;
}

// A unit of the double-array trie (darts-clone), in which a node's children lie at (its base) xor (their
// label).
struct TrieUnit {
  uint32_t bits = 0;
  [[nodiscard]] uint32_t label() const { return bits & (1U << 31 | 0xFF); }
  [[nodiscard]] uint32_t offset() const { return (bits >> 10) << ((bits & (1U << 9)) >> 6); }
  [[nodiscard]] bool has_leaf() const { return (bits >> 8 & 1) != 0; }
  [[nodiscard]] uint32_t value() const { return bits & ~(1U << 31); }
};

// The normaliser's table: u32 bytes of the trie, the trie, the replacements, each ended by NUL. Follows every
// path of the trie and checks that no read leaves it, that its values lie within the replacements and those
// are short, and that no key has more than 32 prefixes, which is what the library has room for.
void check_charsmap(std::string_view blob) {
  constexpr uint8_t kMaxPrefixes = 32;
  if (blob.empty()) return;
  uint32_t trie_bytes = 0;
  if (blob.size() > sizeof trie_bytes) std::memcpy(&trie_bytes, blob.data(), sizeof trie_bytes);
  if (trie_bytes < sizeof(TrieUnit) || trie_bytes % sizeof(TrieUnit) != 0 ||
      trie_bytes >= blob.size() - sizeof trie_bytes) {
    throw Error("its normalisation table is damaged");
  }
  std::vector<TrieUnit> units(trie_bytes / sizeof(TrieUnit));
  std::memcpy(units.data(), blob.data() + sizeof trie_bytes, trie_bytes);
  const std::string_view replacements = blob.substr(sizeof trie_bytes + trie_bytes);
  const auto is_replacement = [replacements](size_t at) {
    return at < replacements.size() &&
           replacements.substr(at, kMaxReplacementBytes + 1).find('\0') != std::string_view::npos;
  };

  struct Node {
    uint32_t base;
    uint8_t prefixes;  // leaves on the way here
  };
  std::vector<uint8_t> most(units.size(), 0);  // 1 + the most prefixes with which a base was reached
  std::vector<Node> open{{units[0].offset(), 0}};
  while (!open.empty()) {
    const auto [base, prefixes] = open.back();
    open.pop_back();
    if ((base | 0xFF) >= units.size() || prefixes > kMaxPrefixes)
      throw Error("its normalisation table is damaged");
    if (most[base] > prefixes) continue;
    most[base] = prefixes + 1;
    for (uint32_t label = 0; label < 256; ++label) {
      const TrieUnit unit = units[base ^ label];
      if (unit.label() != label) continue;
      const uint32_t next = (base ^ label) ^ unit.offset();
      if (next >= units.size() || (unit.has_leaf() && !is_replacement(units[next].value()))) {
        throw Error("its normalisation table is damaged");
      }
      open.push_back({next, static_cast<uint8_t>(prefixes + (unit.has_leaf() ? 1 : 0))});
    }
  }
}

// One field of a message that holds others.
void append_message(std::string& out, uint32_t number, std::string_view message) {
  out += static_cast<char>(number << 3 | 2);
  size_t size = message.size();
  for (; size >= 0x80; size >>= 7) out += static_cast<char>(size | 0x80);
  out += static_cast<char>(size);
  out += message;
}

// The trainer's options that the library reads when it uses a model: all but its lists.
std::string checked_trainer_spec(std::string_view message) {
  constexpr uint32_t kModelType = 3, kUnknownSurface = 44;
  constexpr std::array<uint32_t, 4> kLists = {1, 5, 30, 31};  // inputs, languages, symbols
  constexpr size_t kMaxText = 256;
  std::string essence;
  for_each_field(message, [&](const Field& option) {
    if (option.number == kModelType && option.wire_type == 0 && option.value != 1 && option.value != 2)
      throw Error("it is neither a unigram nor a BPE model");
    if (std::ranges::find(kLists, option.number) != kLists.end()) return;
    if (option.number == kUnknownSurface && option.bytes.size() > kMaxText)
      throw Error("what it writes for an unknown piece has {} bytes", option.bytes.size());
    if (option.bytes.size() <= kMaxText) essence += option.whole;
  });
  return essence;
}

std::string checked_normalizer_spec(std::string_view message) {
  constexpr uint32_t kCharsmap = 2, kRules = 6;
  std::string essence;
  for_each_field(message, [&](const Field& option) {
    if (option.number == kCharsmap && option.wire_type == 2) check_charsmap(option.bytes);
    if (option.number < kRules) essence += option.whole;
  });
  return essence;
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes) {
  constexpr uint32_t kPiece = 1, kTrainer = 2, kNormalizer = 3, kDenormalizer = 5;
  SentencePieceModel model;
  model.essence.reserve(bytes.size());
  for_each_field(bytes, [&](const Field& field) {
    if (field.wire_type != 2) return;
    if (field.number == kPiece) {
      if (model.pieces.size() == kMaxVocabulary) throw Error("it has more than {} pieces", kMaxVocabulary);
      model.pieces.push_back(parse_piece(field.bytes));
      model.essence += field.whole;
    } else if (field.number == kTrainer) {
      append_message(model.essence, kTrainer, checked_trainer_spec(field.bytes));
    } else if (field.number == kNormalizer || field.number == kDenormalizer) {
      append_message(model.essence, field.number, checked_normalizer_spec(field.bytes));
    }
  });
  if (model.pieces.empty()) throw Error("it has no pieces");
  return model;
}

void load(const SentencePieceModel& model, sentencepiece::SentencePieceProcessor& processor) {
  std::string problem;
  try {
    problem = processor.LoadFromSerializedProto(model.essence).ToString();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {  // of the tries that it builds
    problem = error.what();
  }
  if (problem != "OK") throw Error("SentencePiece refuses it ({})", problem);
}

std::string read_sentencepiece(const std::filesystem::path& path) {
  return read_file(path, kMaxSentencePieceBytes);
}

std::shared_ptr<const sentencepiece::SentencePieceProcessor> load_sentencepiece(std::string_view model,
                                                                                const std::string& where) {
  auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
  try {
    load(parse_sentencepiece_model(model), *processor);
  } catch (const Error& error) {
    throw UserError("{} is not a usable SentencePiece model: {}", where, error.what());
  }
  return processor;
}

}  // namespace chorus::inline data
