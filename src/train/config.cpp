#include "train/config.h"

#include <array>
#include <string_view>

#include "base/error.h"
#include "data/curriculum.h"
#include "formats/parts.h"
#include "layout/shapes.h"
#include "state/frozen.h"

#include "train/internal/initial_model.h"

namespace chorus::inline train {

namespace {

void describe_stage(Schema& s, StageConfig& c) {
  s.add("name", c.name, {.help = "the stage's name, and that of its folder in the run's folder"});
  s.add("init", c.init,
        {.help = "earlier stages whose model it begins with; of several, merged (aggregation of experts)"});
  s.add("set", c.set, {.help = "options that differ in this stage, as after --set: [\"moe.experts=8\"]"});
}

}  // namespace

void describe(Schema& s, RunConfig& c) {
  s.add("seed", c.seed, {.help = "all random choices follow from it", .min = 0});
  s.add("device", c.device,
        {.help =
             "where the model computes: \"cpu\", \"cuda\", \"auto\" (the accelerator that is there, or else "
             "the CPU), or another that libtorch knows by that name"});
  s.add("precision", c.precision, {{"fp32", Precision::fp32}, {"bf16", Precision::bf16}},
        {.help = "type of weights and activations in computation; masters, moments (unless "
                 "optim.expert_state says otherwise) and the router are fp32"});
  s.add("threads", c.threads,
        {.help = "CPU threads of each rank; 0: its share of the cores, within the container's quota",
         .min = 0,
         .max = 4096});
  describe(s, c.data);
  describe(s, c.vocabulary);
  describe(s, c.model);
  describe(s, c.optim);
  describe(s, c.parallel);
  describe(s, c.memory);

  TrainConfig& t = c.train;
  s.section("train", "the training loop");
  s.add(
      "init", t.init,
      {.help = "a model folder, a run or a checkpoint: the run begins with its weights, its architecture and "
               "its vocabulary"});
  s.add(
      "freeze", t.freeze,
      {.help = "parameters that stay as they are: \"embedding\", \"router\", \"expert\", \"dense\" (all but "
               "experts) or patterns of their names, \"encoder.*\", \"*.self_attn.*\""});
  s.add(
      "duration", t.duration,
      {.help =
           "when the run is done: \"20000u\" updates, \"5e\" epochs or \"50Mt\" target tokens; \"0u\" writes "
           "the model as it is initialised"});
  s.add("time_limit", t.time_limit,
        {.help = "the run also ends after so long, all its starts together; 0: no limit",
         .unit = "minutes",
         .min = 0,
         .max = 1e9});
  s.add("label_smoothing", t.label_smoothing,
        {.help = "share of the target spread over the vocabulary", .min = 0, .max = 0.9});
  s.add("recompute", t.recompute,
        {.help = "keep only the blocks' inputs for backward and compute the rest again"});
  s.add("skip_limit", t.skip_limit,
        {.help = "updates in a row that may be skipped because their gradient is not finite",
         .unit = "updates",
         .min = 0});
  s.add("log_every", t.log_every, {.help = "how often metrics are written", .unit = "updates", .min = 1});
  s.add("checkpoint_every", t.checkpoint_every,
        {.help = "how often a checkpoint is written; 0: only at the end", .unit = "updates", .min = 0});
  s.add("checkpoint_part_size", t.checkpoint_part_size,
        {.help = "each rank writes its part of a checkpoint to files of its own of at most this size, such "
                 "as \"4GB\", which any "
                 "number of ranks can go on from; such a checkpoint is no model folder until chorus import "
                 "makes one of it; \"\": all "
                 "ranks write one file of weights and one of moments together"});
  s.add("keep", t.keep, {.help = "checkpoints kept, besides the best", .min = 1});
  s.list(
      "stage", t.stages, &describe_stage,
      {.help = "one of several trainings, one after the other, each a run of its own in the run's folder"});

  ValidationConfig& v = c.validation;
  s.section("validation", "what is measured on data.valid");
  s.add("every", v.every,
        {.help = "how often the model is validated; 0: only at the end", .unit = "updates", .min = 0});
  s.add("sentences", v.sentences,
        {.help = "how many of each direction are used, always the same ones; 0: all",
         .unit = "sentences",
         .min = 0});
  s.add("decode", v.decode,
        {.help = "how many of each direction are translated for BLEU and chrF, the first ones; 0: none",
         .unit = "sentences",
         .min = 0});
  s.add("beam", v.beam, {.help = "beam of these translations", .min = 1, .max = 64});
  s.add(
      "tokenize", v.tokenize,
      {{"auto", "auto"}, {"13a", "13a"}, {"intl", "intl"}, {"zh", "zh"}, {"char", "char"}, {"none", "none"}},
      {.help = "BLEU's tokenizer; auto: zh for Chinese, char for Japanese, Korean and scripts without "
               "spaces, else 13a"});
  s.add("criterion", v.criterion,
        {{"loss", Criterion::loss}, {"bleu", Criterion::bleu}, {"chrf", Criterion::chrf}},
        {.help = "the score by which the best model is chosen, a mean over directions"});
  s.add("patience", v.patience,
        {.help = "stop after so many validations without a better one; 0: never",
         .unit = "validations",
         .min = 0});
}

void read_run_file(RunConfig& config, Schema& schema, const std::filesystem::path& file,
                   std::span<const std::string> settings) {
  const auto read = [&] {
    if (!file.empty()) schema.read_file(file);
    for (const std::string& setting : settings) schema.set(setting);
  };
  read();
  if (config.train.init.empty()) return;
  config.model = model_of(config.train.init);
  read();
}

void check(const RunConfig& c) {
  check(c.model);
  parse_bytes(c.memory.device_budget, "memory.device_budget");
  if (const int64_t size = parse_bytes(c.train.checkpoint_part_size, "train.checkpoint_part_size");
      size > 0 && std::cmp_less(size, kLeastPartFile))
    throw UserError("train.checkpoint_part_size = \"{}\": at least 1MiB", c.train.checkpoint_part_size);
  parse_bytes(c.memory.host_budget, "memory.host_budget");
  parse_bytes(c.memory.save_budget, "memory.save_budget");
  const Tier activations = c.memory.activations;
  if ((activations == Tier::host || activations == Tier::nvme) && !c.train.recompute)
    throw UserError(
        "memory.activations: only what train.recompute = true keeps can leave the device; set that too");
  if (c.data.train.empty())
    throw UserError("the run file names no training text: add a [[data.train]] table");
  for (const auto* list : {&c.data.train, &c.data.valid}) {
    for (size_t i = 0; i < list->size(); ++i) {
      check_source((*list)[i], source_label((*list)[i], list == &c.data.train ? "train" : "valid", i));
    }
  }
  check_denoising(c.data);
  check_symbols(c.vocabulary.symbols, "vocabulary.symbols");
  check_curriculum(c.data);
  static_cast<void>(frozen_parameters(shapes_of(c.model), c.train.freeze));
  if (c.data.max_length > c.model.max_positions) {
    throw UserError("data.max_length = {} is more than model.max_positions = {}", c.data.max_length,
                    c.model.max_positions);
  }
  if (c.train.duration.count > 0)  // says where the schedule does not go with it
    static_cast<void>(learning_rate_at(c.optim, {.updates = 1}, c.train.duration));
  if (c.validation.criterion != Criterion::loss && c.validation.decode == 0) {
    throw UserError(
        "validation.criterion needs translations: set validation.decode to a number of sentences");
  }
  if (c.validation.patience > 0 && c.data.valid.empty()) {
    throw UserError("validation.patience needs validation text: add a [[data.valid]] table");
  }
}

bool may_change(const std::string& option) {
  constexpr auto kFree = std::to_array<std::string_view>(
      {"device", "threads", "train.duration", "train.time_limit", "train.recompute", "train.skip_limit",
       "train.log_every", "train.checkpoint_every", "train.checkpoint_part_size", "train.keep",
       "validation.patience", "parallel.ep", "parallel.etp", "parallel.tp", "parallel.zero",
       "parallel.exchange_chunks", "parallel.timeout"});
  return option.starts_with("memory.") || std::find(kFree.begin(), kFree.end(), option) != kFree.end();
}

bool is_fixed(const std::string& option) {
  return decides_shapes(option) || (option.starts_with("vocabulary.") && option != "vocabulary.model");
}

}  // namespace chorus::inline train
