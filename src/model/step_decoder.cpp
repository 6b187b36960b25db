#include "model/step_decoder.h"

#include "model/internal/block_decoder.h"
#include "model/internal/row_decoder.h"

namespace chorus::inline model {

std::unique_ptr<const StepDecoder> make_step_decoder(Transformer& model) {
  if (RowDecoder::suits(model)) return std::make_unique<RowDecoder>(model);
  return std::make_unique<BlockDecoder>(model);
}

}  // namespace chorus::inline model
