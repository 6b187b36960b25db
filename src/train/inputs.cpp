#include "train/inputs.h"

#include "chorus/base/files.h"
#include "chorus/base/log.h"

namespace chorus {

namespace {

std::filesystem::path vocabulary_path(const RunConfig& config, const std::filesystem::path& run) {
  return config.vocabulary.model.empty() ? run / "sentencepiece.bpe.model"
                                         : std::filesystem::path(config.vocabulary.model);
}

std::filesystem::path report_path(const std::filesystem::path& run, const std::string& list) {
  return run / ("data." + list + ".json");
}

}  // namespace

Vocabulary open_vocabulary(const RunConfig& config, const std::filesystem::path& run) {
  const std::filesystem::path path = vocabulary_path(config, run);
  if (!std::filesystem::exists(path)) {
    log_info("vocabulary: training {} pieces into {}", config.vocabulary.size, path.string());
    VocabularyTraining training = {
        .seed = static_cast<uint64_t>(config.seed),
        .progress = [](const std::string& line) { log_info("vocabulary: {}", line); }};
    for (const SourceConfig& source : config.data.valid) {
      training.more_languages.insert(training.more_languages.end(), source.languages.begin(),
                                     source.languages.end());
    }
    train_vocabulary(config.data.train, config.vocabulary, path, training);
  }
  return Vocabulary::load(path);
}

std::unique_ptr<DataSet> open_data(const RunConfig& config, const std::filesystem::path& run,
                                   const Vocabulary& vocabulary, const std::vector<SourceConfig>& sources,
                                   const std::string& list) {
  const std::filesystem::path store =
      config.data.store.empty() ? run / "store" : std::filesystem::path(config.data.store);
  DataSet::Options options = {.store = store, .max_length = config.data.max_length, .list = list};
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

}  // namespace chorus
