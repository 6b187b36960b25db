// What the comparisons with transformers look at: runs a model on given token ids and writes down what it
// computed.
//
//   probe MODEL_DIR INPUT.json OUTPUT
//
// INPUT: {"batches": [{"source": [[id]], "target": [[id]]}],
//         "decode": {"source": [[id]], "forced": [[id]], "never": [id], "most": tokens, "beams": [n]}}
// OUTPUT.safetensors, for batch b, whose rows are padded to a rectangle:
//   b.encoder [B, S, d]; b.logits [B, T, V], token by token as when translating; b.nll [B, T], in one pass as
//   when training; b.router.l [B S or B T, E] b.experts.l and b.kept.l [.., k] of sparse layer l;
//   with "gradients": true, b.gradient.TENSOR, by each stored tensor of the summed loss
// OUTPUT.json: {"beam": [{"tokens": [id], "score": x}]}, the best of each source
//
//   probe --copy FOLDER
//
// Reads each FOLDER/NAME.safetensors and writes what is in it to NAME.copy, or why it is refused to NAME.refused.
#include <cstdio>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "decode/beam.h"
#include "formats/folder.h"
#include "io/files.h"
#include "io/json.h"

namespace chorus {
namespace {

using Rows = std::vector<std::vector<int32_t>>;

int64_t longest(const Rows& rows) {
  size_t length = 0;
  for (const auto& row : rows) length = std::max(length, row.size());
  return static_cast<int64_t>(length);
}

std::vector<int32_t> padded(const Rows& rows, size_t shift) {
  std::vector<int32_t> ids;
  const auto length = static_cast<size_t>(longest(rows));
  for (const auto& row : rows)
    for (size_t i = shift; i < length + shift; ++i) ids.push_back(i < row.size() ? row[i] : kPad);
  return ids;
}

using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Rows of an embedding stay in the order of our ids.
void run_backward(Transformer& model, const Batch& batch, const std::string& name, Tensors& out) {
  for (Parameter& parameter : model.parameters()) parameter.has_gradient = false;
  model.train(batch, {.training = true}, {});
  for (size_t p = 0; p < model.parameters().size(); ++p) {
    const ParameterSpec& spec = model.catalogue().parameters[p];
    Parameter& parameter = model.parameters()[p];
    if (!parameter.has_gradient) parameter.gradient.zero_();
    for (size_t i = 0; i < spec.stored.size(); ++i) {
      const at::Tensor part = spec.sliced ? parameter.gradient[static_cast<int64_t>(i)] : parameter.gradient;
      out.emplace_back(fmt::format("{}.gradient.{}", name, spec.stored[i]), part.clone());
    }
  }
}

void run_batch(Transformer& model, const nlohmann::json& json, const std::string& name, Tensors& out) {
  const Rows source = json.at("source").get<Rows>(), target = json.at("target").get<Rows>();
  const auto rows = static_cast<int64_t>(source.size());
  const MicroBatch micro_batch = {.rows = rows,
                                  .source_length = longest(source),
                                  .target_length = longest(target),
                                  .source = padded(source, 0),
                                  .target_input = padded(target, 0),
                                  .target_labels = padded(target, 1),
                                  .direction = std::vector<int32_t>(rows, 0)};
  const Batch batch = model.to_batch(micro_batch);

  const auto decoder = make_step_decoder(model);
  const at::Tensor memory = decoder->encode(batch.source);
  out.emplace_back(name + ".encoder", memory);
  const auto decoding = decoder->start(memory, batch.source.attention_mask, micro_batch.target_length);
  std::vector<at::Tensor> steps;
  for (int64_t t = 0; t < micro_batch.target_length; ++t)
    steps.push_back(decoding->step(batch.target.ids.select(1, t)).clone());
  out.emplace_back(name + ".logits", at::stack(steps, 1));

  std::vector<RoutingRecord> routings(model.catalogue().sparse_layers());
  const LossSums sums = model.evaluate(batch, {.routings = &routings, .per_token = true});
  out.emplace_back(name + ".nll", sums.token_nll);
  for (size_t layer = 0; layer < routings.size(); ++layer) {
    out.emplace_back(fmt::format("{}.router.{}", name, layer), routings[layer].probabilities);
    out.emplace_back(fmt::format("{}.experts.{}", name, layer), routings[layer].routing.experts);
    out.emplace_back(fmt::format("{}.kept.{}", name, layer), routings[layer].routing.kept);
  }
  if (model.options().gradients) run_backward(model, batch, name, out);
}

void write(const std::filesystem::path& path, const Tensors& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors)
    specs.push_back(
        {name, tensor.scalar_type() == at::kLong ? DType::i64 : DType::f32, tensor.sizes().vec()});
  SafetensorsWriter writer(path, specs);
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor plain = tensor.contiguous();
    writer.write(name, {static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()});
  }
  writer.commit();
}

