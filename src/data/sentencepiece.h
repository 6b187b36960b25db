// SentencePiece models of others: the one way into the library, which trusts what is in them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace chorus::inline data {

/// Of a model file; that of a vocabulary of a million pieces has some 20 MB.
inline constexpr uint64_t kMaxSentencePieceBytes = uint64_t{128} << 20;

/// The bytes of a model file. UserError as read_file.
std::string read_sentencepiece(const std::filesystem::path& path);

/// A processor for a serialised model, every part of which has been checked before the library sees it.
/// UserError "WHERE is not a usable SentencePiece model: ...".
std::shared_ptr<const sentencepiece::SentencePieceProcessor> load_sentencepiece(std::string_view model,
                                                                                const std::string& where);

}  // namespace chorus::inline data
