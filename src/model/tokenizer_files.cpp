#include "tokenizer_files.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/base/json.h"
#include "chorus/base/text.h"
#include "chorus/data/batch.h"
#include "chorus/data/config.h"

#include "folder_files.h"

namespace chorus {
namespace fs = std::filesystem;
namespace {

constexpr const char* kTokenizer = "tokenizer.json";
constexpr int32_t kT5ExtraIds = 100;  // unless the tokenizer says otherwise

// The languages of M2M100Tokenizer, by its option language_codes. Their tags follow the pieces in this order;
// no file need list them.
constexpr std::string_view kM2m100Languages =
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu "
    "ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr "
    "ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk "
    "ur uz vi wo xh yi yo zh zu";
constexpr std::string_view kWmt21Languages = "en ha is ja cs ru zh de";

/// A token as these files list them; without an id where only its place in a list is known.
struct Token {
  std::string content;
  int32_t id = LanguageTag::kNext;
};

nlohmann::json read_if_there(const fs::path& path) {
  return fs::exists(path) ? read_json(path) : nlohmann::json::object();
}

/// json[key] if that is an object or array, else nothing to iterate over.
nlohmann::json children(const nlohmann::json& json, const char* key) {
  const auto it = json.is_object() ? json.find(key) : json.end();
  return it != json.end() && it->is_structured() ? *it : nlohmann::json::array();
}

/// "x" or {"content": "x"}
std::string content_of(const nlohmann::json& token, const fs::path& path) {
  if (token.is_string()) return token.get<std::string>();
  if (const auto it = token.is_object() ? token.find("content") : token.end();
      it != token.end() && it->is_string())
    return it->get<std::string>();
  throw UserError("{}: an added token is {}, without content", path.string(), in_quotes(token.dump()));
}

int32_t id_of(std::string_view text, const fs::path& path) {
  int32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0)
    throw UserError("{}: {} is no id of a token", path.string(), in_quotes(text));
  return id;
}

/// What the tokenizer was given beyond its pieces, from the first file that says so.
std::vector<Token> added_tokens(const fs::path& folder, const nlohmann::json& config) {
  std::vector<Token> tokens;
  const fs::path config_path = folder / kTokenizerConfig;
  const nlohmann::json decoder = children(config, "added_tokens_decoder");
  for (const auto& [id, token] : decoder.items())
    tokens.push_back({content_of(token, config_path), id_of(id, config_path)});
  if (tokens.empty()) {
    const fs::path path = folder / kTokenizer;
    for (const nlohmann::json& token : children(read_if_there(path), "added_tokens")) {
      const std::string content = content_of(token, path);
      tokens.push_back(
          {content, id_of(token.is_object() ? token.value("id", nlohmann::json()).dump() : "", path)});
    }
  }
  std::ranges::stable_sort(tokens, {}, &Token::id);
  for (const char* file : {kSpecialTokens, kTokenizerConfig}) {
    if (!tokens.empty()) break;
    const fs::path path = folder / file;
    for (const nlohmann::json& token : children(read_if_there(path), "additional_special_tokens"))
      tokens.push_back({content_of(token, path)});
  }
  return tokens;
}

/// "en" of "__en__".
std::optional<std::string> inside_underscores(const std::string& token) {
  if (token.size() < 5 || !token.starts_with("__") || !token.ends_with("__")) return std::nullopt;
  return token.substr(2, token.size() - 4);
}

}  // namespace

std::vector<std::string> read_pieces(const fs::path& path) {
  const nlohmann::json json = read_json(path);
  if (!json.is_object() || json.empty())
    throw UserError("{}: not a JSON object of pieces and their ids", path.string());
  std::vector<std::string> pieces(json.size());
  std::vector<bool> seen(json.size());
  for (const auto& [piece, value] : json.items()) {
    const auto id = value.is_number_integer() ? value.get<int64_t>() : -1;
    if (id < 0 || std::cmp_greater_equal(id, pieces.size()) || seen[id])
      throw UserError("{}: the id of {} is {}; {} pieces have the ids 0 to {}, each once", path.string(),
                      in_quotes(piece), in_quotes(value.dump()), pieces.size(), pieces.size() - 1);
    seen[id] = true;
    pieces[id] = piece;
  }
  return pieces;
}

void write_pieces(const fs::path& path, const std::vector<std::string>& pieces) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (size_t id = 0; id < pieces.size(); ++id)
    json.get_ref<nlohmann::ordered_json::object_t&>().emplace_back(pieces[id], id);
  write_file_atomically(path, json.dump(2) + "\n");
}

