#include "moe/config.h"

namespace chorus::inline moe {

const std::vector<std::pair<std::string, GateNormalization>> kGateNormalizations = {
    {"none", GateNormalization::none},
    {"before_drop", GateNormalization::before_drop},
    {"after_drop", GateNormalization::after_drop}};

void describe(Schema& s, MoeConfig& c) {
  s.section("moe", "the mixture-of-experts layers");
  s.add("experts", c.experts,
        {.help = "experts in each MoE layer; 0 makes a dense model", .min = 0, .max = 65536});
  s.add("encoder_every", c.encoder_every,
        {.help = "every n-th encoder block has an MoE layer in place of its FFN; 0: none",
         .unit = "blocks",
         .min = 0,
         .max = kMostEvery});
  s.add("decoder_every", c.decoder_every,
        {.help = "the same for the decoder", .unit = "blocks", .min = 0, .max = kMostEvery});
  s.add("top_k", c.top_k,
        {.help = "experts that each token is sent to; `chorus export` to NLLB-MoE needs 2",
         .min = 1,
         .max = 64});
  s.add("capacity_factor", c.capacity_factor,
        {.help = "an expert takes at most ceil(factor * k * tokens / experts) of a micro-batch; 0: dropless",
         .min = 0,
         .max = 1e6});
  s.add("evaluation_capacity_factor", c.evaluation_capacity_factor,
        {.help =
             "the same in validation and `chorus assess`; 0: dropless, as translating and scoring always are",
         .min = 0,
         .max = 1e6});
  s.add("selection", c.selection,
        {{"position", TokenSelection::position},
         {"probability", TokenSelection::probability},
         {"random", TokenSelection::random}},
        {.help = "which tokens a full expert keeps in training; random is RTS"});
  s.add(
      "gate_normalization", c.gate_normalization, kGateNormalizations,
      {.help = "whether a token's k gates are scaled to sum to one, over all its choices or over those kept; "
               "`chorus export` to NLLB-MoE needs before_drop or after_drop"});
  s.add("jitter", c.jitter,
        {.help = "the router's input is multiplied by 1 +- jitter in training", .min = 0, .max = 1});
  s.add("balance_loss", c.balance_loss,
        {.help = "coefficient of the load-balancing loss, which counts all k choices of a token",
         .min = 0,
         .max = 1e6});
  s.add("z_loss", c.z_loss, {.help = "coefficient of the router z-loss", .min = 0, .max = 1e6});
  s.add("gating_dropout", c.gating_dropout,
        {.help = "probability that an update leaves out the experts of all layers, and so the exchange "
                 "between processes",
         .min = 0,
         .max = 0.99});
  s.add("expert_output_dropout", c.expert_output_dropout,
        {.help =
             "probability of masking what an expert gives for a token, of each choice by itself (NLLB's EOM)",
         .min = 0,
         .max = 0.99});
}

}  // namespace chorus::inline moe
