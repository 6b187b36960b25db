// A run file as the planner sees it.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "data/batches.h"
#include "plan/placement.h"
#include "train/config.h"

namespace chorus::inline train {

/// The greatest number that divides the experts of every MoE layer; 0: a dense model.
int64_t common_experts(const ModelConfig& model);

/// The mesh of a run on `world` ranks. UserError as make_mesh().
Mesh mesh_of(const RunConfig& config, int world);

/// The job of a run file; `model` has its vocabulary. The micro-batch is left to set_largest().
Job job_of(const RunConfig& config, const ModelConfig& model, const Mesh& mesh);

BatchOptions batch_options(const RunConfig& config);

/// Sets, of these micro-batches, that with which the job holds most on the device. There must be one.
void set_largest(Job& job, std::span<const PaddedShape> batches);

/// The text of a run as far as memory is concerned.
struct TextShape {
  int64_t vocabulary = 0;
  std::vector<PaddedShape> largest;  // BatchStream::largest()
};
/// That of a run in `folder`, where vocabulary and text are first made ready, as train() does; of a run that has begun, with
/// its vocabulary. UserError while a process has the folder.
TextShape text_shape(const RunConfig& config, const std::filesystem::path& folder);

/// Rows of the embedding as far as no text has to be read: of train.init, of vocabulary.model where that file is there,
/// or vocabulary.size. 0: the text will say.
int64_t vocabulary_rows(const RunConfig& config);

/// The budgets of the run file; of an accelerator that is here, without one, what that of rank `rank_here` of this host
/// has.
Budgets budgets_of(const RunConfig& config, int rank_here = 0);

struct SettledMemory {
  MemoryConfig tiers;        // without Tier::automatic
  MemoryPlan typical, most;  // by MemoryCase
  int64_t save_budget = 0;   // bytes of copies of what is being saved, which the plans have on the host
};
/// The tiers that a run in `folder` uses: those of the run file, `automatic` ones chosen. `stream` has
/// not begun. UserError, with what would fit, where the run may come to hold more than its budgets, with
/// kMargin and however tokens are routed.
SettledMemory settle_memory(const RunConfig& config, Job job, BatchStream& stream,
                            const std::filesystem::path& folder, const Group& ranks);

/// RUN/plan.json: bytes of a rank, by tier and purpose.
void write_plan(const SettledMemory& memory, const std::filesystem::path& run);

}  // namespace chorus::inline train
