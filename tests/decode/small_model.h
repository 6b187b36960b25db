// A model of random weights for the small vocabulary, on suite_device(), and lines.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/text.h"
#include "data/corpus.h"
#include "decode/fixtures.h"
#include "decode/translator.h"
#include "suite_device.h"

namespace chorus {

inline Transformer& small_model() {
  static const auto made = [] {
    ModelConfig config = tiny_config();
    config.vocabulary = small_vocabulary().size() + 8;  // rows that nothing uses
    config.max_positions = 96;
    return opinionated_model(config, 2, suite_device());
  }();
  return *made;
}

/// To which the unknown token is the most probable one everywhere.
inline std::unique_ptr<Transformer> unsure_model() {
  auto model = opinionated_model(small_model().config(), 2);
  const Catalogue& catalogue = model->catalogue();
  const at::Tensor unknown = model->parameters()[catalogue.embedding].value[kUnk];
  model->set(catalogue.decoder_norm.bias, unknown / unknown.norm() * 5);
  return model;
}

inline TranslatorOptions small_options(int64_t nbest = 1) {
  return {.from = "en", .to = "de", .decode = {.beam = 3, .nbest = nbest, .max_length_factor = 1}};
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (const std::string_view line : split(text, '\n')) lines.emplace_back(line);
  EXPECT_EQ(lines.back(), "") << "the last line ends as well";
  lines.pop_back();
  return lines;
}

inline std::string joined(const std::vector<std::string>& lines) {
  return join(lines, "\n") + "\n";
}

}  // namespace chorus
