// NLLB-MoE (2207.04672), and chorus's own models with sinusoidal positions. transformers:
// NllbMoeForConditionalGeneration.
#include "architecture/format.h"

#include "architecture/internal/m2m100_family.h"

namespace chorus::inline architecture {

namespace {

nlohmann::json nllb_moe_json(const ModelConfig& c) {
  const bool sparse = c.moe.experts > 0;
  nlohmann::json json = m2m100_family_json(c);
  json.update({
      {"architectures", {"NllbMoeForConditionalGeneration"}},
      {"model_type", "nllb-moe"},
      {"encoder_sparse_step", sparse ? c.moe.encoder_every : 0},
      {"decoder_sparse_step", sparse ? c.moe.decoder_every : 0},
      {"num_experts", std::max<int64_t>(c.moe.experts, 1)},
      {"router_bias", false},
      {"router_dtype", "float32"},
      {"router_ignore_padding_tokens", false},
      {"router_z_loss_coef", c.moe.z_loss},
      {"router_aux_loss_coef", c.moe.balance_loss},
      {"moe_token_dropout", c.moe.expert_output_dropout},
      {"moe_eval_capacity_token_fraction", 1.0},
      {"second_expert_policy", "all"},
      {"batch_prioritized_routing", false},
      // With one expert, a share before the drop would be one half.
      {"normalize_router_prob_before_dropping",
       c.moe.gate_normalization == GateNormalization::before_drop && c.moe.experts != 1},
  });
  return json;
}

void read_nllb_moe(const JsonReader& r, ModelConfig& config) {
  read_m2m100_family(r, config);
  MoeConfig& moe = config.moe;
  moe.experts = r.count("num_experts", 1, 65536);
  moe.encoder_every = r.count("encoder_sparse_step", 0, kMostEvery);
  moe.decoder_every = r.count("decoder_sparse_step", 0, kMostEvery);
  moe.expert_output_dropout = r.fraction("moe_token_dropout", 0.2);
  moe.z_loss = r.factor("router_z_loss_coef", 0.001);
  moe.balance_loss = r.factor("router_aux_loss_coef", 0.001);
  moe.top_k = std::min<int64_t>(2, moe.experts);
  const bool before = r.get("normalize_router_prob_before_dropping", false);
  moe.gate_normalization = before ? GateNormalization::before_drop : GateNormalization::after_drop;
  if (before && moe.experts == 1)
    throw not_computed(
        "normalize_router_prob_before_dropping with one expert halves the output of some tokens");
  if (r.get("router_bias", false)) throw not_computed("router_bias is true");
  if (const auto type = r.get<std::string>("router_dtype", "float32"); type != "float32")
    throw not_computed(fmt::format("router_dtype is {}", in_quotes(type)));
  if (const auto policy = r.get<std::string>("second_expert_policy", "all"); policy != "all")
    throw not_computed(fmt::format("second_expert_policy is {}, a random choice", in_quotes(policy)));
  // From 1 on nothing is dropped, and so batch_prioritized_routing changes nothing.
  if (const auto share = r.get("moe_eval_capacity_token_fraction", 1.0); !(share >= 1))
    throw not_computed(
        fmt::format("moe_eval_capacity_token_fraction = {} drops tokens, depending on the batch", share));
}

std::vector<std::string> nllb_moe_reasons(const ModelConfig& c) {
  std::vector<std::string> reasons = m2m100_family_reasons(c);
  if (c.expert_counts().empty() || c.moe.experts == 1) return reasons;  // each gate is 1
  if (c.moe.top_k != 2)
    reasons.push_back(fmt::format("moe.top_k = {}, where that format's router chooses 2", c.moe.top_k));
  if (c.moe.gate_normalization == GateNormalization::none)
    reasons.emplace_back("moe.gate_normalization = none, where that format's gates sum to 1");
  return reasons;
}

nlohmann::json nllb_moe_own(const ModelConfig& c) {
  return {{"experts", c.moe.experts},
          {"top_k", c.moe.top_k},
          {"evaluation_capacity_factor", c.moe.evaluation_capacity_factor},
          {"gate_normalization", name_of(kGateNormalizations, c.moe.gate_normalization)}};
}

void read_nllb_moe_own(const JsonReader& own, ModelConfig& c) {
  c.moe.experts = own.count("experts", 0, 65536);
  c.moe.top_k = own.count("top_k", 1, 64);
  c.moe.evaluation_capacity_factor = own.factor("evaluation_capacity_factor", 0);
  c.moe.gate_normalization = value_of(kGateNormalizations, "chorus.gate_normalization",
                                      own.get<std::string>("gate_normalization", "none"));
}

}  // namespace

const Architecture kNllbMoe = {
    .format = Format::nllb_moe,
    .name = "nllb-moe",
    .model_types = {"nllb-moe", "nllb_moe"},
    .positions = Positions::sinusoidal,
    .native = true,
    .stored_name = [](std::string name) { return name; },
    .to_json = nllb_moe_json,
    .read = read_nllb_moe,
    .reasons_against = nllb_moe_reasons,
    .training_options = {"moe.capacity_factor", "moe.selection", "moe.gating_dropout", "moe.jitter"},
    .own_json = nllb_moe_own,
    .read_own = read_nllb_moe_own};

}  // namespace chorus::inline architecture
