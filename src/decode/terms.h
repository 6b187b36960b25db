// Terminology: how some phrases are to be translated.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace chorus::inline decode {

/// Where `source` occurs in a line, as it is written and not as a part of a longer word, the translation must
/// contain `target`.
struct Term {
  std::string source, target;
  std::string where;  // "FILE:17", for messages
};

/// A file of lines "SOURCE<TAB>TARGET"; empty ones are passed over. UserError, naming file and line, on what
/// is no such line, and on a source that is there twice.
std::vector<Term> read_terms(const std::filesystem::path& file);

}  // namespace chorus::inline decode
