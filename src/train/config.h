// The run file: everything that decides a training run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "architecture/config.h"
#include "config/options.h"
#include "data/config.h"
#include "memory/config.h"
#include "optim/config.h"
#include "parallel/config.h"

namespace chorus::inline train {

enum class Precision { fp32, bf16 };

/// One of several trainings in a run file: train/stages.h.
struct StageConfig {
  std::string name;               // its name, and that of its folder in the run's
  std::vector<std::string> init;  // earlier stages whose models, merged, it begins with
  std::vector<std::string> set;   // options that differ in it: "moe.experts=8"
};

struct TrainConfig {
  std::string init;                 // model folder, run or checkpoint whose weights the run begins with
  std::vector<std::string> freeze;  // parameters that stay as they are: state/frozen.h
  Duration duration = {.count = 5000, .unit = Duration::Unit::updates};
  double time_limit = 0;  // minutes of training in all, over every start of the run; 0: none
  double label_smoothing = 0.1;
  bool recompute = false;           // activation checkpointing
  int64_t skip_limit = 10;          // updates in a row that may be skipped for a gradient that is not finite
  int64_t log_every = 20;           // updates
  int64_t checkpoint_every = 1000;  // updates; 0: only at the end
  int64_t keep = 2;                 // checkpoints, besides the best
  // "2GB": files of each rank's own, of so many bytes at most; empty: two of all ranks.
  std::string checkpoint_part_size;
  std::vector<StageConfig> stages;  // empty: the run file is one training
};

enum class Criterion { loss, bleu, chrf };

struct ValidationConfig {
  int64_t every = 1000;           // updates; 0: only at the end
  int64_t sentences = 0;          // of each direction, always the same ones; 0: all
  int64_t decode = 0;             // sentences of each direction that are translated and scored; 0: none
  std::string tokenize = "auto";  // of BLEU, as Tokenizer; "auto": tokenizer_for() the target language
  int64_t beam = 1;
  Criterion criterion = Criterion::loss;  // what "best" means: the mean over directions
  int64_t patience = 0;  // validations without a better one after which the run stops; 0: never
};

struct RunConfig {
  int64_t seed = 1;
  std::string device = "cpu";  // as names_host() has it
  Precision precision = Precision::fp32;
  int64_t threads = 0;  // 0: see set_threads()
  DataConfig data;
  VocabularyConfig vocabulary;
  ModelConfig model;
  OptimConfig optim;
  ParallelConfig parallel;
  MemoryConfig memory;
  TrainConfig train;
  ValidationConfig validation;
};

void describe(Schema& schema, RunConfig& config);

/// The configuration of the model that train.init names, which is what [model] and [moe] are by default.
/// UserError as find_model() and describe_model().
ModelConfig model_of(const std::string& init);

/// Reads a run file ("": none) and settings ("section.key=value"), which take precedence over it, into
/// `config`, which `schema` describes; where there is train.init, [model] and [moe] start from model_of().
/// UserError naming file, line and option.
void read_run_file(RunConfig& config, Schema& schema, const std::filesystem::path& file,
                   std::span<const std::string> settings);

/// UserError where settings contradict each other.
void check(const RunConfig& config);

/// Whether two starts of one run may differ in this option: how long it runs, what it reports and keeps,
/// where it computes; not what it computes.
bool may_change(const std::string& option);

/// Whether no start of a run may have another value than the first: the shapes of its weights or its
/// vocabulary depend on it. (Of vocabulary.model what the file holds counts, not its name.)
bool is_fixed(const std::string& option);

}  // namespace chorus::inline train
