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

/// Text as the format writes it inside of a segment.
std::string escaped(DocumentFormat format, std::string_view text);

}  // namespace chorus::inline document
