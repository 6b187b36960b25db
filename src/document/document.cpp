#include "document/document.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>
#include <unicode/uchar.h>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "data/languages.h"
#include "data/line_reader.h"

#include "document/internal/formats.h"
#include "document/internal/markup.h"
#include "document/internal/placement.h"
#include "document/internal/segments.h"

namespace chorus::inline document {

namespace {

constexpr std::array<std::pair<std::string_view, DocumentFormat>, 6> kFormats = {
    {{"text", DocumentFormat::text},
     {"html", DocumentFormat::html},
     {"md", DocumentFormat::markdown},
     {"srt", DocumentFormat::srt},
     {"vtt", DocumentFormat::vtt},
     {"tmx", DocumentFormat::tmx}}};

/// Whether a line may begin with the atom: behind a space, or in a script that is written without.
bool may_begin_line(std::string_view text, const TextAtom& before, const TextAtom& atom) {
  if (atom.word != before.word) return true;
  const auto class_at = [&](size_t at) {
    return u_getIntPropertyValue(static_cast<UChar32>(next_code_point(text, at)), UCHAR_LINE_BREAK);
  };
  const int32_t own = class_at(atom.begin), last = class_at(before.begin);
  return (own == U_LB_IDEOGRAPHIC || own == U_LB_COMPLEX_CONTEXT) && last != U_LB_OPEN_PUNCTUATION &&
         last != U_LB_QUOTATION;
}

/// Writes a translation with the markup of its segment.
class SegmentWriter {
 public:
  SegmentWriter(const std::string& bytes, const SegmentPlace& place, const Placement& placement,
                std::string_view translation, DocumentFormat format, std::string& out)
      : bytes_(bytes),
        place_(place),
        placement_(placement),
        translation_(translation),
        format_(format),
        out_(out) {}

  void write() {
    choose_line_ends();
    write_marks(0, place_.marks.size());
    write_atoms(placement_.atoms.size());
  }

 private:
  [[nodiscard]] std::string_view written(ByteRange range) const {
    return std::string_view(bytes_).substr(range.begin, range.end - range.begin);
  }

  /// Chooses where lines end: as many lines as the segment has, or as can begin, of like length.
  void choose_line_ends() {
    const std::vector<TextAtom>& atoms = placement_.atoms;
    std::vector<size_t> begins;
    for (size_t atom = 1; place_.lines > 1 && atom < atoms.size(); ++atom)
      if (may_begin_line(translation_, atoms[atom - 1], atoms[atom])) begins.push_back(atom);
    for (size_t line = 1, next = 0; line < place_.lines && next < begins.size(); ++line) {
      const size_t wanted = line * translation_.size() / place_.lines;
      const size_t later = std::min(place_.lines - line, begins.size());  // so many begin from here on
      while (next + later < begins.size() && atoms[begins[next]].begin < wanted) ++next;
      line_ends_.insert(begins[next++]);
    }
  }

  /// Returns the space before the next atom, which nothing but points comes before.
  std::string_view gap() const {
    const std::vector<TextAtom>& atoms = placement_.atoms;
    if (gap_done_ || next_ == 0 || next_ == atoms.size()) return {};
    if (line_ends_.contains(next_)) return written(place_.line_end);
    return translation_.substr(atoms[next_ - 1].end, atoms[next_].begin - atoms[next_ - 1].end);
  }
  void write_gap() {
    out_ += gap();
    gap_done_ = true;
  }

  void write_atoms(size_t end) {
    for (; next_ < end; ++next_) {
      write_gap();
      const TextAtom& atom = placement_.atoms[next_];
      out_ += escaped(format_, translation_, {atom.begin, atom.end});
      gap_done_ = false;
    }
  }

