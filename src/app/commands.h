// The subcommands: one file each, which parses its arguments, calls the library and prints.
#pragma once

#include <charconv>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "io/json.h"
#include "train/config.h"

namespace chorus::inline app {

/// Exit codes of the program.
inline constexpr int kFailure = 1, kUserMistake = 2;

/// Thrown by a command that has said all there is to say.
struct ExitCode {
  int value = 0;
};

// Each adds one subcommand, whose callback runs it; main.cpp lists them under what they are for. Errors leave
// by exception; main() prints them and picks the exit code. An option that takes several values and may come
// before a positional argument needs `->allow_extra_args(false)`, or it swallows that argument.
void add_align(CLI::App& app);
void add_assess(CLI::App& app);
void add_average(CLI::App& app);
void add_bench(CLI::App& app);
void add_completion(CLI::App& app);
void add_corpus(CLI::App& app);
void add_doctor(CLI::App& app);
void add_evaluate(CLI::App& app);
void add_export(CLI::App& app);
void add_grow(CLI::App& app);
void add_import(CLI::App& app);
void add_inspect(CLI::App& app);
void add_launch(CLI::App& app);
void add_lid(CLI::App& app);
void add_manual(CLI::App& app);
void add_merge(CLI::App& app);
void add_plan(CLI::App& app);
void add_prune(CLI::App& app);
void add_quantize(CLI::App& app);
void add_report(CLI::App& app);
void add_score(CLI::App& app);
void add_serve(CLI::App& app);
void add_shortlist(CLI::App& app);
void add_train(CLI::App& app);
void add_translate(CLI::App& app);
void add_upcycle(CLI::App& app);
void add_vocab(CLI::App& app);

// ---- what commands share (shared.cpp) ----

/// RUN.toml, --set and --dump-config, of a command that a run file configures.
struct ConfigArguments {
  std::string file;
  std::vector<std::string> settings;
  bool dump = false;
  bool dump_markdown = false;
};
/// Adds them to a command, whose --help then shows the run file's options below its own. `arguments` must
/// live as long as the command.
void add_config_arguments(CLI::App& command, ConfigArguments& arguments);
/// Reads the run file and then the settings. What they do not say of [model] and [moe] is as the model of
/// train.init has it. Nothing when the command has nothing more to do: the configuration was asked for, and
/// is printed. UserError without a run file.
[[nodiscard]] std::optional<RunConfig> read_config(const ConfigArguments& arguments);

/// More lines than any text has that a command takes whole.
inline constexpr int64_t kMostLines = 1'000'000'000;
/// A number from `low` to `high`, both included, in decimal digits; nan, which CLI11's own checks let pass, is none.
/// Every option that takes a number has such a check.
template <class Number>
CLI::Validator between(Number low, Number high) {
  constexpr const char* kKind = std::is_integral_v<Number> ? "whole number" : "number";
  const auto check = [=](std::string& text) -> std::string {
    Number value = 0;
    const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
    const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && value >= low && value <= high) {
      if constexpr (std::is_integral_v<Number>) text = std::to_string(value);  // CLI11 takes 010 for 8
      return "";
    }
    return fmt::format("'{}' is not a {} from {} to {}", one_line(text), kKind, low, high);
  };
  return {check, fmt::format("{} to {}", low, high)};
}

/// Checks an option that is a seed.
inline CLI::Validator any_seed() {
  return between<int64_t>(0, std::numeric_limits<int64_t>::max()).description("");
}

/// Returns the value of an option that has named choices; CLI::IsMember(names_of()) has checked the text.
template <class Enum>
Enum choice(const std::vector<std::pair<std::string, Enum>>& names, const std::string& text) {
  for (const auto& [name, value] : names)
    if (name == text) return value;
  throw Error("an unknown choice {}", in_quotes(text));
}

template <class Enum>
std::vector<std::string> names_of(const std::vector<std::pair<std::string, Enum>>& choices) {
  std::vector<std::string> names;
  names.reserve(choices.size());
  for (const auto& [name, unused] : choices) names.push_back(name);
  return names;
}

/// Adds --quantize, for commands that make a model: the types of its weights.
void add_quantize_option(CLI::App& command, QuantizationConfig& types);

/// Adds -q/--quiet: no progress, and of the log only warnings.
void add_quiet_option(CLI::App& command);

/// Nobody reads standard output any more, as after `| head`: main() then ends the process without a word.
struct ClosedPipe {};
/// Sends what was printed on its way; ClosedPipe, or Error when standard output cannot take it (a full disk).
/// A command that prints for long calls it now and then, so as to end early; main() does at the end.
void flush_stdout();

}  // namespace chorus::inline app
