// chorus translate: standard input to standard output, line by line.
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <unistd.h>

#include "chorus/base/error.h"
#include "chorus/base/progress.h"
#include "chorus/comm/world.h"
#include "chorus/decode/translator.h"

#include "app/commands.h"
#include "app/model_arguments.h"

namespace chorus {
namespace {

struct TranslateArguments {
  ModelArguments model;
  DecodeOptions decode;
  std::string prefix, prefix_file;
  std::string long_lines = "refuse";
  int64_t max_source = 0;
  bool allow_unk = false;
  bool scores = false;
  bool progress = false;
};

void translate(const TranslateArguments& a) {
  World world;
  Group& group = world.group();
  group.set_timeout(std::numeric_limits<double>::infinity());  // text may be slow in coming
  TranslatorOptions options = {.from = a.model.from,
                               .to = a.model.to,
                               .decode = a.decode,
                               .allow_unk = a.allow_unk,
                               .max_source = a.max_source};
  if (a.long_lines == "split") {
    options.long_lines = LongLines::split;
  } else if (a.long_lines != "refuse") {
    throw UserError("--long {}: choose refuse or split", a.long_lines);
  }
  if (!a.prefix.empty() && !a.prefix_file.empty())
    throw UserError("--prefix and --prefix-file: give one of them");
  std::optional<LineReader> prefixes;
  if (!a.prefix_file.empty() && group.rank() == 0) prefixes.emplace(a.prefix_file);
  const LoadedModel loaded = open_model(a.model, group);
  const Translator translator(*loaded.model, loaded.vocabulary, options);

  StreamOptions stream = {.prefix = a.prefix,
                          .prefixes = prefixes ? &*prefixes : nullptr,
                          .scores = a.scores,
                          .write = [](std::string_view text) { fmt::print("{}", text); },
                          .group = &group};
  // Someone who types wants each line answered.
  if (::isatty(STDIN_FILENO) != 0) stream.window = 1;
  std::optional<Progress> progress;
  if (a.progress || (console().is_terminal() && ::isatty(STDOUT_FILENO) == 0))
    progress.emplace(ProgressOptions{.task = "translating", .unit = "lines"});
  stream.progress = [&](int64_t lines) {
    flush_stdout();
    if (progress) progress->update(lines);
  };
  std::optional<LineReader> source;
  if (group.rank() == 0) source.emplace("/dev/stdin", size_t{1} << 20);
  translate_stream(translator, source ? &*source : nullptr, stream);
}

}  // namespace

void add_translate(CLI::App& app) {
  const auto arguments = std::make_shared<TranslateArguments>();
  TranslateArguments& a = *arguments;
  CLI::App* command = app.add_subcommand("translate", "translates lines: standard input to standard output");
  add_model_arguments(*command, a.model);
  const auto option = [&](const char* name, auto& value, const char* help, const char* type) {
    command->add_option(name, value, help)->capture_default_str()->type_name(type);
  };
  option("--beam", a.decode.beam, "hypotheses kept at each step; 1 is greedy", "N");
  option("--nbest", a.decode.nbest, "translations a line, above 1 as INDEX ||| TRANSLATION ||| SCORE", "N");
  option("--length-penalty", a.decode.length_penalty,
         "score = sum of log p / length^PENALTY: larger ones prefer long translations", "PENALTY");
  option("--max-length-factor", a.decode.max_length_factor,
         "a translation has at most this many tokens for each of the source,", "X");
  option("--max-length", a.decode.max_length_offset, "and this many more", "TOKENS");
  option("--no-repeat-ngram", a.decode.no_repeat_ngram,
         "no N tokens in a row occur twice in a translation (0: they may)", "N");
  command->add_flag("--allow-unk", a.allow_unk, "let the model write the unknown token, as \u2047");
  option("--batch-tokens", a.decode.batch_tokens,
         "bounds a batch: beam x (source + longest translation), in tokens", "N");
  command->add_option("--prefix", a.prefix, "what every translation begins with")->type_name("TEXT");
  command->add_option("--prefix-file", a.prefix_file, "the same for each line")->type_name("FILE");
  option("--long", a.long_lines, "what to do with lines that are too long: refuse or split", "NAME");
  option("--max-source", a.max_source, "longest line in tokens (0: what the model has positions for)", "N");
  command->add_flag("--scores", a.scores, "write TRANSLATION<TAB>SCORE");
  command->add_flag("--progress", a.progress, "report progress also where there is no terminal");
  command->callback([arguments] { translate(*arguments); });
}

}  // namespace chorus
