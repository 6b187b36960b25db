#include "corpus/vocabulary_training.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>

#include <sentencepiece_trainer.h>
#include <unicode/uchar.h>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "base/utf8.h"
#include "data/sources.h"
#include "data/vocabulary.h"
#include "io/files.h"

namespace chorus::inline corpus {
namespace {

constexpr int64_t kSmallestVocabulary = 262;
constexpr size_t kMaxSampleBytes = 4096;  // longer lines teach the vocabulary nothing
// Not the number of cores: sums of floats are divided among SentencePiece's threads, and the model must not
// depend on the machine.
constexpr int kTrainingThreads = 8;

using Lines = std::map<std::string, int64_t>;  // of each language

// Calls visit(language, line) for every line of every source that can be learnt from, in the order of the
// files.
template <class Visit>
void for_each_line(std::span<const SourceConfig> sources, const Visit& visit) {
  for (const auto& source : sources) {
    ParallelReader reader(text_source(source), kMaxSampleBytes);
    while (reader.next()) {
      for (size_t i = 0; i < source.languages.size(); ++i) {
        const Cell& cell = reader.cells()[i];
        if (cell.status == CellStatus::ok) visit(source.languages[i], cell.text);
      }
    }
  }
}

bool has_letter(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (u_isalnum(static_cast<UChar32>(next_code_point(text, i))) != 0) return true;
  }
  return false;
}

// How many lines each language gives: in proportion to n^(1/T), `total` in all, none more than it has.
Lines share_lines(const Lines& available, int64_t total, double temperature) {
  Lines shares;
  Lines open = available;
  auto left = static_cast<double>(total);
  for (bool changed = true; changed;) {
    changed = false;
    double sum = 0;
    for (const auto& [language, n] : open) sum += std::pow(static_cast<double>(n), 1 / temperature);
    const double factor = left / sum;
    for (auto it = open.begin(); it != open.end();) {
      const auto [language, n] = *it;
      const double share = factor * std::pow(static_cast<double>(n), 1 / temperature);
      if (share < static_cast<double>(n)) {
        shares[language] = std::max<int64_t>(1, std::llround(std::floor(share)));
        ++it;
        continue;
      }
      shares[language] = n;
      left -= static_cast<double>(n);
      changed = true;
      it = open.erase(it);
    }
  }
  return shares;
}

void check(std::span<const SourceConfig> sources) {
  for (const auto& source : sources) {
    // A comma would make two symbols of one.
    for (const auto& language : source.languages) check_language_name(language, "cannot train a vocabulary");
    // The text is read twice, once to count.
    for (const auto& path : text_source(source).files) {
      std::error_code error;
      const bool is_input = path == "-" || path == "/dev/stdin";
      if (is_input || std::filesystem::is_fifo(path, error)) {
        throw UserError("{}: a vocabulary is trained on files, which are read twice, and on no pipe",
                        is_input ? "standard input" : path.string());
      }
    }
  }
}

struct Sample {
  std::vector<std::string> lines;
  int64_t available = 0;  // lines that there are
};

Sample sample_lines(std::span<const SourceConfig> sources, const VocabularyConfig& config,
                    const VocabularyTraining& training) {
  Lines available;
  bool letters = false;
  for_each_line(sources, [&](const std::string& language, std::string_view line) {
    ++available[language];
    letters = letters || has_letter(line);
  });
  if (!letters) throw UserError("cannot train a vocabulary: the sources hold no text");
  const Lines shares = share_lines(available, config.sentences, config.temperature);

  Sample sample;
  for (const auto& [language, n] : available) sample.available += n;
  Lines seen;
  for_each_line(sources, [&](const std::string& language, std::string_view line) {
    const int64_t n = available[language], i = seen[language]++;
    const RandomKey key = RandomKey(training.seed).derive("vocabulary").derive(language);
    if (i < n && static_cast<int64_t>(permute(key, i, n)) < shares.at(language))
      sample.lines.emplace_back(line);
  });
  return sample;
}

class LineIterator : public sentencepiece::SentenceIterator {
 public:
  explicit LineIterator(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  [[nodiscard]] bool done() const override { return next_ == lines_.size(); }
  void Next() override { std::string().swap(lines_[next_++]); }  // SentencePiece has its own copy
  [[nodiscard]] const std::string& value() const override { return lines_[next_]; }
  [[nodiscard]] sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> lines_;
  size_t next_ = 0;
};

// The first number behind `words` in a message, or 0.
int64_t number_after(std::string_view message, std::string_view words) {
  const size_t at = message.find(words);
  int64_t number = 0;
  if (at != std::string_view::npos) {
    std::from_chars(message.data() + at + words.size(), message.data() + message.size(), number);
  }
  return number;
}

/// What SentencePiece's message says of a size that does not fit the text.
struct Misfit {
  int64_t most = 0, least = 0;  // the largest that fits, or the smallest; 0: the size is not what is wrong
};

Misfit misfit(const std::string& message) {
  const int64_t most = number_after(message, "set it to a value <= "), least = number_after(message, " vs ");
  // SentencePiece's sizes are without our row for <pad>.
  return {.most = most > 0 ? most + 1 : 0, .least = most == 0 && least > 0 ? least + 1 : 0};
}

[[noreturn]] void refuse(int64_t size, const std::string& message) {
  const Misfit wrong = misfit(message);
  if (wrong.most > 0) {
    throw UserError("vocabulary.size = {} is too much for this text: set it to {} or less", size, wrong.most);
  }
  if (wrong.least > 0) {
    throw UserError(
        "vocabulary.size = {} is too small for the characters of this text: set it to {} or more, or lower "
        "vocabulary.character_coverage",
        size, wrong.least);
  }
  throw Error("SentencePiece could not train a vocabulary: {}", message);
}

/// Quotes a symbol as one of SentencePiece's comma-separated symbols.
std::string csv_cell(std::string_view symbol) {
  std::string text = "\"";
  for (const char ch : symbol) text += ch == '"' ? "\"\"" : std::string(1, ch);
  return text + '"';
}

/// SentencePiece's own words on a size that does not fit, or nothing and the model.
std::string train_model(std::vector<std::string> lines, int64_t size, const VocabularyConfig& config,
                        const std::string& symbols, std::string& model) {
  LineIterator iterator(std::move(lines));
  const std::unordered_map<std::string, std::string> options{
      {"model_type", "unigram"},
      {"byte_fallback", "true"},
      {"normalization_rule_name", config.normalization},
      {"character_coverage", fmt::format("{}", config.character_coverage)},
      {"vocab_size", fmt::format("{}", size - 1)},
      {"user_defined_symbols", symbols},
      {"max_sentence_length", fmt::format("{}", kMaxSampleBytes)},
      {"num_threads", fmt::format("{}", kTrainingThreads)},
      {"minloglevel", "3"},
  };
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &iterator, &model);
  return status.ok() ? "" : status.ToString();
}

}  // namespace

