// A run file as the planner sees it.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "data/batches.h"
#include "plan/placement.h"
#include "train/config.h"

namespace chorus::inline train {

/// Returns the greatest number that divides the number of experts of every MoE layer; 0: a dense model.
int64_t common_experts(const ModelConfig& model);

/// Returns the mesh of a run on `world` ranks. UserError as make_mesh().
Mesh mesh_of(const RunConfig& config, int world);

/// Returns the job of a run file; `model` has its vocabulary. The micro-batch is left to set_largest().
Job job_of(const RunConfig& config, const ModelConfig& model, const Mesh& mesh);

BatchOptions batch_options(const RunConfig& config);

/// Sets the micro-batch of the job: of these, the one with which it holds most on the device. There must be one.
void set_largest(Job& job, std::span<const PaddedShape> batches);

/// The text of a run as far as memory is concerned.
struct TextShape {
  int64_t vocabulary = 0;
  std::vector<PaddedShape> largest;  // BatchStream::largest()
};
/// Returns the text of a run in `folder`, where vocabulary and text are first made ready, as train() does; for a run
/// that has begun, with its vocabulary. UserError while another process has the folder.
TextShape text_shape(const RunConfig& config, const std::filesystem::path& folder);

/// Returns the rows of the embedding as far as they are known without reading text: those of train.init, of
/// vocabulary.model when that file is there, or vocabulary.size. 0: the text will say.
int64_t vocabulary_rows(const RunConfig& config);

/// Returns the budgets of the run file. If it sets none for the device and an accelerator is here, the budget is the
/// free memory of that of rank `rank_here` of this host. What libraries take there as workspaces is taken off.
Budgets budgets_of(const RunConfig& config, int rank_here = 0);

struct SettledMemory {
  MemoryConfig tiers;        // without Tier::automatic
  MemoryPlan typical, most;  // by MemoryCase
  int64_t save_budget = 0;   // bytes of copies of what is being saved, which the plans have on the host
};
/// Returns the tiers that a run in `folder` uses: those of the run file, with `automatic` ones chosen. `stream` has
/// not begun. UserError, with what would fit, when the run may come to hold more than its budgets, with kMargin added
/// and however tokens are routed.
SettledMemory settle_memory(const RunConfig& config, Job job, BatchStream& stream,
                            const std::filesystem::path& folder, const Group& ranks);

/// Writes RUN/plan.json: bytes of a rank, by tier and purpose.
void write_plan(const SettledMemory& memory, const std::filesystem::path& run);

}  // namespace chorus::inline train
