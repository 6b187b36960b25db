#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include "model/fixtures.h"
#include "model/step_decoder.h"
#include "suite_device.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

std::unique_ptr<Transformer> random_model(ModelConfig config, uint64_t seed) {
  auto model =
      std::make_unique<Transformer>(std::move(config), Transformer::Options{.device = suite_device()});
  at::manual_seed(seed);
  for (size_t i = 0; i < model->parameters().size(); ++i)
    model->set(i, at::randn(model->catalogue().parameters[i].shape) * 0.5);
  return model;
}

/// The logits of each of a few steps, with a reordering on the way.
std::vector<at::Tensor> steps_of(const StepDecoder& decoder) {
  const Side source = decoder.make_side({4, 7, 8, 9, kEos, 4, 10, kEos, kPad, kPad}, 2, 5);
  const auto decoding = decoder.start(decoder.encode(source), source.attention_mask, 6, 2);
  const auto ids = [&](std::vector<int64_t> values) {
    at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
    std::ranges::copy(values, tensor.mutable_data_ptr<int64_t>());
    return there(tensor);
  };
  std::vector<at::Tensor> logits;
  const auto step = [&](const std::vector<int64_t>& tokens) {
    logits.push_back(decoding->step(ids(tokens)).cpu().clone());
  };
  step({kEos, kEos});
  step({5, 5});
  decoding->reorder(ids({0, 0, 1, 1}), {});
  step({9, 10, 11, 12});
  decoding->reorder(ids({3, 2}), ids({1}));
  step({7, 8});
  return logits;
}

TEST(Ensemble, OfAModelWithItselfIsTheModel) {
  const auto model = random_model(tiny_config(), 1);
  const std::vector<at::Tensor> alone = steps_of(*make_step_decoder(*model)),
                                thrice = steps_of(
                                    *make_step_decoder(std::vector{model.get(), model.get(), model.get()}));
  const std::vector<at::Tensor> one = steps_of(*make_step_decoder(std::vector{model.get()}));
  for (size_t i = 0; i < alone.size(); ++i) {
    EXPECT_TRUE(at::allclose(thrice[i], at::log_softmax(alone[i], 1), 1e-5, 1e-5)) << i;
    EXPECT_TRUE(at::equal(one[i], alone[i]));
  }
}

TEST(Ensemble, AveragesProbabilities) {
  ModelConfig wide = tiny_config();
  wide.d_model *= 2;
  wide.max_positions -= 5;
  const auto first = random_model(tiny_config(), 2), second = random_model(wide, 3);
  const auto ensemble = make_step_decoder(std::vector{first.get(), second.get()});
  EXPECT_EQ(ensemble->max_positions(), wide.max_positions);
  const std::vector<at::Tensor> a = steps_of(*make_step_decoder(*first)),
                                b = steps_of(*make_step_decoder(*second)), both = steps_of(*ensemble);
  for (size_t i = 0; i < both.size(); ++i) {
    const at::Tensor mean = (at::softmax(a[i].to(at::kDouble), 1) + at::softmax(b[i].to(at::kDouble), 1)) / 2;
    EXPECT_TRUE(at::allclose(both[i].to(at::kDouble), at::log(mean), 1e-4, 1e-5)) << i;
    EXPECT_FALSE(at::allclose(both[i], at::log_softmax(a[i], 1), 1e-2, 1e-2));
  }
}

TEST(Ensemble, RefusesModelsThatDoNotFit) {
  ModelConfig more = tiny_config();
  more.vocabulary += 1;
  const auto first = random_model(tiny_config(), 2), second = random_model(more, 3);
  EXPECT_NE(message_of<UserError>([&] {
              make_step_decoder(std::vector{first.get(), second.get()});
            }).find("one vocabulary"),
            std::string::npos);
}

}  // namespace
}  // namespace chorus
