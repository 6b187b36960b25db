// Marian's Transformer (1804.00344) as OPUS-MT's models have it: dense, norms after the residual sums, a bias on the
// logits, Marian's positions. transformers: MarianMTModel.
#include "architecture/format.h"
#include "data/batch.h"

#include "architecture/internal/m2m100_family.h"

namespace chorus::inline architecture {

namespace {

constexpr int64_t kMarianEos = 0;  // <unk> is 1, and padding, with which the decoder begins, the last row

nlohmann::json marian_json(const ModelConfig& c) {
  nlohmann::json json = m2m100_family_json(c);
  const int64_t pad = c.vocabulary - 1;
  json.update({{"architectures", {"MarianMTModel"}},
               {"model_type", "marian"},
               {"decoder_vocab_size", c.vocabulary},
               {"share_encoder_decoder_embeddings", true},
               {"tie_word_embeddings", c.tied_output},
               {"scale_embedding", c.scale_embedding},
               {"static_position_embeddings", true},
               {"normalize_before", false},
               {"bos_token_id", kMarianEos},
               {"eos_token_id", kMarianEos},
               {"forced_eos_token_id", kMarianEos},
               {"pad_token_id", pad},
               {"decoder_start_token_id", pad},
               {"bad_words_ids", {{pad}}}});
  return json;
}

/// transformers knows these keys no more and computes as if they were so.
constexpr std::pair<const char*, bool> kAlwaysSo[] = {{"static_position_embeddings", true},
                                                      {"normalize_before", false},
                                                      {"normalize_embedding", false},
                                                      {"add_final_layer_norm", false}};

void read_marian(const JsonReader& r, ModelConfig& c) {
  read_m2m100_family_shape(r, c);
  const auto activation = r.get<std::string>("activation_function", "gelu");
  c.activation =
      activation == "swish" ? Activation::silu : value_of(kActivations, "activation_function", activation);
  if (is_gated(c.activation)) throw not_computed(fmt::format("activation_function is {}", activation));
  if (!r.get("share_encoder_decoder_embeddings", true) ||
      r.get("decoder_vocab_size", c.vocabulary) != c.vocabulary)
    throw not_computed("source and target have vocabularies of their own");
  for (const auto& [key, value] : kAlwaysSo)
    if (r.get(key, value) != value) throw not_computed(fmt::format("{} is {}", key, !value));
  const int64_t pad = c.vocabulary - 1;
  for (const auto& [key, value] :
       {std::pair{"eos_token_id", kMarianEos}, {"pad_token_id", pad}, {"decoder_start_token_id", pad}}) {
    if (const auto given = r.get<int64_t>(key, -1); given != value)
      throw UserError("config.json: {} = {}; this version reads models of {} rows where it is {}", key, given,
                      c.vocabulary, value);
  }
  c.scale_embedding = r.get("scale_embedding", false);
  c.tied_output = r.get("tie_word_embeddings", true);
  c.positions = Positions::marian;
  c.post_norm = c.output_bias = true;
  c.decoder_start = kPad;
}

std::vector<std::string> marian_reasons(const ModelConfig& c) {
  if (!is_gated(c.activation)) return {};
  return {fmt::format("the activation {}, which it lacks", name_of(kActivations, c.activation))};
}

}  // namespace

const Architecture kMarian = {.format = Format::marian,
                              .name = "marian",
                              .model_types = {"marian"},
                              .positions = Positions::marian,
                              .native = true,
                              .dense = true,
                              .ids = TokenIds::marian,
                              .stored_name = m2m100_family_name,
                              .to_json = marian_json,
                              .read = read_marian,
                              .reasons_against = marian_reasons,
                              .own_json = [](const ModelConfig&) { return nlohmann::json::object(); },
                              .read_own = [](const JsonReader&, ModelConfig&) {}};

}  // namespace chorus::inline architecture
