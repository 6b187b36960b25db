// Models as Switch has them: RMS norms, no biases, relative positions, a capacity of sentences, a decoder
// that starts with padding.
#include <set>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "data/t5_model.h"
#include "formats/convert.h"
#include "formats/folder.h"
#include "gradient_check.h"
#include "io/files.h"
#include "io/json.h"
#include "model/fixtures.h"
#include "model/step_decoder.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

std::unique_ptr<Transformer> random_model(const ModelConfig& config, Transformer::Options options) {
  auto model = std::make_unique<Transformer>(config, options);
  initialise(*model, 5);
  at::manual_seed(3);
  for (size_t i = 0; i < model->parameters().size(); ++i) {
    const ParameterSpec& spec = model->catalogue().parameters[i];
    const bool matrix = spec.shape.size() > 1;
    // Also what starts as a constant: norms, and the embedding of padding.
    model->set(i, matrix ? at::randn(spec.shape) * 0.4 : at::rand(spec.shape) + 0.5);
  }
  return model;
}

double loss_of(Transformer& model, const MicroBatch& batch, const Pass& pass,
               const Transformer::TrainOptions& options) {
  for (Parameter& p : model.parameters()) p.has_gradient = false;
  return model.train(model.to_batch(batch), pass, options).loss * options.gradient_scale;
}

TEST(SwitchModel, ParametersAreThoseOfT5) {
  const Catalogue catalogue = make_catalogue(switch_config());
  for (const ParameterSpec& spec : catalogue.parameters)
    EXPECT_FALSE(spec.name.ends_with("bias")) << spec.name;
  EXPECT_EQ(catalogue.parameters[catalogue.encoder[0].self_qkv.weight].shape,
            (std::vector<int64_t>{3, 10, 12}));
  EXPECT_EQ(catalogue.parameters[catalogue.decoder[0].cross_out.weight].shape,
            (std::vector<int64_t>{12, 10}));
  EXPECT_EQ(catalogue.parameters[catalogue.decoder_positions].shape, (std::vector<int64_t>{8, 2}));
  EXPECT_NE(catalogue.output, catalogue.embedding);
  ModelConfig config = switch_config();
  config.tied_output = true;
  EXPECT_EQ(make_catalogue(config).output, catalogue.embedding);
}

TEST(SwitchModel, TheSecondOfEveryFewBlocksIsSparse) {
  ModelConfig config = switch_config();
  const auto sparse = [&](int64_t every) {
    std::string text;
    for (int64_t layer = 0; layer < 7; ++layer) text += config.is_sparse(layer, every) ? 'x' : '.';
    return text;
  };
  EXPECT_EQ(sparse(0), ".......");
  EXPECT_EQ(sparse(1), "xxxxxxx");
  EXPECT_EQ(sparse(2), ".x.x.x.");
  EXPECT_EQ(sparse(3), ".x..x..");
  config.moe.sparse_block = SparseBlock::last;
  EXPECT_EQ(sparse(3), "..x..x.");
}

TEST(SwitchModel, GradientsEqualFiniteDifferences) {
  at::set_num_threads(1);  // thousands of tiny operators: threads would only wait for each other
  for (const bool tied : {false, true}) {
    ModelConfig config = switch_config();
    config.tied_output = config.scale_output = tied;
    config.moe.balance_loss = config.moe.z_loss = 0;  // their losses are not part of the returned loss
    config.activation = Activation::gelu;
    const auto model = random_model(config, {.compute = at::kDouble, .gradients = true});
    const MicroBatch batch = tiny_batch(4, 7, 6, config.vocabulary);
    const Pass pass = {.training = true, .key = RandomKey(3)};
    const Transformer::TrainOptions options = {.label_smoothing = 0.1, .gradient_scale = 0.25};
    loss_of(*model, batch, pass, options);
    std::vector<Slope> slopes;
    for (size_t i = 0; i < model->parameters().size(); ++i) {
      const Parameter& p = model->parameters()[i];
      ASSERT_TRUE(p.has_gradient);
      slopes.push_back({model->catalogue().parameters[i].name, p.value, p.gradient.clone()});
    }
    const Catalogue& catalogue = model->catalogue();
    for (const size_t table : {catalogue.encoder_positions, catalogue.decoder_positions})
      EXPECT_GT(slopes[table].gradient.abs().max().item<double>(), 1e-4) << "a test of nothing";
    EXPECT_GT(slopes[catalogue.embedding].gradient[kPad].abs().max().item<double>(), 1e-4)
        << "the decoder starts with it";
    expect_slopes([&] { return loss_of(*model, batch, pass, options); }, slopes);
  }
}

