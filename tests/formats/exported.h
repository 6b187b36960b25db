// For tests: a tiny model as transformers keeps it.
#pragma once

#include "formats/convert.h"
#include "formats/saved_model.h"

namespace chorus {

inline ModelConfig nllb_config() {
  ModelConfig config = tiny_config();
  config.moe.gate_normalization = GateNormalization::after_drop;
  config.moe.expert_output_dropout = 0.2;
  return config;
}

inline ModelConfig one_expert_config() {
  ModelConfig config = nllb_config();
  config.moe.experts = config.moe.top_k = 1;
  return config;
}

inline ModelConfig dense_config() {
  ModelConfig config = nllb_config();
  config.moe.experts = 0;
  return config;
}

/// A model of ours, and what export makes of it.
struct Exported : Saved {
  fs::path out = folder / "theirs", back = folder / "back";
  explicit Exported(const ModelConfig& config = nllb_config(), ExportOptions options = {})
      : Saved({"eng_Latn", "deu_Latn"}, config) {
    export_model(path, options, out);
  }
  /// Brings it back after `change` of config.json: what is said.
  std::string refusal(const std::function<void(nlohmann::json&)>& change) const {
    const std::string good = read_file(out / "config.json");
    edit_json(out / "config.json", change);
    const std::string message = import_refusal();
    write_file_atomically(out / "config.json", good);
    return message;
  }
  std::string import_refusal() const {
    const std::string message = message_of<UserError>([&] { import_model(out, back); });
    EXPECT_FALSE(fs::exists(back)) << "nothing is written";
    return message;
  }
};

}  // namespace chorus
