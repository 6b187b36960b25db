// chorus import, chorus export: transformers' model folders to ours, and back.
#include "formats/convert.h"

#include <memory>
#include <string>

#include "app/commands.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace chorus::inline app {
namespace {

struct ConvertArguments {
  std::string folder, out;
  std::string format;
  double shard_gigabytes = 5;
  QuantizationConfig types;
};

Format format_called(const std::string& name) {
  std::vector<std::string> names;
  for (const Architecture* architecture : architectures()) {
    if (architecture->name == name) return architecture->format;
    names.push_back(architecture->name);
  }
  throw UserError("--format {}: choose {}{}", name, join(names, " or "), did_you_mean(name, names));
}

CLI::App* add(CLI::App& app, const char* name, const char* does, const char* folder_is, ConvertArguments& a) {
  CLI::App* command = app.add_subcommand(name, does);
  command->add_option("DIR", a.folder, folder_is)->required()->option_text(" ");
  command->add_option("--out", a.out, "the folder to write")->required()->type_name("DIR");
  add_quiet_option(*command);
  return command;
}

}  // namespace

void add_import(CLI::App& app) {
  const auto a = std::make_shared<ConvertArguments>();
  CLI::App* command = add(app, "import",
                          "turn a model folder of transformers into one of chorus (NLLB-MoE, M2M100, "
                          "SMaLL-100, OPUS-MT, Switch, T5, MADLAD-400)",
                          "folder with config.json, safetensors and tokenizer", *a);
  add_quantize_option(*command, a->types);
  command->callback([a] {
    import_model(a->folder, a->out, a->types);
    log_info("wrote {}", a->out);
  });
}

void add_export(CLI::App& app) {
  const auto a = std::make_shared<ConvertArguments>();
  CLI::App* command = add(app, "export", "write a model in the form that transformers reads",
                          "model folder, run, or checkpoint of a run", *a);
  command->add_option("--format", a->format, "the format, as transformers calls it")
      ->required()
      ->type_name("{nllb-moe,m2m100,marian,switch,t5}");
  command->add_option("--shard-size", a->shard_gigabytes, "split a larger model into files of this size")
      ->check(between(1e-6, 1e6))
      ->capture_default_str()
      ->type_name("GB");
  command->callback([a] {
    export_model(
        a->folder,
        {.format = format_called(a->format), .shard_size = static_cast<int64_t>(a->shard_gigabytes * 1e9)},
        a->out);
    log_info("wrote {}", a->out);
  });
}

}  // namespace chorus::inline app
