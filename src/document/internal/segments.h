// Segments as the scanners of the formats make them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline document {

/// Bytes of a document.
struct ByteRange {
  size_t begin = 0, end = 0;
};

/// Whether a byte is of a word: an ASCII letter or digit, or of a character beyond ASCII.
inline bool is_inside_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c & 0x80) != 0;
}

/// An element inside a segment, or a point: what has no words of its own there, such as an image, or several that
/// touch.
struct InlineMark {
  ByteRange open, close;      // where its markup is written; of a point `close` is empty
  size_t begin = 0, end = 0;  // bytes of the segment's text that it is around; of a point both are its place
  size_t after = 0;           // in SegmentPlace::marks, the first behind those inside of it
  ByteRange label;            // of a link of Markdown by its text: as the link's definition names it
  bool space_before = false, space_after = false;  // of a point: what is beside it
  bool takes_space = false;                        // of a point: space between its neighbours is before it
  bool with_next = false;                          // of a point: it belongs to what it is before
  bool shows = false;                              // of a point: it is seen, so that space beside it matters

  [[nodiscard]] bool is_point() const { return close.begin == close.end; }
};

struct SegmentPlace {
  ByteRange bytes;           // of the document
  size_t lines = 1;          // of subtitles: which its translation gets, too
  ByteRange line_end;        // between the first two
  bool begins_line = false;  // of Markdown: text at its beginning could be taken for the mark of a block
  bool is_html = false;      // of Markdown: in a block of HTML, where a backslash is text
  bool is_added = false;     // of TMX: between `before` and `after` it goes to `bytes`, which are none
  std::string before, after;
  std::vector<InlineMark> marks;  // outer ones before those inside of them, else as they follow
};

/// Puts together what a scanner finds: text, space, elements and points, which follow each other without a gap, until
/// cut() makes a segment of what has come since the last, if a letter is in it. Markup at both ends that no words tell
/// from the rest stays outside of it, as does space.
class SegmentBuilder {
 public:
  static constexpr size_t kDeepest = 32;  // elements inside each other; others are points

  SegmentBuilder(std::vector<std::string>& texts, std::vector<SegmentPlace>& places)
      : texts_(texts), places_(places) {}

  /// Adds text: what the bytes say; white space at its ends is space.
  void text(ByteRange bytes, std::string_view text);
  void space(ByteRange bytes);
  /// Adds space that is to be there again (SegmentPlace::lines).
  void line_end(ByteRange bytes);
  void open(ByteRange bytes, std::string_view name);
  /// Closes the nearest open element of that name; without one, it is a point. `label`: InlineMark::label.
  void close(ByteRange bytes, std::string_view name, ByteRange label = {});
  void point(ByteRange bytes, bool shows);
  /// Text that begins at this byte, with or without markup, is at the beginning of a line (SegmentPlace::begins_line).
  void begin_line(size_t at) { line_begin_ = at; }
  /// Whether what comes is HTML in Markdown (SegmentPlace::is_html).
  void in_html(bool is_html) { in_html_ = is_html; }
  /// Returns the segment, valid until the next one; null: there is no text.
  SegmentPlace* cut();

 private:
  enum class Kind { text, space, line_end, open, close, point };
  struct Item {
    Kind kind = Kind::text;
    ByteRange bytes;
    std::string text;    // or the element's name
    size_t partner = 0;  // of an element's end, the other end
    ByteRange label = {};
    bool shows = false;
  };

  void add(Kind kind, ByteRange bytes, std::string_view text = {}, bool shows = false);
  bool make_segment();

  std::vector<std::string>& texts_;
  std::vector<SegmentPlace>& places_;
  std::vector<Item> items_;
  std::vector<size_t> open_;  // items
  size_t size_ = 0;           // of the text so far
  size_t line_begin_ = static_cast<size_t>(-1);
  bool in_html_ = false;
};

}  // namespace chorus::inline document
