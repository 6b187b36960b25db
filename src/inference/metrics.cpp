#include "chorus/metrics.h"

#include "metrics/bleu.h"
#include "metrics/chrf.h"

namespace chorus::inline face {

double bleu(const std::vector<std::string>& translations, const std::vector<std::string>& references,
            const std::string& tokenizer) {
  return metrics::bleu(translations, references, BleuOptions{.tokenizer = Tokenizer(tokenizer)}).score;
}

double chrf(const std::vector<std::string>& translations, const std::vector<std::string>& references,
            int word_order) {
  return metrics::chrf(translations, references, ChrfOptions{.word_order = word_order}).score;
}

}  // namespace chorus::inline face
