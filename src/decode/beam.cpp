#include "decode/beam.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"

#include "decode/internal/batch.h"
#include "decode/internal/constrained.h"

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
    throw UserError("n-best of {} is outside 1 to the beam of {}{}", options.nbest, options.beam,
                    options.nbest < 1 ? "" : fmt::format("; take a beam of {}", options.nbest));
  if (!(options.diversity >= 0) || !std::isfinite(options.diversity))
    throw UserError("a diversity of {}: it must be a number from 0 (none)", options.diversity);
  if (options.groups < 0 || (options.groups > 0 && options.beam % options.groups != 0))
    throw UserError("a beam of {} cannot be cut into {}", options.beam, counted(options.groups, "group"));
  if (options.groups > 0 && options.diversity == 0)
    throw UserError("{}: without a diversity all find the same", counted(options.groups, "group"));
  const int64_t groups = groups_of(options), group = options.beam / groups;
  // A group's choice is among its 2 best per hypothesis, and as many more as others may have taken away.
  const bool constrained =
      std::ranges::any_of(inputs, [](const DecodeInput& input) { return !input.phrases.empty(); });
  if (constrained && options.diversity > 0)
    throw UserError("a diverse beam cannot also see to phrases that translations must contain");
  const SearchKind kind = {
      .width = options.beam,
      .best = 2 * group + (options.beam - group),
      .logits = constrained,
      .greedy = options.beam == 1,
      .make = [&](size_t number, const DecodeInput& input) -> std::unique_ptr<Search> {
        if (!input.phrases.empty())
          return std::make_unique<ConstrainedSearch>(number, input, options, model.max_positions());
        return std::make_unique<BeamSearch>(number, input, options, model.max_positions());
      }};
  return search_all(model, inputs, options, kind, progress);
}

}  // namespace chorus::inline decode
