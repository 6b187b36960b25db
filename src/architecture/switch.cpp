// Switch (2101.03961) on T5 (1910.10683), and chorus's own models with relative positions. transformers:
// SwitchTransformersForConditionalGeneration.
#include "architecture/format.h"
#include "data/batch.h"

#include "architecture/internal/t5_family.h"

namespace chorus::inline architecture {

namespace {

/// The steps themselves are among the keys: otherwise transformers would compute them from the counts, which
/// cannot say that no layer is sparse.
nlohmann::json switch_json(const ModelConfig& c) {
  const auto sparse = [&](int64_t layers, int64_t every) {
    int64_t count = 0;
    for (int64_t i = 0; i < layers; ++i) count += c.is_sparse(i, every) ? 1 : 0;
    return count;
  };
  const bool has_experts = c.moe.experts > 0;
  nlohmann::json json = t5_family_json(c);
  json.update({
      {"architectures", {"SwitchTransformersForConditionalGeneration"}},
      {"model_type", "switch_transformers"},
      {"num_experts", std::max<int64_t>(c.moe.experts, 1)},
      {"num_sparse_encoder_layers", sparse(c.encoder_layers, c.moe.encoder_every)},
      {"num_sparse_decoder_layers", sparse(c.decoder_layers, c.moe.decoder_every)},
      {"encoder_sparse_step", has_experts ? c.moe.encoder_every : 0},
      {"decoder_sparse_step", has_experts ? c.moe.decoder_every : 0},
      {"expert_capacity", c.moe.sentence_capacity},
      {"router_bias", false},
      {"router_dtype", "float32"},
      {"router_jitter_noise", c.moe.jitter},
      {"router_ignore_padding_tokens", false},
      {"router_z_loss_coef", c.moe.z_loss},
      {"router_aux_loss_coef", c.moe.balance_loss},
      {"dense_act_fn", name_of(kActivations, c.activation)},
  });
  return json;
}

/// The n of which every n-th block is sparse. The step in a file takes precedence over what transformers
/// computes from the count, which for a count of 0 is one sparse block, the second.
int64_t sparse_step(const JsonReader& r, const char* step, const char* count, int64_t layers) {
  constexpr int64_t kMost = 1024;
  if (r.has(step)) return r.count(step, 0, kMost);
  const int64_t sparse = r.has(count) ? r.count(count, 0, kMost) : 3;
  return sparse > 0 ? layers / sparse : layers;
}

void read_switch(const JsonReader& r, ModelConfig& c) {
  read_t5_family(r, c);
  if (c.decoder_start != kPad)
    throw UserError("config.json: pad_token_id = {}; this version reads Switch models where it is 0", kPad);
  if (r.get("is_gated_act", false) || r.get<std::string>("feed_forward_proj", "").starts_with("gated"))
    throw not_computed("feed-forward layers with gates");
  if (r.get("router_bias", false)) throw not_computed("router_bias is true");
  if (const auto type = r.get<std::string>("router_dtype", "float32"); type != "float32")
    throw not_computed(fmt::format("router_dtype is {}", in_quotes(type)));
  c.activation = value_of(kActivations, "dense_act_fn", r.get<std::string>("dense_act_fn", "relu"));
  if (is_gated(c.activation)) throw not_computed("feed-forward layers with gates");
  c.moe.experts = r.count("num_experts", 1, 65536);
  c.moe.encoder_every = sparse_step(r, "encoder_sparse_step", "num_sparse_encoder_layers", c.encoder_layers);
  c.moe.decoder_every = sparse_step(r, "decoder_sparse_step", "num_sparse_decoder_layers", c.decoder_layers);
  c.moe.sparse_block = SparseBlock::second;
  c.moe.top_k = 1;
  c.moe.sentence_capacity = r.count("expert_capacity", 1, kLarge);
  c.moe.gate_normalization = GateNormalization::none;
  c.moe.jitter = r.fraction("router_jitter_noise", 0.01);
  c.moe.z_loss = r.factor("router_z_loss_coef", 0.001);
  c.moe.balance_loss = r.factor("router_aux_loss_coef", 0.001);
}

std::vector<std::string> switch_reasons(const ModelConfig& c) {
  std::vector<std::string> reasons;
  if (c.moe.experts == 0) reasons.emplace_back("it has experts, and the model has none");
  if (is_gated(c.activation))
    reasons.push_back(fmt::format("the activation {}, which it lacks", name_of(kActivations, c.activation)));
  return reasons;
}

}  // namespace

const Architecture kSwitch = {
    .format = Format::switch_transformers,
    .name = "switch",
    .model_types = {"switch_transformers"},
    .positions = Positions::relative,
    .native = true,
    .ids = TokenIds::t5,
    .stored_name = [](std::string name) { return t5_family_name(std::move(name), "mlp"); },
    .to_json = switch_json,
    .read = read_switch,
    .reasons_against = switch_reasons,
    .training_options = {"moe.capacity_factor", "moe.selection", "moe.gating_dropout",
                         "model.attention_dropout", "model.activation_dropout", "model.layer_dropout",
                         "moe.expert_output_dropout"},
    .own_json = t5_family_own,
    .read_own = read_t5_family_own};

}  // namespace chorus::inline architecture
