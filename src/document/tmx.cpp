// Translation memories (TMX 1.4): units get the segment that they lack in the target language.
#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "data/languages.h"

#include "document/internal/formats.h"
#include "document/internal/markup.h"

namespace chorus::inline document {

namespace {

/// A <tuv> of a unit.
struct UnitVariant {
  ByteRange bytes, segment;  // from <tuv to </tuv>; inside of <seg>
  std::string language;
};

/// Whether a code of a language names a region: "pt-BR", "es_419". The "XX" of "en_XX" is none.
bool names_region(std::string_view code) {
  std::string name(code);
  std::ranges::replace(name, '_', '-');
  const std::vector<std::string_view> parts = split(name, '-');
  return std::any_of(parts.begin() + 1, parts.end(), [](std::string_view part) {
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    return (part.size() == 2 && part != "XX") || (part.size() == 3 && std::ranges::all_of(part, is_digit));
  });
}

/// How much a unit's language is one that is asked for: it is another, or its script is; it is; its region is, too.
enum class Likeness { none, language, region };

Likeness likeness(std::string_view name, const std::string& language) {
  if (name == language) return Likeness::region;
  const LanguageCode one = language_code(name), other = language_code(language);
  if (one.language.empty() || one.language != other.language || one.script != other.script)
    return Likeness::none;
  const bool named = names_region(name);
  const bool same = named == names_region(language) && (!named || one.region == other.region);
  return same ? Likeness::region : Likeness::language;
}

constexpr std::string_view kCdata = "<![CDATA[";

/// The content of <seg>: text, and elements of other programs' codes, whose content is no text (but that of <hi> is).
void scan_segment(std::string_view bytes, ByteRange range, SegmentBuilder& builder) {
  const std::string_view inside = bytes.substr(range.begin, range.end - range.begin);
  size_t depth = 0, outer = 0;  // of elements that are no text
  for (MarkupScanner scanner(inside); !scanner.at_end();) {
    const MarkupToken token = scanner.next();
    const ByteRange at = {range.begin + token.bytes.begin, range.begin + token.bytes.end};
    const bool is_tag = token.kind == MarkupToken::Kind::tag;
    if (is_tag && token.name != "hi" && !token.self_closing) {
      if (token.closing && depth > 0 && --depth == 0) builder.point({outer, at.end}, true);
      if (!token.closing && depth++ == 0) outer = at.begin;
    } else if (depth > 0) {
      continue;
    } else if (token.kind == MarkupToken::Kind::text) {
      build_text(bytes.substr(at.begin, at.end - at.begin), at.begin, builder);
    } else if (const std::string_view written = bytes.substr(at.begin, at.end - at.begin);
               written.starts_with(kCdata) && written.ends_with("]]>")) {  // text without references
      builder.text(at, written.substr(kCdata.size(), written.size() - kCdata.size() - 3));
    } else if (!is_tag || token.self_closing) {
      builder.point(at, true);
    } else if (token.closing) {
      builder.close(at, token.name);
    } else {
      builder.open(at, token.name);
    }
  }
}

/// The unit's segment, in the target language to be, behind the variant that is translated.
void add_variant(std::string_view bytes, const UnitVariant& source, const std::string& to,
                 SegmentBuilder& builder) {
  // Longer ones would be cut in two; nothing writes such.
  if (source.segment.end - source.segment.begin > Document::kMostSegmentBytes / 2) return;
  scan_segment(bytes, source.segment, builder);
  SegmentPlace* const place = builder.cut();
  if (place == nullptr) return;
  const auto written = [&](size_t begin, size_t end) {
    return std::string(bytes.substr(begin, end - begin));
  };
  size_t space = source.bytes.begin;  // before the variant
  while (space > 0 && std::string_view(" \t\r\n").find(bytes[space - 1]) != std::string_view::npos) --space;
  place->before = written(space, source.bytes.begin) + "<tuv xml:lang=\"" + xml_name(to) + "\"><seg>" +
                  written(source.segment.begin, place->bytes.begin);
  place->after = written(place->bytes.end, source.segment.end) + "</seg></tuv>";
  place->bytes = {source.bytes.end, source.bytes.end};
  place->is_added = true;
}

}  // namespace

std::string xml_name(const std::string& language) {
  const LanguageCode code = language_code(language);
  if (code.language.empty()) return language;
  const std::string region = names_region(language) ? "-" + code.region : "";
  const bool usual = language_code(code.language + region).script == code.script;
  return code.language + (usual ? "" : "-" + code.script) + region;
}

void scan_tmx(std::string_view bytes, const DocumentLanguages& languages, SegmentBuilder& builder) {
  if (languages.from.empty() || languages.to.empty()) throw UserError("a TMX document needs both languages");
  std::optional<UnitVariant> source;  // of the unit
  Likeness source_likeness = Likeness::none;
  bool has_target = false;
  UnitVariant variant;
  for (MarkupScanner scanner(bytes); !scanner.at_end();) {
    const MarkupToken token = scanner.next();
    if (token.kind != MarkupToken::Kind::tag) continue;
    if (token.name == "tu") {
      if (token.closing && source && !has_target) add_variant(bytes, *source, languages.to, builder);
      source.reset();
      source_likeness = Likeness::none;
      variant = {};
      has_target = false;
    } else if (token.name == "tuv" && !token.closing) {
      variant = {.bytes = token.bytes, .segment = {}, .language = std::string(token.language)};
    } else if (token.name == "seg" && !token.self_closing) {
      if (!token.closing)
        variant.segment = {token.bytes.end, 0};
      else if (variant.segment.begin > 0)  // has begun
        variant.segment.end = token.bytes.begin;
    } else if (token.name == "tuv") {
      variant.bytes.end = token.bytes.end;
      // "de-AT" is German to who asks for "de", but "pt" is not "pt-BR".
      const Likeness enough = names_region(languages.to) ? Likeness::region : Likeness::language;
      const Likeness from = likeness(variant.language, languages.from),
                     to = likeness(variant.language, languages.to);
      if (to >= enough && to >= from) {
        has_target = true;
      } else if (from > source_likeness && variant.segment.end > variant.segment.begin) {
        source = variant;
        source_likeness = from;
      }
      variant = {};  // each is of one unit: else ends without a beginning would give it to many
    }
  }
}

}  // namespace chorus::inline document
