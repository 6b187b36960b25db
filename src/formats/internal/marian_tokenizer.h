// MarianTokenizer's files, of OPUS-MT:
//
//   source.spm, target.spm      the SentencePiece models of the two sides
//   vocab.json                  {piece: id}, of both: 0 </s>, 1 <unk>, <pad> last; ">>xxx<<" are targets' tags
//   tokenizer_config.json       source_lang and target_lang
#pragma once

#include <filesystem>

#include "data/vocabulary.h"

namespace chorus::inline formats {

/// Reads vocab.json and target.spm, without languages. UserError naming the file.
VocabularyLayout read_marian_layout(const std::filesystem::path& folder);
void write_marian_layout(const std::filesystem::path& folder, const VocabularyLayout& layout);

/// Reads the tokenizer of a folder that transformers wrote. UserError naming the file; also on what is not reproduced
/// here.
Vocabulary read_marian_tokenizer(const std::filesystem::path& folder);
/// Writes the files from which transformers gives the same ids. `max_positions`: the longest input.
void write_marian_tokenizer(const std::filesystem::path& folder, const Vocabulary& vocabulary,
                            int64_t max_positions);

}  // namespace chorus::inline formats
