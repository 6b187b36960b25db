// A model that translates.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace chorus::inline face {

struct ModelOptions {
  std::string device = "cpu";  // "cuda"; "auto": the accelerator that libtorch sees, or else the CPU
  // Of the arithmetic; or "bf16". Of a model with quantized weights only that of the keys and values that translating
  // keeps.
  std::string precision = "fp32";
  // Bytes that the weights may take; experts beyond them stay in the model's file, and are read when they are needed.
  // 0: no limit.
  uint64_t memory = 0;
};

/// A handle: copies share the weights, which are never changed. Threads may share one.
class Model {
 public:
  /// A model folder, a run (its best model so far) or a checkpoint of a run. Weights of the precision asked
  /// for stay in the mapped file. UserError naming the file that is missing or damaged, and where `memory` is less
  /// than the model takes at least.
  explicit Model(const std::filesystem::path& folder, const ModelOptions& options = {});

  /// As the model calls them: "en", "deu_Latn". Empty where it has none.
  [[nodiscard]] std::vector<std::string> languages() const;
  /// What it was trained to translate, "en-de"; empty where that is not known.
  [[nodiscard]] std::vector<std::string> directions() const;
  /// Weights, all experts included.
  [[nodiscard]] int64_t parameters() const;

  struct Loaded;
  /// For chorus's own use.
  [[nodiscard]] Loaded& loaded() const { return *loaded_; }

 private:
  std::shared_ptr<Loaded> loaded_;
};

/// Bytes for ModelOptions::memory: of a size such as "8GB", or "auto": four fifths of what the machine has free.
/// UserError on what is neither.
uint64_t parse_memory(const std::string& text);

/// Threads that one computation takes, in the whole process; 0: one for each core. Called before models run.
void set_threads(int threads);

}  // namespace chorus::inline face
