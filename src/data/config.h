// What the run file says about text: [data], [[data.train]], [[data.valid]] and [vocabulary].
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/noise.h"
#include "data/parallel_text.h"

namespace chorus::inline config {
class Schema;
}

namespace chorus::inline data {

/// Aligned text in two or more languages: one file per language, or one TSV file with one column per
/// language. Row i of every language says the same; an empty cell means that the language lacks the row.
/// Plain, gzip or zstd. data/sources.h fills in what it leaves open.
struct SourceConfig {
  std::string name;                     // for messages; empty: "train[0]", its place in the run file
  std::string files;                    // "corpora/train.{lang}.gz", "train.{pair}.{lang}"; or
  std::string tsv;                      // "corpora/train.tsv.zst", columns in the order of `languages`
  std::vector<std::string> languages;   // "en", "pt_BR", "eng_Latn"; empty: those that `files` has files of
  std::vector<std::string> directions;  // "en-de", "en-*", "*-en"; empty: "*-*"
  double weight = 1;                    // 2: drawn twice as often as its size and the temperature say
};

/// What stands for the language in `files`, and for the pair of languages.
inline constexpr std::string_view kLanguageSlot = "{lang}", kPairSlot = "{pair}";

/// The task of every SourceConfig.
inline constexpr std::string_view kTranslation = "translation";

/// A denoising task: sentences are restored from what noise makes of them. Its source begins with the tags of
/// its language and of the task.
struct DenoiseConfig {
  std::string name = "denoise";        // of the task; its tag is task_tag(name)
  std::string files;                   // monolingual text, "mono/{lang}.gz"; empty: every side of data.train
  std::vector<std::string> languages;  // empty: all of data.train, or those that `files` has files of
  double weight = 1;                   // as SourceConfig::weight
  Noise noise;
};

/// Weights from an update on: "NAME=WEIGHT" for a source or a task. What is not named goes on with the weight
/// it had.
struct CurriculumConfig {
  int64_t update = 0;  // the number of updates made when the weights begin to hold
  std::vector<std::string> weights;
};

struct DataConfig {
  std::vector<SourceConfig> train, valid;
  std::vector<DenoiseConfig> denoise;
  std::vector<CurriculumConfig> curriculum;
  std::string store;            // folder of the token stores; empty: beside the run
  double temperature = 5;       // direction d is drawn with p ~ weight n_d^(1/T)
  int64_t batch_tokens = 2048;  // of one micro-batch: rows x max(S, T) <= batch_tokens, padding included
  int64_t micro_batches = 1;    // of one global batch (one update)
  int64_t max_length = 256;     // tokens of one side, tag and </s> included; longer pairs are left out
  int64_t pool_batches = 64;    // global batches' worth of sentences sorted by length together
  // With what alpha of PieceSampler the pieces of a side are drawn anew each time; 0: always the same.
  double source_sampling = 0, target_sampling = 0;
};

/// SentencePiece's names of what it makes of text before it cuts it into pieces.
inline constexpr std::array<const char*, 5> kNormalizations = {"nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf",
                                                               "identity"};

/// What numbers of VocabularyConfig may be, both ends included; `chorus vocab` has the same.
template <class Number>
struct Bounds {
  Number least, most;
};
inline constexpr Bounds<int64_t> kVocabularySizes = {0, 1 << 20}, kVocabularySentences = {100, 100'000'000};
inline constexpr Bounds<double> kCharacterCoverages = {0.98, 1}, kVocabularyTemperatures = {1, 1e6};

struct VocabularyConfig {
  std::string model;  // SentencePiece model; empty: sentencepiece.bpe.model in the run, trained if absent
  int64_t size = 0;   // rows of the embedding: pieces, bytes, tags and special tokens; 0: suited_size()
  double character_coverage = 0.9995;      // of the text; rarer characters are spelt in bytes
  std::string normalization = "nmt_nfkc";  // one of kNormalizations
  int64_t sentences = 1000000;             // at most so many, over all languages, are looked at
  double temperature = 5;                  // language l gives sentences in proportion to n_l^(1/T)
  std::vector<std::string> symbols;        // one id each wherever they stand in text: "<bt>", "{name}"
  std::vector<std::string> add;  // languages that get a tag beyond the pieces, see AddedLanguage: "hsb",
                                 // "hsb=cs" (with train.init its row begins as that of cs)
};

void describe(Schema& schema, DataConfig& config);
void describe(Schema& schema, VocabularyConfig& config);

/// The directions of a source as pairs of indices into its `languages`, each once, in the order of the
/// patterns; "*" stands for every language other than the opposite side. UserError, beginning with `where`
/// ("data.train[1] 'opus'"), on a pattern that matches nothing, is ambiguous ("a-b-c" with languages a, a-b,
/// b-c, c) or names an unknown language.
std::vector<std::pair<size_t, size_t>> expand_directions(const SourceConfig& source, std::string_view where);

/// Whether `name` can be a language: letters and digits, with '_', '-' or '@' inside.
bool is_language_name(std::string_view name);
/// UserError beginning with `where` unless it can.
void check_language_name(std::string_view name, std::string_view where);

/// Checks the keys of one source that no range can: exactly one of `files` (with "{lang}") and `tsv`, `least`
/// distinct well-formed languages or, with `files`, none, a finite weight, not below 0. UserError beginning
/// with `where`.
void check_source(const SourceConfig& source, std::string_view where, size_t least = 2);
/// Checks the denoising tasks of a run likewise; their names must differ, and they take their languages from
/// data.train where they name no files.
void check_denoising(const DataConfig& config);

/// UserError beginning with `where` unless these can be symbols of a vocabulary: distinct, UTF-8 without white space
/// or control characters, and neither a special token nor what stands for a language or a task.
void check_symbols(const std::vector<std::string>& symbols, std::string_view where);

/// vocabulary.add. UserError on what is not "LANGUAGE" or "LANGUAGE=KNOWN".
struct AddedLanguage {
  std::string name, like;  // `like` may be empty
};
std::vector<AddedLanguage> added_languages(const VocabularyConfig& config);

/// What the name of a source of data.train is to a curriculum: its name, or "train[0]".
std::string curriculum_name(const SourceConfig& source, size_t i);

/// Returns where the rows of a source are, once it has its languages.
TextSource text_source(const SourceConfig& source);
/// Returns the text of a denoising task in one of its languages, which need not be aligned with others'.
SourceConfig monolingual_source(const DenoiseConfig& task, const std::string& language);

/// Returns "data.train[1] 'opus'": how messages name the i-th source of a list ("train", "valid"); "text 'opus'"
/// where `list` is empty, of text that no run file names.
std::string source_label(const SourceConfig& source, std::string_view list, size_t i);

}  // namespace chorus::inline data
