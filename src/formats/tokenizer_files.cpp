#include "formats/internal/tokenizer_files.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "data/batch.h"
#include "data/config.h"
#include "formats/folder_files.h"
#include "io/files.h"
#include "io/json.h"

#include "formats/internal/added_tokens.h"
#include "formats/internal/marian_tokenizer.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;
namespace {

constexpr int32_t kT5ExtraIds = 100;  // unless the tokenizer says otherwise
// M2M100's, but for the target's tag on the source; a file beside the weights has its code.
constexpr const char* kSmall100 = "SMALL100Tokenizer";

// The languages of M2M100Tokenizer, by its option language_codes. Their tags follow the pieces in this order;
// no file need list them.
constexpr std::string_view kM2m100Languages =
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu "
    "ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr "
    "ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk "
    "ur uz vi wo xh yi yo zh zu";
constexpr std::string_view kWmt21Languages = "en ha is ja cs ru zh de";
// Those of NllbTokenizer; <mask> comes after them.
constexpr std::string_view kNllbLanguages =
    "ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab "
    "ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn "
    "ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl "
    "cat_Latn ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn "
    "dzo_Tibt ell_Grek eng_Latn epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn pes_Arab fij_Latn fin_Latn "
    "fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn "
    "heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn "
    "jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor knc_Arab knc_Latn "
    "kaz_Cyrl kbp_Latn kea_Latn khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kon_Latn kor_Hang kmr_Latn "
    "lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn lua_Latn lug_Latn "
    "luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl plt_Latn mlt_Latn mni_Beng "
    "khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn "
    "nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab "
    "quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn "
    "slv_Latn smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn "
    "sun_Latn swe_Latn swh_Latn szl_Latn tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi "
    "taq_Latn taq_Tfng tpi_Latn tsn_Latn tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab "
    "ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn "
    "yue_Hant zho_Hans zho_Hant zul_Latn";

nlohmann::json read_if_there(const fs::path& path) {
  return fs::exists(path) ? read_json(path) : nlohmann::json::object();
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
    const int64_t id = exactly<int64_t>(value).value_or(-1);
    if (id < 0 || std::cmp_greater_equal(id, pieces.size()) || seen[id]) {
      throw UserError("{}: the id of {} is {}; the ids of {} are 0 to {}, each once", path.string(),
                      in_quotes(piece), in_quotes(value.dump()), counted(pieces.size(), "piece"),
                      pieces.size() - 1);
    }
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

/// The tokens that M2M100's tokenizer has though no file lists them.
std::vector<std::string> m2m100_tokens(const nlohmann::json& config, const fs::path& folder) {
  const nlohmann::json codes =
      config.is_object() ? config.value("language_codes", nlohmann::json()) : nlohmann::json();
  if (!codes.is_null() && codes != "m2m100" && codes != "wmt21")
    throw UserError("{}: language_codes is {}, neither m2m100 nor wmt21",
                    (folder / kTokenizerConfig).string(), in_quotes(codes.dump()));
  std::vector<std::string> tokens;
  for (const std::string_view code : split(codes == "wmt21" ? kWmt21Languages : kM2m100Languages, ' '))
    tokens.push_back(fmt::format("__{}__", code));
  return tokens;
}

/// Returns the option language_codes by which M2M100Tokenizer gives the languages the ids that they have. UserError
/// where neither does.
std::string_view language_codes_of(const Vocabulary& vocabulary) {
  for (const auto& [option, list] : {std::pair{"m2m100", kM2m100Languages}, {"wmt21", kWmt21Languages}}) {
    const std::vector<std::string_view> codes = split(list, ' ');
    const auto is_right = [&](const std::string& language) {
      const auto at = std::ranges::find(codes, language);
      return at == codes.end() || vocabulary.tag(language) == vocabulary.pieces_end() + (at - codes.begin());
    };
    if (std::ranges::all_of(vocabulary.languages(), is_right)) return option;
  }
  throw UserError("M2M100's tokenizer has no place for the ids of the languages {}",
                  join(vocabulary.languages(), ", "));
}

std::vector<std::string> nllb_tokens() {
  std::vector<std::string> tokens;
  for (const std::string_view code : split(kNllbLanguages, ' ')) tokens.emplace_back(code);
  tokens.emplace_back(kMask);
  return tokens;
}

/// The ids of the pieces of a vocabulary whose first `first` tokens are none; `shift` is added.
std::function<std::optional<int32_t>(const std::string&)> piece_ids(const Vocabulary& pieces, int32_t first,
                                                                    int32_t shift) {
  std::unordered_map<std::string, int32_t> ids;
  for (int32_t id = first; id < pieces.pieces_end(); ++id) ids.emplace(pieces.name_of(id), id + shift);
  return [ids = std::move(ids)](const std::string& piece) {
    const auto found = ids.find(piece);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  };
}

/// Two or three small letters, and what follows them after a sign: "eng_Latn", "de", "zh-Hans", "en@formal".
bool looks_like_a_language(std::string_view name) {
  const auto letters =
      std::ranges::find_if_not(name, [](char c) { return c >= 'a' && c <= 'z'; }) - name.begin();
  return is_language_name(name) && (letters == 2 || letters == 3) &&
         (std::cmp_equal(letters, name.size()) ||
          std::string_view("_-@").find(name[letters]) != std::string_view::npos);
}

/// "eng_Latn": three small letters, and a script.
bool is_nllb_language(std::string_view name) {
  constexpr size_t kCode = 3, kScript = 4;
  const auto is_small = [](char c) { return c >= 'a' && c <= 'z'; };
  return name.size() == kCode + 1 + kScript && name[kCode] == '_' && name[kCode + 1] >= 'A' &&
         name[kCode + 1] <= 'Z' && std::ranges::all_of(name.substr(0, kCode), is_small) &&
         std::ranges::all_of(name.substr(kCode + 2), is_small);
}

/// The language whose tag a token is. A word may have any name.
std::optional<std::string> language_of(const AddedToken& token, bool m2m100) {
  if (m2m100) {
    const std::optional<std::string> inside = inside_underscores(token.content);
    return inside && is_language_name(*inside) ? inside : std::nullopt;
  }
  const bool is_language =
      token.special ? looks_like_a_language(token.content) : is_nllb_language(token.content);
  return is_language ? std::optional(token.content) : std::nullopt;
}

bool is_symbol(const std::string& token) {
  return token == kMask || (token.starts_with("<task:") && token.ends_with('>'));
}

/// Throws UserError where tokens were added to a MADLAD, whose tokenizer is T5's with other special tokens.
void refuse_added_tokens(const fs::path& folder, const nlohmann::json& config, const Vocabulary& vocabulary) {
  const auto refuse = [&](const char* file, const std::string& token) {
    throw UserError("{}: the added token {} is none of MADLAD's, and no other can be read",
                    (folder / file).string(), in_quotes(token));
  };
  if (const auto decoder = config.is_object() ? config.find("added_tokens_decoder") : config.end();
      decoder != config.end() && decoder->is_object()) {
    for (const auto& [id, token] : decoder->items()) {
      if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != id.npos ||
          std::stoi(id) >= vocabulary.pieces_end())
        refuse(kTokenizerConfig, id);
    }
  }
  if (const nlohmann::json added = read_if_there(folder / kAddedTokens); added.is_object())
    for (const auto& [token, id] : added.items()) refuse(kAddedTokens, token);
}

Vocabulary read_t5(const fs::path& model, const nlohmann::json& config) {
  if (Vocabulary plain = Vocabulary::load(model); plain.is_madlad()) {
    refuse_added_tokens(model.parent_path(), config, plain);
    if (const std::vector<std::string>& tags = plain.unusable_tags(); !tags.empty())
      log_warning("{}: no languages of the model, since they are not cut from a text as the other tags: {}",
                  model.string(), join(tags, ", "));
    return plain;
  }
  VocabularyLayout layout = {.extra_ids = kT5ExtraIds};
  if (const auto it = config.is_object() ? config.find("extra_ids") : config.end(); it != config.end()) {
    const int32_t count = exactly<int32_t>(*it).value_or(-1);
    if (count < 0 || count > (1 << 16))
      throw UserError("{}: extra_ids is {}", (model.parent_path() / kTokenizerConfig).string(),
                      in_quotes(it->dump()));
    layout.extra_ids = count;
  }
  Vocabulary vocabulary = Vocabulary::load(model, layout);
  if (!vocabulary.is_t5()) return vocabulary;
  const int32_t pieces_end = vocabulary.pieces_end() - layout.extra_ids - 1;  // by T5's own ids
  TokenizerClass about = {.first = {"<pad>", "</s>", "<unk>"},
                          .pieces_end = pieces_end,
                          .piece_id = piece_ids(Vocabulary::load(model), kUnk + 1, -1),
                          .own_always = true};
  for (int32_t i = layout.extra_ids; i-- > 0;) about.own.push_back(fmt::format("<extra_id_{}>", i));
  for (const AddedToken& token : read_added_tokens(model.parent_path(), about)) {
    const auto own = std::ranges::find(about.own, token.content);
    if (own == about.own.end() || token.id != pieces_end + (own - about.own.begin()))
      throw UserError("{}: the added token {} with the id {} is none of T5's, and no other can be read",
                      model.parent_path().string(), in_quotes(token.content), token.id);
  }
  return vocabulary;
}

/// T5's and MADLAD's.
void write_t5(const fs::path& folder, const Vocabulary& vocabulary, int64_t max_positions) {
  const int32_t extra_ids = vocabulary.layout().extra_ids;
  nlohmann::json special = {
      {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", vocabulary.is_madlad() ? "<s>" : "<pad>"}};
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
  write_file_atomically(folder / kT5PiecesModel, vocabulary.sentencepiece());
}

}  // namespace

Vocabulary read_tokenizer(const fs::path& folder, int64_t rows, TokenIds ids) {
  if (ids == TokenIds::marian) return read_marian_tokenizer(folder);
  const nlohmann::json config = read_if_there(folder / kTokenizerConfig);
  if (config.is_object() && config.value("legacy_behaviour", nlohmann::json()) == true) {
    throw UserError(
        "{}: legacy_behaviour is true, the source's tag after its text, which this version does not do",
        (folder / kTokenizerConfig).string());
  }
  if (const fs::path t5 = folder / kT5PiecesModel; fs::exists(t5)) return read_t5(t5, config);
  const fs::path model = folder / kPiecesModel;
  VocabularyLayout layout = {.target_tag_on_source =
                                 config.is_object() &&
                                 config.value("tokenizer_class", nlohmann::json()) == kSmall100};
  const bool m2m100 = fs::exists(folder / kPiecesFile);
  if (m2m100) layout.pieces = read_pieces(folder / kPiecesFile);
  Vocabulary pieces = Vocabulary::load(model, layout);
  if (pieces.is_t5() || pieces.is_madlad()) return pieces;
  const TokenizerClass about = {.first = {"<s>", "<pad>", "</s>", "<unk>"},
                                .pieces_end = pieces.pieces_end(),
                                .piece_id = piece_ids(pieces, kUnk + 1, 0),
                                .own = m2m100 ? m2m100_tokens(config, folder) : nllb_tokens(),
                                .own_always = m2m100 && pieces.languages().empty()};
  for (const AddedToken& token : read_added_tokens(folder, about)) {
    const bool is_tag = token.id < pieces.pieces_end() && pieces.is_tag(token.id);  // the pieces say so
    // A tokenizer has <mask> whether its model was trained with one or not.
    if (is_tag || (token.content == kMask && token.id >= rows)) continue;
    const std::optional<std::string> language = language_of(token, m2m100);
    if (token.id >= pieces.pieces_end() && (language || is_symbol(token.content))) {
      layout.tags.push_back({language.value_or(token.content), token.id});
    } else {
      layout.words.push_back({token.content, token.id, token.special});
    }
  }
  const auto is_language = [](const LanguageTag& tag) { return !is_symbol(tag.language); };
  if (pieces.languages().empty() && std::ranges::none_of(layout.tags, is_language))
    throw UserError("{}: no language has a tag: neither {} nor {} nor {} nor {} lists any", folder.string(),
                    kTokenizerConfig, kTokenizer, kAddedTokens, kSpecialTokens);
  return Vocabulary::load(model, layout);
}

void write_tokenizer(const fs::path& folder, const Vocabulary& vocabulary, int64_t max_positions) {
  if (vocabulary.is_marian()) {
    write_marian_tokenizer(folder, vocabulary, max_positions);
    return;
  }
  if (vocabulary.is_t5() || vocabulary.is_madlad()) {
    write_t5(folder, vocabulary, max_positions);
    return;
  }
  const bool m2m100 = !vocabulary.layout().pieces.empty();
  const auto added = [](const std::string& content, bool is_special = true) {
    return nlohmann::json{{"content", content}, {"lstrip", content == kMask}, {"normalized", !is_special},
                          {"rstrip", false},    {"single_word", false},       {"special", is_special}};
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
  for (const AddedWord& word : vocabulary.layout().words) {
    decoder[std::to_string(word.id)] = added(word.text, word.special);
    if (word.special) tokens.push_back(word.text);
  }
  const char* const name = vocabulary.layout().target_tag_on_source ? kSmall100
                           : m2m100                                 ? "M2M100Tokenizer"
                                                                    : "NllbTokenizer";
  nlohmann::json config = {{"tokenizer_class", name},
                           {"model_max_length", max_positions},
                           {"clean_up_tokenization_spaces", false},
                           {"tgt_lang", nullptr}};
  if (m2m100) {
    config["language_codes"] = language_codes_of(vocabulary);
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
  write_file_atomically(folder / kPiecesModel, vocabulary.sentencepiece());
}

}  // namespace chorus::inline formats
