// What a run reads: its vocabulary and its text, made ready in the run folder where they are not.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "chorus/data/dataset.h"
#include "chorus/data/vocabulary.h"
#include "chorus/train/config.h"

namespace chorus {

/// Trains it first if there is none.
Vocabulary open_vocabulary(const RunConfig& config, const std::filesystem::path& run);

/// `list`: "train" or "valid"; logs the report of the text. Builds the stores first if they are not there.
std::unique_ptr<DataSet> open_data(const RunConfig& config, const std::filesystem::path& run,
                                   const Vocabulary& vocabulary, const std::vector<SourceConfig>& sources,
                                   const std::string& list);
/// RUN/data.LIST.json.
void write_report(const DataSet& data, const std::filesystem::path& run, const std::string& list);

}  // namespace chorus
