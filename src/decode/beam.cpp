#include "decode/beam.h"

#include "base/error.h"

#include "decode/internal/batch.h"

namespace chorus::inline decode {

std::vector<int32_t> never_chosen(const Vocabulary& vocabulary, int64_t rows) {
  std::vector<int32_t> never;
  for (int32_t id = 0; id < rows; ++id)
    if (id != kEos && !vocabulary.is_text(id)) never.push_back(id);
  return never;
}

std::vector<std::vector<Hypothesis>> beam_search(const StepDecoder& model,
                                                 std::span<const DecodeInput> inputs,
                                                 const DecodeOptions& options,
                                                 const std::function<void(int64_t done)>& progress) {
  if (options.beam < 1 || options.beam > 1000)
    throw UserError("a beam of {} is outside 1 to 1000", options.beam);
  if (options.nbest < 1 || options.nbest > options.beam)
    throw UserError("n-best of {} is outside 1 to the beam of {}", options.nbest, options.beam);
  const SearchKind kind = {.width = options.beam,
                           .best = 2 * options.beam,
                           .greedy = options.beam == 1,
                           .make = [&](size_t number, const DecodeInput& input) {
                             return std::make_unique<BeamSearch>(number, input, options,
                                                                 model.config().max_positions);
                           }};
  return search_all(model, inputs, options, kind, progress);
}

}  // namespace chorus::inline decode
