#include "chorus/model/exports.h"

#include <algorithm>

#include <fmt/format.h>

#include "chorus/base/error.h"
#include "chorus/base/text.h"

namespace chorus {
namespace {

std::string name_of(Format format) {
  return std::ranges::find(kFormats, format, &std::pair<std::string, Format>::second)->first;
}

}  // namespace

std::vector<std::string> reasons_against(const ModelConfig& c, Format format) {
  const bool is_switch = native_format(c) == Format::switch_transformers;
  if (is_switch != (format == Format::switch_transformers))
    return {fmt::format("it has no {} positions", is_switch ? "relative" : "sinusoidal")};
  std::vector<std::string> reasons;
  if (!c.layer_experts.empty()) reasons.emplace_back("its MoE layers have different numbers of experts");
  if (is_switch) return reasons;
  if (c.activation == Activation::swiglu) reasons.emplace_back("model.activation = swiglu, which it lacks");
  if (c.expert_counts().empty()) return reasons;
  if (c.moe.evaluation_capacity_factor > 0) {
    reasons.push_back(
        fmt::format("moe.evaluation_capacity_factor = {}, where that format's evaluation drops nothing",
                    c.moe.evaluation_capacity_factor));
  }
  if (c.moe.experts == 1) return reasons;  // each gate is 1
  if (format == Format::m2m100) {
    reasons.push_back(fmt::format("it is dense, and the MoE layers have {} experts", c.moe.experts));
    return reasons;
  }
  if (c.moe.top_k != 2)
    reasons.push_back(fmt::format("moe.top_k = {}, where that format's router chooses 2", c.moe.top_k));
  if (c.moe.gate_normalization == GateNormalization::none)
    reasons.emplace_back("moe.gate_normalization = none, where that format's gates sum to 1");
  return reasons;
}

void check_exportable(const ModelConfig& config, Format format) {
  if (const std::vector<std::string> reasons = reasons_against(config, format); !reasons.empty())
    throw UserError("the format {} cannot express this model: {}", name_of(format), join(reasons, "; "));
}

std::string describe_exports(const ModelConfig& config) {
  const bool is_switch = native_format(config) == Format::switch_transformers;
  std::vector<std::string> can, cannot;
  for (const auto& [name, format] : kFormats) {
    if (is_switch != (format == Format::switch_transformers)) continue;
    const std::vector<std::string> reasons = reasons_against(config, format);
    reasons.empty() ? can.push_back(name)
                    : cannot.push_back(fmt::format("{} ({})", name, join(reasons, "; ")));
  }
  return fmt::format("chorus export can write this model as {}{}{}",
                     can.empty() ? "nothing" : join(can, ", "), cannot.empty() ? "" : ", not as ",
                     join(cannot, ", "));
}

}  // namespace chorus