  void write_point(const InlineMark& mark) {
    // A word that touched it still does; another one does not.
    const bool touched = mark.open.end < bytes_.size() && is_inside_word(bytes_[mark.open.end]);
    const bool moved = mark.takes_space && !gap().empty() && !touched;
    if (mark.takes_space) write_gap();
    if (mark.shows && mark.space_before && next_ > 0 && !out_.ends_with(' ')) out_ += ' ';
    out_ += written(mark.open);
    const std::vector<TextAtom>& atoms = placement_.atoms;
    if (mark.shows && (mark.space_after || moved) && gap().empty() && next_ < atoms.size() &&
        atoms[next_].is_word)
      out_ += ' ';
  }

  /// The marks from `first` to before `last`, which are inside of one, and the text before and between them.
  void write_marks(size_t first, size_t last) {
    std::vector<size_t> marks;
    for (size_t mark = first; mark < last; mark = place_.marks[mark].after) marks.push_back(mark);
    std::ranges::stable_sort(marks, {}, [&](size_t mark) {
      return std::pair(placement_.marks[mark].begin, placement_.marks[mark].end);
    });
    for (const size_t i : marks) {
      const InlineMark& mark = place_.marks[i];
      const PlacedMark& placed = placement_.marks[i];
      write_atoms(placed.begin);
      if (mark.is_point()) {
        write_point(mark);
        continue;
      }
      const bool empty = placed.begin == placed.end;
      if (!empty) write_gap();
      const bool left_out = empty && is_emphasis(mark);  // "****" is text
      if (!left_out) out_ += written(mark.open);
      const size_t inside = out_.size();
      write_marks(i + 1, mark.after);
      write_atoms(placed.end);
      if (!left_out) write_close(mark, inside);
    }
  }

  [[nodiscard]] bool is_emphasis(const InlineMark& mark) const {
    return format_ == DocumentFormat::markdown &&
           std::string_view("*_~").find(bytes_[mark.open.begin]) != std::string_view::npos;
  }

  /// The end of an element whose content begins at byte `inside`: of a link by its text with the label that this was.
  void write_close(const InlineMark& mark, size_t inside) {
    const std::string_view label = written(mark.label);
    if (label.empty() || std::string_view(out_).substr(inside) == label) {
      out_ += written(mark.close);
      return;
    }
    out_ += "][";
    out_ += label;
    out_ += "]";
  }

  const std::string& bytes_;
  const SegmentPlace& place_;
  const Placement& placement_;
  std::string_view translation_;
  DocumentFormat format_;
  std::string& out_;
  size_t next_ = 0;             // atom
  bool gap_done_ = false;       // before it
  std::set<size_t> line_ends_;  // atoms that begin a line
};

/// Whether XML says in its first line, or HTML in its first bytes, that it is in another encoding than UTF-8.
bool names_other_encoding(std::string_view bytes, DocumentFormat format) {
  constexpr size_t kBeginning = 1024;  // in which HTML looks for it
  std::string begin = lower_ascii(bytes.substr(0, kBeginning));
  const bool has_declaration = begin.starts_with("<?xml");
  if (has_declaration) begin.resize(std::min(begin.find("?>"), begin.size()));
  if (!has_declaration && format != DocumentFormat::html) return false;
  const std::string_view key = has_declaration ? "encoding=" : "charset=";
  size_t at = begin.find(key);
  while (at != std::string::npos && (at == 0 || begin[at - 1] == '-')) at = begin.find(key, at + 1);
  if (at == std::string::npos) return false;
  const size_t value = std::min(begin.find_first_not_of("\"' ", at + key.size()), begin.size());
  const std::string encoding = begin.substr(value, begin.find_first_of("\"' ;/>?", value) - value);
  return !encoding.empty() && encoding != "utf-8" && encoding != "utf8";
}

/// The text with references ("&#246;") for all that is not ASCII.
std::string with_references(std::string_view text) {
  std::string ascii;
  ascii.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c < 0x80)
      ascii += static_cast<char>(c);
    else
      ascii += fmt::format("&#{};", static_cast<uint32_t>(c));
  }
  return ascii;
}

}  // namespace

std::span<const std::pair<std::string_view, DocumentFormat>> document_formats() {
  return kFormats;
}

