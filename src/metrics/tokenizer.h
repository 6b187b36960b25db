// How BLEU cuts a line into tokens: the tokenisers of sacreBLEU 2, to the last character.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace chorus::inline metrics {

/// Cheap to copy; safe to use from several threads.
///
///   13a   as mteval-v13a does it for Western languages: ASCII punctuation stands alone, except . , - inside
///         numbers
///   intl  as mteval-v14: every Unicode punctuation mark and symbol stands alone, except punctuation inside
///         numbers
///   zh    every Chinese character stands alone, the rest as 13a
///   char  every character is a token
///   none  split at white space
///   spm   the pieces of a SentencePiece model
///
/// Character classes are those of ICU's Unicode version (15.0 on Debian 12), white space is Python's
/// (Unicode's and U+001C to U+001F).
class Tokenizer {
 public:
  /// UserError: an unknown name; "spm" without a model, a model without "spm", or a file that is no
  /// SentencePiece model.
  explicit Tokenizer(std::string_view name = "13a", const std::filesystem::path& spm_model = {});

  /// The tokens of one line, none of them empty. White space at the end of the line is ignored, bytes that
  /// are not UTF-8 are read as U+FFFD.
  std::vector<std::string> operator()(std::string_view line) const;

  /// What stands in a signature after `tok:`. For a SentencePiece model this is `spm-` and the hash of its
  /// file, since the figure means nothing without knowing which model it was.
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  enum class Kind { k13a, kIntl, kZh, kChar, kNone, kSpm };

  Kind kind_;
  std::string name_;
  std::shared_ptr<const sentencepiece::SentencePieceProcessor> spm_;
};

/// The tokeniser that a figure for translations into `language` means something with: zh where the language
/// is written in Chinese characters, char where it is in Japanese, Korean or another script that puts no
/// space between words (Thai, Lao, Khmer, Burmese, Tibetan, ...), else 13a. The script is that of the name
/// ("zho_Hant"), or the usual one of its language ("zh", "yue", "th_TH"). sacreBLEU's -l chooses likewise,
/// but for ja-mecab and ko-mecab, which need their dictionaries.
std::string tokenizer_for(std::string_view language);

}  // namespace chorus::inline metrics
