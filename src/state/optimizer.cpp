#include "state/optimizer.h"

#include <algorithm>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "state/internal/gradient_reducer.h"
#include "state/internal/shards.h"
#include "state/internal/weight_provider.h"

namespace chorus::inline state {

struct Optimizer::State {
  Shards shards;
  GradientReducer reducer = GradientReducer(shards);
  WeightProvider provider = WeightProvider(shards, reducer);
  Group beside = {};  // its thread has what is done beside an accelerator

  void visit_chunk(const Chunk& chunk, bool changes, const Visit& visit);
  void gather(Shard& shard);
  void gather_all();
  void update_chunk(const Chunk& chunk, const AdamWStep& step);
  void update_beside(std::vector<Chunk> chunks, const AdamWStep& step);
};

Optimizer::Optimizer(Transformer& model, const OptimConfig& config, Parallel& parallel,
                     const MemoryConfig& memory)
    : model_(model),
      config_(config),
      parallel_(parallel),
      state_(new State{.shards = Shards(model, parallel, memory, config.expert_state)}) {
  model_.watch(&state_->provider);
}

Optimizer::~Optimizer() {
  model_.watch(nullptr);
  if (!state_->shards.settle()) static_cast<void>(state_.release());
}

BlockWatcher& Optimizer::watcher() {
  return state_->provider;
}

bool Optimizer::values_stay() const {
  return std::ranges::none_of(state_->shards.all(),
                              [](const Shard& shard) { return shard.values_go || shard.by_use; });
}

int64_t Optimizer::updates() const {
  return state_->shards.updates;
}

void Optimizer::set_updates(int64_t updates) {
  state_->shards.updates = updates;
}

int64_t Optimizer::peak_bytes() const {
  return state_->shards.peak_bytes();
}

uint64_t Optimizer::bytes_on_disk() const {
  const ScratchFile* file = state_->shards.file();
  return file ? file->size() : 0;
}

ScratchFile::Traffic Optimizer::traffic() const {
  const ScratchFile* file = state_->shards.file();
  return file ? file->traffic() : ScratchFile::Traffic();
}

void Optimizer::freeze(std::vector<bool> parameters) {
  state_->shards.freeze(std::move(parameters));
}

void Optimizer::begin_update() {
  state_->provider.begin_update();
}

void Optimizer::last_micro_batch() {
  state_->provider.last = true;
}

/// Shows a chunk's elements to `visit`; where it `changes` them, sets the values from the masters.
void Optimizer::State::visit_chunk(const Chunk& chunk, bool changes, const Visit& visit) {
  const Shard& shard = chunk.shard;
  const Loaded loaded = shards.load(chunk);
  const at::Tensor master = shard.has_master ? loaded.state[2] : loaded.value[0];
  const auto stretch = [&](size_t i, int64_t within, int64_t at, int64_t count) {
    const auto view = [&](const at::Tensor& x) { return x.narrow(0, at - chunk.begin(), count); };
    visit({.parameter = shard.bucket.parameters[i],
           .local = shards.local(shard, i),
           .first = within,
           .master = view(master),
           .m = view(loaded.state[0]),
           .v = view(loaded.state[1])});
  };
  const int64_t from = changes ? chunk.begin() : std::max(chunk.begin(), shard.own);
  const int64_t to = changes ? chunk.end() : std::min(chunk.end(), shard.own_end);
  shards.for_stretches(shard.bucket, from, to, stretch);
  if (changes && shard.has_master) loaded.value[0].copy_(master);
  if (changes || loaded.caught_up) shards.store(chunk, loaded);
}

void Optimizer::read(const Visit& visit) {
  finish_update();
  const Visit own = [&](const Part& part) {
    if (!part.local.double_of_another) visit(part);
  };
  for (Shard& shard : state_->shards.all()) {
    for (int64_t number = 0; number < shard.chunks(); ++number)
      state_->visit_chunk({shard, number}, false, own);
    shard.finish_writing();
  }
}

void Optimizer::change(const Visit& visit) {
  const at::NoGradGuard plain;
  finish_update();
  for (Shard& shard : state_->shards.all()) {
    for (int64_t number = 0; number < shard.chunks(); ++number)
      state_->visit_chunk({shard, number}, true, visit);
    shard.finish_writing();
  }
  state_->gather_all();
}

void Optimizer::initialise(RandomKey seed) {
  change([&](const Part& part) {
    const at::Tensor values = at::empty(part.master.sizes(), at::kFloat);
    auto* const out = values.mutable_data_ptr<float>();
    part.local.for_runs(part.first, part.first + values.numel(), [&](int64_t whole, int64_t held, int64_t n) {
      fill_initial(model_.catalogue().parameters[part.parameter], seed, whole, n, out + held - part.first);
    });
    part.master.copy_(values);
  });
}

/// Begins to put values that stay together from all ranks' parts.
void Optimizer::State::gather(Shard& shard) {
  if (!shard.values_go && shard.in_parts()) provider.gather(shard, false);
}

void Optimizer::State::gather_all() {
  for (Shard& shard : shards.all()) gather(shard);
  for (Shard& shard : shards.all()) shard.gathering.finish();
}

double Optimizer::gradient_norm() {
  finish_update();
  state_->reducer.finish_all();
  return std::sqrt(parallel_.tp.sum(parallel_.dp.sum(state_->reducer.sum_of_squares())));
}

namespace {

void prefetch_for_update(const Chunk& chunk) {
  Shard& shard = chunk.shard;
  for (Arrays* arrays : {&shard.gradient, &shard.moments, &shard.value})
    arrays->prefetch(chunk.number, shard.home);
}

}  // namespace

void Optimizer::State::update_chunk(const Chunk& chunk, const AdamWStep& step) {
  Shard& shard = chunk.shard;
  const Loaded loaded = shards.load_for_update(chunk);
  const at::Tensor gradient = shard.gradient.load(chunk.number, shard.home)[0];
  shards.for_weights(chunk, loaded, [&](AdamWTensor& weight, int64_t at) {
    weight.gradient = gradient.narrow(0, at, weight.m.numel());
    adamw_step(weight, step);
  });
  shards.store(chunk, loaded);
}

/// Begins to update the chunks in the background, shard by shard, in the order in which blocks need them.
void Optimizer::State::update_beside(std::vector<Chunk> chunks, const AdamWStep& step) {
  std::vector<Shard*> of_chunks;
  for (const Chunk& chunk : chunks) {
    if (of_chunks.empty() || of_chunks.back() != &chunk.shard) of_chunks.push_back(&chunk.shard);
  }
  const auto coming = std::make_shared<Prefetched<Chunk, decltype(&prefetch_for_update)>>(
      std::move(chunks), &prefetch_for_update);
  for (Shard* const shard : of_chunks) {
    shard->updating.begin(beside, SideStream::copies, shards.device(), [this, shard, coming, step] {
      coming->work_on([&](const Chunk& chunk) { return &chunk.shard == shard; },
                      [&](const Chunk& chunk) { update_chunk(chunk, step); });
      shard->finish_writing();
    });
    gather(*shard);
  }
}

void Optimizer::update(double learning_rate, double norm) {
  finish_update();
  Shards& shards = state_->shards;
  ++shards.updates;
  const bool clips = config_.clip_norm > 0 && norm > config_.clip_norm;
  const AdamWStep step = {.learning_rate = learning_rate,
                          .beta1 = config_.beta1,
                          .beta2 = config_.beta2,
                          .epsilon = config_.epsilon,
                          .weight_decay = config_.weight_decay,
                          .step = shards.updates,
                          .gradient_scale = clips ? config_.clip_norm / norm : 1.0};
  shards.note_update(step);
  for (Shard& shard : shards.all()) {
    if (!shards.is_whole(shard) || shards.rests(shard)) continue;
    adamw_step(shards.whole_weights(shard), step);
    state_->gather(shard);
  }
  std::vector<Chunk> here, beside;
  for (const Chunk& chunk : shards.in_update())
    (shards.updates_beside(chunk.shard) ? beside : here).push_back(chunk);
  for_update(shards.all(), std::move(here), &prefetch_for_update, [&](const Chunk& chunk) {
    Shard& shard = chunk.shard;
    state_->update_chunk(chunk, step);
    if (chunk.number + 1 == shard.chunks()) state_->gather(shard);
  });
  for (Shard& shard : shards.all()) shard.gathering.finish();
  state_->update_beside(std::move(beside), step);
}

void Optimizer::finish_update() {
  for (Shard& shard : state_->shards.all()) {
    shard.gathering.finish();
    shard.updating.finish();
  }
}

}  // namespace chorus::inline state
