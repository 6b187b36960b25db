#include "chorus/metrics.h"

#include "base/error.h"
#include "base/text.h"
#include "metrics/bleu.h"
#include "metrics/chrf.h"

namespace chorus::inline face {

namespace {

constexpr int kMostWordOrder = 10;

void check(const std::vector<std::string>& translations, const std::vector<std::string>& references) {
  if (translations.empty()) throw UserError("there is no translation to score");
  if (translations.size() != references.size())
    throw UserError("{} and {}: each translation has one", counted(translations.size(), "translation"),
                    counted(references.size(), "reference"));
}

}  // namespace

double bleu(const std::vector<std::string>& translations, const std::vector<std::string>& references,
            const std::string& tokenizer) {
  check(translations, references);
  return metrics::bleu(translations, references, BleuOptions{.tokenizer = Tokenizer(tokenizer)}).score;
}

double chrf(const std::vector<std::string>& translations, const std::vector<std::string>& references,
            int word_order) {
  if (word_order < 0 || word_order > kMostWordOrder)
    throw UserError("a word order of {}: choose 0 (chrF) to {}; 2 is chrF++", word_order, kMostWordOrder);
  check(translations, references);
  return metrics::chrf(translations, references, ChrfOptions{.word_order = word_order}).score;
}

}  // namespace chorus::inline face