TEST(SwitchModel, RecomputingGivesTheSameGradientsBitForBit) {
  const ModelConfig config = switch_config();
  const auto model = random_model(config, {.gradients = true});
  const MicroBatch batch = tiny_batch(4, 7, 6, config.vocabulary);
  const Pass pass = {.training = true, .key = RandomKey(3)};
  const double kept = loss_of(*model, batch, pass, {});
  std::vector<at::Tensor> gradients;
  for (Parameter& p : model->parameters()) gradients.push_back(p.gradient.clone());
  EXPECT_EQ(loss_of(*model, batch, pass, {.recompute = true}), kept);
  for (size_t i = 0; i < gradients.size(); ++i)
    EXPECT_TRUE(at::equal(model->parameters()[i].gradient, gradients[i]))
        << model->catalogue().parameters[i].name;
}

TEST(SwitchModel, PaddingAndOtherSentencesChangeNothingThoughCapacityBinds) {
  const ModelConfig config = switch_config();
  const auto model = random_model(config, {.compute = at::kDouble});
  const MicroBatch batch = tiny_batch(5, 13, 9, config.vocabulary);
  std::vector<MoeStatistics> load(model->catalogue().sparse_layers());
  const LossSums together = model->evaluate(model->to_batch(batch), {.statistics = &load, .per_token = true});
  for (const MoeStatistics& layer : load) EXPECT_GT(layer.dropped, 0);
  for (int64_t row = 0; row < batch.rows; ++row) {
    const MicroBatch alone = single_row(batch, row);
    const LossSums sums = model->evaluate(model->to_batch(alone), {.per_token = true});
    const at::Tensor of_batch = together.token_nll[row].narrow(0, 0, alone.target_length);
    EXPECT_TRUE(at::allclose(of_batch, sums.token_nll[0], 1e-5, 1e-6)) << "row " << row;
  }
}

TEST(SwitchModel, DecodingStepByStepEqualsTheWholePassInWhichTheDecoderDropsNothing) {
  const ModelConfig config = switch_config();
  const auto model = random_model(config, {.compute = at::kDouble});
  const MicroBatch micro_batch = tiny_batch(3, 13, 9, config.vocabulary);
  const Batch batch = model->to_batch(micro_batch);
  EXPECT_EQ(batch.target.ids[0][0].item<int64_t>(), kPad);
  const LossSums whole = model->evaluate(batch, {.per_token = true, .dropless = true}),
                 dropping = model->evaluate(batch, {.per_token = true});
  EXPECT_FALSE(at::allclose(whole.token_nll, dropping.token_nll, 1e-4, 1e-4)) << "a test of nothing";
  const auto decoder = make_step_decoder(*model);
  const auto state = decoder->start(decoder->encode(batch.source), batch.source.attention_mask, 9);
  for (int64_t t = 0; t < 9; ++t) {
    const at::Tensor logp = at::log_softmax(state->step(batch.target.ids.select(1, t)), -1);
    for (int64_t row = 0; row < 3; ++row) {
      const auto label = batch.labels[row * 9 + t].item<int64_t>();
      if (label != kPad) {
        EXPECT_NEAR(-logp[row][label].item<double>(), whole.token_nll[row][t].item<double>(), 1e-5);
      }
    }
  }
}

