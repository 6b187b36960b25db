// chorus translate: standard input to standard output, line by line.
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/model_arguments.h"
#include "app/translate_document.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "data/shortlist.h"
#include "decode/translator.h"
#include "mpi/world.h"

namespace chorus::inline app {
namespace {

struct TranslateArguments {
  ModelArguments model;
  std::vector<std::string> other_models;
  DecodeOptions decode;
  std::string prefix, prefix_file;
  std::string long_lines = "split", on_error = "stop";
  int64_t max_source = 0;
  bool allow_unk = false, sentences = false, guard = false;
  bool sample = false;
  Sampling sampling;
  std::string mbr;
  std::string terms, keep, shortlist, format;
  int64_t candidates = 0;  // 0: as many as there are of a beam, or as MbrOptions says
  bool scores = false, json = false, align = false;
  AlignmentOptions alignment;
  bool progress = false;
};

const std::vector<std::pair<std::string, LongLines>> kLongLines = {{"split", LongLines::split},
                                                                   {"refuse", LongLines::refuse}};
const std::vector<std::pair<std::string, OnError>> kOnError = {{"stop", OnError::stop},
                                                               {"skip", OnError::skip},
                                                               {"blank", OnError::blank},
                                                               {"replace", OnError::replace}};

const std::vector<std::pair<std::string, Utility>> kUtilities = {{"chrf", Utility::chrf},
                                                                 {"bleu", Utility::bleu}};

/// What the person who started this should look at.
void warn(const StreamReport& report, const TranslatorOptions& options, bool is_document) {
  if (report.faults.count > 0) {
    const char* const done = is_document                         ? "left as it is"
                             : options.on_error == OnError::skip ? "left out"
                             : options.on_error == OnError::blank
                                 ? "answered with an empty line"
                                 : "read with U+FFFD for what is not UTF-8, or "
                                   "answered with an empty line";
    log_warning("{} of {} {}: {}", report.faults.count,
                counted(report.lines, is_document ? "segment" : "line"), done, report.faults.text());
  }
  if (report.loops.count > 0) {
    log_warning("{} of {} cut for endless repeats{}: {}", report.loops.count,
                counted(report.lines, "translation"),
                options.guard ? ", and made again without repeats (--guard)"
                              : " (--guard makes such ones again without repeats)",
                report.loops.text());
  }
}

void translate(const TranslateArguments& a) {
  World world;
  Group& group = world.group();
  group.set_timeout(std::numeric_limits<double>::infinity());  // text may be slow in coming
  TranslatorOptions options = {.from = a.model.from,
                               .to = a.model.to,
                               .decode = a.decode,
                               .sampling = a.sample ? std::optional(a.sampling) : std::nullopt,
                               .allow_unk = a.allow_unk,
                               .max_source = a.max_source,
                               .long_lines = choice(kLongLines, a.long_lines),
                               .on_error = choice(kOnError, a.on_error),
                               .sentences = a.sentences || !a.format.empty(),
                               .keep = a.keep,
                               .guard = a.guard};
  if (a.align) options.alignment = a.alignment;
  if (a.align && !a.json && a.decode.nbest > 1)
    throw UserError("--alignments with --nbest {}: add --json", a.decode.nbest);
  if (!a.terms.empty()) options.terms = read_terms(a.terms);
  if (!a.mbr.empty()) {
    options.mbr = MbrOptions{.utility = choice(kUtilities, a.mbr), .candidates = a.candidates};
    if (!a.sample && a.candidates > a.decode.beam)
      throw UserError("--candidates {}: with a --beam of {} there are not so many; --sample draws any number",
                      a.candidates, a.decode.beam);
  }
  if (!a.prefix.empty() && !a.prefix_file.empty())
    throw UserError("--prefix and --prefix-file: give one of them");
  if (a.prefix_file == "-") throw UserError("--prefix-file - : standard input is what is translated");
  std::optional<LineReader> prefixes;
  if (!a.prefix_file.empty() && group.rank() == 0) prefixes.emplace(a.prefix_file);
  std::optional<Document> document;
  if (!a.format.empty()) {
    if (group.size() > 1) throw UserError("--format takes one process, not {}", group.size());
    document = read_document(a.format, {a.model.from, a.model.to});
    if (document->segments().empty())
      log_warning("the document has nothing to translate{}{}", a.model.from.empty() ? "" : " from ",
                  a.model.from);
    for (size_t i = 0; i < document->segments().size(); ++i)
      if (document->has_markup(i)) options.alignment = a.alignment;
  }
  const std::vector<LoadedModel> loaded = open_models(a.model, a.other_models, group);
  std::vector<Transformer*> models;
  models.reserve(loaded.size());
  for (const LoadedModel& one : loaded) models.push_back(one.model.get());
  if (!a.shortlist.empty())
    options.shortlist = read_shortlist(a.shortlist, loaded.front().vocabulary, a.model.to);
  const LineTranslator translator(models, loaded.front().vocabulary, options);

  StreamOptions stream = {.prefix = a.prefix,
                          .prefixes = prefixes ? &*prefixes : nullptr,
                          .form = a.json     ? LineForm::json
                                  : a.scores ? LineForm::scores
                                             : LineForm::text,
                          .write = [](std::string_view text) { fmt::print("{}", text); },
                          .group = &group};
  std::optional<Progress> progress;
  if (a.progress || (console().is_terminal() && ::isatty(STDOUT_FILENO) == 0))
    progress.emplace(ProgressOptions{.task = "translating", .unit = document ? "segment" : "line"});
  stream.progress = [&](int64_t lines) {
    flush_stdout();
    if (progress) progress->update(lines);
  };
  StreamReport report;
  if (document) {
    fmt::print("{}", translate_document(*document, translator, report, stream.progress));
  } else {
    std::optional<LineReader> source;
    if (group.rank() == 0) source.emplace("/dev/stdin", size_t{1} << 20);
    report = translate_stream(translator, source ? &*source : nullptr, stream);
  }
  progress.reset();
  tell_traffic(loaded.front());
  warn(report, options, document.has_value());
}

}  // namespace

void add_translate(CLI::App& app) {
  const auto arguments = std::make_shared<TranslateArguments>();
  TranslateArguments& a = *arguments;
  CLI::App* command =
      app.add_subcommand("translate", "translate lines from standard input to standard output");
  add_model_arguments(*command, a.model, a.other_models);
  const auto option = [&](const char* name, auto& value, const char* help, const char* type) {
    return command->add_option(name, value, help)->capture_default_str()->type_name(type);
  };
  CLI::Option* beam = option("--beam", a.decode.beam, "hypotheses kept at each step; 1 is greedy", "N")
                          ->check(between(1, 1000));
  option("--nbest", a.decode.nbest,
         "translations per line; above 1 they are written as INDEX ||| TRANSLATION ||| SCORE", "N")
      ->check(between(1, 1000));
  CLI::Option* diversity =
      option("--diversity", a.decode.diversity,
             "what a hypothesis of the beam loses for each one before it that has the same token at the same "
             "place: an n-best list of different ones (0: none)",
             "X")
          ->check(between(0.0, 1e6));
  CLI::Option* groups =
      option(
          "--beam-groups", a.decode.groups,
          "of --diversity: groups of the beam, inside of which nothing is lost (0: each hypothesis is one)",
          "N")
          ->check(between(0, 1000))
          ->needs(diversity);
  CLI::Option* sample =
      command
          ->add_flag("--sample", a.sample,
                     "draw translations from the model's distribution instead of searching for the best")
          ->excludes(beam)
          ->excludes(diversity)
          ->excludes(groups);
  option("--temperature", a.sampling.temperature, "of --sample: below 1 keeps closer to what is probable",
         "T")
      ->check(between(1e-3, 1e3))
      ->needs(sample);
  option("--top-k", a.sampling.top_k, "of --sample: draw from the K most probable tokens (0: all)", "K")
      ->check(between(0, 1 << 30))
      ->needs(sample);
  option("--top-p", a.sampling.top_p,
         "of --sample: draw from the most probable tokens that have this probability together (1: all)", "P")
      ->check(between(1e-6, 1.0))
      ->needs(sample);
  option("--epsilon", a.sampling.epsilon,
         "of --sample: never draw a token that is less probable than this (0: any)", "P")
      ->check(between(0.0, 0.999999))
      ->needs(sample);
  option("--seed", a.sampling.seed, "of --sample: another one draws others", "N")
      ->check(any_seed())
      ->needs(sample);
  CLI::Option* mbr =
      command
          ->add_option("--mbr", a.mbr,
                       "of several candidates write the one most like the others, by chrF or BLEU, which is "
                       "then the SCORE (minimum Bayes risk)")
          ->check(CLI::IsMember(names_of(kUtilities)));
  command
      ->add_option("--candidates", a.candidates,
                   fmt::format("of --mbr: samples (default: {}) or hypotheses (those of the beam) that it "
                               "chooses from",
                               kMbrSamples))
      ->check(between(2, 1024))
      ->type_name("N")
      ->needs(mbr);
  option("--length-penalty", a.decode.length_penalty,
         "score = sum of log p / length^PENALTY: larger ones prefer long translations", "PENALTY")
      ->check(between(-100.0, 100.0));
  option("--max-length-factor", a.decode.max_length_factor,
         "a translation has at most this many tokens per source token, plus --max-length", "X")
      ->check(between(0.0, 1e6));
  option("--max-length", a.decode.max_length_offset,
         "tokens that a translation may have beyond --max-length-factor", "TOKENS")
      ->check(between(0, 1 << 20));
  option("--min-length", a.decode.min_length,
         "tokens that a translation has at least, with tag and end token", "TOKENS")
      ->check(between(0, 1 << 20));
  option("--no-repeat-ngram", a.decode.no_repeat_ngram,
         "never write the same N tokens in a row twice (0: no such rule)", "N")
      ->check(between(0, 1 << 20));
  option("--repetition-penalty", a.decode.repetition_penalty,
         "above 1: tokens that were already written become less likely (1: no difference)", "X")
      ->check(between(1e-3, 1e3));
  command->add_flag("--guard", a.guard,
                    "translate again, with --no-repeat-ngram 3, what repeats itself until it is cut off");
  command->add_flag("--allow-unk", a.allow_unk, "let the model write the unknown token, as \u2047");
  option("--batch-tokens", a.decode.batch_tokens,
         "largest batch: beam x (source + longest translation), in tokens", "N")
      ->check(between(1, 1 << 30));
  command
      ->add_option(
          "--terms", a.terms,
          "file of SOURCE<TAB>TARGET: where a line has the source phrase, its translation has the target")
      ->type_name("FILE")
      ->excludes(sample)
      ->excludes(diversity);
  command
      ->add_option(
          "--keep", a.keep,
          "regular expression: what it matches in a line (placeholders, addresses) is in the translation as "
          "it is")
      ->type_name("REGEX")
      ->excludes(sample)
      ->excludes(diversity);
  command
      ->add_option(
          "--shortlist", a.shortlist,
          "file of `chorus shortlist`: translate with the pieces of the target language alone, which is "
          "faster")
      ->type_name("FILE");
  command->add_option("--prefix", a.prefix, "text that every translation begins with")->type_name("TEXT");
  command->add_option("--prefix-file", a.prefix_file, "file with one such beginning per line of input")
      ->type_name("FILE");
  command->add_flag("--sentences", a.sentences,
                    "translate each sentence of a line separately, and keep the space between them");
  option("--long", a.long_lines,
         "lines that are too long: split translates them in parts, refuse does what --on-error says", "TEXT")
      ->check(CLI::IsMember(names_of(kLongLines)));
  option("--on-error", a.on_error,
         "lines that are not UTF-8 or too long: stop there, skip them, blank (write an empty line), or "
         "replace (read U+FFFD for wrong bytes)",
         "TEXT")
      ->check(CLI::IsMember(names_of(kOnError)));
  option("--max-source", a.max_source, "longest line, in tokens (0: as many as the model has positions)", "N")
      ->check(between(0, 1 << 20));
  CLI::Option* scores = command->add_flag("--scores", a.scores, "write TRANSLATION<TAB>SCORE");
  command
      ->add_flag(
          "--json", a.json,
          "write a JSON object per line: translations, their scores, and the log-probability of each token")
      ->excludes(scores);
  CLI::Option* align =
      command
          ->add_flag(
              "--alignments", a.align,
              "write TRANSLATION ||| 0-0 1-2 ...: the source word of each word, by the model's attention")
          ->excludes(scores);
  option(
      "--alignment-layer", a.alignment.layer,
      "of --alignments: decoder layer whose attention it is, from 0 (-1: the one that `chorus align` chose, "
      "else the last but one)",
      "N")
      ->check(between(-1, 1000))
      ->needs(align);
  option("--alignment-head", a.alignment.head,
         "of --alignments: its head, from 0 (-1: as chosen with the layer, else the mean of all)", "N")
      ->check(between(-1, 1000))
      ->needs(align);
  std::vector<std::string> formats;
  for (const auto& [name, format] : document_formats()) formats.emplace_back(name);
  command
      ->add_option("--format", a.format,
                   "translate standard input as one document of this format, whose form is kept: text in its "
                   "place, sentence "
                   "by sentence, markup around its words")
      ->check(CLI::IsMember(formats))
      ->excludes(scores)
      ->excludes("--json")
      ->excludes(align)
      ->excludes("--nbest")
      ->excludes("--prefix")
      ->excludes("--prefix-file");
  command->add_flag("--progress", a.progress, "report progress even without a terminal");
  command->callback([arguments] { translate(*arguments); });
}

}  // namespace chorus::inline app
