// Any bytes as a terminology file, and as links between words: refused with a UserError of one line, or phrases that
// are there once, and links to words that are there. The first byte says which.
#include <set>

#include "data/corpus.h"
#include "decode/alignment_choice.h"
#include "decode/terms.h"
#include "fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const TemporaryFolder folder;
  static const std::filesystem::path file = folder / "file";
  FuzzInput input(data, size);
  const uint8_t kind = input.number();
  put_file(file, input.rest());
  if (kind % 2 == 0) {
    accepted([] {
      std::set<std::string> sources;
      for (const Term& term : read_terms(file))
        check(!term.source.empty() && !term.target.empty() && sources.insert(term.source).second);
    });
  } else {
    static const Vocabulary vocabulary = small_vocabulary();
    static const std::vector<SentencePair> pairs = {
        {.source = vocabulary.encode("ab cd ef"), .target = vocabulary.encode("gh")},
        {.source = vocabulary.encode("a b"), .target = vocabulary.encode("c d e f")}};
    accepted([] {
      const std::vector<GoldLinks> gold = read_gold(file, vocabulary, pairs);
      check(gold.size() == pairs.size());
      for (const GoldLinks& line : gold)
        for (const auto& [source, target] : line.possible)
          check(source >= 0 && source < 3 && target >= 0 && target < 4);
    });
  }
  return 0;
}
