#include "formats/folder.h"

#include <cstring>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "corpus/vocabulary_training.h"
#include "formats/saved_model.h"

namespace chorus {
namespace {

TEST(ModelFolder, ComesBackBitForBit) {
  const Saved saved;
  const LoadedModel loaded = load_model(saved.path, {});
  expect_same_weights(*saved.model, *loaded.model);
  EXPECT_EQ(loaded.vocabulary.hash(), saved.vocabulary.hash());
  EXPECT_EQ(to_json(loaded.model->config()), to_json(saved.model->config()));
  const nlohmann::json generation = read_json(saved.path / "generation_config.json");
  EXPECT_EQ(generation["decoder_start_token_id"], 2);
}

TEST(ModelFolder, KeepsLanguagesAddedToTheVocabulary) {
  const Saved saved({"fr", "cs"});
  EXPECT_EQ(read_json(saved.path / "config.json")["chorus"]["languages"], nlohmann::json({"fr", "cs"}));
  const LoadedModel loaded = load_model(saved.path, {});
  EXPECT_EQ(loaded.vocabulary.languages(), saved.vocabulary.languages());
  EXPECT_EQ(loaded.vocabulary.tag("cs"), saved.vocabulary.tag("cs"));
}

TEST(ModelFolder, IsFoundInARun) {
  const Saved saved;
  EXPECT_EQ(find_model(saved.folder.path()).weights, saved.path);
  EXPECT_EQ(find_model(saved.path).weights, saved.path);
  const fs::path empty = saved.folder / "empty";
  fs::create_directory(empty);
  EXPECT_TRUE(has(message_of<UserError>([&] { find_model(empty); }), "is no model"));
  EXPECT_TRUE(has(message_of<UserError>([&] { find_model(saved.folder / "absent"); }), "no such folder"));
}

TEST(ModelFolder, IsFoundInARunFromItsFirstCheckpointOn) {
  const Saved saved;
  const fs::path run = saved.folder / "run", checkpoints = run / "checkpoints";
  fs::create_directories(checkpoints);
  const auto refusal = [&] { return message_of<UserError>([&] { find_model(run); }); };
  std::ofstream(run / ".lock") << "process 1\n";
  EXPECT_TRUE(has(refusal(), "a run that has no checkpoint yet: it has not made its first update yet"));
  const auto settings = [&](int checkpoint_every, int every, const char* valid) {
    std::ofstream(run / "run.toml") << "[data]\n# a source\n"
                                    << valid << "[train]\nduration = \"9u\"\n"
                                    << "log_every = 3\ncheckpoint_every = " << checkpoint_every
                                    << "\n[validation]\nevery = " << every << "\n";
  };
  const std::string end = "when it ends (train.duration = \"9u\") or is interrupted";
  settings(500, 200, "[[data.valid]]\n");
  EXPECT_TRUE(has(refusal(), "the first comes at update 200, or " + end));
  settings(500, 200, "");
  EXPECT_TRUE(has(refusal(), "the first comes at update 500, or " + end));
  settings(0, 0, "[[data.valid]]\n");
  EXPECT_TRUE(has(refusal(), "the first comes " + end));
  const fs::path stages = saved.folder / "stages";
  fs::create_directories(stages / "b");
  fs::copy(run, stages / "a");
  EXPECT_TRUE(has(message_of<UserError>([&] { find_model(stages); }), "has these in it: a; name one"));
  // The newest by number; then the best, as it is exported.
  for (const char* name : {"step-00000009", "step-100000000", "step-00000010"})
    fs::copy(saved.path, checkpoints / name);
  fs::create_directory(checkpoints / "step-200000000");  // of an older chorus: weights alone
  fs::copy(saved.path / "model.safetensors", checkpoints / "step-200000000");
  EXPECT_EQ(find_model(run).weights, checkpoints / "step-100000000");
  EXPECT_EQ(find_model(checkpoints / "step-00000009").weights, checkpoints / "step-00000009");
  EXPECT_TRUE(has(message_of<UserError>([&] { find_model(checkpoints / "step-200000000"); }), "is no model"));
  fs::copy(saved.path, run / "model");
  EXPECT_EQ(find_model(run).weights, run / "model");
  const ModelPlace old = find_model(checkpoints / "step-200000000");
  EXPECT_EQ(old.weights, checkpoints / "step-200000000");
  EXPECT_EQ(old.description, fs::canonical(run / "model"));
}

TEST(ModelFolder, KeepsHowItWasTrained) {
  const Saved saved;
  ModelConfig config = saved.model->config();
  config.moe.capacity_factor = 1.75;
  config.moe.selection = TokenSelection::probability;
  config.moe.jitter = 0.125;
  config.moe.gating_dropout = 0.0625;
  config.dropout = 0.25;
  const nlohmann::json json = to_json(config);
  const ModelConfig back = model_config_from_json(json);
  EXPECT_EQ(back.moe.capacity_factor, 1.75);
  EXPECT_EQ(back.moe.selection, TokenSelection::probability);
  EXPECT_EQ(back.moe.jitter, 0.125);
  EXPECT_EQ(back.moe.gating_dropout, 0.0625);
  EXPECT_EQ(back.dropout, 0.25);
  EXPECT_EQ(to_json(back), json);
  for (const auto& [key, value] : {std::pair<const char*, nlohmann::json>{"moe.jitter", 7},
                                   {"moe.jitter", nlohmann::json::object()},
                                   {"moe.experts", 9},
                                   {"moe.selection", "best"}}) {
    nlohmann::json wrong = json;
    wrong["chorus"]["training"][key] = value;
    const std::string message = message_of<UserError>([&] { model_config_from_json(wrong); });
    EXPECT_TRUE(has(message, "config.json: chorus.training")) << message;
  }
  nlohmann::json older = json;
  older["chorus"].erase("training");
  EXPECT_EQ(model_config_from_json(older).moe.capacity_factor, 1);
}

TEST(ModelFolder, NarrowTypesRoundOnce) {
  const Saved saved;
  for (const auto& [dtype, type] : {std::pair{DType::bf16, at::kBFloat16}, {DType::f16, at::kHalf}}) {
    saved.save(saved.folder / "narrow", dtype);
    const LoadedModel loaded = load_model(saved.folder / "narrow", {});
    for (size_t i = 0; i < loaded.model->parameters().size(); ++i)
      EXPECT_TRUE(at::equal(loaded.model->parameters()[i].value,
                            saved.model->parameters()[i].value.to(type).to(at::kFloat)));
  }
}

TEST(ModelFolder, TakesNamesWithoutThePrefixAndTiedCopies) {
  const Saved saved;
  saved.rewrite([](Tensors& tensors) {
    Tensors bare;
    for (const auto& [name, tensor] : tensors) bare[name.substr(6)] = tensor;
    bare["lm_head.weight"] = bare["encoder.embed_tokens.weight"] = bare.at("shared.weight");
    bare["decoder.embed_positions.weights"] = at::zeros({4, 12});
    tensors = bare;
  });
  expect_same_weights(*saved.model, *load_model(saved.path, {}).model);
  saved.rewrite([](Tensors& tensors) { tensors.erase("shared.weight"); });
  expect_same_weights(*saved.model, *load_model(saved.path, {}).model);
  saved.rewrite([](Tensors& tensors) { tensors.at("encoder.embed_tokens.weight").add_(1); });
  EXPECT_TRUE(has(saved.refusal(), "differs from the embedding"));
}

TEST(ModelFolder, NamesTheTensorThatIsWrong) {
  const std::string router = "model.encoder.layers.1.ffn.router.classifier.weight";
  {
    const Saved saved;
    saved.rewrite([&](Tensors& tensors) { tensors.erase(router); });
    EXPECT_TRUE(has(saved.refusal(), "tensor \"" + router + "\" is missing"));
  }
  {
    const Saved saved;
    saved.rewrite([&](Tensors& tensors) { tensors[router] = at::zeros({5, 12}); });
    EXPECT_TRUE(has(saved.refusal(), "has shape [5, 12], not the [4, 12]"));
  }
  {
    const Saved saved;
    saved.rewrite([&](Tensors& tensors) { tensors["model.encoder.layers.7.extra"] = at::zeros({1}); });
    EXPECT_TRUE(has(saved.refusal(), "\"model.encoder.layers.7.extra\" has no place"));
  }
}

TEST(ModelFolder, RefusesDamage) {
  const Saved saved;
  const fs::path file = saved.path / "model.safetensors";
  const std::string good = read_file(file);
  for (const size_t keep : {size_t{0}, size_t{7}, size_t{500}, good.size() / 2, good.size() - 1}) {
    write_file_atomically(file, good.substr(0, keep));
    EXPECT_TRUE(has(saved.refusal(), "model.safetensors")) << keep;
  }
  for (const size_t at : {size_t{3}, size_t{100}, size_t{2000}, good.size() / 2, good.size() - 1}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    write_file_atomically(file, bad);
    EXPECT_TRUE(has(saved.refusal(), "model.safetensors")) << at;
  }
  fs::remove(file);
  EXPECT_NE(saved.refusal(), "");
}

TEST(ModelFolder, RefusesTheVocabularyOfAnotherRun) {
  const Saved saved;
  const TemporaryFolder other;
  write_lines(other / "text.en", sentences("fr", 300));
  write_lines(other / "text.de", sentences("cs", 300));
  const SourceConfig source{.files = (other / "text.{lang}").string(), .languages = {"en", "de"}};
  train_vocabulary({&source, 1}, {.size = 400}, other / "out.model");
  write_file_atomically(saved.path / "sentencepiece.bpe.model", read_file(other / "out.model"));
  EXPECT_TRUE(has(saved.refusal(), "not the vocabulary that this model was trained with"));
}

TEST(ModelFolder, RefusesConfigurationsThatCannotBe) {
  const Saved saved;
  const auto with = [&](const std::function<void(nlohmann::json&)>& change) {
    const std::string good = read_file(saved.path / "config.json");
    saved.edit_config(change);
    const std::string message = saved.refusal();
    write_file_atomically(saved.path / "config.json", good);
    return message;
  };
  EXPECT_TRUE(has(with([](auto& json) { json["vocab_size"] = 10; }), "more than the 10 rows"));
  EXPECT_TRUE(has(with([](auto& json) { json["chorus"]["experts"] = 60000; }), "60000 experts"));
  EXPECT_TRUE(has(with([](auto& json) { json["d_model"] = 60000; }), "has shape"));
  EXPECT_TRUE(has(with([](auto& json) { json["encoder_layers"] = 1000; }), "501 layers of 4 experts"));
  EXPECT_TRUE(has(with([](auto& json) { json["encoder_layers"] = 3; }), "missing"));
  EXPECT_TRUE(has(with([](auto& json) { json["chorus"]["languages"] = 5; }), "wrong type"));
  EXPECT_TRUE(has(with([](auto& json) { json["chorus"]["languages"] = {"x"}; }), "not the vocabulary"));
  EXPECT_TRUE(has(with([](auto& json) { json["chorus"] = 5; }), "chorus is not an object"));
  for (const char* key : {"d_model", "encoder_attention_heads", "eos_token_id"})
    EXPECT_TRUE(has(with([&](auto& json) { json[key] = json[key].template get<double>() + 0.9; }), key))
        << key;
  EXPECT_TRUE(has(with([](auto& json) { json["chorus"]["top_k"] = 2.0; }), "top_k"));
  EXPECT_TRUE(has(with([](auto& json) { json["chorus"]["language_ids"] = {407.0, 408}; }), "language_ids"));
  EXPECT_TRUE(has(with([](auto& json) { json["chorus"]["layer_experts"] = {2.5, 4}; }), "layer_experts"));
  EXPECT_TRUE(has(with([](auto& json) { json["chorus"]["layer_experts"] = {-2, 4}; }), "layer_experts"));
  EXPECT_TRUE(has(with([](auto& json) { json["dropout"] = true; }), "dropout"));
  EXPECT_TRUE(has(with([](auto& json) { json["router_z_loss_coef"] = -1; }), "router_z_loss_coef"));
  EXPECT_TRUE(has(with([](auto& json) { json["scale_embedding"] = 1; }), "scale_embedding"));
  EXPECT_TRUE(has(with([](auto& json) { json = 5; }), "config.json"));
  write_file_atomically(saved.path / "config.json", "{\"vocab_size\": ");
  EXPECT_TRUE(has(saved.refusal(), "config.json"));
}

TEST(ModelFolder, NoticesWhatDoesNotBelongTogether) {
  const Saved saved, other;
  const auto file = [&](const char* name) { return saved.path / name; };
  const auto with = [&](const char* name, const std::string& bytes) {
    const std::string good = read_file(file(name));
    write_file_atomically(file(name), bytes);
    const std::string message = saved.refusal();
    write_file_atomically(file(name), good);
    return message;
  };
  const auto changed = [&](const char* from, const char* to) {
    std::string text = read_file(file("config.json"));
    return with("config.json", text.replace(text.find(from), std::strlen(from), to));
  };
  for (const std::string& message : {changed("\"relu\"", "\"gelu\""), changed("\"top_k\": 2", "\"top_k\": 1"),
                                     changed("attention_heads\": 3", "attention_heads\": 2"),
                                     changed("\"dropout\": 0.1", "\"dropout\": 0.5")})
    EXPECT_TRUE(has(message,
                    "config.json is not the configuration that this model was saved with: restore it, or "
                    "delete ") &&
                has(message, "chorus.json"))
        << message;
  initialise(*other.model, 8);
  other.save(other.folder / "other");
  const std::string weights = read_file(other.folder / "other/model.safetensors");
  EXPECT_TRUE(
      has(with("model.safetensors", weights), "is not the file of weights that this model was saved with"));
  for (const char* bytes : {"{}", "[]", R"({"format": 1.0})", R"({"format": 1, "files": 5})",
                            R"({"format": 1, "files": {"config.json": 7}})"})
    EXPECT_TRUE(has(with("chorus.json", bytes), "chorus.json: damaged")) << bytes;
  EXPECT_TRUE(has(with("chorus.json", R"({"format": 2})"), "later version"));
  // What nothing here reads may be edited; and a folder without a manifest is its owner's business.
  write_file_atomically(file("generation_config.json"), "{\"num_beams\": 4}");
  (void)load_model(saved.path, {});
  write_file_atomically(file("model.safetensors"), weights);
  forget_manifest(saved.path);
  (void)load_model(saved.path, {});
}

TEST(Tensors, SetsOfOneCatalogueShareAFile) {
  const TemporaryFolder folder;
  const Catalogue catalogue = make_catalogue(tiny_config());
  const auto filled = [&](double value) {
    std::vector<at::Tensor> tensors;
    for (const ParameterSpec& spec : catalogue.parameters)
      tensors.push_back(at::full(spec.shape, value + 0.1, at::kFloat));
    return tensors;
  };
  const auto sets = [](std::vector<at::Tensor>& m, std::vector<at::Tensor>& v) {
    return std::vector<TensorSet>{{.prefix = "m.", .tensor = [&m](size_t i) { return m[i]; }},
                                  {.prefix = "v.", .tensor = [&v](size_t i) { return v[i]; }}};
  };
  std::vector<at::Tensor> m = filled(1), v = filled(2), read_m = filled(0), read_v = filled(0);
  const uint64_t hash = save_tensors(folder / "moments.safetensors", catalogue, sets(m, v), {{"step", "5"}});
  const SafetensorsFile file(folder / "moments.safetensors");
  EXPECT_EQ(file.hash(), hash);
  EXPECT_EQ(file.metadata().at("step"), "5");
  load_tensors(file, catalogue, sets(read_m, read_v));
  for (size_t i = 0; i < m.size(); ++i) {
    EXPECT_TRUE(at::equal(m[i], read_m[i]));
    EXPECT_TRUE(at::equal(v[i], read_v[i]));
  }
  const std::vector<TensorSet> one = {sets(m, v)[0]};
  EXPECT_TRUE(
      has(message_of<UserError>([&] { load_tensors(file, catalogue, one); }), "\"v.model.shared.weight\""));
}

TEST(ModelFolder, WeightsUsedWhereTheyLieOutliveTheFolder) {
  const Saved saved;
  const LoadedModel loaded = load_model(saved.path, {});
  const LoadedModel again = load_model(saved.path, {});
  const LoadedModel trainable = load_model(saved.path, {.gradients = true});
  fs::remove_all(saved.path);
  expect_same_weights(*saved.model, *loaded.model);
  expect_same_weights(*saved.model, *again.model);
  const at::NoGradGuard plain;
  for (Parameter& parameter : trainable.model->parameters()) parameter.value.add_(1);  // a copy of its own
  expect_same_weights(*saved.model, *loaded.model);
}

}  // namespace
}  // namespace chorus
