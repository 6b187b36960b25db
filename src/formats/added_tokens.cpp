#include "formats/internal/added_tokens.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/folder_files.h"
#include "io/json.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;
namespace {

/// json[key] if that is an object or array, else nothing to iterate over.
nlohmann::json children(const nlohmann::json& json, const char* key) {
  const auto it = json.is_object() ? json.find(key) : json.end();
  return it != json.end() && it->is_structured() ? *it : nlohmann::json::array();
}

bool flag(const nlohmann::json& token, const char* key) {
  const auto it = token.is_object() ? token.find(key) : token.end();
  return it != token.end() && exactly<bool>(*it).value_or(false);
}

class AddedTokens {
 public:
  AddedTokens(const fs::path& folder, const TokenizerClass& about) : folder_(folder), about_(about) {
    const nlohmann::json config = read_if_there(kTokenizerConfig), fast = read_if_there(kTokenizer),
                         added = read_if_there(kAddedTokens), map = read_if_there(kSpecialTokens);
    check_first(config, kTokenizerConfig);
    check_first(map, kSpecialTokens);
    const nlohmann::json decoder = children(config, "added_tokens_decoder");
    for (const auto& [id, token] : decoder.items())
      add(kTokenizerConfig, token, parse_id(id, kTokenizerConfig));
    for (const nlohmann::json& token : children(fast, "added_tokens")) add_from_fast(token);
    check_pieces(fast);
    const bool before_434 = ids_.empty();
    if (!added.is_object())
      throw UserError("{}: not a JSON object of tokens and their ids", path(kAddedTokens));
    for (const auto& [content, id] : added.items())
      add(kAddedTokens, content, exactly<int32_t>(id).value_or(-1));
    for (const nlohmann::json* file : {&map, &config})
      list(*file, file == &map ? kSpecialTokens : kTokenizerConfig);
    const bool says_something = about.own_always || !ids_.empty() || !listed_.empty();
    if (says_something && (before_434 || about.own_always)) add_own();
    add_listed();
  }

  [[nodiscard]] std::vector<AddedToken> tokens() const {
    std::vector<AddedToken> tokens;
    for (const auto& [id, token] : by_id_)
      if (!is_first(token.content)) tokens.push_back({token.content, id, is_special(token)});
    return tokens;
  }

 private:
  struct Known {
    std::string content;
    bool special = false;
    std::string file;
  };

  [[nodiscard]] std::string path(const char* file) const { return (folder_ / file).string(); }
  [[nodiscard]] nlohmann::json read_if_there(const char* file) const {
    return fs::exists(folder_ / file) ? read_json(folder_ / file) : nlohmann::json::object();
  }
  [[nodiscard]] bool is_first(const std::string& content) const {
    return std::ranges::find(about_.first, content) != about_.first.end();
  }
  [[nodiscard]] bool is_special(const Known& token) const {
    return token.special || listed_names_.contains(token.content);
  }

  [[nodiscard]] int32_t parse_id(std::string_view text, const char* file) const {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size() || id < 0)
      throw UserError("{}: {} is no id of a token", path(file), in_quotes(text));
    return id;
  }

  /// "x" or {"content": "x"}
  [[nodiscard]] std::string content_of(const nlohmann::json& token, const char* file) const {
    if (token.is_string()) return token.get<std::string>();
    if (const auto it = token.is_object() ? token.find("content") : token.end();
        it != token.end() && it->is_string())
      return it->get<std::string>();
    throw UserError("{}: an added token is {}, without content", path(file), in_quotes(token.dump()));
  }

  void add(const char* file, const nlohmann::json& token, int32_t id) {
    Known known = {content_of(token, file), flag(token, "special"), file};
    if (id < 0 || id > kLargestId)
      throw UserError("{}: the id of {} is {}", path(file), in_quotes(known.content), id);
    if (flag(token, "single_word"))
      throw UserError("{}: single_word of {} is true, which this version does not do", path(file),
                      in_quotes(known.content));
    const auto [name, is_new] = ids_.emplace(known.content, id);
    if (name->second != id)
      throw UserError("{}: the id of {} is {} in {} and {} in {}", folder_.string(), in_quotes(known.content),
                      name->second, by_id_.at(name->second).file, id, file);
    const auto [at, is_free] = by_id_.emplace(id, known);
    if (at->second.content != known.content)
      throw UserError("{}: the id {} is both of {} ({}) and of {} ({})", folder_.string(), id,
                      in_quotes(at->second.content), at->second.file, in_quotes(known.content), file);
    at->second.special = at->second.special || known.special;
    if (std::cmp_less(id, about_.first.size()) || is_first(known.content)) {
      if (std::cmp_greater_equal(id, about_.first.size()) || known.content != about_.first[id])
        throw UserError("{}: {} has the id {}; this version reads tokenizers that begin with {}", path(file),
                        in_quotes(known.content), id, fmt::join(about_.first, " "));
    } else if (id < about_.pieces_end && about_.piece_id(known.content) != id) {
      throw UserError("{}: {} has the id {} of a piece", path(file), in_quotes(known.content), id);
    }
  }

