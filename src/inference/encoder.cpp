#include "chorus/encoder.h"

#include <fmt/format.h>

#include "decode/encoder.h"

#include "inference/internal/loaded.h"
#include "inference/internal/pairs.h"

namespace chorus::inline face {

namespace {

std::vector<float> numbers(const at::Tensor& tensor) {
  const at::Tensor rows = tensor.contiguous();
  return {rows.const_data_ptr<float>(), rows.const_data_ptr<float>() + rows.numel()};
}

}  // namespace

Encoder::Encoder(const Model& model, const std::string& from, const std::string& to)
    : model_(model), from_(from), to_(to) {
  static_cast<void>(model.loaded().vocabulary.pair_tags(from, to));
}

std::vector<EncodedText> Encoder::encode(const std::vector<std::string>& texts) const {
  Transformer& model = *model_.loaded().transformer;
  const Vocabulary& vocabulary = model_.loaded().vocabulary;
  std::vector<std::string> names;  // of the encoder's MoE layers
  for (size_t i = 0; i < model.catalogue().encoder.size(); ++i)
    if (model.catalogue().encoder[i].ffn.sparse) names.push_back(fmt::format("encoder.layers.{}", i));
  std::vector<EncodedText> encoded;
  for (const EncodedSource& source :
       encode_sources(model, pairs_of(vocabulary, from_, to_, texts, {}), kBatchTokens)) {
    EncodedText& text = encoded.emplace_back(EncodedText{.states = numbers(source.states)});
    for (const int32_t id : source.ids) text.tokens.push_back(vocabulary.name_of(id));
    for (size_t i = 0; i < names.size(); ++i)
      text.routers.push_back({names[i], source.routers[i].size(1), numbers(source.routers[i])});
  }
  return encoded;
}

int64_t Encoder::width() const {
  return model_.loaded().transformer->config().d_model;
}

}  // namespace chorus::inline face
