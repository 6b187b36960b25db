#include <cstdio>

#include <ATen/ops/ones.h>
#include <chorus/base/random.h>

int main() {
  const chorus::RandomKey key(1);
  std::printf("%.6f %.1f\n", key.derive("outside").uniform(0), at::ones({2, 3}).sum().item<double>());
  return 0;
}
