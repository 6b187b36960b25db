// Text to token ids.
#include <filesystem>
#include <fstream>
#include <utility>

#include <ATen/Parallel.h>
#include <sentencepiece_processor.h>

#include "base/parallel_for.h"
#include "corpus/vocabulary_training.h"
#include "data/token_store.h"
#include "data/vocabulary.h"
#include "metrics/bleu.h"
#include "metrics/chrf.h"
#include "work.h"

namespace chorus::bench {

namespace {

SourceConfig source_of(const Json& options) {
  return {.files = options["files"], .languages = {"a", "b"}};  // "FOLDER/text.{lang}"
}

}  // namespace

/// files, vocabulary: a SentencePiece model, trained when it is not there; size, its pieces. store: a folder,
/// emptied for each repetition, in which the token store of both files is built.
Work build_store(const Json& options) {
  const std::string model = options["vocabulary"];
  if (!std::filesystem::exists(model)) {
    const SourceConfig source = source_of(options);
    train_vocabulary(std::span(&source, 1), {.size = options["size"], .sentences = 100'000}, model);
  }
  const Vocabulary vocabulary = Vocabulary::load(model);
  const std::filesystem::path folder = options["store"].get<std::string>();
  const auto run = [options, vocabulary, folder] {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    TokenStore::open(source_of(options), "text", vocabulary, folder, {.threads = at::get_num_threads()});
  };
  run();
  return {.run = run};
}

/// The same lines through SentencePiece alone, from memory and into memory.
Work sentencepiece(const Json& options) {
  auto processor = std::make_shared<::sentencepiece::SentencePieceProcessor>();
  if (!processor->Load(options["vocabulary"].get<std::string>()).ok())
    throw std::runtime_error("cannot load the vocabulary");
  auto lines = std::make_shared<std::vector<std::string>>();
  for (const char* language : {"a", "b"}) {
    std::string path = options["files"];
    std::ifstream file(path.replace(path.find("{lang}"), 6, language));
    for (std::string line; std::getline(file, line);) lines->push_back(line);
  }
  const auto run = [processor, lines] {
    constexpr int64_t kBlock = 1024;
    const auto count = static_cast<int64_t>(lines->size());
    std::vector<std::vector<int>> ids(lines->size());
    parallel_for(at::get_num_threads(), (count + kBlock - 1) / kBlock, [&](int64_t block) {
      for (int64_t i = block * kBlock; i < std::min(count, (block + 1) * kBlock); ++i)
        if (!processor->Encode((*lines)[i], &ids[i]).ok()) throw std::runtime_error("cannot encode a line");
    });
  };
  run();
  return {.run = run};
}

/// lines: a file of sentences, each as so many `candidates`, one a line; utility: "chrf" or "bleu". A repetition is one
/// sentence.
Work minimum_risk(const Json& options) {
  std::ifstream file(options["lines"].get<std::string>());
  auto sentences = std::make_shared<std::vector<std::vector<std::string>>>();
  for (std::string line; std::getline(file, line);) {
    if (sentences->empty() || std::cmp_equal(sentences->back().size(), options["candidates"].get<int64_t>()))
      sentences->emplace_back();
    sentences->back().push_back(line);
  }
  const auto expected = options["utility"] == "chrf" ? expected_chrf : expected_bleu;
  return {.run = [sentences, expected, turn = size_t{0}]() mutable {
    expected((*sentences)[turn++ % sentences->size()]);
  }};
}

}  // namespace chorus::bench