int64_t suited_size(int64_t lines) {
  return std::clamp<int64_t>(std::llround(24 * std::sqrt(static_cast<double>(lines))), 1000, 32000);
}

void train_vocabulary(std::span<const SourceConfig> given, const VocabularyConfig& config,
                      const std::filesystem::path& out, const VocabularyTraining& training) {
  if (config.size != 0 && config.size < kSmallestVocabulary) {
    throw UserError("vocabulary.size = {} is below {}, which tags, bytes and special tokens take",
                    config.size, kSmallestVocabulary);
  }
  check_symbols(config.symbols, "vocabulary.symbols");
  const std::vector<SourceConfig> sources = find_sources(given, "", {.least = 1});
  check(sources);
  const auto report = [&](const std::string& line) {
    if (training.progress) training.progress(line);
  };
  std::set<std::string> tags;
  for (const auto& source : sources) {
    for (const auto& language : source.languages) tags.insert(language);
  }
  for (const auto& language : training.more_languages) tags.insert(language);
  std::vector<std::string> symbols;
  symbols.reserve(tags.size() + training.symbols.size() + config.symbols.size());
  for (const auto& language : tags) symbols.push_back(fmt::format("__{}__", language));
  symbols.insert(symbols.end(), training.symbols.begin(), training.symbols.end());
  for (const auto& symbol : config.symbols) symbols.push_back(csv_cell(symbol));

  report("sampling text of " + counted(tags.size(), "language"));
  Sample sample = sample_lines(sources, config, training);
  const bool chosen = config.size == 0;
  int64_t size = chosen ? suited_size(sample.available) : config.size;
  std::string model;
  const auto attempt = [&] {
    report(fmt::format("training a vocabulary of {}{} on {}", size,
                       chosen ? " (vocabulary.size = 0: by the amount of text)" : "",
                       counted(sample.lines.size(), "line")));
    return train_model(std::move(sample.lines), size, config, join(symbols, ","), model);
  };
  std::string message = attempt();
  if (const Misfit wrong = misfit(message); chosen && wrong.most + wrong.least > 0) {
    size = std::max(wrong.most, wrong.least);
    sample = sample_lines(sources, config, training);
    message = attempt();
  }
  if (!message.empty()) refuse(size, message);
  write_file_atomically(out, model);
}

}  // namespace chorus::inline corpus
