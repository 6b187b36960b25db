// Whole models: a training step, translation, weights for the peers.

#include <ATen/ops/randint.h>
#include <ATen/ops/stack.h>

#include "data.h"
#include "decode/beam.h"
#include "formats/folder.h"
#include "formats/stored_tensors.h"
#include "layout/cost.h"
#include "moe.h"
#include "ranks.h"
#include "state/optimizer.h"
#include "work.h"

namespace chorus::bench {

namespace {

/// 6+6 layers of d 512 but for what "model" says: vocabulary, experts (0: dense), layers, d_model, ffn.
ModelConfig config_of(const Json& options) {
  const Json& model = options["model"];
  ModelConfig config = {.vocabulary = model.value("vocabulary", 32000),
                        .d_model = model.value("d_model", 512),
                        .encoder_layers = model.value("layers", 6),
                        .decoder_layers = model.value("layers", 6),
                        .attention_heads = model.value("heads", 8),
                        .ffn_dim = model.value("ffn", 2048)};
  config.moe.experts = model.value("experts", 0);
  config.moe.top_k = 2;
  config.moe.capacity_factor = 0;
  config.moe.gate_normalization = GateNormalization::after_drop;
  config.moe.jitter = 0;
  return config;
}

void initialise(Transformer& model) {
  for (size_t i = 0; i < model.parameters().size(); ++i)
    model.set(i, initial_value(model.catalogue().parameters[i], RandomKey(1)));
}

/// "int8", or "int4": experts so, the rest in int8; otherwise none.
QuantizationConfig quantization_of(const Json& options) {
  const auto dtype = options["dtype"].get<std::string>();
  if (dtype == "int8") return {.experts = Quantization::int8, .dense = Quantization::int8};
  if (dtype == "int4") return {.experts = Quantization::int4, .dense = Quantization::int8};
  return {};
}

/// The same weights, quantized, in a model without memory of its own.
void quantize_initial(Transformer& model) {
  for (size_t p = 0; p < model.parameters().size(); ++p) {
    const ParameterSpec& spec = model.catalogue().parameters[p];
    Parameter& parameter = model.parameters()[p];
    parameter.value = initial_value(spec, RandomKey(1));
    if (spec.quantization == Quantization::none) continue;
    std::vector<at::Tensor> slices;
    for (size_t i = 0; i < spec.stored.size(); ++i)
      slices.push_back(quantize(slice(spec, parameter.value, i), spec.quantization));
    const std::vector<int64_t> shape = spec.stored_shape();
    parameter.set_quantized(spec.sliced ? at::stack(slices) : slices[0], spec.quantization, shape[0],
                            shape[1]);
  }
}

int64_t elements(const Catalogue& catalogue) {
  return catalogue.elements(Role::dense) + catalogue.elements(Role::expert);
}

/// ids [B, L], the side without padding, with `first` in front.
std::vector<int32_t> ids_of(const at::Tensor& ids) {
  const auto* data = ids.const_data_ptr<int64_t>();
  return {data, data + ids.numel()};
}

struct Training {
  explicit Training(const Json& options)
      : parallel(parallel_of(options, options["model"].value("experts", 0))),
        micro_batches(options.value("micro_batches", ranks().size())),
        device(device_of(options)),
        model(config_of(options),
              {.device = device, .compute = type_of(options), .gradients = true, .parallel = &parallel}),
        optimizer(model, {.weight_decay = 0.01, .clip_norm = 1}, parallel),
        statistics(model.catalogue().sparse_layers()) {
    optimizer.initialise(RandomKey(1));
    const Tensors data(options["data"].get<std::string>());
    const at::Tensor source = data.get("source"), target = data.get("target"), labels = data.get("labels");
    batch = {.rows = source.size(0),
             .source_length = source.size(1),
             .target_length = target.size(1),
             .source = ids_of(source),
             .target_input = ids_of(target),
             .target_labels = ids_of(labels),
             .direction = std::vector<int32_t>(source.size(0), 0),
             .source_tokens = source.numel(),
             .target_tokens = target.numel()};
  }
  /// As train/trainer.cpp makes an update.
  void step() {
    run_micro_batches();
    optimizer.update(1e-4, optimizer.gradient_norm());
    wait_for(device);
  }
  void run_micro_batches() {
    optimizer.begin_update();
    LossSums sums;
    for (int64_t i = ranks().rank(); i < micro_batches; i += ranks().size()) {
      const Pass pass = {.training = true,
                         .key = RandomKey(1)
                                    .derive(static_cast<uint64_t>(optimizer.updates()))
                                    .derive(static_cast<uint64_t>(i)),
                         .auxiliary_scale = 1 / static_cast<double>(micro_batches),
                         .statistics = &statistics};
      if (i + ranks().size() >= micro_batches) optimizer.last_micro_batch();
      sums.add(model.train(model.to_batch(batch), pass,
                           {.gradient_scale = 1 / static_cast<double>(batch.target_tokens * micro_batches)}));
    }
    loss = ranks().sum(sums.loss) / ranks().sum(static_cast<double>(sums.tokens));
  }
  Parallel parallel;
  int64_t micro_batches;  // of an update, all of the same text
  at::Device device;
  Transformer model;
  Optimizer optimizer;
  std::vector<MoeStatistics> statistics;
  MicroBatch batch;
  double loss = 0;
};

Tier tier_of(const std::string& name) {
  return name == "nvme" ? Tier::nvme : name == "host" ? Tier::host : Tier::device;
}

/// The optimizer's part of an update, with gradients that are there.
struct Phase {
  explicit Phase(const Json& options)
      : parallel(parallel_of(options, 0)),
        device(device_of(options)),
        model(config_of(options),
              {.device = device, .compute = type_of(options), .gradients = true, .parallel = &parallel}),
        optimizer(model, {.weight_decay = 0.01, .clip_norm = 1}, parallel,
                  {.optimizer = tier_of(options["tier"]), .folder = options.value("folder", "")}) {
    optimizer.initialise(RandomKey(1));
    for (Parameter& p : model.parameters()) p.gradient.normal_();
  }
  void step() {
    for (Parameter& p : model.parameters()) p.has_gradient = true;
    optimizer.update(1e-4, optimizer.gradient_norm());
    optimizer.begin_update();
    wait_for(device);
  }
  Parallel parallel;
  at::Device device;
  Transformer model;
  Optimizer optimizer;
};

}  // namespace

/// model, dtype, data: a file of source, target and labels, int64 [B, L], which is a micro-batch; ep, zero;
/// micro_batches: of an update, over all ranks (one each); device.
Work training_step(const Json& options) {
  auto training = std::make_shared<Training>(options);
  Work work = {.run = [training] { training->step(); }};
  training->step();
  work.facts["checks"]["loss"] = training->loss;
  double skew = 0;
  for (const MoeStatistics& layer : training->statistics) skew = std::max(skew, skew_of(layer));
  if (!training->statistics.empty()) work.facts["skew"] = skew;
  // Weights, gradients, two moments; for bf16 the masters as well.
  const bool bf16 = type_of(options) == at::kBFloat16;
  work.facts["state_bytes"] = elements(training->model.catalogue()) * (bf16 ? 18 : 16);
  work.facts["parameters"] = elements(training->model.catalogue());
  const auto tokens = static_cast<double>(training->batch.target_tokens * training->micro_batches);
  work.facts["tokens"] = tokens;
  work.facts["flops"] =
      cost_of(training->model.config(), training->batch.target_length).training_flops() * tokens;
  return work;
}

/// model, dtype, device, tier of the optimizer's state ("device", "host" or "nvme"), folder of its file: norm,
/// clipping, AdamW, weights for the next forward.
Work optimizer_phase(const Json& options) {
  auto phase = std::make_shared<Phase>(options);
  Work work = {.run = [phase] { phase->step(); }};
  phase->step();
  const ScratchFile::Traffic before = phase->optimizer.traffic();
  phase->step();
  const ScratchFile::Traffic after = phase->optimizer.traffic();
  work.facts["checks"]["parameters"] = elements(phase->model.catalogue());
  if (options["tier"] == "nvme")
    work.facts["checks"]["bytes on disk"] = after.read - before.read + after.written - before.written;
  return work;
}

constexpr int32_t kTag = 5;  // of the target language, forced on every side

/// model, dtype (also "int8", "int4"), caches ("bf16"; else fp32), data: a file of source, int64
/// [B, S], </s> at the end; beam, length: of each translation, its tag included; shortlist: tokens that are candidates
/// (0: all).
Work translation(const Json& options) {
  ModelConfig config = config_of(options);
  config.quantization = quantization_of(options);
  const bool quantized = config.quantization.any();
  Transformer::Options made = {.compute = type_of(options), .empty = quantized};
  if (options.value("caches", "") == "bf16") made.caches = at::kBFloat16;
  auto model = std::make_shared<Transformer>(config, made);
  quantized ? quantize_initial(*model) : initialise(*model);
  const at::Tensor source = Tensors(options["data"].get<std::string>()).get("source");
  auto inputs = std::make_shared<std::vector<DecodeInput>>();
  for (int64_t row = 0; row < source.size(0); ++row)
    inputs->push_back({.source = ids_of(source[row]), .forced = {kTag}});
  const std::shared_ptr<const StepDecoder> decoder = make_step_decoder(*model);
  if (const int64_t listed = options.value("shortlist", 0); listed > 0) {
    constexpr int64_t kSpecial = 4;
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < listed; ++i)
      tokens.push_back(static_cast<int32_t>(kSpecial + i * (config.vocabulary - kSpecial) / listed));
    const auto shared = decoder->take_tokens(tokens);
    for (DecodeInput& input : *inputs) input.candidates.shared = shared;
  }
  const DecodeOptions decoding = {.beam = options["beam"],
                                  .max_length_factor = 0,
                                  .max_length_offset = options["length"],
                                  .batch_tokens = int64_t{1} << 40,
                                  .never = {kEos}};
  const auto run = [model, decoder, inputs, decoding] { return beam_search(*decoder, *inputs, decoding); };
  Work work = {.run = [run] { run(); }};
  Json tokens = Json::array();
  for (const auto& hypotheses : run()) {
    const std::vector<int32_t>& best = hypotheses[0].tokens;
    if (std::cmp_not_equal(best.size() + 1, options["length"].get<int64_t>()))
      throw std::runtime_error("a translation has " + std::to_string(best.size() + 1) + " tokens");
    tokens.push_back(best);
  }
  work.facts["translations"] = tokens;
  return work;
}

/// model, path: the weights that training_step and translation start from, under transformers' names.
Work write_weights(const Json& options) {
  const Catalogue catalogue = make_catalogue(config_of(options));
  const TensorSet weights = {
      .tensor = [&](size_t i) { return initial_value(catalogue.parameters[i], RandomKey(1)); }};
  save_tensors(options["path"].get<std::string>(), catalogue, std::span(&weights, 1));
  return {.run = [] {}};
}

/// model, vocabulary: a SentencePiece model of at most model.vocabulary pieces; path: the folder, made as
/// save_model makes it, of random weights.
Work write_model(const Json& options) {
  const ModelConfig config = config_of(options);
  const Catalogue catalogue = make_catalogue(config);
  const Vocabulary vocabulary = Vocabulary::load(options["vocabulary"].get<std::string>());
  save_model(options["path"].get<std::string>(),
             {.config = config,
              .catalogue = catalogue,
              .weights = [&](size_t i) { return initial_value(catalogue.parameters[i], RandomKey(1)); },
              .vocabulary = vocabulary});
  Work work = {.run = [] {}};
  work.facts["parameters"] = elements(catalogue);
  return work;
}

}  // namespace chorus::bench
