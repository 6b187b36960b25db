// chorus import, chorus export: transformers' model folders to ours, and back.
#include "chorus/model/convert.h"

#include <memory>
#include <string>

#include "chorus/base/error.h"
#include "chorus/base/log.h"
#include "chorus/base/text.h"

#include "app/commands.h"

namespace chorus {
namespace {

struct ConvertArguments {
  std::string folder, out;
  std::string format;
  double shard_gigabytes = 5;
};

Format format_called(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, format] : kFormats) {
    if (known == name) return format;
    names.push_back(known);
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
  CLI::App* command =
      add(app, "import", "makes a model folder of one that transformers wrote (NLLB-MoE, M2M100, Switch)",
          "folder with config.json, safetensors and tokenizer", *a);
  command->callback([a] {
    import_model(a->folder, a->out);
    log_info("wrote {}", a->out);
  });
}

void add_export(CLI::App& app) {
  const auto a = std::make_shared<ConvertArguments>();
  CLI::App* command = add(app, "export", "writes a model as transformers reads it",
                          "model folder, run, or checkpoint of a run", *a);
  command->add_option("--format", a->format, "nllb-moe, m2m100 or switch")->required()->type_name("NAME");
  command->add_option("--shard-size", a->shard_gigabytes, "a larger model is written in files of this size")
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

}  // namespace chorus
