// What LibreTranslate's texts and documents share.
#pragma once

#include <nlohmann/json.hpp>

#include "detect/detector.h"

namespace chorus::inline server {

/// Returns the confidence of a detected language, a whole number where it is one, as LibreTranslate's clients have
/// seen them.
nlohmann::ordered_json confidence_of(const DetectedLanguage& one);

}  // namespace chorus::inline server
