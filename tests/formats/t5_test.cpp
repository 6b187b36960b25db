// Dense models as T5 and MADLAD have them.
#include <set>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include "data/t5_model.h"
#include "formats/convert.h"
#include "formats/saved_model.h"

namespace chorus {
namespace {

ModelConfig t5_config(SpecialToken start = kPad) {
  ModelConfig config = switch_config();
  config.moe = MoeConfig();
  config.activation = Activation::geglu;
  config.decoder_start = start;
  config.max_positions = 4096;  // what import gives
  return config;
}

TEST(T5Folder, TensorsAreCalledAsInTransformers) {
  std::set<std::string> names;
  for (const ParameterSpec& spec : make_catalogue(t5_config()).parameters)
    names.insert(spec.stored.begin(), spec.stored.end());
  for (const char* name :
       {"shared.weight", "lm_head.weight", "encoder.final_layer_norm.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "encoder.block.1.layer.1.DenseReluDense.wi_0.weight",
        "encoder.block.1.layer.1.DenseReluDense.wi_1.weight",
        "encoder.block.1.layer.1.DenseReluDense.wo.weight",
        "decoder.block.0.layer.1.EncDecAttention.k.weight",
        "decoder.block.0.layer.2.DenseReluDense.wi_1.weight", "decoder.block.0.layer.2.layer_norm.weight"})
    EXPECT_TRUE(names.contains(name)) << name;
  ModelConfig plain = t5_config();
  plain.activation = Activation::relu;
  EXPECT_EQ(make_catalogue(plain).parameters[make_catalogue(plain).encoder[0].ffn.fc1.weight].stored,
            std::vector<std::string>{"encoder.block.0.layer.1.DenseReluDense.wi.weight"});
}

TEST(T5Folder, ConfigurationGoesThroughJsonAndBack) {
  for (const SpecialToken start : {kPad, kUnk}) {
    for (const Activation activation :
         {Activation::relu, Activation::gelu, Activation::swiglu, Activation::geglu}) {
      ModelConfig config = t5_config(start);
      config.activation = activation;
      const nlohmann::json json = to_json(config);
      EXPECT_EQ(json["model_type"], "t5");
      EXPECT_EQ(to_json(model_config_from_json(json)), json);
      EXPECT_EQ(model_config_from_json(json).activation, activation);
      EXPECT_EQ(model_config_from_json(json).decoder_start, start);
    }
  }
  EXPECT_THROW(to_json(t5_config(kEos)), Error) << "its decoder begins with another token";
  EXPECT_THROW(to_json(t5_config(), Format::switch_transformers), UserError) << "it has no experts";
  EXPECT_THROW(to_json(switch_config(), Format::t5), UserError) << "it has";
}

TEST(T5Folder, WhatIsNotComputedIsRefused) {
  const nlohmann::json good = to_json(t5_config(), Format::t5);
  for (const auto& [key, value] : std::initializer_list<std::pair<const char*, nlohmann::json>>{
           {"feed_forward_proj", "gated-relu"},
           {"feed_forward_proj", "relu"},  // where dense_act_fn says otherwise
           {"dense_act_fn", "gelu"},
           {"is_gated_act", false},
           {"pad_token_id", 1},
           {"eos_token_id", 2},
           {"decoder_start_token_id", 2},
           {"d_kv", 0},
           {"relative_attention_num_buckets", 2}}) {
    nlohmann::json json = good;
    json[key] = value;
    EXPECT_THROW(model_config_from_json(json), UserError) << key;
  }
}

/// A random model, saved with the vocabulary of T5 or, where it begins with <unk>, MADLAD.
struct SavedT5 {
  TemporaryFolder folder;
  fs::path path = folder / "model", theirs = folder / "theirs", again = folder / "again";
  ModelConfig config;
  std::unique_ptr<Transformer> model;

  explicit SavedT5(SpecialToken start) : config(t5_config(start)) {
    const bool madlad = start == kUnk;
    write_file_atomically(folder / "spiece.model", madlad ? madlad_model() : t5_model());
    const Vocabulary vocabulary = Vocabulary::load(folder / "spiece.model", {.extra_ids = madlad ? 0 : 3});
    config.vocabulary = vocabulary.size();
    model = random_model(config);
    save_weights(path, *model, vocabulary);
    export_model(path, {.format = Format::t5}, theirs);
  }
  std::string refusal() const {
    return message_of<UserError>([&] { import_model(theirs, folder / "refused"); });
  }
};

TEST(T5Folder, IsExportedAndImportedBitForBit) {
  for (const SpecialToken start : {kPad, kUnk}) {
    const SavedT5 saved(start);
    import_model(saved.theirs, saved.again);
    for (const char* file : {"config.json", "model.safetensors"})
      EXPECT_EQ(read_file(saved.again / file), read_file(saved.path / file)) << file;
    const LoadedModel loaded = load_model(saved.again, {});
    expect_same_weights(*loaded.model, *saved.model);
  }
}

TEST(MadladFolder, OfOursIsImportedAsItIs) {
  const SavedT5 saved(kUnk);
  import_model(saved.path, saved.again);
  EXPECT_EQ(read_file(saved.again / "model.safetensors"), read_file(saved.path / "model.safetensors"));
}

TEST(MadladFolder, HasTheRowsOfItsIds) {
  const SavedT5 saved(kUnk);
  const nlohmann::json json = read_json(saved.theirs / "config.json");
  EXPECT_EQ(json["pad_token_id"], 1);
  EXPECT_EQ(json["eos_token_id"], 2);
  EXPECT_EQ(json["decoder_start_token_id"], 0);
  const SafetensorsFile file(saved.theirs / "model.safetensors");
  for (const auto& [name, p] : {std::pair{"shared.weight", saved.model->catalogue().embedding},
                                {"lm_head.weight", saved.model->catalogue().output}}) {
    const auto* rows = reinterpret_cast<const float*>(file.get(name).bytes.data());
    const at::Tensor ours = saved.model->parameters()[p].value;
    for (const auto& [id, our] : {std::pair{0, 3}, {1, 1}, {2, 2}, {3, 0}, {4, 4}, {37, 37}})
      EXPECT_EQ(rows[id * saved.config.d_model], ours[our][0].item<float>()) << name << id;
  }
  EXPECT_EQ(describe_model(saved.path).vocabulary.languages().size(), 3U);
}

TEST(MadladFolder, AnotherVocabularyAndAddedTokensAreRefused) {
  const SavedT5 saved(kUnk);
  edit_json(saved.theirs / "tokenizer_config.json", [](auto& json) {
    json["added_tokens_decoder"] = {{"1", {{"content", "<s>"}}}, {"38", {{"content", "<dom>"}}}};
  });
  EXPECT_TRUE(has(saved.refusal(), "added token"));
  edit_json(saved.theirs / "tokenizer_config.json", [](auto& json) { json.erase("added_tokens_decoder"); });
  EXPECT_NO_THROW(import_model(saved.theirs, saved.again));
  write_file_atomically(saved.theirs / "spiece.model", t5_model());
  EXPECT_TRUE(has(saved.refusal(), "pad_token"));
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"})
    fs::remove(saved.theirs / file);
  EXPECT_TRUE(has(saved.refusal(), "MADLAD's"));
  const SavedT5 t5(kPad);
  write_file_atomically(t5.theirs / "spiece.model", madlad_model());
  EXPECT_TRUE(has(t5.refusal(), "T5's"));
}

}  // namespace
}  // namespace chorus
