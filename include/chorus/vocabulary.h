// Text as the tokens of a model, and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "chorus/model.h"

namespace chorus::inline face {

/// A handle. Threads may share one.
class ModelVocabulary {
 public:
  /// Of a folder as Model takes it, whose weights are not read. UserError naming the file that is missing or damaged.
  explicit ModelVocabulary(const std::filesystem::path& folder);
  explicit ModelVocabulary(const Model& model);

  /// Ids are below it.
  [[nodiscard]] int64_t size() const;
  /// As Model's.
  [[nodiscard]] std::vector<std::string> languages() const;
  /// The pieces of a text, without tag and </s>. `language` matters where source and target are cut otherwise
  /// (OPUS-MT); empty: as a source. UserError on a language that the model does not know, and on text that is not
  /// UTF-8.
  [[nodiscard]] std::vector<int32_t> encode(const std::string& text, const std::string& language = "") const;
  /// The text of ids; tags and special tokens are left out. UserError on an id outside 0 .. size() - 1.
  [[nodiscard]] std::string decode(std::span<const int32_t> ids) const;
  /// As the vocabulary writes it: "▁the", "</s>", "__de__" for the tag of de; "" for an id that stands for nothing.
  /// UserError as decode().
  [[nodiscard]] std::string piece(int32_t id) const;
  /// The id of a language's tag; -1 where it has none. UserError on a language that the model does not know.
  [[nodiscard]] int32_t tag(const std::string& language) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace chorus::inline face
