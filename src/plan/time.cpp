#include "plan/time.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "io/files.h"
#include "io/json.h"
#include "layout/cost.h"
#include "optim/compact_state.h"

namespace chorus::inline plan {

namespace {

struct Rate {
  const char* key;
  double Machine::*value;
};
constexpr Rate kRates[] = {{"flops", &Machine::flops},
                           {"device_memory", &Machine::device_memory},
                           {"host_memory", &Machine::host_memory},
                           {"host_link", &Machine::host_link},
                           {"disk_read", &Machine::disk_read},
                           {"disk_write", &Machine::disk_write},
                           {"link", &Machine::link},
                           {"network", &Machine::network},
                           {"latency", &Machine::latency}};

/// Of the weights of one role that a rank holds: how many, and where what belongs to them lies.
struct Weights {
  double count = 0, sharing = 1;
  Tier values, gradients, optimizer;
  StateForm state = StateForm::fp32;  // of the moments
};

/// Seconds to bring `bytes` from a tier to the device.
double fetch(const Machine& m, Tier tier, double bytes) {
  if (tier == Tier::device) return 0;
  return tier == Tier::host ? bytes / m.host_link : bytes / std::min(m.host_link, m.disk_read);
}

double leave(const Machine& m, Tier tier, double bytes) {
  if (tier == Tier::device) return 0;
  return tier == Tier::host ? bytes / m.host_link : bytes / std::min(m.host_link, m.disk_write);
}

}  // namespace

nlohmann::json to_json(const Machine& machine) {
  nlohmann::json json = {{"name", machine.name}, {"ranks_per_host", machine.ranks_per_host}};
  for (const Rate& rate : kRates) json[rate.key] = machine.*rate.value;
  return json;
}

Machine read_machine(const std::filesystem::path& file) {
  const nlohmann::json json = read_json(file);
  if (!json.is_object())
    throw UserError("{} is no machine: `chorus bench machine --out FILE` writes one", file.string());
  Machine machine = {.name = file.stem().string()};
  if (json.contains("name") && json["name"].is_string()) machine.name = json["name"];
  for (const Rate& rate : kRates) {
    if (!json.contains(rate.key) || !json[rate.key].is_number() || json[rate.key].get<double>() <= 0)
      throw UserError("{}: \"{}\" is no number above 0", file.string(), rate.key);
    machine.*rate.value = json[rate.key];
  }
  if (json.contains("ranks_per_host") && json["ranks_per_host"].is_number_integer())
    machine.ranks_per_host = json["ranks_per_host"];
  if (machine.ranks_per_host < 1) throw UserError("{}: \"ranks_per_host\" is below 1", file.string());
  return machine;
}

ModelCost cost_of(const Job& job) {
  return cost_of(job.model, std::max(job.batch.source_length, job.batch.target_length));
}

namespace {

/// The quantities from which all parts of the time are computed.
struct Step {
  const Job& job;
  const Machine& m;
  double rounds = static_cast<double>(job.rounds());  // micro-batches of the busiest replica
  double width = job.compute == at::kFloat ? 4 : 2;   // bytes of a value
  double source = static_cast<double>(job.batch.rows * job.batch.source_length);
  double target = static_cast<double>(job.batch.rows * job.batch.target_length);
  double d = static_cast<double>(job.model.d_model);

