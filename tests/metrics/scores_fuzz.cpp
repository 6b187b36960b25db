// Any bytes as hypothesis and reference, line by line: every tokeniser gives tokens of UTF-8, and scores are from 0 to
// 100, 100 of what is equal.
#include "base/text.h"
#include "base/utf8.h"
#include "fuzz/target.h"
#include "metrics/bleu.h"
#include "metrics/chrf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  FuzzInput input(data, size);
  const uint8_t kind = input.number();
  static constexpr const char* kNames[] = {"13a", "intl", "zh", "char", "none"};
  const Tokenizer tokenizer(kNames[kind % 5]);
  std::vector<std::string> hypotheses, references;
  while (!input.rest().empty() && hypotheses.size() < 8) {
    hypotheses.emplace_back(input.text());
    references.emplace_back(input.text());
  }
  if (hypotheses.empty()) return 0;
  int64_t tokens = 0;
  for (const std::string& line : hypotheses)
    for (const std::string& token : tokenizer(line))
      check(!token.empty() && is_valid_utf8(token) && ++tokens > 0);
  const BleuOptions options = {.tokenizer = tokenizer, .lowercase = (kind & 0x80) != 0};
  const BleuScore score = bleu(hypotheses, references, options);
  check(score.score >= 0 && score.score <= 100 + 1e-9);
  check(options.lowercase || score.sys_len == tokens);
  const ChrfOptions words = {.word_order = (kind & 0x40) != 0 ? 2 : 0, .lowercase = options.lowercase};
  const double ours = chrf(hypotheses, references, words).score,
               same = chrf(hypotheses, hypotheses, words).score;
  check(ours >= 0 && ours <= 100 + 1e-9 && (same == 0 || same > 100 - 1e-9));
  return 0;
}
