// A run file as the planner sees it.
#pragma once

#include <filesystem>

#include "chorus/plan/placement.h"
#include "chorus/train/config.h"

namespace chorus {

/// The greatest number that divides the experts of every MoE layer; 0: a dense model.
int64_t common_experts(const ModelConfig& model);

/// Of a run on `world` ranks. UserError as make_mesh().
Mesh mesh_of(const RunConfig& config, int world);

/// `model` with its vocabulary; `batch`: the largest micro-batch.
Job job_of(const RunConfig& config, const ModelConfig& model, const Mesh& mesh, const BatchShape& batch);

/// Of the run file.
Budgets budgets_of(const MemoryConfig& config);

/// The tiers with which a run in `folder` goes: those of the run file, `automatic` ones chosen. UserError
/// with what would fit where a micro-batch is certain not to; what the planner cannot foresee (drops, skew)
/// may go either way, and is left to the run.
MemoryConfig settle_memory(const RunConfig& config, const Job& job, const std::filesystem::path& folder);

}  // namespace chorus