Document::Document(DocumentFormat format, std::string bytes, const DocumentLanguages& languages)
    : bytes_(std::move(bytes)), format_(format) {
  if (bytes_.size() > kMostBytes)
    throw UserError("a document of {}: more than {} are not taken at once", human_bytes(bytes_.size()),
                    human_bytes(kMostBytes));
  if (bytes_.starts_with(kGzipMagic) || bytes_.starts_with(kZstdMagic))
    throw UserError("the document is compressed: decompress it first (gzip -dc, zstd -dc)");
  if (const size_t valid = valid_utf8_prefix(bytes_); valid < bytes_.size()) {
    const std::string_view before(bytes_.data(), valid);
    throw UserError("the document is not UTF-8: byte {} of line {}", valid - (before.rfind('\n') + 1) + 1,
                    1 + std::ranges::count(before, '\n'));
  }
  SegmentBuilder builder(texts_, places_);
  switch (format) {
    case DocumentFormat::text:
      scan_text(bytes_, builder);
      break;
    case DocumentFormat::html:
      find_language(languages);
      scan_html(bytes_, builder);
      break;
    case DocumentFormat::markdown:
      scan_markdown(bytes_, builder);
      break;
    case DocumentFormat::srt:
      scan_subtitles(bytes_, false, builder);
      break;
    case DocumentFormat::vtt:
      scan_subtitles(bytes_, true, builder);
      break;
    case DocumentFormat::tmx:
      scan_tmx(bytes_, languages, builder);
      break;
  }
  builder.cut();
}

void Document::find_language(const DocumentLanguages& languages) {
  const auto [begin, end] = page_language(bytes_);
  const std::string from = language_code(languages.from).language;
  if (from.empty() || languages.to.empty() ||
      language_code(std::string_view(bytes_).substr(begin, end - begin)).language != from)
    return;
  language_ = xml_name(languages.to);
  language_begin_ = begin;
  language_end_ = end;
}

Document::Document(Document&&) noexcept = default;
Document& Document::operator=(Document&&) noexcept = default;
Document::~Document() = default;

bool Document::has_markup(size_t segment) const {
  return !places_[segment].marks.empty();
}

std::string Document::write(std::span<const TranslatedSegment> translations) const {
  if (translations.size() != texts_.size())
    throw Error("a document of {} with {}", counted(std::ssize(texts_), "segment"),
                counted(std::ssize(translations), "translation"));
  const AtomSplitter splitter;
  std::string out;
  size_t done = 0;  // bytes
  bool is_other = false;
  for (size_t i = 0; i < texts_.size(); ++i) is_other = is_other || translations[i].text != texts_[i];
  if (is_other && !language_.empty()) {  // which its first tag says
    out = bytes_.substr(0, language_begin_) + language_;
    done = language_end_;
  }
  for (size_t i = 0; i < texts_.size(); ++i) {
    const SegmentPlace& place = places_[i];
    const TranslatedSegment& translation = translations[i];
    out.append(bytes_, done, place.bytes.begin - done);
    done = place.bytes.end;
    out += place.before;
    const size_t begin = out.size();
    if (translation.text == texts_[i] && !place.is_added) {
      out.append(bytes_, place.bytes.begin, place.bytes.end - place.bytes.begin);
    } else {
      const DocumentFormat format = place.is_html ? DocumentFormat::html : format_;
      if (place.marks.empty() && place.lines == 1) {
        out += escaped(format, translation.text, {0, translation.text.size()});
      } else {
        const Placement placement =
            place_marks(texts_[i], place.marks, translation.text, translation.links, splitter);
        SegmentWriter(bytes_, place, placement, translation.text, format, out).write();
      }
      if (place.begins_line) escape_line_begin(out, begin);
    }
    out += place.after;
  }
  out.append(bytes_, done);
  const auto is_ascii = [](char c) { return (c & 0x80) == 0; };
  const bool has_references = format_ == DocumentFormat::html || format_ == DocumentFormat::tmx;
  return has_references && names_other_encoding(bytes_, format_) && std::ranges::all_of(bytes_, is_ascii)
             ? with_references(out)
             : out;
}

}  // namespace chorus::inline document
