// A model with fewer experts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace chorus::inline face {

struct PruneText {
  std::string files;                    // one file per language, aligned by line: "valid.{lang}"
  std::vector<std::string> directions;  // "en-de", "*-en"; empty: all
  int sentences = 1000;                 // of each direction, at most
};

/// Writes the model folder `out`, which must not exist yet. Of each MoE layer of `model` it has the share
/// `keep` of the experts, those that most tokens of the text are sent to (2109.10465, section 3.3); the others are
/// merged into these, which then are corrected so that for this text the layer gives what it gave before
/// (docs/surgery.md), unless the model is quantized: then they are left out. Returns the share of the weights that is
/// left. Both models are in memory at once. UserError on a model or text that cannot be used.
double prune(const std::filesystem::path& model, double keep, const PruneText& text,
             const std::filesystem::path& out);

}  // namespace chorus::inline face
