#include "inference/internal/pairs.h"

#include "base/error.h"
#include "base/utf8.h"

namespace chorus::inline face {

std::vector<SentencePair> pairs_of(const Vocabulary& vocabulary, const std::string& from,
                                   const std::string& to, const std::vector<std::string>& sources,
                                   const std::vector<std::string>& targets) {
  const PairTags tags = vocabulary.pair_tags(from, to);
  const Vocabulary target = vocabulary.target();
  const auto encode = [](const Vocabulary& side, const std::string& text, const char* which, size_t i) {
    if (!is_valid_utf8(text)) throw UserError("{} {}: it is not UTF-8", which, i + 1);
    return side.encode(text);
  };
  std::vector<SentencePair> pairs;
  for (size_t i = 0; i < sources.size(); ++i) {
    SentencePair& pair = pairs.emplace_back(SentencePair{
        .source_tag = tags.source, .target_tag = tags.target, .before_source_tag = tags.before_source});
    pair.source = encode(vocabulary, sources[i], targets.empty() ? "text" : "source", i);
    if (!targets.empty()) pair.target = encode(target, targets[i], "target", i);
  }
  return pairs;
}

}  // namespace chorus::inline face
