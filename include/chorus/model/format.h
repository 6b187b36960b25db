// On-disk formats: whose spelling config.json and the names of the tensors follow.
//
// A catalogue lists the same parameters in the same order in every format, so that going from one format to
// another is a map from tensor to tensor (model/convert.h).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace chorus {

enum class Format {
  nllb_moe,             // transformers' NllbMoeForConditionalGeneration; and chorus's own, with a "chorus" in
                        // config.json
  m2m100,               // transformers' M2M100ForConditionalGeneration: dense
  switch_transformers,  // transformers' SwitchTransformersForConditionalGeneration; and chorus's own of such
                        // models
};

/// How the command line spells them.
extern const std::vector<std::pair<std::string, Format>> kFormats;

/// By config.json's model_type. UserError when it is none of them.
Format format_of(const nlohmann::json& config);

/// The name that a tensor of a catalogue, "model.decoder.layers.0.cross_attention.q_proj.weight", has in
/// a format.
std::string stored_name(Format format, std::string name);

}  // namespace chorus
