// Scores of translations, equal to sacreBLEU's. Pure functions: threads may call them at any time.
#pragma once

#include <string>
#include <vector>

namespace chorus::inline face {

/// Corpus BLEU, 0 to 100. `tokenizer`: 13a, intl, zh, char or none. UserError where there is no line, or not as many
/// references as translations, and on another tokenizer.
double bleu(const std::vector<std::string>& translations, const std::vector<std::string>& references,
            const std::string& tokenizer = "13a");
/// Corpus chrF, 0 to 100; `word_order` 2: chrF++, at most 10. UserError as bleu().
double chrf(const std::vector<std::string>& translations, const std::vector<std::string>& references,
            int word_order = 0);

}  // namespace chorus::inline face
