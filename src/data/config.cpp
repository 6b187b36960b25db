#include "data/config.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "config/options.h"
#include "data/languages.h"
#include "io/json.h"

#include "data/internal/vocabulary_state.h"

namespace chorus::inline data {
namespace {

constexpr std::string_view kAny = "*";

void describe_source(Schema& s, SourceConfig& c) {
  s.add("name", c.name, {.help = "its name in messages; by default its place in the list"});
  s.add("files", c.files,
        {.help = "one file per language, aligned by line: \"corpora/train.{lang}.gz\"; for many pairs "
                 "of languages \"train.{pair}.{lang}\": train.en-de.en, train.en-de.de"});
  s.add("tsv", c.tsv, {.help = "one TSV file, one column per language, in the order of `languages`"});
  s.add(
      "languages", c.languages,
      {.help = "the languages, as they stand for {lang} in file names: [\"en\", \"pt_BR\"]; by default those "
               "that have files"});
  s.add("directions", c.directions,
        {.help = "what to translate: [\"en-de\", \"en-*\", \"*-en\"]; by default every pair both ways"});
  s.add(
      "weight", c.weight,
      {.help = "how often it is drawn: 2 is twice as often as its size and the temperature say; 0: not until "
               "data.curriculum says so",
       .min = 0,
       .max = 1e6});
}

void describe_denoising(Schema& s, DenoiseConfig& c) {
  s.add("name", c.name,
        {.help = "name of the task, in metrics and in its tag <task:NAME>; no two tasks share one"});
  s.add("files", c.files,
        {.help =
             "monolingual text, one file per language, of any lengths: \"mono/{lang}.gz\"; by default every "
             "side of data.train"});
  s.add("languages", c.languages,
        {.help = "its languages; by default all of data.train, or all that have `files`"});
  s.add("weight", c.weight,
        {.help = "how often it is drawn: 2 is twice as often as its size and the temperature say",
         .min = 0,
         .max = 1e6});
  s.add("mask", c.noise.mask,
        {.help = "share of the words that lie in masked spans, of which each becomes one <mask>",
         .min = 0,
         .max = 1});
  s.add("span", c.noise.span,
        {.help = "mean length of a span (Poisson; a span of length 0 puts a <mask> between words)",
         .unit = "words",
         .min = 0.5,
         .max = 32});
  s.add("drop", c.noise.drop,
        {.help = "probability of dropping a word that is not masked", .min = 0, .max = 1});
  s.add("shuffle", c.noise.shuffle,
        {.help = "words move by at most this many places; 0: they stay",
         .unit = "words",
         .min = 0,
         .max = 1000});
}

void describe_phase(Schema& s, CurriculumConfig& c) {
  s.add("update", c.update,
        {.help = "the weights hold for the updates after this one", .unit = "updates", .min = 1});
  s.add("weights", c.weights,
        {.help = "new weights of sources and tasks by name: [\"denoise=0.2\", \"train[0]=1\"]; others keep "
                 "theirs"});
}

// Every reading of "SOURCE-TARGET" as two languages of the source, or "*".
std::vector<std::pair<std::string_view, std::string_view>> readings(
    std::string_view pattern, const std::vector<std::string>& languages) {
  const auto known = [&](std::string_view name) {
    return name == kAny || std::find(languages.begin(), languages.end(), name) != languages.end();
  };
  std::vector<std::pair<std::string_view, std::string_view>> result;
  for (size_t i = pattern.find('-'); i != std::string_view::npos; i = pattern.find('-', i + 1)) {
    const std::string_view source = pattern.substr(0, i), target = pattern.substr(i + 1);
    if (known(source) && known(target)) result.emplace_back(source, target);
  }
  return result;
}

/// "; did you mean 'en-de'?" of a direction that no reading makes one.
std::string did_you_mean_direction(std::string_view pattern, const std::vector<std::string>& languages) {
  const auto meant = [&](std::string_view name) {
    const std::vector<std::string> like = languages_like(name, languages);
    return name == kAny ? std::string(kAny) : like.empty() ? "" : like.front();
  };
  for (size_t i = pattern.find('-'); i != std::string_view::npos; i = pattern.find('-', i + 1)) {
    const std::string from = meant(pattern.substr(0, i)), to = meant(pattern.substr(i + 1));
    if (!from.empty() && !to.empty()) return fmt::format("; did you mean '{}-{}'?", from, to);
  }
  return "";
}

}  // namespace

void describe(Schema& s, DataConfig& c) {
  s.section("data", "the text, how it is mixed and cut into batches");
  s.add("store", c.store, {.help = "folder of the token stores; by default `store` in the run's folder"});
  s.add("temperature", c.temperature,
        {.help =
             "direction d is drawn in proportion to n_d^(1/T): 1 as often as its data say, large T all alike",
         .min = 1,
         .max = 1e6});
  s.add("batch_tokens", c.batch_tokens,
        {.help = "tokens of one micro-batch: rows x the longer side, with padding",
         .unit = "tokens",
         .min = 4,
         .max = 1 << 24});
  s.add("micro_batches", c.micro_batches,
        {.help = "micro-batches per update; together they are the global batch", .min = 1, .max = 1 << 20});
  s.add("max_length", c.max_length,
        {.help = "longest side of a pair, with its tag and </s>; longer pairs are left out and counted",
         .unit = "tokens",
         .min = 4,
         .max = 1 << 14});
  s.add(
      "pool_batches", c.pool_batches,
      {.help = "sentences are sorted by length within pools of this many updates", .min = 1, .max = 1 << 16});
  const char* const sampling =
      "of training is cut into other pieces each time it is drawn, as SentencePiece samples them: with a "
      "unigram vocabulary alpha (0.2 to 0.5; the less, the more they vary), with BPE the probability of "
      "leaving out a merge (0.1); 0: always the same pieces";
  s.add("source_sampling", c.source_sampling,
        {.help = fmt::format("the source {}", sampling), .min = 0, .max = 1});
  s.add("target_sampling", c.target_sampling,
        {.help = fmt::format("the target {}", sampling), .min = 0, .max = 1});
  s.list("train", c.train, &describe_source, {.help = "a source of training text"});
  s.list("valid", c.valid, &describe_source, {.help = "a source of validation text"});
  s.list("denoise", c.denoise, &describe_denoising,
         {.help = "a task: the model restores sentences whose words were masked, dropped and shuffled"});
  s.list("curriculum", c.curriculum, &describe_phase,
         {.help = "weights that change at an update; the epoch ends there early"});
}

void describe(Schema& s, VocabularyConfig& c) {
  s.section("vocabulary", "the SentencePiece vocabulary that all languages share");
  s.add(
      "model", c.model,
      {.help =
           "SentencePiece model; by default sentencepiece.bpe.model in the run's folder, trained if absent"});
  s.add("size", c.size,
        {.help = "rows of the embedding, with tags and special tokens, 262 or more; 0: what suits the "
                 "amount of text, from about 1000 for 2,000 lines to 32000 for 1.8 million",
         .min = kVocabularySizes.least,
         .max = kVocabularySizes.most});
  s.add("character_coverage", c.character_coverage,
        {.help = "part of the text whose characters are pieces; rarer ones are spelt in bytes",
         .min = kCharacterCoverages.least,
         .max = kCharacterCoverages.most});
  std::vector<std::pair<std::string, std::string>> normalizations;
  normalizations.reserve(std::size(kNormalizations));
  for (const char* name : kNormalizations) normalizations.emplace_back(name, name);
  s.add("normalization", c.normalization, normalizations,
        {.help = "how SentencePiece normalises text first: compatibility forms as NFKC (x² becomes x2); nmt: "
                 "format characters such as ZWNJ and odd spaces too; cf: lower case; identity: nothing"});
  s.add("sentences", c.sentences,
        {.help = "most lines it is trained on, over all languages",
         .min = kVocabularySentences.least,
         .max = kVocabularySentences.most});
  s.add("temperature", c.temperature,
        {.help = "lines are sampled from language l in proportion to n_l^(1/T)",
         .min = kVocabularyTemperatures.least,
         .max = kVocabularyTemperatures.most});
  s.add(
      "symbols", c.symbols,
      {.help =
           "placeholders and tags in the text, [\"<bt>\", \"{name}\"]: one piece wherever they stand, never "
           "normalised or cut; a vocabulary that is there and lacks one gets it beyond its pieces"});
  s.add(
      "add", c.add,
      {.help = "languages to add, each with a new tag: [\"hsb=cs\", \"dsb\"]; with train.init the tag of hsb "
               "begins as a copy of that of cs, that of dsb as the mean of all tags"});
}

std::string source_label(const SourceConfig& source, std::string_view list, size_t i) {
  if (list.empty()) return fmt::format("text '{}'", source.name);
  return fmt::format("data.{}[{}]{}", list, i, source.name.empty() ? "" : fmt::format(" '{}'", source.name));
}

bool is_language_name(std::string_view name) {
  const auto allowed = [](unsigned char ch) {
    return std::isalnum(ch) != 0 || ch == '_' || ch == '-' || ch == '@';
  };
  return !name.empty() && name.size() <= 32 && std::isalnum(static_cast<unsigned char>(name.front())) != 0 &&
         std::isalnum(static_cast<unsigned char>(name.back())) != 0 &&
         std::all_of(name.begin(), name.end(), allowed);
}

void check_language_name(std::string_view name, std::string_view where) {
  if (!is_language_name(name)) {
    throw UserError("{}: '{}' is no name for a language: letters and digits, with _ - @ inside", where, name);
  }
}

namespace {

void check_languages(const std::vector<std::string>& languages, std::string_view where) {
  std::set<std::string_view> seen;
  for (const auto& language : languages) {
    check_language_name(language, where);
    if (!seen.insert(language).second) throw UserError("{}: language '{}' is named twice", where, language);
  }
}

void check_weight(double weight, std::string_view where) {
  if (!(weight >= 0) || !std::isfinite(weight))
    throw UserError("{}: `weight` must be a number from 0 on, not {}", where, weight);
}

}  // namespace

void check_source(const SourceConfig& source, std::string_view where, size_t least) {
  if (source.files.empty() == source.tsv.empty()) {
    throw UserError("{}: give either `files` or `tsv`", where);
  }
  if (!source.files.empty() && source.languages.size() != 1 &&
      source.files.find(kLanguageSlot) == std::string::npos) {
    throw UserError("{}: `files` lacks {{lang}}, which stands for the language: '{}'", where, source.files);
  }
  if (source.languages.size() < least && !(source.languages.empty() && source.tsv.empty())) {
    throw UserError("{}: `languages` must name at least {}, such as [\"en\", \"de\"]", where, least);
  }
  if (source.tsv.find(kPairSlot) != std::string::npos)
    throw UserError("{}: `tsv` is one file: {{pair}} stands in `files`", where);
  check_languages(source.languages, where);
  check_weight(source.weight, where);
}

void check_denoising(const DataConfig& config) {
  std::set<std::string_view> names, spoken;
  bool known = true;  // the languages of all sources; else DataSet finds out
  for (const SourceConfig& source : config.train) {
    spoken.insert(source.languages.begin(), source.languages.end());
    known = known && !source.languages.empty();
  }
  for (size_t i = 0; i < config.denoise.size(); ++i) {
    const DenoiseConfig& task = config.denoise[i];
    const std::string where = fmt::format("data.denoise[{}] '{}'", i, task.name);
    if (!is_language_name(task.name) || task.name == kTranslation) {
      throw UserError("{}: `name` is letters and digits, with _ - @ inside, and not \"{}\"", where,
                      kTranslation);
    }
    if (!names.insert(task.name).second)
      throw UserError("{}: another task has that name; give it another `name`", where);
    check_weight(task.weight, where);
    if (task.languages.size() != 1 && !task.files.empty() &&
        task.files.find(kLanguageSlot) == task.files.npos)
      throw UserError("{}: `files` lacks {{lang}}, which stands for the language: '{}'", where, task.files);
    if (task.files.find(kPairSlot) != task.files.npos)
      throw UserError("{}: `files` has {{pair}}, and a task's text is of one language each: '{}'", where,
                      task.files);
    check_languages(task.languages, where);
    for (const std::string& language : task.languages) {
      if (task.files.empty() && known && !spoken.contains(language))
        throw UserError("{}: no data.train has the language '{}': give `files` of it", where, language);
    }
  }
}

void check_symbols(const std::vector<std::string>& symbols, std::string_view where) {
  constexpr size_t kMostBytes = 64;
  std::set<std::string_view> seen;
  for (const std::string& symbol : symbols) {
    const auto refuse = [&](const char* why) {
      throw UserError("{}: {} can be no symbol: {}", where, in_quotes(symbol), why);
    };
    if (symbol.empty() || symbol.size() > kMostBytes) refuse("it has 1 to 64 bytes");
    if (!is_valid_utf8(symbol)) refuse("it is not UTF-8");
    if (symbol.find(kWordStart) != symbol.npos) refuse("pieces have \u2581 in the place of a space");
    for (size_t i = 0; i < symbol.size();) {
      const char32_t c = next_code_point(symbol, i);
      if (is_file_space(c) || c < 0x20 || c == 0x7F) refuse("it holds a space or a control character");
    }
    if (std::ranges::find(kSpecial, symbol) != kSpecial.end()) refuse("it is a special token");
    if (is_symbol_name(symbol)) refuse("it is a task's or the mask of denoising");
    if (symbol.size() == 6 && symbol.starts_with("<0x") && symbol.ends_with('>'))
      refuse("it is a byte's piece");
    if (symbol.size() > 4 && symbol.starts_with("__") && symbol.ends_with("__"))
      refuse("it is the tag of a language");
    if (!seen.insert(symbol).second) refuse("it is there twice");
  }
}

std::vector<AddedLanguage> added_languages(const VocabularyConfig& config) {
  std::vector<AddedLanguage> languages;
  languages.reserve(config.add.size());
  for (const std::string& text : config.add) {
    const size_t equals = text.find('=');
    languages.push_back(
        {.name = text.substr(0, equals), .like = equals == text.npos ? "" : text.substr(equals + 1)});
    check_language_name(languages.back().name, "vocabulary.add");
    if (equals != text.npos) check_language_name(languages.back().like, "vocabulary.add");
  }
  return languages;
}

std::string curriculum_name(const SourceConfig& source, size_t i) {
  return source.name.empty() ? fmt::format("train[{}]", i) : source.name;
}

SourceConfig monolingual_source(const DenoiseConfig& task, const std::string& language) {
  return {.name = task.name, .files = task.files, .languages = {language}};
}

TextSource text_source(const SourceConfig& source) {
  TextSource result{.languages = source.languages, .files = {}};
  if (!source.tsv.empty()) {
    result.files.emplace_back(source.tsv);
    return result;
  }
  for (const auto& language : source.languages) {
    std::string path = source.files;
    for (size_t i = path.find(kLanguageSlot); i != std::string::npos;
         i = path.find(kLanguageSlot, i + language.size())) {
      path.replace(i, kLanguageSlot.size(), language);
    }
    result.files.emplace_back(path);
  }
  return result;
}

std::vector<std::pair<size_t, size_t>> expand_directions(const SourceConfig& source, std::string_view where) {
  const auto& languages = source.languages;
  std::vector<std::pair<size_t, size_t>> result;
  std::set<std::pair<size_t, size_t>> seen;
  const std::vector<std::string> all{"*-*"};
  for (const auto& pattern : source.directions.empty() ? all : source.directions) {
    const auto found = readings(pattern, languages);
    if (found.empty()) {
      throw UserError("{}: direction '{}' is not SOURCE-TARGET of its languages ({}) or *{}", where, pattern,
                      join(languages, ", "), did_you_mean_direction(pattern, languages));
    }
    if (found.size() > 1) {
      throw UserError("{}: direction '{}' can be read as '{}' to '{}' and as '{}' to '{}': rename a language",
                      where, pattern, found[0].first, found[0].second, found[1].first, found[1].second);
    }
    const auto [from, to] = found[0];
    const size_t before = result.size();
    bool repeated = false;
    for (size_t i = 0; i < languages.size(); ++i) {
      for (size_t j = 0; j < languages.size(); ++j) {
        if (i == j || (from != kAny && from != languages[i]) || (to != kAny && to != languages[j])) continue;
        if (seen.insert({i, j}).second) {
          result.emplace_back(i, j);
        } else {
          repeated = true;
        }
      }
    }
    if (result.size() == before && !repeated) {
      throw UserError("{}: direction '{}' goes from a language to itself", where, pattern);
    }
  }
  return result;
}

}  // namespace chorus::inline data
