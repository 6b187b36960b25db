#include "model/step_decoder.h"

#include <utility>

#include "model/internal/block_decoder.h"
#include "model/internal/ensemble_decoder.h"
#include "model/internal/output.h"
#include "model/internal/row_decoder.h"

namespace chorus::inline model {

std::shared_ptr<const SharedTokens> StepDecoder::take_tokens(std::vector<int32_t> tokens) const {
  return take_rows_of(model_.weights()[model_.catalogue().output].matrix(), std::move(tokens));
}

std::unique_ptr<const StepDecoder> make_step_decoder(Transformer& model) {
  if (RowDecoder::suits(model)) return std::make_unique<RowDecoder>(model);
  return std::make_unique<BlockDecoder>(model);
}

std::unique_ptr<const StepDecoder> make_step_decoder(std::span<Transformer* const> models) {
  if (models.size() == 1) return make_step_decoder(*models.front());
  return std::make_unique<EnsembleDecoder>(models);
}

}  // namespace chorus::inline model
