// Documents whose form is kept: text goes out to be translated, and comes back to its place.
//
// A document is its bytes, and segments: stretches of them that hold text. Everything outside of segments comes out
// byte for byte. So formats are read by scanners of our own that know where each byte is: libraries that build a tree
// (libxml2, gumbo) mend what is broken and forget how it was written. Text that is not changed by its translation
// comes out byte for byte, too.
//
// Inside a segment there is markup that belongs to words: <b>, <a href>, an image. The translator sees plain text.
// Afterwards each element is put around the words that its own words have become, by links of words where there are
// any, else by proportion, always at ends of words: elements that were inside each other are so again, none is lost
// (but emphasis of Markdown that no word is left for), none crosses another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace chorus::inline document {

enum class DocumentFormat {
  text,  // each line is a segment; line ends and white space around it are kept
  // Segments lie between tags of blocks (p, div, li, td, br, ...). Nothing is translated in script, style, pre, code,
  // kbd, samp, var, textarea, svg, math, ..., and in elements with translate="no" or the class notranslate.
  html,
  // Paragraphs, headings, list items, cells of tables. Code, addresses and settings at the beginning stay.
  markdown,
  // SubRip and WebVTT: what is said at one time, in as many lines again (at most as many as it has places to cut);
  // lines that begin with a dash are segments.
  srt,
  vtt,
  // Translation memories: each unit that has the source language but not the target's gets it, behind the source;
  // nothing else changes. The script has to be the same, and the region where the target's code names one. Codes of
  // other programs (ph, bpt, ept, ...) move with their neighbours.
  tmx,
};

/// What a document is translated from and to, as models call languages. TMX needs them; a page of HTML that says it is
/// in the one then says that it is in the other.
struct DocumentLanguages {
  std::string from, to;
};

/// The formats, by name: "text", "html", "md", "srt", "vtt", "tmx".
std::span<const std::pair<std::string_view, DocumentFormat>> document_formats();

struct TranslatedSegment {
  std::string text;
  // Words of segment and translation, from 0, as white space cuts them (decode/alignment.h: WordLink). Empty: not
  // known.
  std::vector<std::pair<int64_t, int64_t>> links = {};
};

struct SegmentPlace;  // internal/segments.h

/// Threads may share one.
class Document {
 public:
  static constexpr size_t kMostBytes = size_t{64} << 20;
  // Longer text is cut, between words if it has spaces.
  static constexpr size_t kMostSegmentBytes = size_t{64} << 10;

  /// Reads a document, in linear time; any bytes that are UTF-8 are a document of any format. UserError on others, on
  /// more than kMostBytes, and on TMX without languages.
  Document(DocumentFormat format, std::string bytes, const DocumentLanguages& languages = {});
  Document(Document&&) noexcept;
  Document& operator=(Document&&) noexcept;
  ~Document();

  /// Returns what is to be translated, in order: lines of UTF-8 without markup or white space at either end, each
  /// with a letter.
  [[nodiscard]] std::span<const std::string> segments() const { return texts_; }
  /// Whether there is markup inside the segment, so that links are of use.
  [[nodiscard]] bool has_markup(size_t segment) const;
  /// Returns the document with translations[i] in the place of segments()[i]. Error where there are not as many.
  [[nodiscard]] std::string write(std::span<const TranslatedSegment> translations) const;

 private:
  void find_language(const DocumentLanguages& languages);

  std::string bytes_;
  DocumentFormat format_;
  std::vector<std::string> texts_;
  std::vector<SegmentPlace> places_;  // of each
  // Of a page: what it is to be in then, and the bytes that say so.
  std::string language_;
  size_t language_begin_ = 0, language_end_ = 0;
};

}  // namespace chorus::inline document