  void add_from_fast(const nlohmann::json& token) {
    const auto it = token.is_object() ? token.find("id") : token.end();
    const std::optional<int32_t> id = it != token.end() ? exactly<int32_t>(*it) : std::nullopt;
    if (!id) throw UserError("{}: {} is no id of a token", path(kTokenizer), in_quotes(token.dump()));
    add(kTokenizer, token, *id);
  }

  /// tokenizer.json numbers the pieces too, and tokens beyond them that it does not list as added.
  void check_pieces(const nlohmann::json& fast) {
    const nlohmann::json model = children(fast, "model"), pieces = children(model, "vocab");
    const auto check = [&](const std::string& piece, const nlohmann::json& id) {
      const std::optional<int32_t> ours = about_.piece_id(piece);
      if (ours && id != *ours) {
        throw UserError(
            "{}: the piece {} has the id {}, and {} by the SentencePiece model: which of them is this "
            "model's?",
            path(kTokenizer), in_quotes(piece), in_quotes(id.dump()), *ours);
      }
      if (const std::optional<int32_t> beyond = exactly<int32_t>(id); !ours && beyond >= about_.pieces_end)
        fast_ids_.emplace(piece, *beyond);
    };
    if (pieces.is_object())
      for (const auto& [piece, id] : pieces.items()) check(piece, id);
    for (size_t i = 0; pieces.is_array() && i < pieces.size(); ++i)  // of a unigram model: [[piece, score]]
      if (const nlohmann::json& piece = pieces[i]; piece.is_array() && !piece.empty() && piece[0].is_string())
        check(piece[0].get<std::string>(), i);
  }

  /// Special tokens with other names than ours would mean something else in the text.
  void check_first(const nlohmann::json& json, const char* file) const {
    for (const auto& [key, name] : {std::pair{"bos_token", "<s>"},
                                    {"pad_token", "<pad>"},
                                    {"eos_token", "</s>"},
                                    {"unk_token", "<unk>"}}) {
      const auto it = json.is_object() ? json.find(key) : json.end();
      if (it == json.end() || it->is_null()) continue;
      if (const std::string given = content_of(*it, file); given != name)
        throw UserError("{}: {} is {}; this version reads tokenizers where it is {}", path(file), key,
                        in_quotes(given), name);
    }
  }

  /// Tokens without ids.
  void list(const nlohmann::json& json, const char* file) {
    const auto add_name = [&](const nlohmann::json& token) {
      const std::string content = content_of(token, file);
      if (!is_first(content) && listed_names_.insert(content).second) listed_.push_back(content);
    };
    if (const auto mask = json.is_object() ? json.find("mask_token") : json.end();
        mask != json.end() && !mask->is_null())
      add_name(*mask);
    for (const nlohmann::json& token : children(json, "additional_special_tokens")) add_name(token);
    for (const nlohmann::json& token : children(json, "extra_special_tokens")) add_name(token);
  }

  void add_own() {
    const auto known = [this](const std::string& name) {
      return ids_.contains(name) || about_.piece_id(name);
    };
    if (std::ranges::any_of(about_.own, known)) return;
    int32_t next = about_.pieces_end;
    for (const std::string& name : about_.own) {
      listed_names_.insert(name);
      add("the tokenizer's class", name, next++);
    }
  }

  void add_listed() {
    for (const std::string& name : listed_) {
      if (ids_.contains(name)) continue;
      const auto beyond = std::distance(by_id_.lower_bound(about_.pieces_end), by_id_.end());
      const int32_t next = about_.pieces_end + static_cast<int32_t>(beyond);
      const auto fast = fast_ids_.find(name);
      add(kSpecialTokens, name,
          fast != fast_ids_.end() ? fast->second : about_.piece_id(name).value_or(next));
    }
  }

  fs::path folder_;
  const TokenizerClass& about_;
  std::map<std::string, int32_t> ids_;
  std::map<std::string, int32_t> fast_ids_;  // beyond the pieces, in tokenizer.json
  std::map<int32_t, Known> by_id_;
  std::vector<std::string> listed_;
  std::set<std::string> listed_names_;
};

}  // namespace

std::vector<AddedToken> read_added_tokens(const fs::path& folder, const TokenizerClass& about) {
  return AddedTokens(folder, about).tokens();
}

}  // namespace chorus::inline formats
