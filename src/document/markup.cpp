#include "document/internal/markup.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <utility>

#include "base/text.h"
#include "base/utf8.h"

namespace chorus::inline document {

namespace {

constexpr std::string_view kSpaces = " \t\n\f\r";

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// HTML 4's names of characters (its section 24), which follow each other.
struct NamedRun {
  char32_t first;
  std::string_view names;
};
constexpr std::array<NamedRun, 25> kNames = {{
    {0xA0,
     "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 "
     "acute "
     "micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml "
     "Aring AElig "
     "Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml "
     "times Oslash "
     "Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave "
     "eacute ecirc "
     "euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute "
     "ucirc uuml "
     "yacute thorn yuml"},
    {0x391, "Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda Mu Nu Xi Omicron Pi Rho"},
    {0x3A3, "Sigma Tau Upsilon Phi Chi Psi Omega"},
    {0x3B1,
     "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigmaf sigma "
     "tau "
     "upsilon phi chi psi omega"},
    {0x22, "quot"},
    {0x26, "amp apos"},
    {0x3C, "lt"},
    {0x3E, "gt"},
    {0x152, "OElig oelig"},
    {0x160, "Scaron scaron"},
    {0x178, "Yuml"},
    {0x192, "fnof"},
    {0x2C6, "circ"},
    {0x2DC, "tilde"},
    {0x2002, "ensp emsp"},
    {0x2009, "thinsp"},
    {0x200C, "zwnj zwj lrm rlm"},
    {0x2013, "ndash mdash"},
    {0x2018, "lsquo rsquo sbquo"},
    {0x201C, "ldquo rdquo bdquo"},
    {0x2020, "dagger Dagger bull"},
    {0x2026, "hellip"},
    {0x2039, "lsaquo rsaquo"},
    {0x20AC, "euro"},
    {0x2122, "trade"},
}};

const std::map<std::string_view, char32_t>& named_characters() {
  static const std::map<std::string_view, char32_t> names = [] {
    std::map<std::string_view, char32_t> all = {{"permil", 0x2030}, {"minus", 0x2212}, {"rarr", 0x2192},
                                                {"larr", 0x2190},   {"le", 0x2264},    {"ge", 0x2265},
                                                {"ne", 0x2260},     {"infin", 0x221E}};
    for (const NamedRun& run : kNames) {
      char32_t next = run.first;
      for (const std::string_view name : split(run.names, ' ')) all[name] = next++;
    }
    return all;
  }();
  return names;
}

/// The values of "translate" and "class" decide.
bool keeps(std::string_view name, std::string_view value) {
  if (name == "translate") return lower_ascii(value) == "no";
  if (name != "class") return false;
  for (size_t at = 0; at < value.size();) {
    const size_t end = std::min(value.find_first_of(kSpaces, at), value.size());
    if (value.substr(at, end - at) == "notranslate") return true;
    at = end + 1;
  }
  return false;
}

}  // namespace

std::string lower_ascii(std::string_view text) {
  std::string small(text);
  for (char& c : small) c = lower(c);
  return small;
}

bool begins_markup(std::string_view after) {
  if (after.empty()) return false;
  return is_letter(after[0]) || after[0] == '!' || after[0] == '?' ||
         (after[0] == '/' && after.size() > 1 && is_letter(after[1]));
}

MarkupToken MarkupScanner::other(std::string_view end) {
  const size_t begin = at_, found = bytes_.find(end, at_ + 2);
  at_ = found == bytes_.npos ? bytes_.size() : found + end.size();
  return {.kind = MarkupToken::Kind::other, .bytes = {begin, at_}, .name = {}};
}

MarkupToken MarkupScanner::tag() {
  MarkupToken token = {.kind = MarkupToken::Kind::tag, .bytes = {at_, 0}, .name = {}};
  const auto ends = [&](size_t at) { return std::min(at, bytes_.size()); };
  token.closing = bytes_[++at_] == '/';
  if (token.closing) ++at_;
  const size_t name_end = ends(bytes_.find_first_of(" \t\n\f\r/>", at_));
  token.name = lower_ascii(bytes_.substr(at_, name_end - at_));
  at_ = name_end;
  while (at_ < bytes_.size() && bytes_[at_] != '>') {
    if (kSpaces.find(bytes_[at_]) != kSpaces.npos || bytes_[at_] == '/') {
      token.self_closing = bytes_[at_] == '/';
      ++at_;
      continue;
    }
    token.self_closing = false;
    const size_t name_at = at_;
    at_ = ends(bytes_.find_first_of(" \t\n\f\r/>=", at_ + 1));
    const std::string name = lower_ascii(bytes_.substr(name_at, at_ - name_at));
    const size_t equals = ends(bytes_.find_first_not_of(kSpaces, at_));
    if (equals == bytes_.size() || bytes_[equals] != '=') continue;
    at_ = ends(bytes_.find_first_not_of(kSpaces, equals + 1));
    if (at_ == bytes_.size()) break;
    const bool quoted = bytes_[at_] == '"' || bytes_[at_] == '\'';
    const size_t value = quoted ? at_ + 1 : at_;
    const size_t end =
        ends(quoted ? bytes_.find(bytes_[at_], value) : bytes_.find_first_of(" \t\n\f\r>", value));
    const std::string_view written = bytes_.substr(value, end - value);
    token.kept = token.kept || keeps(name, written);
    if (name == "xml:lang" || (name == "lang" && token.language.empty())) token.language = written;
    at_ = quoted ? ends(end + 1) : end;
  }
  if (at_ == bytes_.size())
    token.kind = MarkupToken::Kind::broken;
  else
    ++at_;
  token.bytes.end = at_;
  return token;
}

MarkupToken MarkupScanner::next() {
  const std::string_view rest = bytes_.substr(at_);
  if (rest[0] == '<' && begins_markup(rest.substr(1))) {
    if (rest.starts_with("<!--")) {
      if (rest.starts_with("<!-->")) return other(">");
      if (rest.starts_with("<!--->")) return other("->");
      return other("-->");
    }
    if (rest.starts_with("<![CDATA[")) return other("]]>");
    if (rest[1] == '!') return other(">");
    if (rest[1] != '?') return tag();
    // Instructions of XML and PHP may have a ">" inside; HTML ends others at the first.
    const bool program = rest.starts_with("<?php") || rest.starts_with("<?=") || rest.starts_with("<?xml");
    return other(program ? "?>" : ">");
  }
  const size_t begin = at_;
  do {
    at_ = std::min(bytes_.find('<', at_ + 1), bytes_.size());
  } while (at_ < bytes_.size() && !begins_markup(bytes_.substr(at_ + 1)));
  return {.kind = MarkupToken::Kind::text, .bytes = {begin, at_}, .name = {}};
}

void MarkupScanner::skip_to_closing(std::string_view name) {
  for (; at_ < bytes_.size(); ++at_) {
    at_ = std::min(bytes_.find("</", at_), bytes_.size());
    if (at_ == bytes_.size()) return;
    const std::string_view after = bytes_.substr(at_ + 2);
    if (lower_ascii(after.substr(0, name.size())) == name &&
        (after.size() == name.size() || kSpaces.find(after[name.size()]) != kSpaces.npos ||
         after[name.size()] == '/' || after[name.size()] == '>'))
      return;
  }
}

std::optional<CharacterReference> read_reference(std::string_view text) {
  constexpr size_t kLongest = 12;  // with & and ;
  const size_t end = text.substr(0, kLongest).find(';');
  if (end == text.npos || end < 2) return std::nullopt;
  const std::string_view name = text.substr(1, end - 1);
  CharacterReference reference = {.bytes = end + 1, .text = {}};
  if (name[0] != '#') {
    const auto named = named_characters().find(name);
    if (named == named_characters().end()) return std::nullopt;
    append_utf8(reference.text, named->second);
    return reference;
  }
  const bool hexadecimal = name.size() > 1 && lower(name[1]) == 'x';
  const std::string_view digits = name.substr(hexadecimal ? 2 : 1);
  uint32_t number = 0;
  const auto read =
      std::from_chars(digits.data(), digits.data() + digits.size(), number, hexadecimal ? 16 : 10);
  const bool is_text = (number >= ' ' && number < 0x7F) || (number >= 0xA0 && number < 0xD800) ||
                       (number > 0xDFFF && number <= 0x10FFFF);
  if (read.ec != std::errc() || read.ptr != digits.data() + digits.size() || !is_text) return std::nullopt;
  append_utf8(reference.text, number);
  return reference;
}

void build_text(std::string_view text, size_t begin, SegmentBuilder& builder, bool references) {
  constexpr size_t kPiece = 1 << 10;  // of what has no spaces
  for (size_t at = 0; at < text.size();) {
    const size_t from = at;
    if (references && text[at] == '&') {
      if (const std::optional<CharacterReference> reference = read_reference(text.substr(at))) {
        at += reference->bytes;
        if (reference->text == " ")
          builder.space({begin + from, begin + at});
        else
          builder.text({begin + from, begin + at}, reference->text);
        continue;
      }
      const size_t end =
          text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789#", at + 1);
      if (end != text.npos && end > at + 1 && text[end] == ';') {
        at = end + 1;
        builder.point({begin + from, begin + at}, true);
        continue;
      }
      ++at;
      builder.text({begin + from, begin + at}, "&");
      continue;
    }
    if (kSpaces.find(text[at]) != kSpaces.npos) {
      at = std::min(text.find_first_not_of(kSpaces, at), text.size());
      builder.space({begin + from, begin + at});
      continue;
    }
    const std::string_view piece = text.substr(at, kPiece);
    at += std::min(piece.find_first_of(references ? " \t\n\f\r&" : " \t\n\f\r"), piece.size());
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
    builder.text({begin + from, begin + at}, text.substr(from, at - from));
  }
}

}  // namespace chorus::inline document
