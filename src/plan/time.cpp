#include "plan/time.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "io/files.h"
#include "io/json.h"
#include "layout/cost.h"

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

StepTime plan_time(const Job& job, const Machine& m, const ModelCost& cost) {
  const ModelConfig& model = job.model;
  const Mesh& mesh = job.mesh;
  const double a = static_cast<double>(job.rounds()), w = job.compute == at::kFloat ? 4 : 2;
  const auto source = static_cast<double>(job.batch.rows * job.batch.source_length);
  const auto target = static_cast<double>(job.batch.rows * job.batch.target_length);
  const double d = static_cast<double>(model.d_model), k = static_cast<double>(model.moe.top_k);
  const auto rate_of = [&](int parts) {  // between ranks that are that many apart at most
    return parts <= m.ranks_per_host ? m.link : m.network;
  };
  StepTime time;

  // Backward costs twice forward; computing again once more.
  const double passes = job.recompute ? 4 : 3;
  const double flops = passes * (cost.source_flops * source + cost.target_flops * target);
  time.compute = a * flops / mesh.tp / m.flops;

  int64_t sparse_encoder = 0, sparse_decoder = 0;
  for (int64_t i = 0; i < model.encoder_layers; ++i) {
    sparse_encoder += model.is_sparse(i, model.moe.encoder_every) ? 1 : 0;
  }
  for (int64_t i = 0; i < model.decoder_layers; ++i) {
    sparse_decoder += model.is_sparse(i, model.moe.decoder_every) ? 1 : 0;
  }
  if (mesh.ep * mesh.etp > 1) {
    const double skew = job.skew.empty() ? 1 : *std::ranges::max_element(job.skew);
    // There and back, in forward, again where it is run again, and in backward.
    const double crossings = 2 * (job.recompute ? 3 : 2);
    const double layers = static_cast<double>(sparse_encoder + sparse_decoder);
    const double rows =
        (source * static_cast<double>(sparse_encoder) + target * static_cast<double>(sparse_decoder)) * k /
        mesh.tp * std::max(1.0, skew);
    // What a rank's experts get goes on to the other ranks with parts of them, each of which computes a part.
    const double away = 1 - 1.0 / mesh.ep, parts = mesh.etp - 1;
    time.exchange = a * crossings *
                    (rows * d * w * (away / rate_of(mesh.ep * mesh.etp) + parts / rate_of(mesh.etp)) +
                     layers * m.latency * (mesh.ep - 1 + parts));
  }
  if (mesh.tp > 1) {
    // A sum over tp moves its bytes twice: two a block in each direction, three in the decoder's.
    const double sums = 2 * static_cast<double>(model.encoder_layers) * source +
                        3 * static_cast<double>(model.decoder_layers) * target;
    time.tensor = a * 2 * sums * 2 * (1 - 1.0 / mesh.tp) * d * w / rate_of(mesh.tp);
  }

  const MemoryConfig& memory = job.memory;
  if (job.recompute) {  // each block's input and the last one's output, out and in
    const double kept = a * d * w *
                        (source * static_cast<double>(model.encoder_layers + 1) +
                         target * static_cast<double>(model.decoder_layers + 1));
    time.movement += leave(m, memory.activations, kept) + fetch(m, memory.activations, kept);
  }
  const double expert_count = static_cast<double>(cost.parameters.experts) / (mesh.ep * mesh.etp);
  const double dense_count = static_cast<double>(cost.parameters.total() - cost.parameters.experts) / mesh.tp;
  const Weights roles[] = {
      {dense_count, static_cast<double>(mesh.dp()), memory.parameters, memory.gradients, memory.optimizer},
      {expert_count, static_cast<double>(mesh.edp()), memory.expert_parameters.value_or(memory.parameters),
       memory.expert_gradients.value_or(memory.gradients),
       memory.expert_optimizer.value_or(memory.optimizer)}};
  for (const Weights& role : roles) {
    const double away = 1 - 1 / role.sharing, kept = mesh.zero >= 1 ? role.count / role.sharing : role.count;
    const double between = rate_of(mesh.world);
    // Gradients are summed once an update, or each micro-batch where they are in parts; weights come back
    // once an update, or twice a micro-batch where they are in parts.
    const bool in_parts = mesh.zero >= 3 || (mesh.zero >= 1 && role.values != Tier::device);
    const double sums = mesh.zero >= 2 ? a : 1, gathers = in_parts ? 2 * a : mesh.zero >= 1 ? 1 : 0;
    if (mesh.zero == 0) {
      time.movement += 2 * away * 4 * role.count / between;
    } else {
      time.movement += away * role.count * (4 * sums + w * gathers) / between;
    }
    time.movement += fetch(m, role.values, 2 * a * w * kept) + fetch(m, role.gradients, (a - 1) * 4 * kept) +
                     leave(m, role.gradients, a * 4 * kept);
    // Read for the norm and for the update; moments and masters are read and written.
    const double state = w == 4 ? 8 : 12;
    const bool on_host = role.optimizer != Tier::device;
    const double touched = kept * (8 + 2 * state + 2 * w);
    double pass = touched / (on_host ? m.host_memory : m.device_memory);
    if (role.optimizer == Tier::nvme)
      pass = std::max(pass, kept * state * (1 / m.disk_read + 1 / m.disk_write));
    if (role.gradients == Tier::nvme) pass += kept * 8 / m.disk_read;
    if (role.values == Tier::nvme) pass += kept * w * (1 / m.disk_read + 1 / m.disk_write);
    if (on_host && role.values == Tier::device) pass += kept * w / m.host_link;
    if (on_host && role.gradients == Tier::device) pass += kept * 4 / m.host_link;
    time.optimizer += pass;
  }
  return time;
}

}  // namespace chorus::inline plan
