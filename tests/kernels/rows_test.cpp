#include "kernels/rows.h"

#include <ATen/Parallel.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cpu.h"

#include "kernels/internal/backend.h"

namespace chorus {
namespace {

struct RowsShape {
  int64_t tokens, k, experts, width;
};

/// Random choices, some dropped (-1).
at::Tensor random_choices(const RowsShape& s) {
  return at::randint(-1, s.experts, {s.tokens, s.k}, at::kLong);
}

class Rows : public testing::TestWithParam<at::ScalarType> {
 protected:
  ~Rows() override { limit_isa(Isa::avx512_bf16); }
  [[nodiscard]] double tolerance() const {
    return GetParam() == at::kBFloat16 ? 2e-2 : GetParam() == at::kFloat ? 1e-5 : 1e-12;
  }
};

TEST(SortByExpert, OrdersByExpertThenTokenThenChoice) {
  const auto kept = at::tensor({2, 0, -1, 2, 0, 2, -1, -1}, at::kLong).view({4, 2});
  const ExpertOrder order = sort_by_expert(kept, 4, 5);
  EXPECT_EQ(rows_of_experts(order).counts, (std::vector<int64_t>{2, 0, 3, 0}));
  EXPECT_EQ(rows_of_experts(order).offsets, (std::vector<int64_t>{0, 2, 2, 5}));
  EXPECT_TRUE(at::equal(order.slot, at::tensor({2, 0, -1, 3, 1, 4, -1, -1}, at::kLong).view({4, 2})));
  EXPECT_TRUE(at::equal(order.token, at::tensor({0, 2, 0, 1, 2}, at::kLong)));
}

TEST(SortByExpert, RefusesAnExpertThatIsNot) {
  EXPECT_THROW(sort_by_expert(at::tensor({3}, at::kLong).view({1, 1}), 3, 1), Error);
}

TEST_P(Rows, MatchADenseComposition) {
  for (const RowsShape s : {RowsShape{0, 2, 4, 8}, RowsShape{1, 1, 1, 1}, RowsShape{37, 2, 5, 33},
                            RowsShape{200, 4, 8, 100}, RowsShape{64, 1, 3, 512}}) {
    const auto kept = random_choices(s);
    const ExpertOrder order = sort_by_expert(kept, s.experts, kept.numel());
    const int64_t rows_kept = order.token.size(0);
    const auto x = at::randn({s.tokens, s.width}).to(GetParam());
    const auto weight_type = GetParam() == at::kDouble ? at::kDouble : at::kFloat;
    const auto weight = at::randn({s.tokens, s.k}).to(weight_type);
    const auto rows = at::randn({rows_kept, s.width}).to(GetParam());

    EXPECT_TRUE(at::equal(gather_rows(x, order.token), x.index_select(0, order.token)));

    // Spread[t, m] = 1 where sorted row m is a choice of token t.
    auto spread = at::zeros({s.tokens, rows_kept}, at::kDouble),
         weighted = at::zeros({s.tokens, rows_kept}, at::kDouble);
    for (int64_t choice = 0; choice < s.tokens * s.k; ++choice) {
      const auto m = order.slot.view(-1)[choice].item<int64_t>();
      if (m >= 0) {
        spread.index_put_({at::tensor(choice / s.k), at::tensor(m)}, at::tensor(1.0, at::kDouble));
        weighted.index_put_({at::tensor(choice / s.k), at::tensor(m)},
                            weight.view(-1)[choice].to(at::kDouble));
      }
    }
    const auto wide = rows.to(at::kDouble);
    const auto close = [&](const at::Tensor& a, const at::Tensor& b) {
      return at::allclose(a.to(at::kDouble), b, tolerance(), tolerance());
    };
    EXPECT_TRUE(close(combine_rows(rows, order.slot, weight), weighted.mm(wide)));
    EXPECT_TRUE(close(composed_backend().combine_rows(rows, order.slot, weight), weighted.mm(wide)));
    EXPECT_TRUE(close(sum_rows(rows, order.slot), spread.mm(wide)));
    EXPECT_TRUE(close(composed_backend().sum_rows(rows, order.slot, {}), spread.mm(wide)));

    // Some of the rows in the middle lie elsewhere.
    const int64_t first = rows_kept / 3, count = rows_kept / 2;
    const at::Tensor gathered = at::full({rows_kept, s.width}, std::nan(""), rows.options());
    gather_rows(x, order.token.narrow(0, first, count), gathered.narrow(0, first, count));
    EXPECT_TRUE(
        at::equal(gathered.narrow(0, first, count), x.index_select(0, order.token.narrow(0, first, count))));
    const at::Tensor holed = rows.clone();
    holed.narrow(0, first, count).fill_(std::nan(""));
    const RowsElsewhere elsewhere = {rows.narrow(0, first, count), first};
    EXPECT_TRUE(at::equal(sum_rows(holed, order.slot, elsewhere), sum_rows(rows, order.slot)));
    EXPECT_TRUE(at::equal(order.slot.view(-1).index_select(0, order.choice), at::arange(rows_kept)));
    EXPECT_TRUE(at::equal(order.choice.floor_divide(s.k), order.token));
  }
}

TEST_P(Rows, GiveTheSameBitsOnEveryInstructionSetAndThreadCount) {
  const RowsShape s = {301, 3, 7, 77};
  const ExpertOrder order = sort_by_expert(random_choices(s), s.experts, s.tokens * s.k);
  const auto rows = at::randn({order.token.size(0), s.width}).to(GetParam());
  const auto weight = at::randn({s.tokens, s.k}).to(GetParam() == at::kDouble ? at::kDouble : at::kFloat);
  const auto all = [&] {
    return std::vector<at::Tensor>{combine_rows(rows, order.slot, weight), sum_rows(rows, order.slot)};
  };
  const int threads = at::get_num_threads();
  const auto best = all();
  limit_isa(Isa::plain);
  at::set_num_threads(1);
  const auto plain = all();
  at::set_num_threads(threads);
  for (size_t i = 0; i < best.size(); ++i) {
    EXPECT_TRUE(at::equal(best[i], plain[i])) << i;
  }
}

TEST_P(Rows, PassNanThroughAndIgnoreDroppedRows) {
  auto rows = at::randn({2, 20}).to(GetParam());
  rows[0].fill_(std::nan(""));
  const auto slot = at::tensor({0, -1, 1, -1}, at::kLong).view({2, 2});
  const auto sum = sum_rows(rows, slot);
  EXPECT_TRUE(sum[0].isnan().all().item<bool>());
  EXPECT_TRUE(at::equal(sum[1], rows[1]));
}

INSTANTIATE_TEST_SUITE_P(Types, Rows, testing::Values(at::kFloat, at::kBFloat16, at::kDouble));

}  // namespace
}  // namespace chorus
