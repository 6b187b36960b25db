#include "data/sentencepiece_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>

#define PROTOZERO_USE_VIEW std::string_view
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>
#include <sentencepiece_processor.h>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "data/config.h"
#include "data/sentencepiece.h"
#include "io/file_guard.h"
#include "io/json.h"

namespace chorus::inline data {
namespace {

constexpr size_t kMaxVocabulary = 1 << 21;
constexpr size_t kMaxPieceBytes = 4096;
// What stands for a character in normalised text; Unicode's longest has 33 bytes.
constexpr size_t kMaxReplacementBytes = 128;

using protozero::pbf_wire_type;

// Of a key or a length protozero drops what is beyond 32 bits.
void check_narrow(std::string_view in) {
  const char* at = in.data();
  if (protozero::decode_varint(&at, in.data() + in.size()) >> 32 != 0)
    throw Error("it is truncated or damaged");
}

// Calls handle(field, whole) for each field of a message: a reader that is at its value, and the field as it
// lies in the message.
template <class Handle>
void for_each_field(std::string_view bytes, const Handle& handle) {
  protozero::pbf_reader message(bytes);
  while (message) {
    const std::string_view rest = message.data();
    check_narrow(rest);
    message.next();
    const protozero::pbf_reader field = message;
    if (field.wire_type() == pbf_wire_type::length_delimited) check_narrow(field.data());
    message.skip();
    handle(field, rest.substr(0, rest.size() - message.length()));
  }
}

SentencePieceModel::Piece parse_piece(std::string_view message) {
  SentencePieceModel::Piece piece;
  for_each_field(message, [&](protozero::pbf_reader field, std::string_view) {
    switch (field.tag_and_type()) {
      case tag_and_type(1, pbf_wire_type::length_delimited):
        piece.text = field.get_view();
        break;
      case tag_and_type(2, pbf_wire_type::fixed32):
        piece.score = field.get_float();
        break;
      case tag_and_type(3, pbf_wire_type::varint): {
        const uint64_t type = field.get_uint64();
        if (type < 1 || type > 6) throw Error("a piece has the unknown type {}", type);
        piece.type = static_cast<SentencePieceModel::Type>(type);
        break;
      }
      default:
        break;
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

// The trainer's options that the library reads when it uses a model: all but its lists.
std::string checked_trainer_spec(std::string_view message, SentencePieceModel& model) {
  constexpr uint32_t kModelType = 3, kUnknownSurface = 44;
  constexpr std::array<uint32_t, 4> kLists = {1, 5, 30, 31};  // inputs, languages, symbols
  constexpr size_t kMaxText = 256;
  std::string essence;
  for_each_field(message, [&](protozero::pbf_reader option, std::string_view whole) {
    if (option.tag_and_type() == tag_and_type(kModelType, pbf_wire_type::varint)) {
      const uint64_t type = protozero::pbf_reader(option).get_uint64();
      if (type != 1 && type != 2) throw Error("it is neither a unigram nor a BPE model");
      model.is_bpe = type == 2;
    }
    if (std::ranges::find(kLists, option.tag()) != kLists.end()) return;
    const bool text = option.wire_type() == pbf_wire_type::length_delimited;
    const size_t size = text ? protozero::pbf_reader(option).get_view().size() : 0;
    if (option.tag() == kUnknownSurface && size > kMaxText)
      throw Error("what it writes for an unknown piece has {} bytes", size);
    if (size <= kMaxText) essence += whole;
  });
  return essence;
}

std::string checked_normalizer_spec(std::string_view message, std::string& name) {
  constexpr uint32_t kName = 1, kCharsmap = 2, kRules = 6;
  std::string essence;
  for_each_field(message, [&](protozero::pbf_reader option, std::string_view whole) {
    if (option.tag() < kRules) essence += whole;
    if (option.tag_and_type() == tag_and_type(kName, pbf_wire_type::length_delimited)) {
      const std::string_view given = protozero::pbf_reader(option).get_view();
      if (is_language_name(given)) name = given;
    }
    if (option.tag_and_type() == tag_and_type(kCharsmap, pbf_wire_type::length_delimited))
      check_charsmap(option.get_view());
  });
  return essence;
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes) {
  constexpr uint32_t kPiece = 1, kTrainer = 2, kNormalizer = 3, kDenormalizer = 5;
  SentencePieceModel model;
  model.essence.reserve(bytes.size());
  protozero::pbf_writer essence(model.essence);
  try {
    for_each_field(bytes, [&](protozero::pbf_reader field, std::string_view) {
      if (field.wire_type() != pbf_wire_type::length_delimited) return;
      const uint32_t number = field.tag();
      const std::string_view message = field.get_view();
      if (number == kPiece) {
        if (model.pieces.size() == kMaxVocabulary) throw Error("it has more than {} pieces", kMaxVocabulary);
        model.pieces.push_back(parse_piece(message));
        essence.add_message(kPiece, message);
      } else if (number == kTrainer) {
        essence.add_message(kTrainer, checked_trainer_spec(message, model));
      } else if (number == kNormalizer || number == kDenormalizer) {
        std::string name;
        essence.add_message(number, checked_normalizer_spec(message, name));
        if (number == kNormalizer) model.normalization = name;
      }
    });
  } catch (const protozero::exception&) {
    throw Error("it is truncated or damaged");
  }
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
  if (problem != "OK") throw Error("SentencePiece refuses it ({})", one_line(problem));
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
