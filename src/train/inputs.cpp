#include "train/inputs.h"

#include "chorus/base/files.h"
#include "chorus/base/log.h"
#include "chorus/comm/world.h"

#include "train/initial_model.h"

namespace chorus {

namespace {

std::filesystem::path vocabulary_path(const RunConfig& config, const std::filesystem::path& run) {
  return config.vocabulary.model.empty() ? run / "sentencepiece.bpe.model"
                                         : std::filesystem::path(config.vocabulary.model);
}

std::filesystem::path report_path(const std::filesystem::path& run, const std::string& list) {
  return run / ("data." + list + ".json");
}

/// What it must have besides the languages of its text.
std::vector<std::string> symbols_of(const RunConfig& config) {
  std::vector<std::string> symbols;
  if (!config.data.denoise.empty()) symbols.emplace_back(kMask);
  for (const DenoiseConfig& task : config.data.denoise) symbols.push_back(task_tag(task.name));
  return symbols;
}

void make_vocabulary(const RunConfig& config, const std::filesystem::path& path) {
  log_info("vocabulary: training {}", path.string());
  VocabularyTraining training = {
      .seed = static_cast<uint64_t>(config.seed),
      .symbols = symbols_of(config),
      .progress = [](const std::string& line) { log_info("vocabulary: {}", line); }};
  for (const SourceConfig& source : config.data.valid) {
    training.more_languages.insert(training.more_languages.end(), source.languages.begin(),
                                   source.languages.end());
  }
  std::vector<SourceConfig> sources = config.data.train;
  for (const DenoiseConfig& task : config.data.denoise) {
    if (task.files.empty()) continue;
    for (const std::string& language : task.languages) sources.push_back(monolingual_source(task, language));
  }
  train_vocabulary(sources, config.vocabulary, path, training);
}

Vocabulary open_vocabulary(const RunConfig& config, const std::filesystem::path& run) {
  std::vector<std::string> added;
  for (const AddedLanguage& language : added_languages(config.vocabulary)) added.push_back(language.name);
  for (std::string& symbol : symbols_of(config)) added.push_back(std::move(symbol));
  if (config.vocabulary.model.empty() && !config.train.init.empty())
    return find_initial_model(config.train.init).description.vocabulary.with_tags(added);
  const std::filesystem::path path = vocabulary_path(config, run);
  if (!std::filesystem::exists(path)) make_vocabulary(config, path);
  return Vocabulary::load(path).with_tags(added);
}

std::unique_ptr<DataSet> open_data(const RunConfig& config, const std::filesystem::path& run,
                                   const Vocabulary& vocabulary, const std::vector<SourceConfig>& sources,
                                   const std::string& list) {
  const std::filesystem::path store =
      config.data.store.empty() ? run / "store" : std::filesystem::path(config.data.store);
  DataSet::Options options = {.store = store, .max_length = config.data.max_length, .list = list};
  options.denoise = config.data.denoise;
  if (list == "valid") {
    for (DenoiseConfig& task : options.denoise) task.files.clear();
  }
  options.build.log = [](const std::string& line) { log_info("{}", line); };
  auto data = std::make_unique<DataSet>(sources, vocabulary, options);
  // The whole report, a line a direction, is in the run folder; here as much as a person reads.
  constexpr size_t kShown = 13;
  const std::vector<std::string> lines = data->report().lines();
  for (size_t i = 0; i < std::min(lines.size(), kShown); ++i) {
    log_info("data.{}: {}", list, lines[i]);
  }
  if (lines.size() > kShown)
    log_info("data.{}: ... {} more in {}", list, lines.size() - kShown, report_path(run, list).string());
  return data;
}

void write_report(const DataSet& data, const std::filesystem::path& run, const std::string& list) {
  write_file_atomically(report_path(run, list), data.report().json() + "\n");
}

}  // namespace

std::unique_ptr<Data> open_inputs(const RunConfig& config, const std::filesystem::path& run, Group& group) {
  std::unique_ptr<Data> data;
  first_alone(group, "preparing vocabulary and text", [&] {
    data = std::make_unique<Data>(Data{.vocabulary = open_vocabulary(config, run)});
    data->train = open_data(config, run, data->vocabulary, config.data.train, "train");
    if (!config.data.valid.empty())
      data->valid = open_data(config, run, data->vocabulary, config.data.valid, "valid");
  });
  agree(group, "a vocabulary", hash_text(data->vocabulary.hash()));
  agree(group, "training text", hash_text(data->train->hash()));
  if (group.rank() == 0) {
    write_report(*data->train, run, "train");
    if (data->valid) write_report(*data->valid, run, "valid");
  }
  return data;
}

}  // namespace chorus
