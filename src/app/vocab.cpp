// chorus vocab: trains a vocabulary, describes one, and turns text into its pieces and back.
#include <charconv>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/text_arguments.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/utf8.h"
#include "corpus/vocabulary_training.h"
#include "data/line_reader.h"
#include "data/vocabulary.h"
#include "formats/folder.h"
#include "io/files.h"
#include "io/places.h"

namespace chorus::inline app {
namespace {

struct VocabOptions {
  TextArguments text;
  std::vector<std::string> inputs;  // LANGUAGE=FILE
  VocabularyConfig config;
  std::string out;
  int64_t seed = 1;
  bool force = false;
  std::string model;
  bool encode = false, decode = false, json = false;
};

void make(const VocabOptions& options) {
  if (options.out.empty()) throw UserError("name the file to write with --out");
  if (std::filesystem::exists(options.out) && !options.force) {
    throw UserError("{} exists; give --force to replace it, or another --out", options.out);
  }
  check_can_write(options.out);
  std::vector<SourceConfig> sources = sources_of(options.text);
  for (const std::string& input : options.inputs) {
    const auto [language, file] = language_and_file("--input", input);
    check_language_name(language, "--input");
    sources.push_back({.files = file, .languages = {language}});
  }
  VocabularyTraining training{
      .seed = static_cast<uint64_t>(options.seed), .more_languages = {}, .progress = {}};
  training.progress = [](const std::string& line) { log_info("{}", line); };
  train_vocabulary(sources, options.config, options.out, training);
  log_info("wrote {}", options.out);
}

void print_facts(const Vocabulary& vocabulary, const VocabOptions& options) {
  if (options.json) {
    std::vector<int32_t> tags;
    for (const std::string& language : vocabulary.languages()) tags.push_back(vocabulary.tag(language));
    fmt::print("{}\n", nlohmann::json{{"size", vocabulary.size()},
                                      {"languages", vocabulary.languages()},
                                      {"tags", tags},
                                      {"symbols", vocabulary.symbols_in_text()},
                                      {"normalization", vocabulary.normalization()},
                                      {"hash", hash_text(vocabulary.hash())}}
                           .dump());
  } else {
    fmt::print("{} rows, {}: {}\n", vocabulary.size(), counted(vocabulary.languages().size(), "language"),
               join(vocabulary.languages(), ", "));
    if (const auto symbols = vocabulary.symbols_in_text(); !symbols.empty())
      fmt::print("{}: {}\n", counted(symbols.size(), "symbol"), one_line(join(symbols, " ")));
    fmt::print("normalization: {}\n",
               vocabulary.normalization().empty() ? "without a name" : vocabulary.normalization());
  }
}

std::vector<int32_t> parse_ids(const std::string& line, int64_t number) {
  std::vector<int32_t> ids;
  for (const auto word : split(trim(line), ' ')) {
    if (word.empty()) continue;
    int32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size()) {
      throw UserError("standard input, line {}: '{}' is no token id", number, word);
    }
    ids.push_back(id);
  }
  return ids;
}

void use(const VocabOptions& options) {
  if (options.encode && options.decode) throw UserError("choose one of --encode and --decode");
  const Vocabulary vocabulary = std::filesystem::is_directory(options.model)
                                    ? describe_model(find_model(options.model).description).vocabulary
                                    : Vocabulary::load(options.model);
  if (!options.encode && !options.decode) {
    print_facts(vocabulary, options);
    return;
  }
  LineReader lines("/dev/stdin", size_t{1} << 20);
  while (lines.next()) {
    const std::string line(lines.text());
    if (lines.over_long()) throw UserError("standard input, line {} is longer than 1 MiB", lines.number());
    if (options.decode) {
      std::string text = vocabulary.decode(parse_ids(line, lines.number()));
      for (char& c : text)
        if (c == '\n' || c == '\r') c = ' ';  // which bytes can spell; a line of ids is a line of text
      fmt::print("{}\n", text);
    } else if (is_valid_utf8(line)) {
      fmt::print("{}\n", fmt::join(vocabulary.encode(line), " "));
    } else {
      throw UserError("standard input, line {} is not UTF-8", lines.number());
    }
    if (!lines.ready() || lines.number() % 1024 == 0) flush_stdout();
  }
}

void vocab(const VocabOptions& options) {
  const bool has_text = !options.text.files.empty() || !options.text.tsv.empty() || !options.inputs.empty();
  if (has_text != options.model.empty())
    throw UserError("give --files \"train.{lang}\" to train a vocabulary, or --model FILE to use one");
  has_text ? make(options) : use(options);
}

}  // namespace

void add_vocab(CLI::App& app) {
  const auto options = std::make_shared<VocabOptions>();
  CLI::App* command = app.add_subcommand("vocab", "train a SentencePiece vocabulary, or apply one to text");
  add_text_arguments(*command, options->text);
  command->add_option("--input", options->inputs, "text of one language, in a file of any name")
      ->allow_extra_args(false)
      ->type_name("LANGUAGE=FILE");
  command->add_option("--out", options->out, "the model to write")->type_name("FILE");
  command
      ->add_option("--size", options->config.size,
                   "rows of the embedding, with tags and special tokens; 0: by the amount of text")
      ->check(between(kVocabularySizes.least, kVocabularySizes.most))
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--coverage", options->config.character_coverage,
                   "part of the text whose characters are pieces; rarer ones are spelt in bytes")
      ->check(between(kCharacterCoverages.least, kCharacterCoverages.most))
      ->capture_default_str()
      ->type_name("X");
  command
      ->add_option("--normalization", options->config.normalization,
                   "how SentencePiece normalises text first")
      ->check(CLI::IsMember(std::vector<std::string>(kNormalizations.begin(), kNormalizations.end())))
      ->capture_default_str();
  command
      ->add_option("--symbol", options->config.symbols,
                   "what is one piece wherever it stands in text, such as \"<bt>\" or \"{name}\"")
      ->allow_extra_args(false)
      ->type_name("TEXT");
  command->add_option("--sentences", options->config.sentences, "most lines to train on, over all languages")
      ->check(between(kVocabularySentences.least, kVocabularySentences.most))
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--temperature", options->config.temperature,
                   "lines are sampled from language l in proportion to n_l^(1/T)")
      ->check(between(kVocabularyTemperatures.least, kVocabularyTemperatures.most))
      ->capture_default_str()
      ->type_name("T");
  command->add_option("--seed", options->seed, "seed of the sample of lines")
      ->check(any_seed())
      ->capture_default_str()
      ->type_name("N");
  command->add_flag("--force", options->force, "replace --out if it exists");
  command
      ->add_option("--model", options->model,
                   "a vocabulary, or a model with one; without --encode and --decode: describe it")
      ->type_name("FILE|DIR");
  command->add_flag("--encode", options->encode, "turn lines of standard input into token ids");
  command->add_flag("--decode", options->decode, "turn token ids on standard input into text");
  command->add_flag("--json", options->json, "describe it as JSON");
  for (const char* of_training : {"--languages", "--out", "--size", "--coverage", "--normalization",
                                  "--symbol", "--sentences", "--temperature", "--seed", "--force"})
    command->get_option(of_training)->excludes("--model");
  for (const char* of_use : {"--encode", "--decode", "--json"}) command->get_option(of_use)->needs("--model");
  command->get_option("--json")->excludes("--encode")->excludes("--decode");
  add_quiet_option(*command);
  command->callback([options] { vocab(*options); });
}

}  // namespace chorus::inline app
