// The two levels of Markdown: blocks, and what is in them.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "document/internal/segments.h"

namespace chorus::inline document {

/// Behind the bracket that closes the one at `at`; npos where it is farther than 2 KiB, or not there.
size_t behind_bracket(std::string_view text, size_t at, char open, char close);

/// Labels of links that the document defines, as they are compared, and where each is defined.
using LinkLabels = std::map<std::string, ByteRange>;
/// Returns the label as labels are compared: without case, and with one space for any white space.
std::string plain_label(std::string_view label);

/// Text, emphasis, links, code, tags in the lines of a block, which are in order; none: nothing.
void scan_inline(std::string_view bytes, const std::vector<ByteRange>& lines, const LinkLabels& labels,
                 SegmentBuilder& builder);

/// Bytes of the text, with a backslash before what would be markup in it.
std::string escape_markdown(std::string_view text, ByteRange range);

}  // namespace chorus::inline document
