// For tests: a tiny model in a folder, and ways to damage it.
#pragma once

#include <cstring>
#include <functional>
#include <map>

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "corpus/vocabulary_training.h"
#include "data/corpus.h"
#include "formats/folder.h"
#include "io/files.h"
#include "io/json.h"
#include "model/fixtures.h"
#include "temporary_folder.h"

namespace chorus {

namespace fs = std::filesystem;

using Tensors = std::map<std::string, at::Tensor>;

/// So that the folder is taken as it is, changed on purpose.
inline void forget_manifest(const fs::path& folder) {
  fs::remove(folder / "chorus.json");
}

/// Writes the fp32 weights of a model folder again as a file of other tensors, made by `change` from them.
inline void rewrite(const fs::path& folder, const std::function<void(Tensors&)>& change) {
  forget_manifest(folder);
  Tensors tensors;
  const SafetensorsFile file(folder / "model.safetensors");
  for (const std::string& name : file.names()) {
    const TensorView view = file.get(name);
    tensors[name] = at::empty(view.shape, at::kFloat);
    std::memcpy(tensors[name].mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  }
  change(tensors);
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back({name, DType::f32, tensor.sizes().vec()});
  SafetensorsWriter writer(folder / "model.safetensors", specs);
  for (const auto& [name, tensor] : tensors)
    writer.write(name, {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
  writer.commit();
}

inline void edit_json(const fs::path& path, const std::function<void(nlohmann::json&)>& change) {
  forget_manifest(path.parent_path());
  nlohmann::json json = read_json(path);
  change(json);
  write_file_atomically(path, json.dump());
}

/// Of weights that are no initial ones: none is 0, or 1.
inline std::unique_ptr<Transformer> random_model(const ModelConfig& config) {
  auto model = std::make_unique<Transformer>(config, Transformer::Options{});
  at::manual_seed(3);
  for (size_t i = 0; i < model->parameters().size(); ++i)
    model->set(i, at::randn(model->catalogue().parameters[i].shape));
  return model;
}

inline void save_weights(const fs::path& folder, Transformer& model, const Vocabulary& vocabulary,
                         DType dtype = DType::f32) {
  save_model(folder, {.config = model.config(),
                      .catalogue = model.catalogue(),
                      .weights = [&model](size_t i) { return model.parameters()[i].value; },
                      .dtype = dtype,
                      .vocabulary = vocabulary});
}

/// A saved model: its folder, and what it was made of.
struct Saved {
  TemporaryFolder folder;
  fs::path pieces = folder / "pieces.model";
  fs::path path = folder / "model";
  Vocabulary vocabulary;
  std::unique_ptr<Transformer> model;

  explicit Saved(const std::vector<std::string>& added = {}, ModelConfig config = tiny_config())
      : vocabulary(train(added)) {
    config.vocabulary = vocabulary.size();
    model = std::make_unique<Transformer>(config, Transformer::Options{});
    initialise(*model, 7);
    save(path);
  }
  Vocabulary train(const std::vector<std::string>& added) {
    static const std::string trained = [] {
      const TemporaryFolder temporary;
      write_lines(temporary / "text.en", sentences("en", 300));
      write_lines(temporary / "text.de", sentences("de", 300));
      const SourceConfig source{.files = (temporary / "text.{lang}").string(), .languages = {"en", "de"}};
      train_vocabulary({&source, 1}, {.size = 400}, temporary / "out.model");
      return read_file(temporary / "out.model");
    }();
    write_file_atomically(pieces, trained);
    VocabularyLayout layout;
    for (const std::string& language : added) layout.tags.push_back({language});
    return Vocabulary::load(pieces, layout);
  }
  void save(const fs::path& where, DType dtype = DType::f32) const {
    save_weights(where, *model, vocabulary, dtype);
  }
  void rewrite(const std::function<void(Tensors&)>& change) const { chorus::rewrite(path, change); }
  void edit_config(const std::function<void(nlohmann::json&)>& change) const {
    edit_json(path / "config.json", change);
  }
  std::string refusal() const {
    return message_of<UserError>([&] { load_model(path, {}); });
  }
};

inline void expect_same_weights(Transformer& a, Transformer& b) {
  ASSERT_EQ(a.parameters().size(), b.parameters().size());
  for (size_t i = 0; i < a.parameters().size(); ++i)
    EXPECT_TRUE(at::equal(a.parameters()[i].value, b.parameters()[i].value))
        << a.catalogue().parameters[i].name;
}

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace chorus
