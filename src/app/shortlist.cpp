// chorus shortlist: the pieces that translations into each language are written with.
#include "data/shortlist.h"

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/text_arguments.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "config/options.h"
#include "data/sources.h"
#include "formats/folder.h"
#include "io/places.h"
#include "io/run_layout.h"

namespace chorus::inline app {
namespace {

struct ShortlistArguments {
  std::filesystem::path model, out;
  TextArguments text, held_out;
  ShortlistLimits limits;
  bool force = false, json = false;
};

struct ShortlistText {
  std::vector<SourceConfig> counted, held_out;
};

/// Returns the text that the arguments name, or that of the run.
ShortlistText text_of(const ShortlistArguments& a) {
  TextArguments other = a.held_out;
  other.languages = a.text.languages;
  std::vector<SourceConfig> counted = sources_of(a.text), held_out = sources_of(other);
  if (counted.empty()) {
    if (!a.text.languages.empty())
      throw UserError("--languages are those of text: name it with --files or --tsv");
    const std::filesystem::path run_file = a.model / kRunFile;
    if (!std::filesystem::exists(run_file))
      throw UserError("{} is no run whose text could be counted: name text with --files or --tsv",
                      a.model.string());
    RunConfig config;
    Schema schema;
    describe(schema, config);
    read_run_file(config, schema, run_file, {});
    counted = config.data.train;
    if (held_out.empty()) held_out = config.data.valid;
  }
  const FindOptions any = {.among = {}, .least = 1};
  return {find_sources(counted, "", any), find_sources(held_out, "", any)};
}

PieceCounts count(const std::vector<SourceConfig>& sources, const Vocabulary& vocabulary) {
  if (sources.empty()) return {};
  Progress progress({.task = "counting", .unit = "line"});
  return count_pieces(sources, vocabulary, [&](int64_t rows) { progress.update(rows); });
}

nlohmann::json as_json(const ShortlistCoverage& of) {
  return {{"tokens", of.tokens}, {"covered", of.covered}};
}

void print_lists(const nlohmann::json& rows) {
  fmt::print("{:<16}{:>8}{:>14}{:>11}{:>14}{:>11}\n", "language", "pieces", "text tokens", "covered",
             "held out", "covered");
  for (const nlohmann::json& row : rows) {
    fmt::print("{:<16}{:>8}", row["language"].get<std::string>(), row["pieces"].get<int64_t>());
    for (const char* const name : {"text", "held_out"}) {
      const int64_t tokens = row.contains(name) ? row[name]["tokens"].get<int64_t>() : 0;
      if (tokens == 0) {
        fmt::print("{:>14}{:>11}", "-", "-");
        continue;
      }
      const auto covered = row[name]["covered"].get<double>();
      fmt::print("{:>14}{:>9.2f} %", tokens, 100 * covered / static_cast<double>(tokens));
    }
    fmt::print("\n");
  }
}

void shortlist(const ShortlistArguments& a) {
  if (std::filesystem::exists(a.out) && !a.force)
    throw UserError("{} exists; give --force to replace it, or another --out", a.out.string());
  check_can_write(a.out);
  const Vocabulary vocabulary = describe_model(find_model(a.model).description).vocabulary;
  if (vocabulary.languages().empty())
    throw UserError("{}: this model has no languages, and a shortlist is that of a language",
                    a.model.string());
  const ShortlistText text = text_of(a);
  const PieceCounts counts = count(text.counted, vocabulary), held_out = count(text.held_out, vocabulary);
  std::map<std::string, std::vector<int32_t>> lists;
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& [language, counted] : counts) {
    const std::vector<int32_t>& list = lists[language] = make_shortlist(vocabulary, counted, a.limits);
    const ShortlistCoverage seen = coverage(vocabulary, list, counted);
    if (seen.tokens == 0) throw UserError("there is no usable text in '{}'", language);
    nlohmann::json row = {{"language", language}, {"pieces", list.size()}, {"text", as_json(seen)}};
    if (const auto held = held_out.find(language); held != held_out.end())
      row["held_out"] = as_json(coverage(vocabulary, list, held->second));
    rows.push_back(std::move(row));
  }
  write_shortlists(a.out, vocabulary, lists);
  if (a.json)
    fmt::print("{}\n", rows.dump());
  else
    print_lists(rows);
  log_info("wrote {}", a.out.string());
}

}  // namespace

void add_shortlist(CLI::App& app) {
  const auto arguments = std::make_shared<ShortlistArguments>();
  ShortlistArguments& a = *arguments;
  CLI::App* command = app.add_subcommand(
      "shortlist", "the pieces that translations into each language may use, to translate faster");
  command->add_option("DIR", a.model, "model folder, run, or checkpoint of a run")
      ->required()
      ->option_text(" ");
  command->add_option("--out", a.out, "the file to write")->required()->type_name("FILE");
  add_text_arguments(
      *command, a.text,
      "text whose pieces are counted, of every language that is to have a list (default: a run's "
      "training text, without data.denoise's)");
  add_either_argument(*command, a.held_out, "--held-out",
                      "other text, also of --languages, of which the table says what share the lists cover: "
                      "as --data (default: a run's validation text)");
  const auto number = [&](const char* name, int64_t& value, const char* help) {
    command->add_option(name, value, help)
        ->check(between<int64_t>(0, kMostLines))
        ->capture_default_str()
        ->type_name("N");
  };
  number("--top", a.limits.top, "pieces of a list: those that occur most (0: all)");
  number("--least", a.limits.least, "how often a piece must occur");
  command->add_flag("--force", a.force, "replace --out if it exists");
  command->add_flag("--json", a.json, "print JSON");
  add_quiet_option(*command);
  command->callback([arguments] { shortlist(*arguments); });
}

}  // namespace chorus::inline app
