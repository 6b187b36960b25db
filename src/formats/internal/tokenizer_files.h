// The files in which transformers keeps a tokenizer: NllbTokenizer's, M2M100Tokenizer's, which has a
// vocab.json, and T5Tokenizer's, whose pieces are in spiece.model; MarianTokenizer's: marian_tokenizer.h. They may come
// from anywhere.
//
//   sentencepiece.bpe.model     the pieces
//   vocab.json                  M2M100: {piece: id}
//   added_tokens.h says what else, and where tokens beyond the pieces are
//
// A language's token is its name ("eng_Latn"), in M2M100 "__en__"; the languages of M2M100 need not be
// listed. Any other token that was added is a word (AddedWord). T5 has no languages, and extra_ids in
// tokenizer_config.json.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "architecture/format.h"
#include "data/vocabulary.h"

namespace chorus::inline formats {

/// vocab.json as the list of pieces by id. UserError naming the file unless its ids are 0, 1, 2... without a
/// hole.
std::vector<std::string> read_pieces(const std::filesystem::path& path);
void write_pieces(const std::filesystem::path& path, const std::vector<std::string>& pieces);

/// The vocabulary of a folder that transformers' tokenizer wrote for a class with these ids, with each language's tag
/// and each added word where that tokenizer has it, but <mask> only where the embedding of so many rows has one.
/// UserError naming the file; also when no file names a language, and on what is not reproduced here.
Vocabulary read_tokenizer(const std::filesystem::path& folder, int64_t rows,
                          TokenIds ids = TokenIds::fairseq);

/// The files from which transformers' tokenizers give the same ids. `max_positions`: the longest input.
void write_tokenizer(const std::filesystem::path& folder, const Vocabulary& vocabulary,
                     int64_t max_positions);

}  // namespace chorus::inline formats
