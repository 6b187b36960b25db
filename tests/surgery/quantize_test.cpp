#include "formats/quantize.h"

#include <cmath>

#include <ATen/ops/tensor.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/convert.h"
#include "formats/folder_files.h"
#include "io/json.h"
#include "model/step_decoder.h"
#include "surgery/calibration.h"
#include "surgery/fixtures.h"
#include "surgery/prune.h"
#include "surgery/usage.h"

namespace chorus {
namespace {

constexpr QuantizationConfig kTypes = {.experts = Quantization::int4, .dense = Quantization::int8};

ModelConfig wide_config() {  // so that stacks are whole blocks of rows; groups are not all whole
  ModelConfig config = summing_config(2);
  config.d_model = 32;
  config.ffn_dim = 72;
  config.attention_heads = 4;
  return config;
}

struct ToQuantize : Saved {
  explicit ToQuantize(ModelConfig config = wide_config()) : Saved({}, std::move(config)) {}
  fs::path out = folder / "out";
};

/// What a quantized weight stands for, as [rows of all slices, depth].
at::Tensor values_of(const Parameter& parameter) {
  if (parameter.value.dim() == 2) return dequantize(parameter.matrix());
  std::vector<at::Tensor> slices;
  for (int64_t i = 0; i < parameter.value.size(0); ++i) slices.push_back(dequantize(parameter.matrix(i)));
  return at::cat(slices);
}

/// A model in floating types with the weights that a quantized one stands for.
std::unique_ptr<Transformer> as_floating(Transformer& quantized) {
  ModelConfig config = quantized.config();
  config.quantization = {};
  auto floating = std::make_unique<Transformer>(config, Transformer::Options{});
  for (size_t p = 0; p < quantized.parameters().size(); ++p) {
    const Parameter& parameter = quantized.parameters()[p];
    const bool is_quantized = parameter.quantization != Quantization::none;
    floating->set(p, is_quantized ? values_of(parameter) : parameter.value);
  }
  return floating;
}

TEST(Quantize, WeightsAreThoseOfTheModel) {
  ToQuantize models;
  quantize_model(models.path, kTypes, models.out);
  const LoadedModel before = load_model(models.path, {}), after = load_model(models.out, {});
  EXPECT_EQ(after.model->config().quantization, kTypes);
  EXPECT_LT(fs::file_size(models.out / kWeightsFile), fs::file_size(models.path / kWeightsFile));
  size_t int4 = 0, int8 = 0;
  for (size_t p = 0; p < after.model->parameters().size(); ++p) {
    const Parameter &was = before.model->parameters()[p], &is = after.model->parameters()[p];
    const ParameterSpec& spec = after.model->catalogue().parameters[p];
    if (is.quantization == Quantization::none) {
      EXPECT_TRUE(at::equal(was.value, is.value)) << spec.name;
      EXPECT_TRUE(!spec.decay || spec.fp32) << spec.name;
      continue;
    }
    const at::Tensor matrix = was.value.view({-1, was.value.size(-1)});
    const double off = ((values_of(is) - matrix).norm() / matrix.norm()).item<double>();
    EXPECT_EQ(is.quantization, spec.role == Role::expert ? Quantization::int4 : Quantization::int8)
        << spec.name;
    EXPECT_LT(off, is.quantization == Quantization::int4 ? 0.12 : 0.01) << spec.name;
    ++(is.quantization == Quantization::int4 ? int4 : int8);
  }
  EXPECT_GT(int4, 0);
  EXPECT_GT(int8, 0);
}

TEST(Quantize, NotesWhatEachTensorIsOff) {
  ToQuantize models;
  quantize_model(models.path, kTypes, models.out);
  const LoadedModel before = load_model(models.path, {}), after = load_model(models.out, {});
  const QuantizationErrors errors = read_quantization_errors(models.out);
  for (size_t p = 0; p < after.model->parameters().size(); ++p) {
    const ParameterSpec& spec = after.model->catalogue().parameters[p];
    if (spec.quantization == Quantization::none) continue;
    for (size_t i = 0; i < spec.stored.size(); ++i) {
      const Parameter& parameter = after.model->parameters()[p];
      const at::Tensor is =
          dequantize(spec.sliced ? parameter.matrix(static_cast<int64_t>(i)) : parameter.matrix());
      const at::Tensor was = slice(spec, before.model->parameters()[p].value, i);
      EXPECT_NEAR(errors.at(spec.stored[i]), ((is - was).norm() / was.norm()).item<double>(), 1e-6)
          << spec.stored[i];
    }
  }
}

TEST(Quantize, ModelComputesWhatItsWeightsDo) {
  ToQuantize models;
  quantize_model(models.path, kTypes, models.out);
  const LoadedModel quantized = load_model(models.out, {});
  const std::unique_ptr<Transformer> floating = as_floating(*quantized.model);
  const at::Tensor ours = losses(*quantized.model), theirs = losses(*floating);
  EXPECT_LT(((ours - theirs).norm() / theirs.norm()).item<double>(), 0.005);
  EXPECT_FALSE(at::equal(ours, theirs));  // what is multiplied is quantized too
}

TEST(Quantize, DecodesAsItEvaluates) {
  ToQuantize models;
  quantize_model(models.path, kTypes, models.out);
  const LoadedModel loaded = load_model(models.out, {});
  const MicroBatch batch = tiny_batch(3, 7, 6, loaded.model->config().vocabulary);
  const auto decoder = make_step_decoder(*loaded.model);
  const Side side = loaded.model->to_batch(batch).source;
  const auto decoding = decoder->start(decoder->encode(side), side.attention_mask, 6);
  const at::Tensor expected =
      loaded.model->evaluate(loaded.model->to_batch(batch), {.per_token = true}).token_nll;
  const at::Tensor labels = loaded.model->to_batch(batch).labels;
  for (int64_t t = 0; t < batch.target_length; ++t) {
    const at::Tensor ids = loaded.model->to_batch(batch).target.ids.select(1, t);
    const at::Tensor scores = decoding->step(ids.contiguous()).log_softmax(-1);
    for (int64_t row = 0; row < batch.rows; ++row) {
      const int64_t label = labels[row * batch.target_length + t].item<int64_t>();
      if (label == kPad) continue;
      EXPECT_NEAR(-scores[row][label].item<double>(), expected[row][t].item<double>(), 0.03)
          << row << " " << t;
    }
  }
}

TEST(Quantize, InBf16OnlyWhatIsKeptWhileDecodingIs) {
  ToQuantize models;
  quantize_model(models.path, kTypes, models.out);
  EXPECT_FALSE(load_model(models.out, {}).model->options().caches);
  const LoadedModel loaded = load_model(models.out, {.compute = at::kBFloat16});
  EXPECT_EQ(loaded.model->options().caches, at::kBFloat16);
  EXPECT_EQ(loaded.model->options().compute, at::kFloat);
}

TEST(Quantize, StacksThatAreNotOfWholeBlocksStayAsTheyAre) {
  ModelConfig config = wide_config();
  config.d_model = 24;
  config.attention_heads = 4;
  ToQuantize models(config);
  quantize_model(models.path, kTypes, models.out);
  const LoadedModel loaded = load_model(models.out, {});
  const Catalogue& catalogue = loaded.model->catalogue();
  EXPECT_EQ(catalogue.parameters[catalogue.encoder[0].self_qkv.weight].quantization, Quantization::none);
  EXPECT_EQ(catalogue.parameters[catalogue.encoder[0].self_out.weight].quantization, Quantization::int8);
  EXPECT_TRUE(at::allclose(losses(*loaded.model), losses(*as_floating(*loaded.model)), 0.02, 0.02));
}

TEST(Quantize, OfOneKindOfWeightsOnly) {
  ToQuantize models;
  quantize_model(models.path, {.experts = Quantization::int8}, models.out);
  const LoadedModel loaded = load_model(models.out, {});
  for (const ParameterSpec& spec : loaded.model->catalogue().parameters)
    EXPECT_EQ(spec.quantization != Quantization::none, spec.role == Role::expert && spec.decay) << spec.name;
}

TEST(Quantize, ExpertsOfAQuantizedModelArePrunedAsTheyAre) {
  ToQuantize models;
  quantize_model(models.path, kTypes, models.out);
  const fs::path first = models.folder / "pruned", last = models.folder / "quantized";
  const PruneOptions by_chance = {.keep = 0.5, .by = PruneBy::random};
  prune_model(models.out, {}, by_chance, first);
  prune_model(models.path, {}, {.keep = 0.5, .by = PruneBy::random, .types = kTypes}, last);
  EXPECT_EQ(weights_of(first), weights_of(last));
  EXPECT_EQ(read_quantization_errors(first), read_quantization_errors(last));
  EXPECT_THROW(
      prune_model(models.out, {}, {.by = PruneBy::random, .method = PruneMethod::merge}, models.folder / "x"),
      UserError);
}

TEST(Quantize, RefusesWhatNeedsTheWeightsAsTheyWere) {
  ToQuantize models;
  quantize_model(models.path, kTypes, models.out);
  const fs::path x = models.folder / "x";
  EXPECT_THROW(quantize_model(models.out, kTypes, x), UserError);
  ModelConfig dense = wide_config();
  dense.moe.experts = 0;
  const ToQuantize without_experts(dense);
  EXPECT_THROW(quantize_model(without_experts.path, {.experts = Quantization::int4}, x), UserError);
  EXPECT_THROW(load_model(models.out, {.gradients = true}), UserError);
  EXPECT_THROW(average_models(std::vector<fs::path>{models.out, models.out}, x), UserError);
  EXPECT_THROW(merge_models(std::vector<fs::path>{models.out, models.out}, DenseWeights::average, x),
               UserError);
  EXPECT_THROW(export_model(models.out, {}, x), UserError);
  EXPECT_FALSE(fs::exists(x));
}

/// Pairs of the vocabulary's languages.
std::vector<DirectionText> some_text() {
  return {{.name = "en-de",
           .from = "en",
           .to = "de",
           .sources = sentences("en", 30),
           .references = sentences("de", 30)}};
}

TEST(Quantize, CalibrationSumsTheSquaresOfWhatIsMultiplied) {
  ToQuantize models;
  const LoadedModel loaded = load_model(models.path, {});
  const Calibration found = calibrate(*loaded.model, loaded.vocabulary, some_text(), {});
  EXPECT_EQ(found.losses, losses_of(*loaded.model, loaded.vocabulary, some_text(), {}));
  EXPECT_GT(found.losses[0], 0);
  // The input of the first projections is the output of a norm: with weight 1 and bias 0 its squares sum up to the
  // width.
  const Catalogue& catalogue = loaded.model->catalogue();
  const auto squares = [&](size_t p) { return found.input_squares[p]; };
  const at::Tensor first = squares(catalogue.encoder[0].self_qkv.weight);
  const double rows = first.sum().item<double>() / static_cast<double>(first.size(1));
  EXPECT_NEAR(rows, std::round(rows), 1e-2 * rows);
  const FeedForwardIndex& sparse = catalogue.encoder[1].ffn;
  ASSERT_TRUE(sparse.sparse);
  EXPECT_EQ(squares(sparse.fc1.weight).sizes(), at::IntArrayRef({4, 32}));
  EXPECT_EQ(squares(sparse.fc2.weight).sizes(), at::IntArrayRef({4, 72}));
  // Each token, but no padding, goes to two experts.
  const std::vector<ExpertUsage> usage = measure_usage(*loaded.model, loaded.vocabulary, some_text(), {});
  const auto tokens = static_cast<double>(usage[sparse.number].tokens);
  const double into_experts = squares(sparse.fc1.weight).sum().item<double>() / 32;
  EXPECT_NEAR(into_experts, 2 * tokens, 2e-2 * tokens);
  EXPECT_GE(rows, tokens);
  EXPECT_FALSE(squares(sparse.router).defined());
  EXPECT_TRUE(squares(catalogue.output).defined());
}

TEST(Quantize, CalibratedScalesBringTheModelCloser) {
  ToQuantize models;
  const LoadedModel loaded = load_model(models.path, {});
  const at::Tensor exact = losses(*loaded.model);
  const Calibration found = calibrate(*loaded.model, loaded.vocabulary, some_text(), {});
  const QuantizationConfig all4 = {.experts = Quantization::int4, .dense = Quantization::int4};
  quantize_model(models.path, all4, models.out);
  quantize_model(models.path, all4, models.folder / "calibrated", found.importance());
  EXPECT_NE(weights_of(models.out), weights_of(models.folder / "calibrated"));
  // By how much the outputs of the layers are off, in the mean, over the text that scales were chosen for.
  const auto off = [&](const fs::path& folder) {
    const LoadedModel quantized = load_model(folder, {});
    double sum = 0;
    for (size_t p = 0; p < found.input_squares.size(); ++p) {
      const Parameter& parameter = quantized.model->parameters()[p];
      if (parameter.quantization == Quantization::none) continue;
      const at::Tensor squares = found.input_squares[p].unsqueeze(1);  // [slices or 1, 1, depth]
      const at::Tensor& was = loaded.model->parameters()[p].value;
      const int64_t slices = was.dim() == 3 ? was.size(0) : 1;
      const at::Tensor error = values_of(parameter) - was.view({-1, parameter.depth});
      sum += (error.view({slices, -1, parameter.depth}).square().to(at::kDouble) * squares)
                 .sum()
                 .item<double>() /
             squares.sum().item<double>();
    }
    return sum;
  };
  EXPECT_LT(off(models.folder / "calibrated"), off(models.out));
}

TEST(Quantize, ImportanceIsOfEachExpertAndOfAllWhereItSawNoToken) {
  Calibration found;
  found.input_squares.push_back(at::tensor({1.0, 3.0, 0.0, 0.0, 4.0, 0.0}, at::kDouble).view({3, 2}));
  found.input_squares.emplace_back();
  const ColumnImportance importance = found.importance();
  const auto close = [&](size_t slice, double first, double second) {
    return at::allclose(importance(0, slice), at::tensor({first, second}).to(at::kFloat) + 1e-3F, 1e-5, 1e-6);
  };
  EXPECT_TRUE(close(0, 0.5, 1.5));
  EXPECT_TRUE(close(1, 1.25, 0.75));
  EXPECT_TRUE(close(2, 2, 0));
  EXPECT_FALSE(importance(1, 0).defined());
}

TEST(Quantize, DamageIsNoticed) {
  ToQuantize models;
  quantize_model(models.path, kTypes, models.out);
  const auto changed = [&](const std::string& key, const nlohmann::json& value) {
    edit_json(models.out / "config.json",
              [&](nlohmann::json& json) { json["quantization_config"][key] = value; });
  };
  const nlohmann::json right = read_json(models.out / "config.json")["quantization_config"];
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, nlohmann::json>>{{"version", 2},
                                                           {"group_size", 32},
                                                           {"experts", "int8"},
                                                           {"dense", "int3"},
                                                           {"quant_method", "gptq"}}) {
    changed(key, value);
    EXPECT_THROW(load_model(models.out, {}), UserError) << key;
    changed(key, right[key]);
  }
  edit_json(models.out / "config.json",
            [](nlohmann::json& json) { json["quantization_config"].erase("group_size"); });
  EXPECT_THROW(load_model(models.out, {}), UserError);
  edit_json(models.out / "config.json", [&](nlohmann::json& json) { json["quantization_config"] = right; });
  EXPECT_NO_THROW(load_model(models.out, {}));
}

TEST(Quantize, ScalesThatAreNotFiniteAreNoticed) {
  ToQuantize models;
  quantize_model(models.path, kTypes, models.out);
  forget_manifest(models.out);
  const SafetensorsFile file(models.out / kWeightsFile);
  std::vector<TensorSpec> tensors;
  for (const std::string& each : file.names())
    tensors.push_back({each, file.get(each).dtype, file.get(each).shape});
  const fs::path changed = models.folder / "changed";
  SafetensorsWriter writer(changed, tensors);
  bool done = false;
  for (const TensorSpec& tensor : tensors) {
    const TensorView view = file.get(tensor.name);
    std::vector<std::byte> bytes(view.bytes.begin(), view.bytes.end());
    if (tensor.dtype == DType::u8 && !done) {
      bytes[0] = std::byte{0x80};
      bytes[1] = std::byte{0x7F};
      done = true;
    }
    writer.write(tensor.name, bytes);
  }
  writer.commit();
  fs::rename(changed, models.out / kWeightsFile);
  EXPECT_THROW(load_model(models.out, {}), UserError);
}

TEST(Quantize, T5sRowsGoInOurOrder) {
  const TemporaryFolder folder;
  const std::unique_ptr<Transformer> model = save_switch_model(folder.path(), "model", 7);
  quantize_model(folder / "model", kTypes, folder / "out");
  const LoadedModel loaded = load_model(folder / "out", {});
  const size_t embedding = loaded.model->catalogue().embedding;
  const at::Tensor was = model->parameters()[embedding].value,
                   is = dequantize(loaded.model->parameters()[embedding].matrix());
  EXPECT_LT(((is - was).norm() / was.norm()).item<double>(), 0.01);
  const at::Tensor ours = losses(*loaded.model), theirs = losses(*as_floating(*loaded.model));
  EXPECT_LT(((ours - theirs).norm() / theirs.norm()).item<double>(),
            0.02);  // a near tie of the router may turn
}

}  // namespace
}  // namespace chorus