namespace {

/// The tags that M2M100's tokenizer has without being told.
std::vector<LanguageTag> m2m100_tags(const nlohmann::json& config, const fs::path& folder) {
  const nlohmann::json codes =
      config.is_object() ? config.value("language_codes", nlohmann::json()) : nlohmann::json();
  if (!codes.is_null() && codes != "m2m100" && codes != "wmt21")
    throw UserError("{}: language_codes is {}, neither m2m100 nor wmt21",
                    (folder / kTokenizerConfig).string(), in_quotes(codes.dump()));
  std::vector<LanguageTag> tags;
  for (const std::string_view code : split(codes == "wmt21" ? kWmt21Languages : kM2m100Languages, ' '))
    tags.push_back({std::string(code)});
  return tags;
}

Vocabulary read_t5(const fs::path& model, const nlohmann::json& config) {
  VocabularyLayout layout = {.extra_ids = kT5ExtraIds};
  if (const auto it = config.is_object() ? config.find("extra_ids") : config.end(); it != config.end()) {
    if (!it->is_number_integer() || *it < 0 || *it > (1 << 16))
      throw UserError("{}: extra_ids is {}", (model.parent_path() / kTokenizerConfig).string(), it->dump());
    layout.extra_ids = it->get<int32_t>();
  }
  return Vocabulary::load(model, layout);
}

void write_t5(const fs::path& folder, const Vocabulary& vocabulary, int64_t max_positions) {
  const int32_t extra_ids = vocabulary.layout().extra_ids;
  nlohmann::json special = {{"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}};
  special["additional_special_tokens"] = nlohmann::json::array();
  for (int32_t i = 0; i < extra_ids; ++i)
    special["additional_special_tokens"].push_back(fmt::format("<extra_id_{}>", i));
  nlohmann::json config = {{"tokenizer_class", "T5Tokenizer"},
                           {"extra_ids", extra_ids},
                           {"legacy", true},
                           {"clean_up_tokenization_spaces", false},
                           {"model_max_length", max_positions}};
  config.update(special);
  write_json(folder / kTokenizerConfig, config);
  write_json(folder / kSpecialTokens, special);
  write_file_atomically(folder / vocabulary_file(true), vocabulary.sentencepiece());
}

}  // namespace

Vocabulary read_tokenizer(const fs::path& folder) {
  const nlohmann::json config = read_if_there(folder / kTokenizerConfig);
  if (config.is_object() && config.value("legacy_behaviour", nlohmann::json()) == true) {
    throw UserError(
        "{}: legacy_behaviour is true, the source's tag after its text, which this version does not do",
        (folder / kTokenizerConfig).string());
  }
  if (const fs::path t5 = folder / vocabulary_file(true); fs::exists(t5)) return read_t5(t5, config);
  const fs::path model = folder / vocabulary_file(false);
  VocabularyLayout layout;
  const bool m2m100 = fs::exists(folder / kPiecesFile);
  if (m2m100) layout.pieces = read_pieces(folder / kPiecesFile);
  const Vocabulary pieces = Vocabulary::load(model, layout);
  for (const Token& token : added_tokens(folder, config)) {
    const std::optional<std::string> inside = inside_underscores(token.content);
    const bool is_piece =
        inside && std::ranges::find(pieces.languages(), *inside) != pieces.languages().end();
    const std::string language = m2m100 ? inside.value_or("") : token.content;
    if (is_piece || !is_language_name(language)) continue;
    if (token.id != LanguageTag::kNext && token.id < pieces.pieces_end())
      throw UserError("{}: the tag {} has the id {} of a piece", folder.string(), in_quotes(token.content),
                      token.id);
    layout.tags.push_back({language, token.id});
  }
  if (m2m100 && layout.tags.empty() && pieces.languages().empty()) layout.tags = m2m100_tags(config, folder);
  if (layout.tags.empty() && pieces.languages().empty())
    throw UserError("{}: no language has a tag: neither {} nor {} nor {} lists any", folder.string(),
                    kTokenizerConfig, kTokenizer, kSpecialTokens);
  return Vocabulary::load(model, layout);
}

void write_tokenizer(const fs::path& folder, const Vocabulary& vocabulary, int64_t max_positions) {
  if (vocabulary.is_t5()) {
    write_t5(folder, vocabulary, max_positions);
    return;
  }
  const bool m2m100 = !vocabulary.layout().pieces.empty();
  const auto added = [](const std::string& content) {
    return nlohmann::json{{"content", content}, {"lstrip", content == "<mask>"}, {"normalized", false},
                          {"rstrip", false},    {"single_word", false},          {"special", true}};
  };
  nlohmann::json special = {{"bos_token", "<s>"},
                            {"pad_token", "<pad>"},
                            {"eos_token", "</s>"},
                            {"unk_token", "<unk>"},
                            {"sep_token", "</s>"}};
  nlohmann::json decoder, tokens = nlohmann::json::array();
  for (const auto& [id, content] : {std::pair{kBos, "<s>"}, {kPad, "<pad>"}, {kEos, "</s>"}, {kUnk, "<unk>"}})
    decoder[std::to_string(id)] = added(content);
  for (const std::string& language : vocabulary.languages()) {
    const int32_t id = vocabulary.tag(language);
    const std::string token =
        m2m100 || id < vocabulary.pieces_end() ? fmt::format("__{}__", language) : language;
    decoder[std::to_string(id)] = added(token);
    tokens.push_back(token);
  }
  for (const auto& [symbol, id] : vocabulary.symbols()) decoder[std::to_string(id)] = added(symbol);
  nlohmann::json config = {{"tokenizer_class", m2m100 ? "M2M100Tokenizer" : "NllbTokenizer"},
                           {"model_max_length", max_positions},
                           {"clean_up_tokenization_spaces", false},
                           {"tgt_lang", nullptr}};
  if (m2m100) {
    config["language_codes"] = "m2m100";
    config["src_lang"] = vocabulary.languages().front();
    write_pieces(folder / kPiecesFile, vocabulary.layout().pieces);
  } else {
    int32_t free = vocabulary.pieces_end();
    while (decoder.contains(std::to_string(free))) ++free;
    if (!vocabulary.symbol(kMask)) decoder[std::to_string(free)] = added(std::string(kMask));
    special["cls_token"] = "<s>";
    special["mask_token"] = "<mask>";
    config["legacy_behaviour"] = false;
    config["src_lang"] = tokens.front();
  }
  special["additional_special_tokens"] = tokens;
  config.update(special);
  config["added_tokens_decoder"] = decoder;
  write_json(folder / kTokenizerConfig, config);
  write_json(folder / kSpecialTokens, special);
  write_file_atomically(folder / vocabulary_file(false), vocabulary.sentencepiece());
}

}  // namespace chorus
