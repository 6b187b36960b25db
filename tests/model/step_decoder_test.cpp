#include "model/step_decoder.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"
#include "model/fixtures.h"
#include "suite_device.h"

namespace chorus {
namespace {

/// The same weights, decoded by rows (on a device by blocks) and, in double on the host, by the blocks of
/// model/layers.h.
struct Pair {
  Transformer rows, blocks;
  std::unique_ptr<const StepDecoder> by_rows = make_step_decoder(rows), by_blocks = make_step_decoder(blocks);

  Pair(const ModelConfig& config, at::ScalarType type)
      : rows(config, {.device = suite_device(), .compute = type}), blocks(config, {.compute = at::kDouble}) {
    initialise(rows, 5);
    for (size_t i = 0; i < rows.parameters().size(); ++i) {
      // Biases are not zero in a trained model; and both models have what bf16 makes of the weights.
      at::Tensor& value = rows.parameters()[i].value;
      if (value.dim() == 1 || value.size(0) == 1)
        value.add_(at::linspace(-0.2, 0.3, value.numel(), value.options()).view(value.sizes()));
      blocks.set(i, value.cpu());
    }
  }
};

/// With what sets Marian's models apart, as far as experts go with it, or T5's.
enum class Kind : uint8_t { m2m100, marian, t5 };

/// T5's unscaled scores make much of rounding, so its bf16 weights are multiplied in fp32.
class Inference : public testing::TestWithParam<std::tuple<at::ScalarType, Activation, int64_t, Kind>> {
 protected:
  Inference() {
    if (std::get<3>(GetParam()) == Kind::t5) limit_isa(Isa::avx512);
  }
  void SetUp() override {
    const bool bf16 = std::get<0>(GetParam()) == at::kBFloat16;
    if (!suite_device().is_cpu() && bf16 && std::get<3>(GetParam()) != Kind::m2m100)
      GTEST_SKIP() << "there blocks are compared with blocks, and rounding alone would decide";
  }
  ~Inference() override { limit_isa(Isa::avx512_bf16); }
  [[nodiscard]] static ModelConfig config() {
    const Kind kind = std::get<3>(GetParam());
    ModelConfig config = kind == Kind::t5 ? switch_config() : tiny_config();
    if (kind == Kind::t5) {
      config.moe = {};
      config.tied_output = config.scale_output = std::get<1>(GetParam()) == Activation::relu;
    }
    config.activation = std::get<1>(GetParam());
    config.moe.experts = std::get<2>(GetParam());
    config.moe.expert_output_dropout = 0.2;
    config.moe.evaluation_capacity_factor = 0.5;  // does not bind in decoding
    if (kind == Kind::marian) {
      config.post_norm = config.output_bias = true;
      config.scale_embedding = config.tied_output = false;
      if (config.moe.experts == 0) config.positions = Positions::marian;
    }
    return config;
  }
};

/// A bf16 model has its positions in bf16, and CPUs with bf16 arithmetic round activations.
bool close(const at::Tensor& a, const at::Tensor& b) {
  const double tolerance = std::get<0>(Inference::GetParam()) == at::kBFloat16 ? 5e-2 : 1e-4;
  return at::allclose(a.to(at::kDouble), b, tolerance, tolerance);
}

TEST_P(Inference, EncodesAsTheBlocksDo) {
  Pair models(config(), std::get<0>(GetParam()));
  for (const int64_t length : {1, 9}) {
    const MicroBatch batch = tiny_batch(length == 1 ? 1 : 4, std::max<int64_t>(length, 2), 4, 23);
    const Side side = models.rows.to_batch(batch).source;
    const at::Tensor actual = models.by_rows->encode(side).cpu();
    const at::Tensor expected = models.by_blocks->encode(models.blocks.to_batch(batch).source);
    if (suite_device().is_cpu()) {
      EXPECT_EQ(actual.scalar_type(), at::kFloat);
    }
    for (int64_t row = 0; row < batch.rows; ++row) {
      const int64_t tokens = side.ids[row].ne(kPad).sum().item<int64_t>();
      EXPECT_TRUE(close(actual[row].narrow(0, 0, tokens), expected[row].narrow(0, 0, tokens))) << row;
    }
  }
}

TEST_P(Inference, DecodesAsTheBlocksDoWhateverBecomesOfTheHypotheses) {
  Pair models(config(), std::get<0>(GetParam()));
  const MicroBatch batch = tiny_batch(4, 7, 6, 23);
  const auto start = [&](const Transformer& model, const StepDecoder& decoder) {
    const Side side = model.to_batch(batch).source;
    return decoder.start(decoder.encode(side), side.attention_mask, 6, 3);
  };
  const auto actual = start(models.rows, *models.by_rows), expected = start(models.blocks, *models.by_blocks);
  const auto step = [&](const std::vector<int64_t>& ids) {
    const at::Tensor logits = actual->step(there(at::tensor(ids))).cpu();
    EXPECT_TRUE(close(logits, expected->step(at::tensor(ids)).to(at::kDouble)));
  };
  const auto reorder = [&](const std::vector<int64_t>& rows, const std::vector<int64_t>& sentences) {
    const at::Tensor from = at::tensor(rows), of = sentences.empty() ? at::Tensor() : at::tensor(sentences);
    actual->reorder(there(from), there(of));
    expected->reorder(from, of);
  };
  step({kEos, kEos, kEos, kEos});
  reorder({0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3}, {});  // from one hypothesis to three
  step({6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17});
  reorder({2, 0, 0, 3, 5, 4, 6, 6, 6, 11, 10, 9}, {});
  step({7, 7, 8, 8, 9, 9, 4, 5, 6, 20, 21, 22});
  reorder({1, 0, 9, 11}, {0, 3});  // two sentences are done, and a hypothesis of each
  step({8, 9, 10, 11});
  step({12, 13, 14, 15});
  reorder({3}, {1});
  step({6});
}

// Experts in fp32 only: a token whose experts are nearly as probable may go to another one in bf16.
INSTANTIATE_TEST_SUITE_P(Models, Inference,
                         testing::Values(std::tuple(at::kFloat, Activation::relu, 0, Kind::m2m100),
                                         std::tuple(at::kFloat, Activation::relu, 4, Kind::m2m100),
                                         std::tuple(at::kFloat, Activation::gelu, 0, Kind::m2m100),
                                         std::tuple(at::kFloat, Activation::swiglu, 4, Kind::m2m100),
                                         std::tuple(at::kBFloat16, Activation::relu, 0, Kind::m2m100),
                                         std::tuple(at::kBFloat16, Activation::swiglu, 0, Kind::m2m100),
                                         std::tuple(at::kFloat, Activation::silu, 0, Kind::marian),
                                         std::tuple(at::kFloat, Activation::relu, 4, Kind::marian),
                                         std::tuple(at::kBFloat16, Activation::silu, 0, Kind::marian),
                                         std::tuple(at::kFloat, Activation::geglu, 0, Kind::t5),
                                         std::tuple(at::kFloat, Activation::relu, 0, Kind::t5),
                                         std::tuple(at::kBFloat16, Activation::geglu, 0, Kind::t5)));

// Rows of 15 steps, 57 in all, in room for 24: those that live are a token of each step and the rows of the last.
TEST(InferenceByRows, KeysAndValuesOfDeadHypothesesMakeRoom) {
  if (!suite_device().is_cpu()) GTEST_SKIP() << "blocks keep them by step";
  constexpr int64_t kHypotheses = 4, kTokens = 6, kSteps = 15;
  Transformer model(tiny_config(), {});
  initialise(model, 5);
  const Side side = model.to_batch(tiny_batch(1, 7, 4, 23)).source;
  const auto decoder = make_step_decoder(model);
  const auto start = [&](int64_t tokens, int64_t hypotheses) {
    return decoder->start(decoder->encode(side), side.attention_mask, tokens, hypotheses);
  };
  const auto several = start(kTokens, kHypotheses), alone = start(kSteps, 1);
  static_cast<void>(several->step(at::tensor({int64_t{kEos}})));
  static_cast<void>(alone->step(at::tensor({int64_t{kEos}})));
  several->reorder(at::zeros({kHypotheses}, at::kLong), {});
  for (int64_t step = 1; step < kSteps; ++step) {
    const at::Tensor ids = at::arange(4, 4 + kHypotheses) + step;
    const int64_t best = step * 3 % kHypotheses;
    const at::Tensor logits = several->step(ids)[best].clone();
    EXPECT_TRUE(at::allclose(logits, alone->step(ids.narrow(0, best, 1))[0], 1e-5, 1e-6)) << step;
    several->reorder(at::full({kHypotheses}, best, at::kLong), {});
  }
}

/// Wide and long enough that sums are made in blocks. On the host to the bit: a server says so of its answers. A GPU's
/// libraries sum in another order where there are other numbers of rows, and bf16 rounds what comes out of each
/// product.
TEST_P(Inference, ARowDoesNotDependOnTheRestOfTheBatch) {
  ModelConfig wide = config();
  wide.d_model = 96;
  wide.ffn_dim = 80;
  wide.head_dim = std::get<3>(GetParam()) == Kind::t5 ? 40 : 0;
  wide.max_positions = 64;
  Transformer model(wide, {.device = suite_device(), .compute = std::get<0>(GetParam())});
  initialise(model, 5);
  const auto decoder = make_step_decoder(model);
  const MicroBatch batch = tiny_batch(9, 53, 4, 23);
  const auto logits = [&](const MicroBatch& m, const at::Tensor& ids) {
    const Side side = model.to_batch(m).source;
    const auto state = decoder->start(decoder->encode(side), side.attention_mask, 2);
    state->step(at::full({m.rows}, kEos, there(at::kLong)));
    return state->step(ids).clone();
  };
  const at::Tensor ids = at::arange(6, 15, there(at::kLong)), together = logits(batch, ids);
  const double close = std::get<0>(GetParam()) == at::kBFloat16 ? 0.03 : 1e-4;
  for (int64_t row = 0; row < batch.rows; ++row) {
    const at::Tensor alone = logits(single_row(batch, row), ids.narrow(0, row, 1))[0];
    if (suite_device().is_cpu()) {
      EXPECT_TRUE(at::equal(alone, together[row])) << (alone - together[row]).abs().max();
    } else {
      EXPECT_TRUE(at::allclose(alone, together[row], close, close)) << (alone - together[row]).abs().max();
    }
  }
}

TEST(InferenceByRows, KeepsKeysAndValuesInBf16WhereAsked) {
  const auto logits = [](const Transformer::Options& options) {
    Transformer model(tiny_config(), options);
    initialise(model, 5);
    const Side side = model.to_batch(tiny_batch(4, 9, 4, 23)).source;
    const auto decoder = make_step_decoder(model);
    const auto state = decoder->start(decoder->encode(side), side.attention_mask, 3);
    for (const int32_t id : std::vector<int32_t>{kEos, 6}) state->step(at::full({4}, id, at::kLong));
    return state->step(at::full({4}, 7, at::kLong)).clone();
  };
  const at::Tensor wide = logits({}), narrow = logits({.caches = at::kBFloat16});
  EXPECT_FALSE(at::equal(wide, narrow));
  EXPECT_TRUE(at::allclose(wide, narrow, 1e-2, 1e-2)) << (wide - narrow).abs().max();
}

TEST(InferenceByRows, StopsWhereThereIsNoRoom) {
  Transformer model(tiny_config(), {.device = suite_device()});
  initialise(model, 5);
  const Side side = model.to_batch(tiny_batch(2, 5, 4, 23)).source;
  const auto decoder = make_step_decoder(model);
  const auto state = decoder->start(decoder->encode(side), side.attention_mask, 1);
  state->step(at::full({2}, kEos, there(at::kLong)));
  EXPECT_THROW(state->step(at::full({2}, kEos, there(at::kLong))), Error);
}

}  // namespace
}  // namespace chorus
