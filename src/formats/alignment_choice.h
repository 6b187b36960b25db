// A model folder that remembers which layer and head align words.
#pragma once

#include <cstdint>
#include <filesystem>

namespace chorus::inline formats {

/// Writes ModelConfig::alignment_layer and alignment_head into the config.json of a model folder of ours, which another
/// with the same files then replaces: at any moment one of them is there, whole. UserError where the folder is a
/// checkpoint of a run or cannot be written.
void keep_alignment(const std::filesystem::path& folder, int64_t layer, int64_t head);

}  // namespace chorus::inline formats
