// chorus translate --format: a document whose form is kept.
#pragma once

#include <functional>
#include <string>

#include "decode/translator.h"
#include "document/document.h"

namespace chorus::inline app {

/// Standard input, whole. UserError where it is longer than a document may be, or is none of this format.
Document read_document(const std::string& format, const DocumentLanguages& languages);

/// The document with each segment translated; segments that cannot be are left as they are and counted, or with
/// OnError::stop end it by UserError. `progress` is told how many segments are done.
std::string translate_document(const Document& document, const LineTranslator& translator,
                               StreamReport& report, const std::function<void(int64_t segments)>& progress);

}  // namespace chorus::inline app