  /// Bytes per second between ranks that are that many apart at most.
  [[nodiscard]] double rate_of(int parts) const { return parts <= m.ranks_per_host ? m.link : m.network; }
};

/// Backward costs twice as much as forward; recomputation adds one forward.
double compute_time(const Step& s, const ModelCost& cost) {
  const double passes = s.job.recompute ? 4 : 3;
  const double flops = passes * (cost.source_flops * s.source + cost.target_flops * s.target);
  return s.rounds * flops / s.job.mesh.tp / s.m.flops;
}

double exchange_time(const Step& s) {
  const ModelConfig& model = s.job.model;
  const Mesh& mesh = s.job.mesh;
  if (mesh.ep * mesh.etp == 1) return 0;
  double encoder = 0, decoder = 0;  // MoE layers
  for (int64_t i = 0; i < model.encoder_layers; ++i)
    encoder += model.is_sparse(i, model.moe.encoder_every) ? 1 : 0;
  for (int64_t i = 0; i < model.decoder_layers; ++i)
    decoder += model.is_sparse(i, model.moe.decoder_every) ? 1 : 0;
  const double skew = s.job.skew.empty() ? 1 : *std::ranges::max_element(s.job.skew);
  // There and back, in forward, again where it is run again, and in backward.
  const double crossings = 2 * (s.job.recompute ? 3 : 2);
  const double rows = (s.source * encoder + s.target * decoder) * static_cast<double>(model.moe.top_k) /
                      mesh.tp * std::max(1.0, skew);
  // What a rank's experts get goes on to the other ranks with parts of them, each of which computes a part.
  const double away = 1 - 1.0 / mesh.ep, parts = mesh.etp - 1;
  return s.rounds * crossings *
         (rows * s.d * s.width * (away / s.rate_of(mesh.ep * mesh.etp) + parts / s.rate_of(mesh.etp)) +
          (encoder + decoder) * s.m.latency * (mesh.ep - 1 + parts));
}

/// Returns the seconds of the sums over tp, each of which moves its bytes twice. Forward, and where it is run again,
/// there are two per block, in the decoder three, and one per embedding; in backward as many per block, one per decoder
/// block of the gradient w.r.t. the encoder's output, and one of the loss.
double tensor_time(const Step& s) {
  const int tp = s.job.mesh.tp;
  if (tp == 1) return 0;
  const auto decoder_layers = static_cast<double>(s.job.model.decoder_layers);
  const double forward = s.job.recompute ? 2 : 1;  // runs
  const double blocks =
      2 * static_cast<double>(s.job.model.encoder_layers) * s.source + 3 * decoder_layers * s.target;
  const double rows =
      (forward + 1) * blocks + forward * (s.source + s.target) + decoder_layers * s.source + s.target;
  return s.rounds * rows * 2 * (1 - 1.0 / tp) * s.d * s.width / s.rate_of(tp);
}

/// Returns the seconds in which each block's input and the last one's output go out and in.
double stash_time(const Step& s) {
  if (!s.job.recompute) return 0;
  const double kept = s.rounds * s.d * s.width *
                      (s.source * static_cast<double>(s.job.model.encoder_layers + 1) +
                       s.target * static_cast<double>(s.job.model.decoder_layers + 1));
  return leave(s.m, s.job.memory.activations, kept) + fetch(s.m, s.job.memory.activations, kept);
}

/// Returns the seconds in which weights and gradients move between ranks and tiers.
double movement_time(const Step& s, const Weights& role) {
  const Mesh& mesh = s.job.mesh;
  const double a = s.rounds, w = s.width, away = 1 - 1 / role.sharing, between = s.rate_of(mesh.world);
  const double kept = mesh.zero >= 1 ? role.count / role.sharing : role.count;
  // Gradients are summed once per update, or in each micro-batch where they are in parts; weights come back
  // once per update, or twice in a micro-batch where they are in parts.
  const bool in_parts = mesh.zero >= 3 || (mesh.zero >= 1 && role.values != Tier::device);
  const double sums = mesh.zero >= 2 ? a : 1, gathers = in_parts ? 2 * a : mesh.zero >= 1 ? 1 : 0;
  const double over_ranks = mesh.zero == 0 ? 2 * away * 4 * role.count / between
                                           : away * role.count * (4 * sums + w * gathers) / between;
  return over_ranks + fetch(s.m, role.values, 2 * a * w * kept) +
         fetch(s.m, role.gradients, (a - 1) * 4 * kept) + leave(s.m, role.gradients, a * 4 * kept);
}

/// Returns the seconds of the optimizer. Gradients are read for the norm and for the update; moments and masters are
/// read and written.
double optimizer_time(const Step& s, const Weights& role) {
  const Machine& m = s.m;
  const int64_t rows = s.width == 4 ? 2 : 3;
  const double w = s.width,
               state = static_cast<double>(packed_bytes(role.state, rows, kStateBlock)) / kStateBlock;
  const double kept = s.job.mesh.zero >= 1 ? role.count / role.sharing : role.count;
  const bool on_host = role.optimizer != Tier::device;
  double pass = kept * (8 + 2 * state + 2 * w) / (on_host ? m.host_memory : m.device_memory);
  if (role.optimizer == Tier::nvme)
    pass = std::max(pass, kept * state * (1 / m.disk_read + 1 / m.disk_write));
  if (role.gradients == Tier::nvme) pass += kept * 8 / m.disk_read;
  if (role.values == Tier::nvme) pass += kept * w * (1 / m.disk_read + 1 / m.disk_write);
  if (on_host && role.values == Tier::device) pass += kept * w / m.host_link;
  if (on_host && role.gradients == Tier::device) pass += kept * 4 / m.host_link;
  return pass;
}

}  // namespace

StepTime plan_time(const Job& job, const Machine& machine, const ModelCost& cost) {
  const Step step = {.job = job, .m = machine};
  const Mesh& mesh = job.mesh;
  const MemoryConfig& memory = job.memory;
  StepTime time = {.compute = compute_time(step, cost),
                   .exchange = exchange_time(step),
                   .tensor = tensor_time(step),
                   .movement = stash_time(step)};
  const double expert_count = static_cast<double>(cost.parameters.experts) / (mesh.ep * mesh.etp);
  const double dense_count = static_cast<double>(cost.parameters.total() - cost.parameters.experts) / mesh.tp;
  const Weights roles[] = {
      {dense_count, static_cast<double>(mesh.dp()), memory.parameters, memory.gradients, memory.optimizer},
      {expert_count, static_cast<double>(mesh.edp()), memory.expert_parameters.value_or(memory.parameters),
       memory.expert_gradients.value_or(memory.gradients), memory.expert_optimizer.value_or(memory.optimizer),
       job.expert_state}};
  for (const Weights& role : roles) {
    time.movement += movement_time(step, role);
    time.optimizer += optimizer_time(step, role);
  }
  return time;
}

}  // namespace chorus::inline plan
