// chorus quantize: a model with its weights in int8 or int4.
#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/model_arguments.h"
#include "app/text_arguments.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "formats/folder.h"
#include "surgery/calibration.h"
#include "surgery/models.h"
#include "train/assessment.h"

namespace chorus::inline app {
namespace {

struct QuantizeArguments {
  std::filesystem::path model, out;
  QuantizationConfig types = {.experts = Quantization::int4, .dense = Quantization::int8};
  TextArguments text;
  bool json = false;
};

void add_type(CLI::App& command, const char* name, const char* help, Quantization& type) {
  command
      .add_option_function<std::string>(
          name, [&type](const std::string& text) { type = choice(kQuantizations, text); }, help)
      ->check(CLI::IsMember(names_of(kQuantizations)))
      ->default_str(name_of(type));
}

/// Loads the model in fp32, the type that quantized weights are computed with.
LoadedModel load(const std::filesystem::path& folder) {
  Group alone;
  return load_model(folder, compute_options({}, alone));
}

/// What a model makes of the text, direction by direction.
struct Quality {
  std::vector<double> losses;
  std::vector<DirectionScore> scores;
};

std::vector<DirectionScore> scores_of(const LoadedModel& loaded, const std::vector<DirectionText>& texts) {
  int64_t lines = 0;
  for (const DirectionText& text : texts) lines += std::ssize(text.sources);
  Progress progress({.task = "translating", .unit = "line", .total = lines});
  AssessOptions options;
  options.progress = [&](int64_t done, int64_t /*total*/) { progress.update(done); };
  return assess(*loaded.model, loaded.vocabulary, texts, options).directions;
}

nlohmann::json report(const Quality& before, const Quality& after) {
  nlohmann::json rows = nlohmann::json::array();
  const auto side = [](const DirectionScore& s, double loss) -> nlohmann::json {
    return {{"loss", loss}, {"bleu", s.bleu}, {"chrf", s.chrf}, {"length_ratio", s.length_ratio}};
  };
  for (size_t d = 0; d < before.scores.size(); ++d) {
    rows.push_back({{"direction", before.scores[d].name},
                    {"sentences", before.scores[d].sentences},
                    {"before", side(before.scores[d], before.losses[d])},
                    {"after", side(after.scores[d], after.losses[d])}});
  }
  return rows;
}

void print_table(const nlohmann::json& rows) {
  constexpr std::array kFigures = {std::pair{"loss", "loss"}, std::pair{"bleu", "BLEU"},
                                   std::pair{"chrf", "chrF"}, std::pair{"length_ratio", "length"}};
  fmt::print("{:<16}{:>7}", "direction", "lines");
  for (const auto& [key, title] : kFigures) fmt::print("{:>9}{:>9}{:>8}", title, "after", "change");
  fmt::print("\n");
  for (const nlohmann::json& row : rows) {
    fmt::print("{:<16}{:>7}", row["direction"].get<std::string>(), row["sentences"].get<int64_t>());
    for (const auto& [key, title] : kFigures) {
      const double before = row["before"][key], after = row["after"][key];
      fmt::print("{:>9.3f}{:>9.3f}{:>+8.3f}", before, after, after - before);
    }
    fmt::print("\n");
  }
}

void quantize(QuantizeArguments& a) {
  if (!a.types.any()) throw UserError("--experts none --dense none: nothing is left to quantize");
  const bool measured = has_text(a.text, "--files or --tsv");
  if (!measured && a.json) throw UserError("--json is about what text shows: name it with --files or --tsv");
  check_absent(a.out);
  check_not_quantized(describe_model(find_model(a.model).description).config, a.model);
  Quality before, after;
  Calibration calibration;
  std::vector<DirectionText> texts;
  if (measured) {
    const LoadedModel loaded = load(a.model);
    texts = read_directions(sources_of(a.text), a.text.sentences, loaded.vocabulary.languages());
    Progress progress({.task = "measuring", .unit = "pair"});
    calibration =
        calibrate(*loaded.model, loaded.vocabulary, texts, [&](int64_t done) { progress.update(done); });
    progress.finish();
    before = {.losses = calibration.losses, .scores = scores_of(loaded, texts)};
  }
  quantize_model(a.model, a.types, a.out, measured ? calibration.importance() : ColumnImportance());
  if (measured) {
    const LoadedModel loaded = load(a.out);
    after = {.losses = losses_of(*loaded.model, loaded.vocabulary, texts, {}),
             .scores = scores_of(loaded, texts)};
    const nlohmann::json rows = report(before, after);
    a.json ? fmt::print("{}\n", rows.dump(2)) : print_table(rows);
  }
  log_info("wrote {}: {} of weights, {} before", a.out.string(), human_bytes(bytes_of_weights(a.out)),
           human_bytes(bytes_of_weights(find_model(a.model).weights)));
}

}  // namespace

void add_quantize(CLI::App& app) {
  const auto arguments = std::make_shared<QuantizeArguments>();
  QuantizeArguments& a = *arguments;
  CLI::App* command =
      app.add_subcommand("quantize", "weights in int8 or int4, to translate faster and in less memory");
  command->add_option("DIR", a.model, "model folder, run, or checkpoint of a run")
      ->required()
      ->option_text(" ");
  command->add_option("--out", a.out, "the folder to write, which must not exist yet")
      ->required()
      ->type_name("DIR");
  add_type(*command, "--experts", "type of the experts' weights", a.types.experts);
  add_type(*command, "--dense", "type of the other weights, but for the router's, norms and biases",
           a.types.dense);
  add_text_arguments(*command, a.text, "text that scales are chosen for and that tells what has changed");
  add_direction_arguments(*command, a.text);
  command->add_flag("--json", a.json, "print JSON");
  add_quiet_option(*command);
  command->callback([arguments] { quantize(*arguments); });
}

}  // namespace chorus::inline app