std::set<std::string> stored_names(const Catalogue& catalogue) {
  std::set<std::string> names;
  for (const ParameterSpec& spec : catalogue.parameters) names.insert(spec.stored.begin(), spec.stored.end());
  return names;
}

TEST(SwitchFolder, TensorsHaveTransformersNames) {
  const Catalogue catalogue = make_catalogue(switch_config());
  const std::set<std::string> names = stored_names(catalogue);
  for (const char* name :
       {"shared.weight", "lm_head.weight", "encoder.final_layer_norm.weight",
        "decoder.final_layer_norm.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "encoder.block.2.layer.0.SelfAttention.q.weight", "encoder.block.0.layer.0.layer_norm.weight",
        "encoder.block.0.layer.1.layer_norm.weight", "encoder.block.0.layer.1.mlp.wi.weight",
        "encoder.block.1.layer.1.mlp.router.classifier.weight",
        "encoder.block.1.layer.1.mlp.experts.expert_3.wo.weight",
        "decoder.block.1.layer.0.SelfAttention.o.weight", "decoder.block.1.layer.1.EncDecAttention.k.weight",
        "decoder.block.1.layer.1.EncDecAttention.o.weight", "decoder.block.1.layer.1.layer_norm.weight",
        "decoder.block.1.layer.2.layer_norm.weight",
        "decoder.block.0.layer.2.mlp.experts.expert_0.wi.weight"})
    EXPECT_TRUE(names.contains(name)) << name;
  for (const std::string& name : names)
    EXPECT_TRUE(name.find("model.") == name.npos && name.find("_proj") == name.npos) << name;
}

TEST(SwitchFolder, ConfigurationGoesThroughJsonAndBack) {
  ModelConfig config = switch_config();
  config.max_positions = 100;
  const nlohmann::json json = to_json(config);
  const ModelConfig back = model_config_from_json(json);
  EXPECT_EQ(to_json(back), json);
  EXPECT_EQ(stored_names(make_catalogue(back)), stored_names(make_catalogue(config)));
  EXPECT_EQ(back.max_positions, 100);
  EXPECT_EQ(back.decoder_start, kPad);
  for (const Format format : {Format::nllb_moe, Format::m2m100})
    EXPECT_THROW(to_json(config, format), UserError);
  EXPECT_THROW(to_json(tiny_config(), Format::switch_transformers), UserError);
}

TEST(SwitchFolder, SparseStepsComeFromTheFileOrAsTransformersMakesThem) {
  nlohmann::json json = to_json(switch_config(), Format::switch_transformers);
  const auto steps = [&] {
    const ModelConfig config = model_config_from_json(json);
    return std::pair(config.moe.encoder_every, config.moe.decoder_every);
  };
  using Steps = std::pair<int64_t, int64_t>;
  EXPECT_EQ(steps(), (Steps{3, 1}));
  json.erase("encoder_sparse_step");
  json.erase("decoder_sparse_step");
  json["num_sparse_encoder_layers"] = 1;
  json["num_sparse_decoder_layers"] = 2;
  EXPECT_EQ(steps(), (Steps{3, 1}));
  json["num_sparse_encoder_layers"] = 0;  // which makes one sparse layer
  json["num_sparse_decoder_layers"] = 3;  // of 2: none
  EXPECT_EQ(steps(), (Steps{3, 0}));
}

TEST(SwitchFolder, WhatIsNotComputedIsRefused) {
  const nlohmann::json good = to_json(switch_config(), Format::switch_transformers);
  for (const auto& [key, value] :
       std::initializer_list<std::pair<const char*, nlohmann::json>>{{"pad_token_id", 1},
                                                                     {"decoder_start_token_id", 2},
                                                                     {"is_gated_act", true},
                                                                     {"feed_forward_proj", "gated-gelu"},
                                                                     {"dense_act_fn", "gelu_new"},
                                                                     {"router_bias", true},
                                                                     {"router_dtype", "bfloat16"},
                                                                     {"expert_capacity", 0},
                                                                     {"num_experts", 1 << 30},
                                                                     {"relative_attention_num_buckets", 2},
                                                                     {"relative_attention_max_distance", 4},
                                                                     {"d_kv", "wide"},
                                                                     {"num_heads", nullptr},
                                                                     {"layer_norm_epsilon", -1},
                                                                     {"encoder_sparse_step", -1}}) {
    nlohmann::json json = good;
    json[key] = value;
    EXPECT_THROW(model_config_from_json(json), UserError) << key;
  }
}

