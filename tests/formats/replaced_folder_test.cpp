// Model folders that are written where one is already.
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "formats/alignment_choice.h"
#include "formats/folder.h"
#include "formats/saved_model.h"
#include "io/json.h"

namespace chorus {
namespace {

TEST(ModelFolder, ReplacesAModelAndNothingElse) {
  const Saved saved;
  saved.model->parameters()[0].value.fill_(3);
  saved.save(saved.path);
  expect_same_weights(*saved.model, *load_model(saved.path, {}).model);
  int64_t entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(saved.folder.path())) ++entries;
  EXPECT_EQ(entries, 2) << "pieces.model and model: nothing temporary is left";

  const fs::path other = saved.folder / "thesis";
  fs::create_directory(other);
  write_file_atomically(other / "chapter1.txt", "precious");
  EXPECT_TRUE(has(message_of<UserError>([&] { saved.save(other); }), "is not a model"));
  EXPECT_EQ(read_file(other / "chapter1.txt"), "precious");
  EXPECT_TRUE(has(message_of<UserError>([&] { saved.save(other / "chapter1.txt" / "model"); }), "cannot"));

  // A model with something else in it: any one stranger keeps the folder as it is, the first is named.
  const auto refusal = [&] { return message_of<UserError>([&] { saved.save(saved.path); }); };
  for (const char* name : {".git", "README.md", "Model.safetensors", "model-00001-of-2.safetensors",
                           "pytorch_model.bin", "config.json.bak", "odd\nname"}) {
    write_file_atomically(saved.path / "zzz", "precious");
    write_file_atomically(saved.path / name, "precious");
    EXPECT_TRUE(has(refusal(), "it holds " + in_quotes(name))) << name;
    EXPECT_EQ(read_file(saved.path / name), "precious");
    fs::remove(saved.path / name);
  }
  EXPECT_TRUE(has(refusal(), "it holds \"zzz\""));
  fs::remove(saved.path / "zzz");
  fs::create_directory(saved.path / "vocab.json");  // by its name one of ours
  EXPECT_TRUE(has(refusal(), "it holds \"vocab.json\""));
  fs::remove(saved.path / "vocab.json");
  fs::create_symlink("../thesis/chapter1.txt", saved.path / "vocab.json");
  EXPECT_TRUE(has(refusal(), "it holds \"vocab.json\""));
  fs::remove(saved.path / "vocab.json");

  const fs::path link = saved.folder / "link";
  fs::create_directory_symlink("model", link);
  EXPECT_TRUE(has(message_of<UserError>([&] { saved.save(link); }), "link: it is a symbolic link"));
  EXPECT_TRUE(has(message_of<UserError>([&] { saved.save(link / ""); }), "link: it is a symbolic link"));
  EXPECT_TRUE(fs::is_symlink(link));
  const fs::path file = saved.folder / "file";
  write_file_atomically(file, "precious");
  EXPECT_TRUE(has(message_of<UserError>([&] { saved.save(file); }), "is not a model"));
  EXPECT_EQ(read_file(file), "precious");

  // What chorus writes, in any format, it replaces; and an empty folder.
  write_file_atomically(saved.path / "model-00001-of-00002.safetensors", "");
  for (const char* name : {"model.safetensors.index.json", "tokenizer_config.json", "special_tokens_map.json",
                           "spiece.model", "vocab.json"})
    write_file_atomically(saved.path / name, "{}");
  saved.save(saved.path);
  expect_same_weights(*saved.model, *load_model(saved.path, {}).model);
  fs::create_directory(saved.folder / "empty");
  saved.save(saved.folder / "empty");
  saved.save(saved.folder / "new" / "folders" / "model");

  // What others have written, by the same names, it does not.
  fs::remove(saved.path / "chorus.json");
  saved.save(saved.path);  // by its settings
  fs::remove(saved.path / "chorus.json");
  nlohmann::json json = read_json(saved.path / "config.json");
  json.erase("chorus");
  write_file_atomically(saved.path / "config.json", json.dump());
  saved.save(saved.path);  // by the checksums of its weights
  fs::remove(saved.path / "chorus.json");
  write_file_atomically(saved.path / "config.json", json.dump());
  for (const std::string& weights : {std::string(R"(  {}   )"), std::string("damaged")}) {
    const std::string others = std::string("\x07\0\0\0\0\0\0\0", 8) + weights;
    write_file_atomically(saved.path / "model.safetensors", others);
    EXPECT_TRUE(has(refusal(), "it is a model that chorus has not written"));
    EXPECT_EQ(read_file(saved.path / "model.safetensors"), others);
  }
}

TEST(ModelFolder, RemembersWhichHeadAligns) {
  const Saved saved;
  const std::string weights = read_file(saved.path / "model.safetensors");
  keep_alignment(saved.path, 1, -1);
  keep_alignment(saved.path, 0, 2);
  const LoadedModel loaded = load_model(saved.path, {});
  EXPECT_EQ(loaded.model->config().alignment_layer, 0);
  EXPECT_EQ(loaded.model->config().alignment_head, 2);
  expect_same_weights(*saved.model, *loaded.model);
  EXPECT_EQ(read_file(saved.path / "model.safetensors"), weights);
  // What it is saved as again keeps it.
  EXPECT_EQ(model_config_from_json(to_json(loaded.model->config())).alignment_head, 2);
  EXPECT_TRUE(has(message_of<UserError>([&] { keep_alignment(saved.path, 9, 0); }), "decoder layer 9"));
  EXPECT_TRUE(has(message_of<UserError>([&] { keep_alignment(saved.path, 0, 9); }), "head 9"));
  nlohmann::json json = to_json(loaded.model->config());
  for (const char* wrong :
       {"[]", "{}", R"({"layer": 0})", R"({"layer": -1, "head": 0})", R"({"layer": 0, "head": 9})"}) {
    json["chorus"]["alignment"] = nlohmann::json::parse(wrong);
    EXPECT_THROW(static_cast<void>(model_config_from_json(json)), UserError) << wrong;
  }
  // What else is in the folder stays.
  fs::create_directories(saved.path / "sample" / "deep");
  std::ofstream(saved.path / "README.md") << "read";
  std::ofstream(saved.path / "sample" / "deep" / "test.en") << "a line";
  fs::create_symlink("README.md", saved.path / "link");
  keep_alignment(saved.path, 1, 1);
  EXPECT_EQ(describe_model(saved.path).config.alignment_layer, 1);
  EXPECT_EQ(read_file(saved.path / "README.md"), "read");
  EXPECT_EQ(read_file(saved.path / "sample" / "deep" / "test.en"), "a line");
  EXPECT_EQ(fs::read_symlink(saved.path / "link"), "README.md");
  const fs::path link = saved.folder / "link";
  fs::create_directory_symlink(saved.path, link);
  EXPECT_TRUE(has(message_of<UserError>([&] { keep_alignment(link, 0, 0); }), "is a symbolic link"));
  std::ofstream(saved.path / "state.json") << "{}";
  EXPECT_TRUE(has(message_of<UserError>([&] { keep_alignment(saved.path, 0, 0); }), "checkpoint of a run"));
  EXPECT_EQ(describe_model(saved.path).config.alignment_layer, 1);
}

}  // namespace
}  // namespace chorus
