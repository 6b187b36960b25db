#include "train/internal/inputs.h"

#include <algorithm>
#include <system_error>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/ranks.h"
#include "corpus/vocabulary_training.h"
#include "data/sources.h"
#include "io/files.h"
#include "train/validation.h"

namespace chorus::inline train {
namespace fs = std::filesystem;

namespace {

constexpr const char* kVocabulary = "sentencepiece.bpe.model";
constexpr const char* kStamp = "vocabulary.json";  // {"made_from", "xxh3"}: of the vocabulary that a run made

fs::path report_path(const fs::path& run, const std::string& list) {
  return run / ("data." + list + ".json");
}

/// What the vocabulary must have besides the languages of its text.
std::vector<std::string> symbols_of(const RunConfig& config) {
  std::vector<std::string> symbols;
  if (!config.data.denoise.empty()) symbols.emplace_back(kMask);
  for (const DenoiseConfig& task : config.data.denoise) symbols.push_back(task_tag(task.name));
  return symbols;
}

/// Every text that the vocabulary is trained on.
std::vector<SourceConfig> vocabulary_sources(const RunConfig& config) {
  std::vector<SourceConfig> sources = find_sources(config.data.train, "train");
  for (const DenoiseConfig& task : config.data.denoise) {
    if (task.files.empty()) continue;
    for (const std::string& language : find_languages(task, fmt::format("data.denoise '{}'", task.name)))
      sources.push_back(monolingual_source(task, language));
  }
  return sources;
}

/// Languages that get a tag though no text to train on has them.
std::vector<std::string> more_languages(const RunConfig& config) {
  std::vector<std::string> languages;
  for (const SourceConfig& source : find_sources(config.data.valid, "valid"))
    languages.insert(languages.end(), source.languages.begin(), source.languages.end());
  return languages;
}

void make_vocabulary(const RunConfig& config, const fs::path& path) {
  log_info("vocabulary: training one");
  train_vocabulary(vocabulary_sources(config), config.vocabulary, path,
                   {.seed = static_cast<uint64_t>(config.seed),
                    .more_languages = more_languages(config),
                    .symbols = symbols_of(config),
                    .progress = [](const std::string& line) { log_info("vocabulary: {}", line); }});
}

/// What a vocabulary depends on: equal texts give equal vocabularies.
std::string made_from(const RunConfig& config) {
  VocabularyConfig own = config.vocabulary;
  own.add.clear();
  std::string text = fmt::format("{}\n{}\n{}\n{}", config.seed, option_text(own),
                                 fmt::join(symbols_of(config), " "), fmt::join(more_languages(config), " "));
  for (const SourceConfig& source : vocabulary_sources(config)) {
    const TextSource files = text_source(source);
    text += fmt::format("\n{}", fmt::join(files.languages, " "));
    for (const fs::path& file : files.files) {
      std::error_code error;
      const uintmax_t bytes = fs::file_size(file, error);
      const auto time = fs::last_write_time(file, error).time_since_epoch().count();
      if (error) throw UserError("cannot read {}: {}", file.string(), error.message());
      text += fmt::format("\n{} {} {}", fs::absolute(file).string(), bytes, time);
    }
  }
  return hash_text(hash_bytes(text));
}

void tell_it_is_there(const std::string& place) {
  log_info("vocabulary: {} is there, so vocabulary.size and the like do not count", place);
}

/// Makes the vocabulary in the run's folder where it is missing, or was made by an earlier start from other
/// settings or text. One that the run did not make stays.
void make_own_vocabulary(const RunConfig& config, const fs::path& run) {
  const fs::path path = run / kVocabulary, stamp = run / kStamp;
  const std::string from = made_from(config);
  if (fs::exists(path)) {
    nlohmann::json made = nlohmann::json::object();
    if (fs::exists(stamp)) made = nlohmann::json::parse(read_file(stamp), nullptr, false);
    const bool ours = made.is_object() && made.value("xxh3", nlohmann::json()) == hash_text(hash_file(path));
    if (!ours) {
      tell_it_is_there(path.string());
      return;
    }
    if (made.value("made_from", nlohmann::json()) == from) return;
    log_info("vocabulary: {} was made for other settings or text", path.string());
    fs::remove(path);
  }
  const fs::path growing = temporary_name(run);
  make_vocabulary(config, growing);
  write_file_atomically(
      stamp, nlohmann::json{{"made_from", from}, {"xxh3", hash_text(hash_file(growing))}}.dump() + "\n");
  fs::rename(growing, path);
}

/// Returns where the vocabulary comes from, for people.
std::string vocabulary_place(const RunConfig& config, const InputsOf& of) {
  if (!config.vocabulary.model.empty()) return config.vocabulary.model;
  return of.initial ? fmt::format("the vocabulary of {}", config.train.init)
                    : (of.run / kVocabulary).string();
}

bool says_how_to_make_one(VocabularyConfig config) {
  config.model.clear();
  config.add.clear();
  config.symbols.clear();
  return option_text(config) != option_text(VocabularyConfig());
}

Vocabulary open_vocabulary(const RunConfig& config, const InputsOf& of) {
  const bool is_there =
      config.vocabulary.model.empty() ? of.initial != nullptr : fs::exists(config.vocabulary.model);
  if (is_there && says_how_to_make_one(config.vocabulary)) tell_it_is_there(vocabulary_place(config, of));
  if (config.vocabulary.model.empty() && of.initial) return extended(*of.initial, config);
  if (of.initial && of.initial->is_marian())
    throw UserError("vocabulary.model = {}: the model of train.init, {}, keeps its own: leave it out",
                    config.vocabulary.model, config.train.init);
  const fs::path path =
      config.vocabulary.model.empty() ? of.run / kVocabulary : fs::path(config.vocabulary.model);
  if (!config.vocabulary.model.empty()) {
    if (!fs::exists(path)) make_vocabulary(config, path);
  } else if (of.trained_with.empty()) {
    make_own_vocabulary(config, of.run);
  }
  const Vocabulary vocabulary = Vocabulary::load(path);
  log_info("vocabulary: {} rows, {}", vocabulary.size(), path.string());
  return extended(vocabulary, config);
}

/// UserError unless the vocabulary is the run's and has all languages of its text.
void check_vocabulary(const Vocabulary& vocabulary, const RunConfig& config, const InputsOf& of) {
  const std::string place = vocabulary_place(config, of), run = of.run.string();
  if (!of.trained_with.empty() && of.trained_with != hash_text(vocabulary.hash())) {
    throw UserError(
        "{} was trained with another vocabulary than {} with its tags of languages and tasks: put that back, "
        "or train into another --out, where train.init = \"{}\" begins with its weights",
        run, place, run);
  }
  const auto has = [](const Vocabulary& one, const std::string& language) {
    return std::ranges::find(one.languages(), language) != one.languages().end();
  };
  for (const auto& [name, like] : added_languages(config.vocabulary)) {
    if (!like.empty() && !has(of.initial ? *of.initial : vocabulary, like))
      throw UserError("vocabulary.add: \"{}={}\": there is no language '{}' that its tag could begin as",
                      name, like, like);
  }
  const auto check = [&](const std::vector<std::string>& languages, const std::string& label) {
    for (const std::string& language : languages) {
      if (vocabulary.language_of_label(language).empty() || has(vocabulary, language)) continue;
      const std::string how =
          of.trained_with.empty()
              ? fmt::format("vocabulary.add = [\"{}\"] gives it a tag", language)
              : fmt::format(
                    "a run keeps its vocabulary, so take another --out, with train.init = \"{}\" and "
                    "vocabulary.add = [\"{}\"]",
                    run, language);
      throw UserError("{}: {} has no language '{}', but {}: {}", label, place, language,
                      vocabulary.languages().empty() ? "none" : join(vocabulary.languages(), ", "), how);
    }
  };
  for (const auto* list : {&config.data.train, &config.data.valid}) {
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string label = source_label((*list)[i], list == &config.data.train ? "train" : "valid", i);
      for (const SourceConfig& source : find_sources((*list)[i], label)) check(source.languages, label);
    }
  }
  for (const DenoiseConfig& task : config.data.denoise)
    check(task.languages, fmt::format("data.denoise '{}'", task.name));
}

std::unique_ptr<DataSet> open_data(const RunConfig& config, const fs::path& run, const Vocabulary& vocabulary,
                                   const std::vector<SourceConfig>& sources, const std::string& list) {
  const fs::path store = config.data.store.empty() ? run / "store" : fs::path(config.data.store);
  if (fs::weakly_canonical(store / "") == fs::weakly_canonical(run / ""))
    throw UserError("data.store = \"{}\" is the run's own folder: leave it out, or name another",
                    config.data.store);
  DataSet::Options options = {.store = store, .max_length = config.data.max_length, .list = list};
  options.denoise = config.data.denoise;
  if (list == "valid") {
    for (DenoiseConfig& task : options.denoise) task.files.clear();
  } else {
    options.source_sampling = config.data.source_sampling;
    options.target_sampling = config.data.target_sampling;
  }
  options.build.log = [](const std::string& line) { log_info("{}", line); };
  auto data = std::make_unique<DataSet>(sources, vocabulary, options);
  // The whole report, one line per direction, is in the run folder; here as much as a person reads.
  constexpr size_t kShown = 13;
  const std::vector<std::string> lines = data->report().lines();
  for (size_t i = 0; i < std::min(lines.size(), kShown); ++i) {
    log_info("data.{}: {}", list, lines[i]);
  }
  if (lines.size() > kShown)
    log_info("data.{}: ... {} more in {}", list, lines.size() - kShown, report_path(run, list).string());
  return data;
}

void write_report(const DataSet& data, const fs::path& run, const std::string& list) {
  write_file_atomically(report_path(run, list), data.report().json() + "\n");
}

}  // namespace

