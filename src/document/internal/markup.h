// Tags, comments and references to characters, as HTML and XML have them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "document/internal/segments.h"

namespace chorus::inline document {

struct MarkupToken {
  enum class Kind {
    text,    // up to the next markup or the end; a "<" that begins none is text
    tag,     // <name ...>, </name>
    other,   // a comment, <!DOCTYPE ...>, <?...?>, <![CDATA[...]]>
    broken,  // a tag that the document ends in
  };
  Kind kind = Kind::text;
  ByteRange bytes;
  // Of a tag.
  std::string name;                // in lower case
  bool closing = false;            // </name>
  bool self_closing = false;       // <name/>
  bool kept = false;               // with translate="no" or the class notranslate
  std::string_view language = {};  // the value of xml:lang, or else of lang, as it is written
};

/// Returns the text with its ASCII letters in lower case.
std::string lower_ascii(std::string_view text);

/// Whether a "<" begins markup with what follows it.
bool begins_markup(std::string_view after);

/// Cuts bytes into tokens, without a gap, in linear time.
class MarkupScanner {
 public:
  explicit MarkupScanner(std::string_view bytes, size_t at = 0) : bytes_(bytes), at_(at) {}
  [[nodiscard]] std::string_view bytes() const { return bytes_; }
  [[nodiscard]] bool at_end() const { return at_ == bytes_.size(); }
  [[nodiscard]] size_t at() const { return at_; }
  /// Returns the next token. Not to be called at the end.
  MarkupToken next();
  /// Goes to the tag that ends an element whose content is no markup (script), or to the end.
  void skip_to_closing(std::string_view name);

 private:
  MarkupToken other(std::string_view end);
  MarkupToken tag();

  std::string_view bytes_;
  size_t at_;
};

/// A reference to a character ("&eacute;", "&#233;", "&#xE9;") at the beginning of `text`.
struct CharacterReference {
  size_t bytes = 0;
  std::string text;
};
/// Reads a reference; none where there is none, or one of a name that is not in HTML 4.
std::optional<CharacterReference> read_reference(std::string_view text);

/// Gives the builder text with references to characters and white space (HTML's: space, tab, line ends), which begins
/// at byte `begin`. References to what is not known are points; where there are no `references`, "&" is text.
void build_text(std::string_view text, size_t begin, SegmentBuilder& builder, bool references = true);

/// Gives the builder a tag or other markup of HTML that the scanner has just read, with all that is in it where that is
/// not translated.
void build_markup(const MarkupToken& token, MarkupScanner& scanner, SegmentBuilder& builder);

}  // namespace chorus::inline document
