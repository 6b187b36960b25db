#include "document/internal/segments.h"

#include <algorithm>

#include <unicode/uchar.h>

#include "base/utf8.h"
#include "document/document.h"

namespace chorus::inline document {

namespace {

constexpr size_t kAlone = static_cast<size_t>(-1);  // SegmentBuilder::Item::partner

bool has_letter(std::string_view text) {
  for (size_t at = 0; at < text.size();)
    if (u_isalpha(static_cast<UChar32>(next_code_point(text, at)))) return true;
  return false;
}

}  // namespace

void SegmentBuilder::add(Kind kind, ByteRange bytes, std::string_view text, bool shows) {
  items_.push_back(
      {.kind = kind, .bytes = bytes, .text = std::string(text), .partner = kAlone, .shows = shows});
}

void SegmentBuilder::text(ByteRange bytes, std::string_view text) {
  const std::string_view trimmed = trim_space(text);
  if (trimmed.empty()) return space(bytes);  // as &nbsp; is
  if (trimmed.size() < text.size() && text.size() == bytes.end - bytes.begin) {
    const size_t before = trimmed.data() - text.data(), end = bytes.begin + before + trimmed.size();
    if (before > 0) space({bytes.begin, bytes.begin + before});
    this->text({bytes.begin + before, end}, trimmed);
    if (end < bytes.end) space({end, bytes.end});
    return;
  }
  if (size_ + text.size() > Document::kMostSegmentBytes) cut();
  size_ += text.size();
  add(Kind::text, bytes, text);
}

void SegmentBuilder::space(ByteRange bytes) {
  if (size_ > Document::kMostSegmentBytes / 2) cut();
  add(Kind::space, bytes);
}

void SegmentBuilder::line_end(ByteRange bytes) {
  add(Kind::line_end, bytes);
}

void SegmentBuilder::open(ByteRange bytes, std::string_view name) {
  if (open_.size() == kDeepest) return point(bytes, false);
  open_.push_back(items_.size());
  add(Kind::open, bytes, name);
}

void SegmentBuilder::close(ByteRange bytes, std::string_view name, ByteRange label) {
  const auto opened =
      std::find_if(open_.rbegin(), open_.rend(), [&](size_t item) { return items_[item].text == name; });
  if (opened == open_.rend()) return point(bytes, false);
  add(Kind::close, bytes);
  items_.back().partner = *opened;
  items_.back().label = label;
  items_[*opened].partner = items_.size() - 1;
  open_.erase(opened.base() - 1, open_.end());  // what was opened inside of it is never closed
}

void SegmentBuilder::point(ByteRange bytes, bool shows) {
  add(Kind::point, bytes, {}, shows);
}

SegmentPlace* SegmentBuilder::cut() {
  const bool made = make_segment();
  items_.clear();
  open_.clear();
  size_ = 0;
  return made ? &places_.back() : nullptr;
}

bool SegmentBuilder::make_segment() {
  const auto is_text = [](const Item& item) { return item.kind == Kind::text; };
  const auto is_space = [](const Item& item) {
    return item.kind == Kind::space || item.kind == Kind::line_end;
  };
  if (std::ranges::none_of(items_, [&](const Item& item) { return is_text(item) && has_letter(item.text); }))
    return false;
  const size_t first_text = std::ranges::find_if(items_, is_text) - items_.begin();
  const size_t last_text = std::find_if(items_.rbegin(), items_.rend(), is_text).base() - 1 - items_.begin();
  size_t first = first_text, last = last_text;
  for (size_t i = first_text; i-- > 0;)
    if (const size_t end = items_[i].partner; end != kAlone && end > first_text && end < last_text) first = i;
  for (size_t i = last_text + 1; i < items_.size(); ++i)
    if (const size_t begin = items_[i].partner; begin != kAlone && begin > first_text && begin < last_text)
      last = i;

  // A link by its text is left without its address where that becomes another.
  for (size_t i = last_text + 1; i < items_.size(); ++i) {
    if (items_[i].label.end == 0 || items_[i].partner > first) continue;
    first = items_[i].partner;
    last = i;
  }

  SegmentPlace place = {.bytes = {items_[first].bytes.begin, items_[last].bytes.end}};
  place.begins_line = place.bytes.begin == line_begin_;
  place.is_html = in_html_;
  std::string text;
  std::vector<size_t> inside;  // marks that have begun and not ended
  bool space = false;          // before what comes
  for (size_t i = first; i <= last; ++i) {
    const Item& item = items_[i];
    if (is_space(item)) {
      space = true;
      if (item.kind == Kind::line_end && place.lines++ == 1) place.line_end = item.bytes;
    } else if (item.kind == Kind::text) {
      if (space && !text.empty()) text += ' ';
      space = false;
      text += item.text;
    } else if (item.kind == Kind::close && !inside.empty() &&
               items_[item.partner].bytes.begin == place.marks[inside.back()].open.begin) {
      InlineMark& mark = place.marks[inside.back()];
      inside.pop_back();
      mark.close = item.bytes;
      mark.label = item.label;
      mark.end = text.size();
      mark.after = place.marks.size();
    } else {
      const bool element = item.kind == Kind::open && item.partner != kAlone && item.partner <= last;
      const auto end = items_.begin() + static_cast<std::ptrdiff_t>(element ? item.partner : i) + 1;
      const bool holds_text =
          element && std::any_of(items_.begin() + static_cast<std::ptrdiff_t>(i), end, is_text);
      const bool behind_point = !place.marks.empty() && place.marks.back().is_point() &&
                                (inside.empty() || inside.back() + 1 < place.marks.size()) &&
                                place.marks.back().open.end == item.bytes.begin;
      if (holds_text || !behind_point) {
        place.marks.push_back({.open = item.bytes,
                               .begin = text.size(),
                               .end = text.size(),
                               .after = place.marks.size() + 1,
                               .space_before = i > first && is_space(items_[i - 1])});
      }
      if (holds_text) {
        inside.push_back(place.marks.size() - 1);
        continue;
      }
      InlineMark& mark = place.marks.back();  // one of all points that touch: apart their order could be lost
      mark.open.end = std::prev(end)->bytes.end;
      mark.shows = mark.shows || element || item.shows;
      i = static_cast<size_t>(end - items_.begin()) - 1;
      mark.space_after = i < last && is_space(items_[i + 1]);
      const bool begins_element = !inside.empty() && place.marks[inside.back()].begin == mark.begin;
      const bool ends_element = i < last && items_[i + 1].kind == Kind::close;
      size_t behind = i + 1;
      while (behind < last && items_[behind].kind == Kind::close) ++behind;
      mark.takes_space = mark.space_before && (behind > last || !is_space(items_[behind]));
      mark.with_next = begins_element || (mark.space_before && !mark.space_after && !ends_element);
    }
  }
  texts_.push_back(std::move(text));
  places_.push_back(std::move(place));
  return true;
}

}  // namespace chorus::inline document