Vocabulary extended(const Vocabulary& vocabulary, const RunConfig& config) {
  std::vector<std::string> added;
  for (const AddedLanguage& language : added_languages(config.vocabulary)) added.push_back(language.name);
  for (std::string& symbol : symbols_of(config)) added.push_back(std::move(symbol));
  return vocabulary.with_tags(added).with_symbols(config.vocabulary.symbols);
}

std::unique_ptr<Data> open_inputs(const RunConfig& config, const InputsOf& of, Group& group) {
  std::unique_ptr<Data> data;
  first_rank_first(group, "preparing vocabulary and text", [&] {
    data = std::make_unique<Data>(Data{.vocabulary = open_vocabulary(config, of)});
    check_vocabulary(data->vocabulary, config, of);
    data->train = open_data(config, of.run, data->vocabulary, config.data.train, "train");
    if (!config.data.valid.empty())
      data->valid = open_data(config, of.run, data->vocabulary, config.data.valid, "valid");
    if (data->valid && config.validation.decode > 0)
      data->translated = read_directions(config.data.valid, translated_pairs(config.validation),
                                         data->vocabulary.languages());
  });
  check_same_on_ranks(group, "a vocabulary", hash_text(data->vocabulary.hash()));
  check_same_on_ranks(group, "training text", hash_text(data->train->hash()));
  return data;
}

void write_reports(const Data& data, const fs::path& run) {
  write_report(*data.train, run, "train");
  if (data.valid) write_report(*data.valid, run, "valid");
}

}  // namespace chorus::inline train
