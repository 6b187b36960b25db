// Models as OPUS-MT has them.
#include <algorithm>
#include <set>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include "data/t5_model.h"
#include "formats/convert.h"
#include "formats/saved_model.h"

namespace chorus {
namespace {

std::vector<std::string> marian_pieces() {
  std::vector<std::string> pieces = {"</s>", "<unk>", "▁the", "▁walks", ">>fra<<", ">>deu<<"};
  for (char letter = 'a'; letter <= 'z'; ++letter) pieces.emplace_back(1, letter);
  for (const char* piece : {"▁", "<pad>"}) pieces.emplace_back(piece);
  return pieces;
}

std::string plain_model() {
  return model_beginning_with({{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}});
}

/// A random model, saved, and exported.
struct SavedMarian {
  TemporaryFolder folder;
  fs::path path = folder / "model", theirs = folder / "theirs", again = folder / "again";
  ModelConfig config = marian_config();
  std::unique_ptr<Transformer> model;

  explicit SavedMarian(std::vector<std::string> pieces = marian_pieces()) {
    write_file_atomically(folder / "source.spm", plain_model());
    std::ranges::rotate(pieces, pieces.end() - 2);
    const Vocabulary vocabulary = Vocabulary::load(
        folder / "source.spm", {.pieces = pieces, .target_model = plain_model(), .source_language = "eng"});
    config.vocabulary = vocabulary.size();
    model = random_model(config);
    save_weights(path, *model, vocabulary);
    export_model(path, {.format = Format::marian}, theirs);
  }
  /// Of an import after `change`, which leaves one line and nothing else.
  std::string refusal(const std::function<void()>& change) const {
    const TemporaryFolder kept;
    fs::copy(theirs, kept / "theirs");
    change();
    const std::string message = message_of<UserError>([&] { import_model(theirs, folder / "refused"); });
    EXPECT_FALSE(fs::exists(folder / "refused"));
    EXPECT_FALSE(has(message, "\n"));
    fs::remove_all(theirs);
    fs::copy(kept / "theirs", theirs);
    return message;
  }
  std::string refusal(const char* file, const std::function<void(nlohmann::json&)>& change) const {
    return refusal([&] { edit_json(theirs / file, change); });
  }
};

TEST(MarianFolder, TensorsAreCalledAsInTransformers) {
  std::set<std::string> names;
  const Catalogue catalogue = make_catalogue(marian_config());
  for (const ParameterSpec& spec : catalogue.parameters) names.insert(spec.stored.begin(), spec.stored.end());
  for (const char* name :
       {"model.shared.weight", "final_logits_bias", "model.encoder.layers.1.self_attn.q_proj.weight",
        "model.encoder.layers.0.self_attn_layer_norm.bias", "model.encoder.layers.0.final_layer_norm.weight",
        "model.decoder.layers.2.encoder_attn.k_proj.bias",
        "model.decoder.layers.2.encoder_attn_layer_norm.weight", "model.decoder.layers.0.fc1.weight"})
    EXPECT_TRUE(names.contains(name)) << name;
  EXPECT_FALSE(names.contains("model.encoder.layer_norm.weight")) << "no norm ends a stack";
  EXPECT_EQ(catalogue.parameters[catalogue.output_bias].stored_shape(), (std::vector<int64_t>{1, 23}));
}

TEST(MarianFolder, ConfigurationGoesThroughJsonAndBack) {
  for (const Activation activation : {Activation::relu, Activation::gelu, Activation::silu}) {
    ModelConfig config = marian_config();
    config.activation = activation;
    config.scale_embedding = activation == Activation::silu;
    config.tied_output = activation != Activation::gelu;
    const nlohmann::json json = to_json(config);
    EXPECT_EQ(json["model_type"], "marian");
    const ModelConfig back = model_config_from_json(json);
    EXPECT_EQ(to_json(back), json);
    EXPECT_EQ(back.activation, activation);
    EXPECT_TRUE(back.post_norm && back.output_bias);
    EXPECT_EQ(back.decoder_start, kPad);
  }
  EXPECT_THROW(to_json(marian_config(), Format::m2m100), UserError);
  EXPECT_THROW(to_json(tiny_config(), Format::marian), UserError);
  ModelConfig sparse = marian_config();
  sparse.moe.experts = 4;
  EXPECT_THROW(check(sparse), UserError);
}

TEST(MarianFolder, WhatIsNotComputedIsRefused) {
  const nlohmann::json good = to_json(marian_config(), Format::marian);
  for (const auto& [key, value] : std::initializer_list<std::pair<const char*, nlohmann::json>>{
           {"activation_function", "tanh"},
           {"activation_function", "swiglu"},
           {"static_position_embeddings", false},
           {"normalize_before", true},
           {"normalize_embedding", true},
           {"share_encoder_decoder_embeddings", false},
           {"decoder_vocab_size", 24},
           {"pad_token_id", 21},
           {"eos_token_id", 2},
           {"decoder_start_token_id", 0},
           {"decoder_attention_heads", 4},
           {"scale_embedding", 1}}) {
    nlohmann::json json = good;
    json[key] = value;
    EXPECT_THROW(model_config_from_json(json), UserError) << key;
  }
  nlohmann::json json = good;
  json["activation_function"] = "swish";
  EXPECT_EQ(model_config_from_json(json).activation, Activation::silu);
}

TEST(MarianFolder, IsExportedAndImportedBitForBit) {
  const SavedMarian saved;
  import_model(saved.theirs, saved.again);
  for (const char* file : {"config.json", "model.safetensors", "vocab.json", "source.spm", "target.spm"})
    EXPECT_EQ(read_file(saved.again / file), read_file(saved.path / file)) << file;
  const LoadedModel loaded = load_model(saved.again, {});
  expect_same_weights(*loaded.model, *saved.model);
  const SafetensorsFile file(saved.theirs / "model.safetensors");
  const int64_t rows = saved.config.vocabulary, d = saved.config.d_model;
  const auto* weights = reinterpret_cast<const float*>(file.get("model.shared.weight").bytes.data());
  const auto* bias = reinterpret_cast<const float*>(file.get("final_logits_bias").bytes.data());
  const Catalogue& catalogue = saved.model->catalogue();
  for (const auto& [id, our] :
       {std::pair<int64_t, int64_t>{0, kEos}, {1, kUnk}, {2, 4}, {rows - 2, 0}, {rows - 1, kPad}}) {
    EXPECT_EQ(weights[id * d], saved.model->parameters()[catalogue.embedding].value[our][0].item<float>())
        << id;
    EXPECT_EQ(bias[id], saved.model->parameters()[catalogue.output_bias].value[0][our].item<float>()) << id;
  }
  const Vocabulary vocabulary = loaded.vocabulary;
  EXPECT_EQ(vocabulary.languages(), (std::vector<std::string>{"eng", "fra", "deu"}));
  EXPECT_EQ(vocabulary.pair_tags("", "deu").source, 7);
  EXPECT_THROW(export_model(saved.path, {.format = Format::nllb_moe}, saved.folder / "no"), UserError);
}

TEST(MarianFolder, OldFilesHaveTablesOfPositionsToo) {
  const SavedMarian saved;
  rewrite(saved.theirs, [](Tensors& tensors) {
    for (const char* name : {"model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"})
      tensors[name] = at::zeros({32, 12});
    tensors["lm_head.weight"] = tensors["model.shared.weight"].clone();
  });
  EXPECT_NO_THROW(import_model(saved.theirs, saved.again));
}

TEST(MarianFolder, DamagedAndStrangeTokenizersAreRefused) {
  const SavedMarian saved;
  const fs::path& folder = saved.theirs;
  for (const char* file : {"target.spm", "source.spm", "vocab.json"}) {
    EXPECT_TRUE(has(saved.refusal([&] { fs::remove(folder / file); }), file)) << file;
    const std::string whole = read_file(folder / file);
    for (const size_t size : {size_t{0}, size_t{1}, whole.size() / 2, whole.size() - 3})
      EXPECT_NE(saved.refusal([&] { write_file_atomically(folder / file, whole.substr(0, size)); }), "")
          << file << " of " << size;
  }
  const auto vocab = [&](const auto& change) { return saved.refusal("vocab.json", change); };
  EXPECT_TRUE(has(vocab([](auto& json) { json["▁the"] = 900; }), "id"));
  EXPECT_TRUE(has(vocab([](auto& json) { json["▁the"] = 3; }), "id"));
  EXPECT_TRUE(has(vocab([](auto& json) { json.erase("z"); }), "ids of"));
  EXPECT_TRUE(has(vocab([](auto& json) { std::swap(json["</s>"], json["<unk>"]); }), "begin with"));
  EXPECT_TRUE(has(vocab([](auto& json) { std::swap(json["<pad>"], json["▁"]); }), "end with <pad>"));
  EXPECT_TRUE(has(vocab([](auto& json) {
                    json["<pad>"] = json.size(), json["more"] = json["<pad>"].template get<int>() - 1;
                  }),
                  "pieces"));
  EXPECT_TRUE(has(vocab([](auto& json) {
                    json.erase("▁");
                    json["<pad>"] = json.size() - 1;
                  }),
                  "fewer than"));
  const auto tokenizer = [&](const auto& change) { return saved.refusal("tokenizer_config.json", change); };
  EXPECT_TRUE(has(tokenizer([](auto& json) { json["separate_vocabs"] = true; }), "of their own"));
  EXPECT_TRUE(
      has(saved.refusal([&] { write_file_atomically(folder / "target_vocab.json", "{}"); }), "of their own"));
  EXPECT_TRUE(has(tokenizer([](auto& json) {
                    json["sp_model_kwargs"] = {{"alpha", 0.1}};
                  }),
                  "sp_model_kwargs"));
  EXPECT_TRUE(has(tokenizer([](auto& json) { json["source_lang"] = "e n"; }), "source_lang"));
  EXPECT_TRUE(has(tokenizer([](auto& json) {
                    json["added_tokens_decoder"] = {{"34", {{"content", "<dom>"}}}};
                  }),
                  "added token"));
  const std::string pad = std::to_string(saved.config.vocabulary - 1);
  EXPECT_EQ(tokenizer([&](auto& json) {
              json["added_tokens_decoder"] = {{"0", {{"content", "</s>"}}}, {pad, {{"content", "<pad>"}}}};
              json["additional_special_tokens"] = {"</s>"};
              json["source_lang"] = 7;
            }).find("source_lang") == std::string::npos,
            false);
}

}  // namespace
}  // namespace chorus
