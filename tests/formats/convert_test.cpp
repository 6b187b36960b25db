#include "formats/convert.h"

#include <limits>

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "architecture/exports.h"
#include "formats/exported.h"
#include "formats/stored_tensors.h"
#include "io/torch_save.h"

namespace chorus {
namespace {

std::string export_refusal(const ModelConfig& config, Format format) {
  const Saved saved({}, config);
  return message_of<UserError>([&] { export_model(saved.path, {.format = format}, saved.folder / "out"); });
}

TEST(Convert, GoesThereAndBackBitForBit) {
  for (const ExportOptions& options : {ExportOptions(), ExportOptions{.shard_size = 5000}}) {
    const Exported exported(nllb_config(), options);
    EXPECT_EQ(fs::exists(exported.out / "model.safetensors.index.json"), options.shard_size == 5000);
    import_model(exported.out, exported.back);
    const LoadedModel back = load_model(exported.back, {});
    expect_same_weights(*exported.model, *back.model);
    EXPECT_EQ(to_json(back.model->config()), to_json(exported.model->config()));
    EXPECT_EQ(back.vocabulary.hash(), exported.vocabulary.hash());
    EXPECT_EQ(back.vocabulary.languages(), exported.vocabulary.languages());
  }
}

TEST(Convert, ShardsAreNoLargerThanAskedFor) {
  const Exported exported(nllb_config(), {.shard_size = 5000});
  size_t files = 0, total = 0;
  const SafetensorsFolder shards(exported.out);
  for (const SafetensorsFile& file : shards.files()) {
    size_t bytes = 0;
    for (const std::string& name : file.names()) bytes += file.get(name).bytes.size();
    EXPECT_TRUE(bytes <= 5000 || file.names().size() == 1);
    total += bytes;
    ++files;
  }
  EXPECT_GT(files, 3U);
  EXPECT_EQ(read_json(exported.out / "model.safetensors.index.json")["metadata"]["total_size"], total);
}

TEST(Convert, DenseModelsGoThroughM2m100) {
  const Exported exported(dense_config(), {.format = Format::m2m100});
  const SafetensorsFolder tensors(exported.out);
  for (const char* name :
       {"model.encoder.layers.1.fc1.weight", "model.decoder.layers.0.encoder_attn.q_proj.bias",
        "model.decoder.layers.0.encoder_attn_layer_norm.weight",
        "model.encoder.layers.0.final_layer_norm.bias", "model.decoder.layer_norm.weight"})
    EXPECT_TRUE(tensors.contains(name)) << name;
  import_model(exported.out, exported.back);
  expect_same_weights(*exported.model, *load_model(exported.back, {}).model);
}

TEST(Convert, TypesOfTensorsAreKept) {
  const Exported exported;
  for (const auto& [dtype, name] : {std::pair{DType::bf16, "bfloat16"}, {DType::f16, "float16"}}) {
    exported.save(exported.folder / "narrow", dtype);
    export_model(exported.folder / "narrow", {}, exported.out);
    EXPECT_EQ(read_json(exported.out / "config.json")["torch_dtype"], name);
    import_model(exported.out, exported.back);
    EXPECT_EQ(read_json(exported.back / "config.json")["torch_dtype"], name);
    const SafetensorsFile file(exported.back / "model.safetensors");
    for (const std::string& tensor : file.names()) EXPECT_EQ(file.get(tensor).dtype, dtype);
  }
}

TEST(Convert, OneExpertIsADenseModel) {
  const Exported exported(one_expert_config(), {.format = Format::m2m100});
  import_model(exported.out, exported.back);
  const LoadedModel dense = load_model(exported.back, {});
  EXPECT_EQ(dense.model->config().moe.experts, 0);
  const Batch batch = exported.model->to_batch(tiny_batch(3, 7, 6, exported.vocabulary.size()));
  const double sparse_loss = exported.model->evaluate(batch, {}).loss;
  EXPECT_NEAR(dense.model->evaluate(batch, {}).loss, sparse_loss, 1e-5 * sparse_loss);
}

TEST(Convert, TakesTiedCopiesAndNamesWithoutThePrefix) {
  const Exported exported;
  rewrite(exported.out, [](Tensors& tensors) {
    Tensors bare;
    for (const auto& [name, tensor] : tensors) bare[name.substr(6)] = tensor;
    bare["lm_head.weight"] = bare["decoder.embed_tokens.weight"] = bare.at("shared.weight");
    tensors = bare;
  });
  edit_json(exported.out / "config.json", [](auto& json) { json["model_type"] = "nllb_moe"; });
  import_model(exported.out, exported.back);
  expect_same_weights(*exported.model, *load_model(exported.back, {}).model);
}

TEST(Convert, ReadsWhatTorchSaved) {
  const Exported exported;
  // As transformers saves it: the tied embedding four times on one storage, a matrix turned, and two files.
  const SafetensorsFile file(exported.out / "model.safetensors");
  TorchSave first, second;
  nlohmann::json map;
  for (const std::string& name : file.names()) {
    const TensorView view = file.get(name);
    const at::Tensor tensor = as_tensor(view);
    const bool turn = name.ends_with("encoder.layers.0.fc1.weight");
    const at::Tensor lies = turn ? tensor.t().contiguous() : tensor;
    std::vector<std::string> names = {name};
    if (name == "model.shared.weight")
      names.insert(names.end(), {"lm_head.weight", "model.encoder.embed_tokens.weight",
                                 "model.decoder.embed_tokens.weight"});
    TorchSave& part = name.starts_with("model.encoder") ? first : second;
    part.storage(name, {static_cast<const char*>(lies.const_data_ptr()), lies.nbytes()});
    for (const std::string& called : names) {
      part.tensor(called, {.storage = name,
                           .elements = tensor.numel(),
                           .shape = tensor.sizes().vec(),
                           .strides = turn ? lies.t().strides().vec() : tensor.strides().vec()});
      map[called] = &part == &first ? "pytorch_model-00001-of-00002.bin" : "pytorch_model-00002-of-00002.bin";
    }
  }
  write_file_atomically(exported.out / "pytorch_model-00001-of-00002.bin", first.bytes());
  write_file_atomically(exported.out / "pytorch_model-00002-of-00002.bin", second.bytes(true));
  write_file_atomically(exported.out / "pytorch_model.bin.index.json",
                        nlohmann::json{{"weight_map", map}}.dump());
  fs::remove(exported.out / "model.safetensors");
  import_model(exported.out, exported.back);
  expect_same_weights(*exported.model, *load_model(exported.back, {}).model);
}

TEST(Convert, RefusesWeightsThatCannotBe) {
  const std::string name = "model.decoder.layers.0.self_attn.q_proj.weight";
  for (const auto& [number, words] : {std::pair{std::numeric_limits<float>::quiet_NaN(), "not finite"},
                                      {-std::numeric_limits<float>::infinity(), "not finite"},
                                      {2e6F, "numbers of 2^20 and more"}}) {
    const Exported exported;
    rewrite(exported.out, [&](Tensors& tensors) { tensors[name].view(-1)[3] = number; });
    const std::string message = exported.import_refusal();
    EXPECT_TRUE(has(message, words) && has(message, name)) << message;
    for (const DType dtype : {DType::bf16, DType::f16, DType::f64}) {
      const at::Tensor narrow = at::full({3}, number).to(*scalar_type(dtype));
      StoredTensors stored = {{{.dtype = dtype, .shape = {3}, .bytes = bytes_of(narrow)}}};
      Catalogue catalogue;
      catalogue.parameters.push_back({.stored = {"w"}});
      EXPECT_TRUE(
          has(message_of<UserError>([&] { check_values(stored, catalogue, "file"); }), "file: tensor \"w\""));
    }
  }
  const Exported exported;
  rewrite(exported.out, [&](Tensors& tensors) { tensors[name].fill_(1e6); });
  import_model(exported.out, exported.back);
}

TEST(Convert, NamesTheTensorThatIsMissingOrLeftOver) {
  const std::string router = "model.encoder.layers.1.ffn.router.classifier.weight";
  const Exported missing, wrong, extra;
  rewrite(missing.out, [&](Tensors& tensors) { tensors.erase(router); });
  EXPECT_TRUE(has(missing.import_refusal(), "\"" + router + "\" is missing"));
  rewrite(wrong.out, [&](Tensors& tensors) { tensors[router] = at::zeros({5, 12}); });
  EXPECT_TRUE(has(wrong.import_refusal(), "shape [5, 12], not the [4, 12]"));
  rewrite(extra.out, [](Tensors& tensors) {
    tensors["model.decoder.layers.1.ffn.router.classifier.bias"] = at::zeros({4});
  });
  EXPECT_TRUE(has(extra.import_refusal(), "classifier.bias\" has no place"));
}

TEST(Convert, RefusesConfigurationsItDoesNotCompute) {
  const Exported exported;
  const auto with = [&](const char* key, const nlohmann::json& value) {
    return exported.refusal([&](auto& json) { json[key] = value; });
  };
  EXPECT_TRUE(has(with("router_bias", true), "router_bias is true"));
  EXPECT_TRUE(has(with("router_dtype", "bfloat16"), "router_dtype is \"bfloat16\""));
  EXPECT_TRUE(has(with("second_expert_policy", "random"), "second_expert_policy is \"random\""));
  EXPECT_TRUE(has(with("moe_eval_capacity_token_fraction", 0.5), "moe_eval_capacity_token_fraction = 0.5"));
  EXPECT_TRUE(has(with("moe_eval_capacity_token_fraction", -1), "moe_eval_capacity_token_fraction = -1"));
  EXPECT_TRUE(has(with("scale_embedding", false), "scale_embedding"));
  EXPECT_TRUE(has(with("decoder_start_token_id", 0), "decoder_start_token_id = 0"));
  EXPECT_TRUE(has(with("decoder_ffn_dim", 20), "differ"));
  EXPECT_TRUE(has(with("activation_function", "tanh"), "tanh"));
  EXPECT_TRUE(has(with("moe_token_dropout", 1.5), "moe_token_dropout"));
  EXPECT_TRUE(has(with("model_type", "bart"), "\"bart\""));
  EXPECT_TRUE(has(with("vocab_size", 100), "more than the 100 rows"));
  EXPECT_TRUE(has(with("num_experts", 60000), "60000 experts"));
  EXPECT_TRUE(has(with("max_position_embeddings", 1e30), "max_position_embeddings"));
  const Exported one(one_expert_config());
  EXPECT_TRUE(has(one.refusal([](auto& json) { json["normalize_router_prob_before_dropping"] = true; }),
                  "one expert"));
}

TEST(Convert, TakesSettingsThatChangeNothing) {
  const Exported exported;
  edit_json(exported.out / "config.json", [](auto& json) {
    json["batch_prioritized_routing"] = true;  // nothing is dropped
    json["router_ignore_padding_tokens"] = true;
    json["expert_capacity"] = 1;
    json["moe_eval_capacity_token_fraction"] = 2;
    json["init_std"] = "unread";
  });
  import_model(exported.out, exported.back);
  expect_same_weights(*exported.model, *load_model(exported.back, {}).model);
}

TEST(Convert, SaysWhatAFormatCannotExpress) {
  const auto changed = [](const auto& change) {
    ModelConfig config = nllb_config();
    change(config);
    return config;
  };
  EXPECT_TRUE(has(export_refusal(nllb_config(), Format::m2m100), "4 experts"));
  EXPECT_TRUE(has(export_refusal(changed([](auto& c) { c.moe.top_k = 1; }), Format::nllb_moe), "top_k = 1"));
  EXPECT_TRUE(has(export_refusal(changed([](auto& c) { c.moe.gate_normalization = GateNormalization::none; }),
                                 Format::nllb_moe),
                  "gate_normalization"));
  EXPECT_TRUE(
      has(export_refusal(changed([](auto& c) { c.moe.evaluation_capacity_factor = 2; }), Format::nllb_moe),
          "evaluation_capacity_factor = 2"));
  EXPECT_TRUE(
      has(export_refusal(changed([](auto& c) { c.activation = Activation::swiglu; }), Format::nllb_moe),
          "swiglu"));
}

TEST(Convert, SaysAllReasonsAtOnce) {
  ModelConfig config = nllb_config();
  config.moe.top_k = 1;
  config.moe.gate_normalization = GateNormalization::none;
  config.moe.evaluation_capacity_factor = 2;
  config.activation = Activation::swiglu;
  const std::string refusal = export_refusal(config, Format::nllb_moe);
  for (const char* why : {"top_k = 1", "gate_normalization", "evaluation_capacity_factor = 2", "swiglu"})
    EXPECT_TRUE(has(refusal, why)) << refusal;
  EXPECT_EQ(
      describe_exports(nllb_config()),
      "chorus export can write this model as nllb-moe, not as m2m100 (it is dense, and the MoE layers have 4 "
      "experts)");
  EXPECT_EQ(describe_exports(dense_config()), "chorus export can write this model as nllb-moe, m2m100");
  EXPECT_EQ(reasons_against(ModelConfig(), Format::nllb_moe), std::vector<std::string>()) << "the default";
  // With experts, what the defaults of moe lack is said.
  ModelConfig sparse;
  sparse.moe.experts = 8;
  EXPECT_EQ(reasons_against(sparse, Format::nllb_moe).size(), 2U);
  EXPECT_TRUE(has(describe_exports(sparse), "which only chorus export needs: not nllb-moe (moe.top_k = 1"));
}

TEST(Convert, ReplacesAModelAndNothingElse) {
  const Exported exported;
  const fs::path other = exported.folder / "thesis";
  fs::create_directory(other);
  write_file_atomically(other / "chapter1.txt", "precious");
  EXPECT_TRUE(has(message_of<UserError>([&] { import_model(exported.out, other); }), "is not a model"));
  EXPECT_TRUE(has(message_of<UserError>([&] { export_model(exported.path, {}, other); }), "is not a model"));
  EXPECT_EQ(read_file(other / "chapter1.txt"), "precious");
  // A folder's model is not made of itself: what is read would be lost.
  EXPECT_TRUE(
      has(message_of<UserError>([&] { import_model(exported.out, exported.out / "."); }), "that is read"));
  EXPECT_TRUE(
      has(message_of<UserError>([&] { export_model(exported.path, {}, exported.path); }), "that is read"));
  EXPECT_TRUE(has(message_of<UserError>(
                      [&] { load_model(Exported(dense_config(), {.format = Format::m2m100}).out, {}); }),
                  "chorus import"));
}

}  // namespace
}  // namespace chorus
