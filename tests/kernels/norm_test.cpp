#include "kernels/norm.h"

#include <utility>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"
#include "suite_device.h"

#include "kernels/internal/backend.h"

namespace chorus {
namespace {

/// Everything both functions say of `rows`, one after the other.
std::vector<at::Tensor> both_ways(const at::Tensor& rows, const at::Tensor& grad, const NormScaling& scaling,
                                  const Backend& backend) {
  const NormedRows normed = backend.norm_rows(rows, scaling);
  const NormGradients by = backend.norm_rows_backward(grad, rows, normed, scaling);
  std::vector<at::Tensor> all = {normed.output, normed.scale, by.rows, by.weight};
  if (scaling.bias.defined()) all.insert(all.end(), {normed.mean, by.bias});
  return all;
}

std::vector<at::Tensor> both_ways(const at::Tensor& rows, const at::Tensor& grad,
                                  const NormScaling& scaling) {
  return both_ways(rows, grad, scaling, backend_of(rows));
}

class NormKernel : public testing::TestWithParam<Isa> {
 protected:
  NormKernel() { limit_isa(GetParam()); }
  ~NormKernel() override { limit_isa(Isa::avx512_bf16); }
};

/// Autograd's in fp64.
std::vector<at::Tensor> reference(const at::Tensor& rows, const at::Tensor& grad, const NormScaling& s) {
  const auto leaf = [](const at::Tensor& x) {
    return x.to(at::kDouble).detach().clone().requires_grad_(true);
  };
  const at::Tensor x = leaf(rows), weight = leaf(s.weight),
                   bias = s.bias.defined() ? leaf(s.bias) : at::Tensor();
  const at::Tensor centred = bias.defined() ? x - x.mean(-1, true) : x;
  const at::Tensor scale = (centred.square().mean(-1, true) + s.epsilon).rsqrt();
  const at::Tensor output = bias.defined() ? centred * scale * weight + bias : centred * scale * weight;
  output.backward(grad.to(at::kDouble));
  std::vector<at::Tensor> all = {output, scale.view(-1), x.grad(), weight.grad()};
  if (bias.defined()) all.insert(all.end(), {x.mean(-1), bias.grad()});
  return all;
}

TEST_P(NormKernel, IsAsInDoubleBothWays) {
  for (const auto& [type, tolerance] :
       {std::pair(at::kFloat, 2e-4), {at::kDouble, 1e-10}, {at::kBFloat16, 5e-2}}) {
    for (const int64_t width : {1, 7, 32, 37, 512}) {
      for (const int64_t count : {1, 130, 300}) {
        for (const bool centred : {true, false}) {
          if (width == 1 && centred) continue;  // nothing is left of it
          const auto rows = there((at::randn({count, width}) * 3 + 2).to(type)),
                     grad = there(at::randn({count, width}).to(type));
          const NormScaling scaling = {.weight = there(at::randn({width}).to(type)),
                                       .bias = centred ? there(at::randn({width}).to(type)) : at::Tensor(),
                                       .epsilon = 1e-5};
          const auto expected = reference(rows, grad, scaling);
          for (const Backend* backend : {&backend_of(rows), &composed_backend()}) {
            const auto actual = both_ways(rows, grad, scaling, *backend);
            ASSERT_EQ(actual.size(), expected.size());
            for (size_t i = 0; i < actual.size(); ++i) {
              const double most = expected[i].abs().max().item<double>();
              EXPECT_LE((actual[i].to(at::kDouble) - expected[i]).abs().max().item<double>(),
                        tolerance * (1 + most))
                  << "number " << i << " of " << type << ", " << count << " x " << width << ", centred "
                  << centred;
            }
          }
        }
      }
    }
  }
}

TEST_P(NormKernel, OfNoRowsIsNothing) {
  const at::Tensor rows = there(at::empty({0, 5}));
  const auto all =
      both_ways(rows, rows, {.weight = there(at::ones({5})), .bias = there(at::zeros({5})), .epsilon = 1e-5});
  EXPECT_EQ(all[0].sizes(), rows.sizes());
  EXPECT_TRUE(at::equal(all[3].cpu(), at::zeros({5})));
}

TEST_P(NormKernel, HasTheBitsOfEveryOtherWayToComputeIt) {
  if (!suite_device().is_cpu()) GTEST_SKIP() << "the host's own";
  const auto rows = at::randn({300, 77}), grad = at::randn({300, 77});
  const NormScaling scaling = {.weight = at::randn({77}), .bias = at::randn({77}), .epsilon = 1e-5};
  const auto here = both_ways(rows, grad, scaling);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  limit_isa(Isa::plain);
  const auto plain = both_ways(rows, grad, scaling);
  at::set_num_threads(threads);
  for (size_t i = 0; i < here.size(); ++i) EXPECT_TRUE(at::equal(here[i], plain[i])) << i;
  const auto alone = norm_rows(rows.narrow(0, 150, 1), scaling);
  EXPECT_TRUE(at::equal(alone.output, here[0].narrow(0, 150, 1)));
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, NormKernel, testing::Values(Isa::plain, Isa::avx512));

}  // namespace
}  // namespace chorus
