// The tokens that a folder's tokenizer has beyond the pieces of its SentencePiece model, with their ids.
//
// transformers has kept them in several places; each says ids, unless it only lists:
//
//   tokenizer_config.json     added_tokens_decoder {id: {content, special}}; since 4.34
//   tokenizer.json            added_tokens [{id, content, special}]; fast tokenizers
//   added_tokens.json         {content: id}; all of them since 4.34, before that what was added later
//   special_tokens_map.json   additional_special_tokens [token], mask_token ...; tokenizer_config.json too
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace chorus::inline formats {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;
};

/// What a tokenizer's class has by itself.
struct TokenizerClass {
  std::vector<std::string> first;                                      // the tokens before the pieces, by id
  int32_t pieces_end = 0;                                              // the first id beyond the pieces
  std::function<std::optional<int32_t>(const std::string&)> piece_id;  // of what is a piece
  std::vector<std::string> own;  // the tokens that it adds after the pieces, unless files say otherwise
  bool own_always = false;       // even where no file mentions tokens
};

/// Reads the added tokens, in the order of their ids; the first ones left out. Where no file gives one of `own` an id
/// they follow the pieces, as transformers before 4.34 has it, and a token that is only listed follows all others.
/// UserError naming the files: an id twice, a token with two ids, other tokens in the place of the first, and what is
/// not reproduced here.
std::vector<AddedToken> read_added_tokens(const std::filesystem::path& folder, const TokenizerClass& about);

}  // namespace chorus::inline formats
