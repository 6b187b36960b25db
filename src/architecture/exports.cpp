#include "architecture/exports.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace chorus::inline architecture {

std::vector<std::string> reasons_against(const ModelConfig& c, Format format) {
  const Architecture& architecture = architecture_of(format);
  if (architecture.positions != c.positions) {
    return {fmt::format("it has no {} positions", c.positions == Positions::relative ? "relative"
                                                  : c.positions == Positions::marian
                                                      ? "Marian's"
                                                      : "M2M100's sinusoidal")};
  }
  std::vector<std::string> reasons = architecture.reasons_against(c);
  if (c.quantization.any())
    reasons.insert(reasons.begin(), "its weights are quantized: export the model that it was made from");
  if (!c.layer_experts.empty())
    reasons.insert(reasons.begin(), "its MoE layers have different numbers of experts");
  return reasons;
}

void check_exportable(const ModelConfig& config, Format format) {
  if (const std::vector<std::string> reasons = reasons_against(config, format); !reasons.empty())
    throw UserError("the format {} cannot express this model: {}", architecture_of(format).name,
                    join(reasons, "; "));
}

std::string describe_exports(const ModelConfig& config) {
  std::vector<std::string> can, cannot;
  for (const Architecture* architecture : architectures()) {
    if (architecture->positions != config.positions) continue;
    const std::vector<std::string> reasons = reasons_against(config, architecture->format);
    reasons.empty() ? can.push_back(architecture->name)
                    : cannot.push_back(fmt::format("{} ({})", architecture->name, join(reasons, "; ")));
  }
  if (can.empty())
    return fmt::format("transformers has no class for this model, which only chorus export needs: not {}",
                       join(cannot, ", "));
  return fmt::format("chorus export can write this model as {}{}{}", join(can, ", "),
                     cannot.empty() ? "" : ", not as ", join(cannot, ", "));
}

}  // namespace chorus::inline architecture
