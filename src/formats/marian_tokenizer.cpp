#include "formats/internal/marian_tokenizer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "data/config.h"
#include "data/sentencepiece.h"
#include "formats/folder_files.h"
#include "io/files.h"
#include "io/json.h"

#include "formats/internal/added_tokens.h"
#include "formats/internal/tokenizer_files.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;
namespace {

constexpr const char* kTwoVocabularies = "target_vocab.json";
constexpr int32_t kShift = 2;  // our ids less Marian's (ParameterSpec::row_shift)
constexpr std::array<const char*, 3> kNames = {"</s>", "<unk>", "<pad>"};

/// What the files say of a language. UserError where it is no name.
std::string language_in(const nlohmann::json& config, const char* key, const fs::path& folder) {
  const auto it = config.is_object() ? config.find(key) : config.end();
  if (it == config.end() || it->is_null()) return "";
  const std::optional<std::string> name = exactly<std::string>(*it);
  if (!name || !(name->empty() || is_language_name(*name))) {
    throw UserError("{}: {} is {}, no name for a language", (folder / kTokenizerConfig).string(), key,
                    in_quotes(it->dump()));
  }
  return *name;
}

/// Tokens besides the special ones and tags would cut the text before SentencePiece does.
void refuse_other_tokens(const fs::path& folder, const Vocabulary& vocabulary) {
  const int32_t rows = vocabulary.pieces_end();
  std::unordered_map<std::string, int32_t> ids;  // Marian's
  for (int32_t id = 0; id < rows; ++id) ids.emplace(vocabulary.name_of((id + kShift) % rows), id);
  const auto id_of = [&](const std::string& piece) {
    const auto found = ids.find(piece);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  };
  const TokenizerClass about = {.first = {kNames[0], kNames[1]}, .pieces_end = rows, .piece_id = id_of};
  for (const AddedToken& token : read_added_tokens(folder, about)) {
    const int32_t ours = (token.id + kShift) % rows;
    const bool known = token.id < rows && (ours == kPad || vocabulary.is_tag(ours));
    if (!known) {
      throw UserError(
          "{}: the added token {} with the id {} is none of MarianTokenizer's, and no other can be read",
          folder.string(), in_quotes(token.content), token.id);
    }
  }
}

}  // namespace

VocabularyLayout read_marian_layout(const fs::path& folder) {
  const fs::path path = folder / kPiecesFile;
  VocabularyLayout layout = {.pieces = read_pieces(path)};
  std::vector<std::string>& pieces = layout.pieces;
  if (pieces.size() <= kNames.size() || pieces[0] != kNames[0] || pieces[1] != kNames[1] ||
      pieces.back() != kNames[2])
    throw UserError("{}: this version reads vocabularies that begin with </s> <unk> and end with <pad>",
                    path.string());
  std::rotate(pieces.begin(), pieces.end() - kShift, pieces.end());
  layout.target_model = read_sentencepiece(folder / kTargetPiecesModel);
  if (layout.target_model.empty()) throw UserError("{} is empty", (folder / kTargetPiecesModel).string());
  return layout;
}

void write_marian_layout(const fs::path& folder, const VocabularyLayout& layout) {
  std::vector<std::string> pieces = layout.pieces;
  std::rotate(pieces.begin(), pieces.begin() + kShift, pieces.end());
  write_pieces(folder / kPiecesFile, pieces);
  write_file_atomically(folder / kTargetPiecesModel, layout.target_model);
}

Vocabulary read_marian_tokenizer(const fs::path& folder) {
  const nlohmann::json config =
      fs::exists(folder / kTokenizerConfig) ? read_json(folder / kTokenizerConfig) : nlohmann::json::object();
  const auto given = [&](const char* key) {
    return config.is_object() ? config.value(key, nlohmann::json()) : nlohmann::json();
  };
  if (given("separate_vocabs") == true || fs::exists(folder / kTwoVocabularies))
    throw UserError("{}: source and target have vocabularies of their own, which this version does not read",
                    folder.string());
  if (const nlohmann::json options = given("sp_model_kwargs"); !options.empty())
    throw UserError("{}: sp_model_kwargs is {}, which this version does not do",
                    (folder / kTokenizerConfig).string(), in_quotes(options.dump()));
  VocabularyLayout layout = read_marian_layout(folder);
  const fs::path source = folder / kSourcePiecesModel;
  const Vocabulary plain = Vocabulary::load(source, layout);
  refuse_other_tokens(folder, plain);
  layout.source_language = language_in(config, "source_lang", folder);
  // Of several targets it would be a name for them together.
  if (!plain.needs_target_language()) layout.target_language = language_in(config, "target_lang", folder);
  return Vocabulary::load(source, layout);
}

void write_marian_tokenizer(const fs::path& folder, const Vocabulary& vocabulary, int64_t max_positions) {
  const VocabularyLayout& layout = vocabulary.layout();
  nlohmann::json special = {{"eos_token", kNames[0]}, {"unk_token", kNames[1]}, {"pad_token", kNames[2]}};
  nlohmann::json config = {{"tokenizer_class", "MarianTokenizer"},
                           {"separate_vocabs", false},
                           {"clean_up_tokenization_spaces", false},
                           {"model_max_length", max_positions}};
  if (!layout.source_language.empty()) config["source_lang"] = layout.source_language;
  if (!layout.target_language.empty()) config["target_lang"] = layout.target_language;
  config.update(special);
  write_json(folder / kTokenizerConfig, config);
  write_json(folder / kSpecialTokens, special);
  write_file_atomically(folder / kSourcePiecesModel, vocabulary.sentencepiece());
  write_marian_layout(folder, layout);
}

}  // namespace chorus::inline formats
