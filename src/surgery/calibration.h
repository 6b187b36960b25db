// What runs through a model's weights for some text: `chorus quantize` chooses scales by it, and tells by the loss
// what became of the model.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/direction_text.h"
#include "formats/quantize.h"
#include "model/transformer.h"

namespace chorus::inline surgery {

struct Calibration {
  std::vector<double> losses;             // of each text, in nats per target token
  std::vector<at::Tensor> input_squares;  // of each parameter: Parameter::input_squares, or undefined

  /// Returns the sums of squares as quantize() takes them; an expert that no token came to has those of all.
  [[nodiscard]] ColumnImportance importance() const;
};

/// Runs the pairs through the model, on the host, teacher-forced. No capacity factor binds; a Switch encoder still
/// keeps at most moe.sentence_capacity tokens per expert and sentence, as transformers does. Padding counts outside
/// experts. Pairs beyond the model's positions are left out. UserError on a language that the model does not know.
/// `progress`, which may be empty, is told of the pairs that are done.
Calibration calibrate(Transformer& model, const Vocabulary& vocabulary, std::span<const DirectionText> texts,
                      const std::function<void(int64_t pairs)>& progress);

/// Returns only the losses, of a model of any weights.
std::vector<double> losses_of(Transformer& model, const Vocabulary& vocabulary,
                              std::span<const DirectionText> texts,
                              const std::function<void(int64_t pairs)>& progress);

}  // namespace chorus::inline surgery