nlohmann::json run_decode(Transformer& model, const nlohmann::json& json) {
  const Rows source = json.at("source").get<Rows>(), forced = json.at("forced").get<Rows>();
  std::vector<DecodeInput> inputs;
  for (size_t i = 0; i < source.size(); ++i)
    inputs.push_back({.source = source[i], .forced = forced[i], .tagged = !forced[i].empty()});
  nlohmann::json result;
  for (const auto beam : json.at("beams").get<std::vector<int64_t>>()) {
    for (const auto penalty : json.value("penalties", std::vector<double>{1})) {
      const auto hypotheses = beam_search(*make_step_decoder(model), inputs,
                                          {.beam = beam,
                                           .max_length_factor = 0,
                                           .max_length_offset = json.at("most").get<int64_t>(),
                                           .repetition_penalty = penalty,
                                           .never = json.at("never").get<std::vector<int32_t>>()});
      for (const auto& best : hypotheses)
        result[penalty == 1 ? fmt::format("{}", beam) : fmt::format("{} {}", beam, penalty)].push_back(
            {{"tokens", best[0].tokens}, {"score", best[0].score}});
    }
  }
  return result;
}

void probe(const std::filesystem::path& folder, const std::filesystem::path& input,
           const std::string& output) {
  const at::NoGradGuard plain;
  const nlohmann::json json = read_json(input);
  const LoadedModel loaded = load_model(folder, {.gradients = json.value("gradients", false)});
  Tensors tensors;
  for (size_t b = 0; b < json.at("batches").size(); ++b)
    run_batch(*loaded.model, json["batches"][b], std::to_string(b), tensors);
  write(output + ".safetensors", tensors);
  write_file_atomically(output + ".json", run_decode(*loaded.model, json.at("decode")).dump());
}

void copy_all(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  for (std::filesystem::path path : paths) {
    try {
      const SafetensorsFile file(path);
      static_cast<void>(file.verify());
      std::vector<TensorSpec> specs;
      for (const std::string& name : file.names()) {
        const TensorView view = file.get(name);
        specs.push_back({name, view.dtype, view.shape});
      }
      SafetensorsWriter writer(path.replace_extension("copy"), specs, file.metadata());
      for (const TensorSpec& spec : specs) writer.write(spec.name, file.get(spec.name).bytes);
      writer.commit();
    } catch (const UserError& error) {
      write_file_atomically(path.replace_extension("refused"), error.what());
    }
  }
}

}  // namespace
}  // namespace chorus

int main(int argc, char** argv) {
  try {
    if (argc == 3 && argv[1] == std::string_view("--copy")) {
      chorus::copy_all(argv[2]);
      return 0;
    }
    if (argc != 4)
      throw chorus::UserError("usage: probe MODEL_DIR INPUT.json OUTPUT, or probe --copy FOLDER");
    chorus::probe(argv[1], argv[2], argv[3]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "probe: %s\n", error.what());
    return 1;
  }
}
