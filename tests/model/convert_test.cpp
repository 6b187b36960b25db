#include "chorus/model/convert.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "data/sentencepiece_model.h"
#include "saved_model.h"

namespace chorus {
namespace {

ModelConfig nllb_config() {
  ModelConfig config = tiny_config();
  config.moe.gate_normalization = GateNormalization::after_drop;
  config.moe.expert_output_dropout = 0.2;
  return config;
}

ModelConfig one_expert_config() {
  ModelConfig config = nllb_config();
  config.moe.experts = config.moe.top_k = 1;
  return config;
}

ModelConfig dense_config() {
  ModelConfig config = nllb_config();
  config.moe.experts = 0;
  return config;
}

/// A model of ours, and what export makes of it.
struct Exported : Saved {
  fs::path out = folder / "theirs", back = folder / "back";
  explicit Exported(const ModelConfig& config = nllb_config(), ExportOptions options = {})
      : Saved({"eng_Latn", "deu_Latn"}, config) {
    export_model(path, options, out);
  }
  /// Brings it back after `change` of config.json: what is said.
  std::string refusal(const std::function<void(nlohmann::json&)>& change) const {
    const std::string good = read_file(out / "config.json");
    edit_json(out / "config.json", change);
    const std::string message = import_refusal();
    write_file_atomically(out / "config.json", good);
    return message;
  }
  std::string import_refusal() const {
    const std::string message = message_of<UserError>([&] { import_model(out, back); });
    EXPECT_FALSE(fs::exists(back)) << "nothing is written";
    return message;
  }
};

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
  EXPECT_TRUE(has(with("activation_function", "silu"), "silu"));
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

// ---- tokenizers

TEST(ImportedTokenizer, TakesTheTagsFromWhicheverFileHasThem) {
  const Exported exported;
  const std::vector<std::string> languages = exported.vocabulary.languages();
  const nlohmann::json decoder = read_json(exported.out / "tokenizer_config.json")["added_tokens_decoder"];
  edit_json(exported.out / "tokenizer_config.json", [](auto& json) {
    json.erase("added_tokens_decoder");
    json.erase("additional_special_tokens");
  });
  const auto tags = [&] {
    import_model(exported.out, exported.back);
    const Vocabulary vocabulary = describe_model(exported.back).vocabulary;
    EXPECT_EQ(vocabulary.languages(), languages);
    return std::vector{vocabulary.tag("eng_Latn"), vocabulary.tag("deu_Latn")};
  };
  const std::vector expected = {exported.vocabulary.tag("eng_Latn"), exported.vocabulary.tag("deu_Latn")};
  EXPECT_EQ(tags(), expected) << "special_tokens_map.json";
  fs::remove(exported.out / "special_tokens_map.json");
  nlohmann::json tokens = nlohmann::json::array();
  for (const auto& [id, token] : decoder.items())
    tokens.push_back({{"id", std::stoi(id)}, {"content", token["content"]}});
  write_file_atomically(exported.out / "tokenizer.json", nlohmann::json{{"added_tokens", tokens}}.dump());
  EXPECT_EQ(tags(), expected) << "tokenizer.json";
}

TEST(ImportedTokenizer, KeepsGapsBetweenIds) {
  const Exported exported;
  const int32_t id = exported.vocabulary.tag("deu_Latn");
  edit_json(exported.out / "config.json", [&](auto& json) { json["vocab_size"] = id + 8; });
  rewrite(exported.out, [&](Tensors& tensors) {
    tensors["model.shared.weight"] = at::full({id + 8, 12}, 0.1);
  });
  edit_json(exported.out / "tokenizer_config.json", [&](auto& json) {
    auto& decoder = json["added_tokens_decoder"];
    decoder[std::to_string(id + 3)] = decoder[std::to_string(id)];
    decoder.erase(std::to_string(id));
  });
  import_model(exported.out, exported.back);
  const Vocabulary vocabulary = describe_model(exported.back).vocabulary;
  EXPECT_EQ(vocabulary.tag("deu_Latn"), id + 3);
  EXPECT_NE(vocabulary.hash(), exported.vocabulary.hash());
  EXPECT_EQ(vocabulary.size(), id + 4);
}

TEST(ImportedTokenizer, IsRefusedInWords) {
  const Exported exported;
  const auto with = [&](const char* file, const std::function<void(nlohmann::json&)>& change) {
    const std::string good = read_file(exported.out / file);
    edit_json(exported.out / file, change);
    const std::string message = exported.import_refusal();
    write_file_atomically(exported.out / file, good);
    return message;
  };
  const char* config = "tokenizer_config.json";
  const std::string next = std::to_string(exported.vocabulary.size() + 5);
  EXPECT_TRUE(has(with(config, [](auto& json) { json["legacy_behaviour"] = true; }), "legacy_behaviour"));
  EXPECT_TRUE(has(with(config, [](auto& json) { json["added_tokens_decoder"]["x"] = "fra_Latn"; }),
                  "no id of a token"));
  EXPECT_TRUE(has(with(config, [](auto& json) { json["added_tokens_decoder"]["-4"] = "fra_Latn"; }),
                  "no id of a token"));
  EXPECT_TRUE(has(with(config, [](auto& json) { json["added_tokens_decoder"]["99999999999"] = "a"; }),
                  "no id of a token"));
  EXPECT_TRUE(has(with(config, [](auto& json) { json["added_tokens_decoder"]["77777777"] = "fra_Latn"; }),
                  "77777777"));
  EXPECT_TRUE(
      has(with(config, [](auto& json) { json["added_tokens_decoder"]["9"] = "fra_Latn"; }), "of a piece"));
  EXPECT_TRUE(
      has(with(config, [&](auto& json) { json["added_tokens_decoder"][next] = 5; }), "without content"));
  EXPECT_TRUE(
      has(with(config, [&](auto& json) { json["added_tokens_decoder"][next] = "eng_Latn"; }), "two tags"));
  EXPECT_TRUE(
      has(with(config, [&](auto& json) { json["added_tokens_decoder"][next] = "fra_Latn"; }), "rows"));
  fs::remove(exported.out / "sentencepiece.bpe.model");
  EXPECT_TRUE(has(exported.import_refusal(), "sentencepiece.bpe.model"));
}

TEST(ImportedTokenizer, MustNameALanguage) {
  // The pieces of the small models here hold tags; these do not.
  const Exported exported;
  std::string bytes = read_file(exported.pieces);
  for (const auto& [tag, piece] : {std::pair{"__en__", "piece1"}, {"__de__", "piece2"}})
    bytes.replace(bytes.find(tag), 6, piece);
  write_file_atomically(exported.out / "sentencepiece.bpe.model", bytes);
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"})
    write_file_atomically(exported.out / file, "{}");
  EXPECT_TRUE(has(exported.import_refusal(), "no language has a tag"));
  write_file_atomically(exported.out / "tokenizer_config.json", "[]");
  EXPECT_TRUE(has(exported.import_refusal(), "no language has a tag"));
  write_file_atomically(exported.out / "tokenizer_config.json", "{");
  EXPECT_TRUE(has(exported.import_refusal(), "tokenizer_config.json"));
}

/// A folder as M2M100's tokenizer leaves it: vocab.json, whose ids are not in SentencePiece's order.
struct ExportedM2m100 : Exported {
  ExportedM2m100() : Exported(dense_config(), {.format = Format::m2m100}) {
    const std::string bytes = read_file(pieces);
    const auto all = parse_sentencepiece_model(bytes).pieces;
    nlohmann::json json = {{"<s>", 0}, {"<pad>", 1}, {"</s>", 2}, {"<unk>", 3}};
    for (size_t i = all.size(); i-- > 3;)
      if (all[i].type != SentencePieceModel::Type::user_defined)
        json.emplace(std::string(all[i].text), json.size());
    write_file_atomically(out / "vocab.json", json.dump());
    fs::remove(out / "tokenizer_config.json");
    write_file_atomically(out / "special_tokens_map.json",
                          R"({"additional_special_tokens": ["__en__", {"content": "__ast__"}, "<other>"]})");
  }
  std::string vocab_refusal(const std::function<void(nlohmann::json&)>& change) const {
    const std::string good = read_file(out / "vocab.json");
    edit_json(out / "vocab.json", change);
    const std::string message = import_refusal();
    write_file_atomically(out / "vocab.json", good);
    return message;
  }
};

TEST(ImportedTokenizer, M2m100HasItsOwnIds) {
  const ExportedM2m100 exported;
  import_model(exported.out, exported.back);
  const nlohmann::json ids = read_json(exported.out / "vocab.json");
  const Vocabulary vocabulary = describe_model(exported.back).vocabulary;
  EXPECT_EQ(vocabulary.languages(), (std::vector<std::string>{"en", "ast"}));
  EXPECT_EQ(vocabulary.tag("ast"), static_cast<int32_t>(ids.size()) + 1);
  const std::string text = sentences("en", 1)[0];
  const std::vector<int32_t> plain = exported.vocabulary.encode(text), ours = vocabulary.encode(text);
  ASSERT_EQ(ours.size(), plain.size());
  EXPECT_NE(ours, plain);
  EXPECT_EQ(vocabulary.decode(ours), text);
  // And once more through transformers' layout.
  export_model(exported.back, {.format = Format::m2m100}, exported.folder / "again");
  EXPECT_EQ(read_json(exported.folder / "again" / "vocab.json"), ids);
  EXPECT_EQ(read_json(exported.folder / "again" / "tokenizer_config.json")["tokenizer_class"],
            "M2M100Tokenizer");
}

TEST(ImportedTokenizer, M2m100KnowsItsLanguages) {
  const ExportedM2m100 exported;
  const auto rows = static_cast<int64_t>(read_json(exported.out / "vocab.json").size()) + 100;
  edit_json(exported.out / "config.json", [&](auto& json) { json["vocab_size"] = rows; });
  rewrite(exported.out, [&](Tensors& tensors) {
    tensors["model.shared.weight"] = at::full({rows, 12}, 0.1);
  });
  fs::remove(exported.out / "special_tokens_map.json");
  import_model(exported.out, exported.back);
  const Vocabulary vocabulary = describe_model(exported.back).vocabulary;
  EXPECT_EQ(vocabulary.languages().size(), 100U);
  EXPECT_EQ(vocabulary.tag("af"), rows - 100);
  EXPECT_EQ(vocabulary.tag("zu"), rows - 1);
  write_file_atomically(exported.out / "tokenizer_config.json", R"({"language_codes": "wmt21"})");
  import_model(exported.out, exported.back);
  EXPECT_EQ(describe_model(exported.back).vocabulary.languages().size(), 8U);
  write_file_atomically(exported.out / "tokenizer_config.json", R"({"language_codes": "klingon"})");
  EXPECT_TRUE(has(message_of<UserError>([&] { import_model(exported.out, exported.back); }), "klingon"));
}

TEST(ImportedTokenizer, VocabJsonIsRefusedInWords) {
  const ExportedM2m100 exported;
  const auto with = [&](const auto& change) { return exported.vocab_refusal(change); };
  EXPECT_TRUE(has(with([](auto& json) { json = nlohmann::json::array(); }), "not a JSON object"));
  EXPECT_TRUE(has(with([](auto& json) { json["zzz"] = 5; }), "vocab.json: the id of"));
  EXPECT_TRUE(has(with([](auto& json) { json["zzz"] = json.size() + 1; }), "vocab.json: the id of"));
  EXPECT_TRUE(has(with([](auto& json) { json["zzz"] = -1; }), "vocab.json: the id of"));
  EXPECT_TRUE(has(with([](auto& json) { json["zzz"] = "7"; }), "vocab.json: the id of"));
  EXPECT_TRUE(has(with([](auto& json) { json["zzz"] = 1e300; }), "vocab.json: the id of"));
  EXPECT_TRUE(has(with([](auto& json) { std::swap(json["<s>"], json["<pad>"]); }), "does not begin with"));
  EXPECT_TRUE(has(with([](auto& json) { json = nlohmann::json::object(); }), "not a JSON object"));
}

}  // namespace
}  // namespace chorus
