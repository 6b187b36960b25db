// What is written of a line for programs: one JSON object. docs/decoding.md lists the keys.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "decode/scorer.h"
#include "decode/translator.h"

namespace chorus::inline decode {

/// Returns the JSON of a translated line, with its line end; `aligned`: with the links of words. Bytes that are not
/// UTF-8 are written as U+FFFD.
std::string json_line(int64_t index, const SourceLine& source, const TranslatedLine& line, bool aligned);

/// Returns the JSON of a scored pair, with its line end; `pieces` are those that `score` has log-probabilities of.
std::string json_line(std::string_view source, std::string_view target, const PairScore& score,
                      double length_penalty, const std::vector<std::string>& pieces);

}  // namespace chorus::inline decode
