// Tokenizers of other programs, and the ids that they give.
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include "data/sentencepiece_model.h"
#include "formats/exported.h"

#include "formats/internal/tokenizer_files.h"

namespace chorus {
namespace {

/// Tables that tests/reference/tokenizer_parity.py made with transformers of two versions.
class Transformers : public testing::TestWithParam<const char*> {};

TEST_P(Transformers, HasTheSameIds) {
  const fs::path tables = CHORUS_TOKENIZERS;
  const nlohmann::json table = read_json(tables / GetParam());
  for (const nlohmann::json& one : table["cases"]) {
    const auto name = one["name"].get<std::string>();
    SCOPED_TRACE(name);
    const TemporaryFolder folder;
    fs::copy_file(tables / "pieces.model", folder / "sentencepiece.bpe.model");
    for (const auto& [file, content] : one["files"].items())
      write_file_atomically(folder / file, content.dump());
    const Vocabulary vocabulary = read_tokenizer(folder.path(), 1 << 20);
    const bool m2m100 = name.starts_with("M2M100");
    const bool more = one["ids"].contains("tyv_Cyrl") || one["ids"].contains("__tyv__");
    EXPECT_EQ(vocabulary.languages().size(), (m2m100 ? 100U : 202U) + (more ? 1 : 0)) << "words are none";
    for (const auto& [token, id] : one["ids"].items())
      EXPECT_THAT((std::array{token, "__" + token + "__"}),
                  testing::Contains(vocabulary.name_of(id.get<int32_t>())));
    for (const nlohmann::json& line : one["lines"]) {
      const auto ids = line[1].get<std::vector<int32_t>>();
      EXPECT_EQ(vocabulary.encode(line[0].get<std::string>()), ids) << line[0];
    }
    // Through a folder of ours, and back.
    EXPECT_EQ(vocabulary.symbol(kMask),
              m2m100 ? std::nullopt : std::optional(one["ids"]["<mask>"].get<int32_t>()));
    write_tokenizer(folder.path(), vocabulary, 128);
    for (const char* file : {"added_tokens.json", "tokenizer.json"}) fs::remove(folder / file);
    EXPECT_EQ(read_tokenizer(folder.path(), 1 << 20).hash(), vocabulary.hash());
  }
}

INSTANTIATE_TEST_SUITE_P(Versions, Transformers, testing::Values("4.33.3.json", "4.57.1.json"),
                         [](const auto& table) {
                           return "Of" + std::string(table.param, 1) + std::string(table.param + 2, 2);
                         });

/// So many more rows in the embedding.
void add_rows(const Exported& exported, int64_t count) {
  const auto rows = exported.vocabulary.size() + count;
  edit_json(exported.out / "config.json", [&](auto& json) { json["vocab_size"] = rows; });
  rewrite(exported.out, [&](Tensors& tensors) {
    tensors["model.shared.weight"] = at::full({rows, 12}, 0.1);
  });
}

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
  EXPECT_TRUE(has(exported.import_refusal(), "rows")) << "before 4.34 a tokenizer has 202 languages";
  nlohmann::json tokens = nlohmann::json::array(), ids;
  for (const auto& [id, token] : decoder.items()) {
    tokens.push_back({{"id", std::stoi(id)}, {"content", token["content"]}});
    ids[token["content"].get<std::string>()] = std::stoi(id);
  }
  write_file_atomically(exported.out / "added_tokens.json", ids.dump());
  EXPECT_EQ(tags(), expected) << "added_tokens.json";
  write_file_atomically(exported.out / "tokenizer.json", nlohmann::json{{"added_tokens", tokens}}.dump());
  EXPECT_EQ(tags(), expected) << "both";
  fs::remove(exported.out / "added_tokens.json");
  fs::remove(exported.out / "special_tokens_map.json");
  EXPECT_EQ(tags(), expected) << "tokenizer.json";
}

TEST(ImportedTokenizer, Small100PutsTheTargetsTagOnTheSource) {
  const Exported exported(dense_config(), {.format = Format::m2m100});
  EXPECT_FALSE(describe_model(exported.path).vocabulary.layout().target_tag_on_source);
  edit_json(exported.out / "tokenizer_config.json", [](auto& json) {
    EXPECT_NE(json["tokenizer_class"], "SMALL100Tokenizer");
    json["tokenizer_class"] = "SMALL100Tokenizer";
  });
  import_model(exported.out, exported.back);
  const Vocabulary vocabulary = describe_model(exported.back).vocabulary;
  EXPECT_TRUE(vocabulary.layout().target_tag_on_source);
  EXPECT_EQ(vocabulary.tag("eng_Latn"), exported.vocabulary.tag("eng_Latn"));
  export_model(exported.back, {.format = Format::m2m100}, exported.folder / "again");
  EXPECT_EQ(read_tokenizer(exported.folder / "again", vocabulary.size()).hash(), vocabulary.hash());
}

TEST(ImportedTokenizer, AddedWordsAreWords) {
  const Exported exported;
  add_rows(exported, 8);
  const auto id = static_cast<int32_t>(exported.vocabulary.size());
  edit_json(exported.out / "tokenizer_config.json", [&](auto& json) {
    auto& decoder = json["added_tokens_decoder"];
    EXPECT_EQ(decoder[std::to_string(id)]["content"], "<mask>");
    decoder[std::to_string(id + 1)] = {{"content", "ChatGPT"}, {"special", false}};
    decoder[std::to_string(id + 3)] = {{"content", "<dom>"}, {"special", true}};
    decoder[std::to_string(id + 4)] = {{"content", "Chat"}, {"special", false}};
  });
  import_model(exported.out, exported.back);
  const Vocabulary vocabulary = describe_model(exported.back).vocabulary;
  EXPECT_EQ(vocabulary.languages(), exported.vocabulary.languages());
  EXPECT_EQ(vocabulary.symbol(kMask), id);
  EXPECT_EQ(vocabulary.size(), id + 5);
  const std::string text = sentences("en", 1)[0];
  std::vector<int32_t> expected = vocabulary.encode(text);
  const std::vector<int32_t> plain = expected;
  EXPECT_EQ(plain, exported.vocabulary.encode(text));
  expected.insert(expected.end(), {id + 1, id + 4, id + 3});
  expected.insert(expected.end(), plain.begin(), plain.end());
  EXPECT_EQ(vocabulary.encode(text + " ChatGPTChat <dom>" + text), expected);
  EXPECT_EQ(vocabulary.decode(expected), text + " ChatGPT Chat " + text);
  EXPECT_EQ(vocabulary.name_of(id + 3), "<dom>");
  EXPECT_FALSE(vocabulary.is_tag(id + 1));
  EXPECT_TRUE(vocabulary.is_tag(id + 2)) << "a hole";
  const Vocabulary more = vocabulary.with_tags(std::vector<std::string>{"hsb"});
  EXPECT_EQ(more.tag("hsb"), id + 5);
  EXPECT_EQ(more.encode("Chat"), std::vector{id + 4});
  export_model(exported.back, {}, exported.folder / "again");
  const nlohmann::json again = read_json(exported.folder / "again" / "tokenizer_config.json");
  EXPECT_EQ(again["added_tokens_decoder"][std::to_string(id + 1)]["special"], false);
  EXPECT_EQ(again["additional_special_tokens"].back(), "<dom>");
}

TEST(ImportedTokenizer, KeepsGapsBetweenIds) {
  const Exported exported;
  const int32_t id = exported.vocabulary.tag("deu_Latn");
  add_rows(exported, 7);
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
      has(with(config, [&](auto& json) { json["added_tokens_decoder"][next] = "eng_Latn"; }), "the id of"));
  EXPECT_TRUE(
      has(with(config, [&](auto& json) { json["added_tokens_decoder"]["0"] = "<bos>"; }), "has the id 0"));
  EXPECT_TRUE(has(with(config, [&](auto& json) { json["eos_token"] = "<end>"; }), "eos_token is"));
  EXPECT_TRUE(has(with("special_tokens_map.json",
                       [&](auto& json) {
                         json["pad_token"] = {{"content", "[PAD]"}};
                       }),
                  "pad_token is"));
  EXPECT_TRUE(has(with(config,
                       [&](auto& json) {
                         json["added_tokens_decoder"][next] = {{"content", "w"}, {"single_word", true}};
                       }),
                  "single_word of"));
  const auto with_file = [&](const char* file, const std::string& text) {
    write_file_atomically(exported.out / file, text);
    const std::string message = exported.import_refusal();
    fs::remove(exported.out / file);
    return message;
  };
  const std::string id = std::to_string(exported.vocabulary.tag("eng_Latn"));
  EXPECT_TRUE(
      has(with_file("added_tokens.json", R"({"eng_Latn": 9999})"), "is " + id + " in tokenizer_config.json"));
  EXPECT_TRUE(has(with_file("added_tokens.json", R"({"Foobar": )" + id + "}"), "is both of"));
  EXPECT_TRUE(has(with_file("added_tokens.json", R"({"Foobar": 4.5})"), "the id of \"Foobar\""));
  EXPECT_TRUE(
      has(with_file("tokenizer.json", R"({"added_tokens": [{"content": "x", "id": "7"}]})"), "no id"));
  EXPECT_TRUE(has(with_file("tokenizer.json", R"({"added_tokens": [], "model": {"vocab": {")" +
                                                  exported.vocabulary.name_of(20) + R"(": 21}}})"),
                  "and 20 by the SentencePiece model"));
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
    const nlohmann::json added = {
        {"__en__", json.size()}, {"__ast__", json.size() + 1}, {"<other>", json.size() + 2}};
    write_file_atomically(out / "added_tokens.json", added.dump());
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
  EXPECT_EQ(vocabulary.layout().words.front().text, "<other>");
  EXPECT_TRUE(vocabulary.layout().words.front().special);
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
  for (const char* file : {"special_tokens_map.json", "added_tokens.json"}) fs::remove(exported.out / file);
  import_model(exported.out, exported.back);
  const Vocabulary vocabulary = describe_model(exported.back).vocabulary;
  EXPECT_EQ(vocabulary.languages().size(), 100U);
  EXPECT_EQ(vocabulary.tag("af"), rows - 100);
  EXPECT_EQ(vocabulary.tag("zu"), rows - 1);
  write_file_atomically(exported.out / "tokenizer_config.json", R"({"language_codes": "wmt21"})");
  import_model(exported.out, exported.back);
  EXPECT_EQ(describe_model(exported.back).vocabulary.languages().size(), 8U);
  export_model(exported.back, {.format = Format::m2m100}, exported.folder / "again");
  EXPECT_EQ(read_json(exported.folder / "again" / "tokenizer_config.json")["language_codes"], "wmt21");
  write_file_atomically(exported.out / "tokenizer_config.json", R"({"language_codes": "klingon"})");
  EXPECT_TRUE(has(message_of<UserError>([&] { import_model(exported.out, exported.back); }), "klingon"));
  // transformers 4.57 gives words the ids of its languages, where no file lists these.
  write_file_atomically(
      exported.out / "tokenizer_config.json",
      R"({"added_tokens_decoder": {")" + std::to_string(rows - 100) + R"(": {"content": "Foobar"}}})");
  EXPECT_TRUE(has(message_of<UserError>([&] { import_model(exported.out, exported.back); }), "is both of"));
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
