// The classifier of languages that a model folder may hold (detect/classifier.h).
#pragma once

#include <filesystem>

#include "detect/classifier.h"

namespace chorus::inline formats {

/// Writes it into a model folder of ours, which another with it takes the place of (as keep_alignment() does). Errors
/// as AtomicFolder.
void keep_language_detector(const std::filesystem::path& folder, const LanguageClassifier& classifier);

/// Copies it from one model folder to another that is being written, if there is one. UserError where it is another
/// than that which the folder was saved with.
void copy_language_detector(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace chorus::inline formats
