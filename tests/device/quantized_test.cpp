// Models made for the CPU, on a device: quantized weights become floating-point again, and all experts are there.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "device/tested_device.h"
#include "formats/exported.h"

namespace chorus {
namespace {

/// Rows by their tokens' losses.
at::Tensor losses_of(Transformer& model) {
  const MicroBatch batch = tiny_batch(5, 9, 8, model.config().vocabulary);
  return model.evaluate(model.to_batch(batch), {.per_token = true}).token_nll.to(at::kCPU, at::kDouble);
}

TEST(DeviceQuantized, WeightsBecomeFloatingPointAgain) {
  const Exported saved;
  import_model(saved.out, saved.back, {.experts = Quantization::int4, .dense = Quantization::int8});
  const LoadedModel here = load_model(saved.back, {}),
                    there = load_model(saved.back, {.device = testing::device()});
  int64_t quantized = 0;
  for (size_t p = 0; p < here.model->parameters().size(); ++p) {
    const Parameter &ours = here.model->parameters()[p], &theirs = there.model->parameters()[p];
    EXPECT_EQ(theirs.quantization, Quantization::none);
    EXPECT_EQ(theirs.value.scalar_type(), at::kFloat);
    EXPECT_EQ(theirs.value.device().type(), testing::device().type());
    const ParameterSpec& spec = here.model->catalogue().parameters[p];
    for (size_t i = 0; i < (spec.sliced ? spec.stored.size() : 1); ++i) {
      const auto e = static_cast<int64_t>(i);
      const at::Tensor slice = spec.sliced ? theirs.value[e] : theirs.value;
      const bool is_quantized = ours.quantization != Quantization::none;
      quantized += is_quantized ? 1 : 0;
      const at::Tensor stored = is_quantized  ? dequantize(spec.sliced ? ours.matrix(e) : ours.matrix())
                                : spec.sliced ? ours.value[e]
                                              : ours.value;
      EXPECT_TRUE(at::equal(slice.cpu().view(stored.sizes()), stored)) << spec.name;
    }
  }
  EXPECT_GT(quantized, 10);
  const at::Tensor expected = losses_of(*here.model);
  EXPECT_LT(((losses_of(*there.model) - expected).norm() / expected.norm()).item<double>(), 0.01)
      << "but for activations, which the CPU quantizes, too";
}

TEST(DeviceQuantized, ABoundedMemoryIsForTheCpu) {
  const Saved saved;
  const Transformer::Options options = {.device = testing::device()};
  const std::string words =
      message_of<UserError>([&] { load_model(saved.path, describe_model(saved.path), options, 1000); });
  EXPECT_EQ(words, saved.path.string() + ": a bounded memory is for the CPU: on " + options.device.str() +
                       " all experts are there");
  EXPECT_EQ(load_model(saved.path, describe_model(saved.path), options, uint64_t{1} << 40).experts, nullptr);
}

}  // namespace
}  // namespace chorus
