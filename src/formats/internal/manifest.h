// chorus.json: which configuration, vocabulary and weights belong together in a model folder of ours.
//
//   {"format": 1, "files": {"config.json": XXH3-64 of the file, "model.safetensors": of the header, which
//   stands for the contents, ...}}
//
// A folder without it is taken as it is: an older one, or one whose owner has changed it on purpose.
// generation_config.json is not in it: chorus reads nothing of it.
#pragma once

#include <filesystem>

#include "io/safetensors.h"

namespace chorus::inline formats {

/// Writes it for the files that lie there now.
void write_manifest(const std::filesystem::path& folder);

/// UserError when the file is another than that which the folder was saved with; also where the folder has
/// lost it.
void check_manifest(const std::filesystem::path& folder, const char* file);
void check_manifest(const SafetensorsFolder& weights);

}  // namespace chorus::inline formats
