// The scanners of the formats.
#pragma once

#include <string>
#include <string_view>

#include "document/document.h"

#include "document/internal/segments.h"

namespace chorus::inline document {

/// These read a whole document, of any bytes that are UTF-8, in linear time.
void scan_text(std::string_view bytes, SegmentBuilder& builder);
void scan_html(std::string_view bytes, SegmentBuilder& builder);
void scan_markdown(std::string_view bytes, SegmentBuilder& builder);
/// `references`: "&amp;" is "&", as in WebVTT.
void scan_subtitles(std::string_view bytes, bool references, SegmentBuilder& builder);
/// UserError without languages.
void scan_tmx(std::string_view bytes, const DocumentLanguages& languages, SegmentBuilder& builder);

/// Returns a language as XML and HTML name it: "de", "pt-BR", "zh-Hant".
std::string xml_name(const std::string& language);
/// Returns where the tag <html> of a page says its language; empty: it does not.
ByteRange page_language(std::string_view bytes);

/// Whether a line of Markdown begins a block of HTML, which goes on to the next empty line or, if it is a comment or
/// the like, to the end of the line that this ends in.
bool begins_html_block(std::string_view line);
/// Reads such a block, and returns where it ends.
size_t scan_html_block(std::string_view bytes, size_t begin, SegmentBuilder& builder);

/// Puts a backslash into a line of Markdown that is written from byte `begin` on, where its text would begin a block.
void escape_line_begin(std::string& written, size_t begin);

/// Bytes of a text as the format writes them inside of a segment.
std::string escaped(DocumentFormat format, std::string_view text, ByteRange range);

}  // namespace chorus::inline document
