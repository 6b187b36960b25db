#include "layout/catalogue.h"

#include <set>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "model/fixtures.h"

namespace chorus {
namespace {

TEST(Catalogue, StoredNamesAreThoseOfTransformers) {
  const Catalogue catalogue = make_catalogue(tiny_config());
  std::set<std::string> names;
  for (const ParameterSpec& spec : catalogue.parameters) {
    EXPECT_EQ(spec.stored.size(), spec.sliced ? static_cast<size_t>(spec.shape[0]) : 1U) << spec.name;
    for (const std::string& name : spec.stored) EXPECT_TRUE(names.insert(name).second) << name;
  }
  for (const char* name :
       {"model.shared.weight", "model.encoder.layers.0.self_attn.q_proj.weight",
        "model.encoder.layers.0.ffn.fc1.bias", "model.encoder.layers.1.ffn.router.classifier.weight",
        "model.encoder.layers.1.ffn.experts.expert_3.fc2.weight",
        "model.decoder.layers.1.cross_attention.v_proj.bias",
        "model.decoder.layers.0.cross_attention_layer_norm.weight",
        "model.decoder.layers.0.ff_layer_norm.bias", "model.encoder.layer_norm.weight"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
  EXPECT_EQ(catalogue.sparse_layers(), 2);
}

TEST(Catalogue, RolesAddUp) {
  const ModelConfig config = tiny_config();
  const Catalogue catalogue = make_catalogue(config);
  const int64_t expert = config.ffn_dim * config.d_model * 2 + config.ffn_dim + config.d_model;
  EXPECT_EQ(catalogue.elements(Role::expert), 2 * config.moe.experts * expert);
  ModelConfig dense = config;
  dense.moe.experts = 0;
  EXPECT_EQ(make_catalogue(dense).elements(Role::expert), 0);
  EXPECT_EQ(make_catalogue(dense).sparse_layers(), 0);
}

TEST(Catalogue, InitialValuesDependOnNameAndSeedAlone) {
  ModelConfig config = tiny_config();
  const Catalogue small = make_catalogue(config);
  config.moe.experts = 6;  // more experts: the first four start as before
  const Catalogue large = make_catalogue(config);
  const size_t experts = small.encoder[1].ffn.fc1.weight;
  ASSERT_EQ(small.parameters[experts].role, Role::expert);
  const at::Tensor a = initial_value(small.parameters[experts], RandomKey(1));
  EXPECT_TRUE(at::equal(a, initial_value(large.parameters[experts], RandomKey(1)).narrow(0, 0, 4)));
  EXPECT_FALSE(at::equal(a, initial_value(small.parameters[experts], RandomKey(2))));
  EXPECT_FALSE(at::equal(a[0], a[1]));
  const double bound = std::sqrt(6.0 / static_cast<double>(config.d_model + config.ffn_dim));
  EXPECT_LE(a.abs().max().item<double>(), bound);
  EXPECT_NEAR(a.std().item<double>(), bound / std::sqrt(3.0), 0.1 * bound);
  const at::Tensor embedding = initial_value(small.parameters[small.embedding], RandomKey(1));
  EXPECT_EQ(embedding[kPad].abs().max().item<double>(), 0);
}

TEST(Config, GoesThroughJsonAndBack) {
  ModelConfig config = tiny_config();
  config.moe.gate_normalization = GateNormalization::after_drop;
  config.activation = Activation::swiglu;
  const ModelConfig back = model_config_from_json(to_json(config));
  EXPECT_EQ(to_json(back), to_json(config));
  config.moe.experts = 0;
  EXPECT_EQ(make_catalogue(model_config_from_json(to_json(config))).elements(Role::expert), 0);
}

TEST(Config, DamagedJsonIsRefusedInWords) {
  nlohmann::json json = to_json(tiny_config());
  for (const char* key : {"vocab_size", "d_model", "encoder_layers", "num_experts", "encoder_ffn_dim"}) {
    for (const nlohmann::json& bad :
         {nlohmann::json(-1), nlohmann::json("x"), nlohmann::json(), nlohmann::json(1LL << 40)}) {
      nlohmann::json damaged = json;
      damaged[key] = bad;
      EXPECT_THROW(model_config_from_json(damaged), UserError) << key << " " << bad;
    }
  }
  json["attention_dropout"] = "much";
  EXPECT_THROW(model_config_from_json(json), UserError);
  EXPECT_THROW(model_config_from_json(nlohmann::json::array()), UserError);
  EXPECT_THROW(model_config_from_json({{"model_type", "bert"}}), UserError);
}

TEST(Config, ContradictionsAreRefused) {
  ModelConfig config = tiny_config();
  config.attention_heads = 5;
  EXPECT_THROW(check(config), UserError);
  config = tiny_config();
  config.moe.top_k = 5;
  EXPECT_THROW(check(config), UserError);
}

}  // namespace
}  // namespace chorus
