#include <cerrno>
#include <cstdio>
#include <iostream>
#include <system_error>

#include <fmt/format.h>

#include "app/commands.h"
#include "base/error.h"
#include "base/log.h"

namespace chorus::inline app {

void add_config_arguments(CLI::App& command, ConfigArguments& arguments) {
  command.add_option("RUN.toml", arguments.file, "the run file")->option_text(" ");
  command.add_option("--set", arguments.settings, "change one option: --set section.key=value (repeatable)")
      ->option_text("section.key=value")
      ->allow_extra_args(false);
  command.add_flag("--dump-config", arguments.dump, "print the whole configuration with comments, and exit");
  command.add_flag("--dump-options", arguments.dump_markdown)->group("");  // makes docs/options.md
  command.footer([] {
    RunConfig config;
    Schema schema;
    describe(schema, config);
    return fmt::format("Options of the run file, and of --set, with their defaults:\n{}", schema.help());
  });
}

std::optional<RunConfig> read_config(const ConfigArguments& arguments) {
  RunConfig config;
  Schema schema;
  describe(schema, config);
  if (arguments.dump_markdown) {
    fmt::print("{}", schema.markdown());
    return std::nullopt;
  }
  if (arguments.file.empty() && !arguments.dump)
    throw UserError("name a run file (RUN.toml), or --dump-config to see what one holds");
  read_run_file(config, schema, arguments.file, arguments.settings);
  if (!arguments.dump) return config;
  fmt::print("{}", schema.dump());
  return std::nullopt;
}

void add_quantize_option(CLI::App& command, QuantizationConfig& types) {
  command
      .add_option_function<std::string>(
          "--quantize",
          [&types](const std::string& name) {
            types.dense = Quantization::int8;
            types.experts = name == "int4" ? Quantization::int4 : Quantization::int8;
          },
          "quantize the new model's weights: its experts in this type, the others in int8")
      ->check(CLI::IsMember({"int8", "int4"}));
}

void add_quiet_option(CLI::App& command) {
  command.add_flag_callback(
      "-q,--quiet", [] { console().set_quiet(true); }, "no progress, and only warnings from the log");
}

void flush_stdout() {
  errno = 0;
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout) return;
  if (errno == EPIPE) throw ClosedPipe();
  if (errno == 0) throw Error("cannot write to standard output");
  throw Error("cannot write to standard output: {}", std::generic_category().message(errno));
}

}  // namespace chorus::inline app
