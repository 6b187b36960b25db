// chorus lid: a small classifier of a model's languages, and how right it is.
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/text_arguments.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/text.h"
#include "data/parallel_text.h"
#include "data/sources.h"
#include "detect/classifier.h"
#include "formats/folder.h"
#include "formats/folder_files.h"
#include "formats/language_detector.h"
#include "io/places.h"

namespace chorus::inline app {
namespace {

using Sentences = std::map<std::string, std::vector<std::string>>;  // by language

/// The first usable cells of each language, at most `most`, each once.
Sentences read_sentences(const TextArguments& text, int64_t most) {
  const std::vector<SourceConfig> named = sources_of(text);
  if (named.empty()) throw UserError("name text with --files or --tsv");
  Sentences sentences;
  std::map<std::string, std::set<std::string>> seen;
  for (const SourceConfig& source : find_sources(named, "", {.among = {}, .least = 1})) {
    ParallelReader reader(text_source(source));
    while (reader.next()) {
      bool full = true;
      for (size_t i = 0; i < source.languages.size(); ++i) {
        std::vector<std::string>& own = sentences[source.languages[i]];
        const Cell& cell = reader.cells()[i];
        if (std::ssize(own) >= most) continue;
        full = false;
        if (cell.status == CellStatus::ok && seen[source.languages[i]].emplace(cell.text).second)
          own.emplace_back(cell.text);
      }
      if (full) break;
    }
  }
  return sentences;
}

struct TrainArguments {
  TextArguments text;
  int64_t lines = 20'000;
  std::string out, model;
  bool force = false;
};

void train(const TrainArguments& a) {
  if (a.out.empty() == a.model.empty())
    throw UserError("give --out FILE, or --model DIR to keep it with the model");
  if (!a.out.empty() && std::filesystem::exists(a.out) && !a.force)
    throw UserError("{} exists; give --force to replace it, or another --out", a.out);
  if (!a.out.empty()) check_can_write(a.out);
  const std::filesystem::path folder =
      a.model.empty() ? std::filesystem::path() : find_model(a.model).description;
  if (!a.model.empty()) check_is_rewritable(folder);
  const Sentences sentences = read_sentences(a.text, a.lines);
  std::vector<std::string> languages;
  std::vector<std::vector<std::string>> texts;
  for (const auto& [language, text] : sentences) {
    languages.push_back(language);
    texts.push_back(text);
  }
  if (!a.model.empty()) {
    const Vocabulary vocabulary = describe_model(folder).vocabulary;
    for (const std::string& language : languages) static_cast<void>(vocabulary.language(language));
  }
  Progress progress({.task = "training", .unit = "part", .total = 100});
  const LanguageClassifier classifier = train_classifier(
      languages, texts, [&](double share) { progress.update(static_cast<int64_t>(100 * share)); });
  progress.update(100);
  progress.finish();
  if (a.model.empty())
    classifier.save(a.out);
  else
    keep_language_detector(folder, classifier);
  log_info("wrote {}: {} by {} of each at most",
           a.model.empty() ? a.out : (folder / kClassifierFile).string(),
           counted(std::ssize(languages), "language"), counted(a.lines, "line"));
}

struct EvaluateArguments {
  std::string classifier;
  TextArguments text;
  int64_t lines = 2'000;
  bool json = false;
};

constexpr std::array<const char*, 3> kLengths = {"1 word", "3 words", "line"};

/// So many words in a row of the line, somewhere; all of it where it has fewer, or for 0.
std::string words_of(const std::string& line, size_t count, const RandomKey& key) {
  std::vector<std::string_view> words;
  for (const std::string_view word : split(line, ' '))
    if (!word.empty()) words.push_back(word);
  if (count == 0 || words.size() <= count) return line;
  const size_t begin = key.below(count, words.size() - count + 1);
  return {words[begin].data(), words[begin + count - 1].data() + words[begin + count - 1].size()};
}

void evaluate(const EvaluateArguments& a) {
  const std::filesystem::path path = a.classifier;
  const LanguageClassifier own(
      std::filesystem::is_directory(path) ? find_model(path).description / kClassifierFile : path);
  const Sentences sentences = read_sentences(a.text, a.lines);
  if (sentences.empty()) throw UserError("the text has no line in any of its languages");
  const std::vector<std::string> languages(own.languages().begin(), own.languages().end());
  const std::unique_ptr<const LanguageDetector> cld2 = cld2_detector(languages);
  const RandomKey key = RandomKey(1).derive("lid eval");
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& of_language : sentences) {
    const std::string& language = of_language.first;
    const std::vector<std::string>& lines = of_language.second;
    if (std::ranges::find(languages, language) == languages.end())
      throw UserError("the classifier does not know '{}', only {}", language, join(languages, ", "));
    nlohmann::json row = {{"language", language}, {"lines", lines.size()}};
    for (size_t length = 0; length < kLengths.size(); ++length) {
      int64_t right = 0, right_cld2 = 0;
      for (size_t i = 0; i < lines.size(); ++i) {
        const std::string text = words_of(lines[i], std::array{1, 3, 0}[length], key.derive(i));
        const auto is_right = [&](const LanguageDetector& detector) {
          const std::vector<DetectedLanguage> found = detector.detect(text);
          return !found.empty() && found.front().language == language;
        };
        right += is_right(own) ? 1 : 0;
        right_cld2 += is_right(*cld2) ? 1 : 0;
      }
      const auto share = [&](int64_t count) {
        return static_cast<double>(count) / static_cast<double>(std::max<size_t>(1, lines.size()));
      };
      row[kLengths[length]] = {{"classifier", share(right)}, {"cld2", share(right_cld2)}};
    }
    rows.push_back(std::move(row));
  }
  if (a.json) {
    fmt::print("{}\n", rows.dump());
    return;
  }
  fmt::print("{:<16}{:>8}", "% right", "lines");
  for (const char* const length : kLengths) fmt::print("{:>12}{:>8}", length, "CLD2");
  fmt::print("\n");
  for (const nlohmann::json& row : rows) {
    fmt::print("{:<16}{:>8}", row["language"].get<std::string>(), row["lines"].get<int64_t>());
    for (const char* const length : kLengths)
      fmt::print("{:>12.1f}{:>8.1f}", 100 * row[length]["classifier"].get<double>(),
                 100 * row[length]["cld2"].get<double>());
    fmt::print("\n");
  }
}

void add_lid_train(CLI::App& lid) {
  const auto arguments = std::make_shared<TrainArguments>();
  TrainArguments& a = *arguments;
  CLI::App* command = lid.add_subcommand("train", "train it on text of each language, in seconds to minutes");
  add_text_arguments(*command, a.text, "text of every language");
  command->add_option("--lines", a.lines, "lines of each language, the first different ones, at most")
      ->check(between<int64_t>(1, kMostLines))
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--out", a.out, "the file to write")->type_name("FILE");
  command->add_option("--model", a.model, "model to keep it with, instead of --out; its languages alone")
      ->type_name("DIR");
  command->add_flag("--force", a.force, "replace --out if it exists");
  add_quiet_option(*command);
  command->callback([arguments] { train(*arguments); });
}

void add_lid_eval(CLI::App& lid) {
  const auto arguments = std::make_shared<EvaluateArguments>();
  EvaluateArguments& a = *arguments;
  CLI::App* command = lid.add_subcommand(
      "eval",
      "how often the classifier and CLD2 are right about single words, three words and lines of a text");
  command->add_option("FILE", a.classifier, "the classifier, or a model that has one")
      ->required()
      ->option_text(" ");
  add_text_arguments(*command, a.text, "held-out text");
  command->add_option("--lines", a.lines, "lines of each language, the first different ones, at most")
      ->check(between<int64_t>(1, kMostLines))
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--json", a.json, "print JSON");
  command->callback([arguments] { evaluate(*arguments); });
}

}  // namespace

void add_lid(CLI::App& app) {
  CLI::App* lid =
      app.add_subcommand("lid", "which of a model's languages a text is in: train and measure a classifier");
  lid->require_subcommand(1);
  add_lid_train(*lid);
  add_lid_eval(*lid);
}

}  // namespace chorus::inline app