/// A model saved with T5's vocabulary.
struct SavedSwitch {
  TemporaryFolder folder;
  std::filesystem::path path = folder / "model";
  ModelConfig config = switch_config();
  std::unique_ptr<Transformer> model;

  SavedSwitch() {
    write_file_atomically(folder / "spiece.model", t5_model());
    const Vocabulary vocabulary = Vocabulary::load(folder / "spiece.model", {.extra_ids = 3});
    config.vocabulary = vocabulary.size() + 2;
    config.max_positions = 4096;  // what import gives
    model = random_model(config, {});
    save_model(path, {.config = config,
                      .catalogue = model->catalogue(),
                      .weights = [this](size_t i) { return model->parameters()[i].value; },
                      .vocabulary = vocabulary});
  }
};

void expect_same_weights(const std::filesystem::path& folder, Transformer& model) {
  const LoadedModel loaded = load_model(folder, {});
  for (size_t i = 0; i < model.parameters().size(); ++i)
    EXPECT_TRUE(at::equal(loaded.model->parameters()[i].value, model.parameters()[i].value))
        << model.catalogue().parameters[i].name;
  EXPECT_EQ(loaded.vocabulary.layout().extra_ids, 3);
}

TEST(SwitchFolder, ComesBackAndStoresRowsInTheOrderOfT5sIds) {
  const SavedSwitch saved;
  expect_same_weights(saved.path, *saved.model);
  const at::Tensor shared = saved.model->parameters()[saved.model->catalogue().embedding].value;
  const SafetensorsFile file(saved.path / "model.safetensors");
  const auto* stored = reinterpret_cast<const float*>(file.get("shared.weight").bytes.data());
  const int64_t rows = saved.config.vocabulary, width = saved.config.d_model;
  EXPECT_EQ(stored[0], shared[kPad][0].item<float>());
  EXPECT_EQ(stored[width], shared[kEos][0].item<float>());
  EXPECT_EQ(stored[(rows - 1) * width], shared[kBos][0].item<float>());
}

TEST(SwitchFolder, IsExportedAndImportedBitForBit) {
  const SavedSwitch saved;
  export_model(saved.path, {.format = Format::switch_transformers, .shard_size = 2000},
               saved.folder / "theirs");
  EXPECT_TRUE(SafetensorsFolder(saved.folder / "theirs").contains("decoder.embed_tokens.weight"))
      << "transformers makes it at random where the output is not tied";
  import_model(saved.folder / "theirs", saved.folder / "again");
  expect_same_weights(saved.folder / "again", *saved.model);
  EXPECT_EQ(read_file(saved.folder / "again/config.json"), read_file(saved.path / "config.json"));
  EXPECT_EQ(read_file(saved.folder / "again/model.safetensors"), read_file(saved.path / "model.safetensors"));
  EXPECT_THROW(export_model(saved.path, {.format = Format::m2m100}, saved.folder / "other"), UserError);
}

TEST(SwitchFolder, AnotherKindOfVocabularyIsRefused) {
  const SavedSwitch saved;
  nlohmann::json json = read_json(saved.path / "config.json");
  json["chorus"].erase("vocabulary");
  std::filesystem::remove(saved.path / "chorus.json");
  write_file_atomically(saved.path / "config.json", json.dump());
  static_cast<void>(describe_model(saved.path));
  write_file_atomically(saved.path / "spiece.model", t5_model("\3\1\2"));
  EXPECT_THROW(describe_model(saved.path), UserError);
}

}  // namespace
}  // namespace chorus
