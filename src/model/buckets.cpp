#include "chorus/model/buckets.h"

#include <map>
#include <tuple>

#include <c10/core/CPUAllocator.h>

namespace chorus {

namespace {

constexpr int64_t kAlignment = 16;  // elements

int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

c10::StorageImpl& storage_of(const at::Tensor& flat) {
  return *flat.storage().unsafeGetStorageImpl();
}

}  // namespace

LocalPart local_part(const ParameterSpec& spec, const Parallel& parallel) {
  LocalPart part = {.shape = spec.shape};
  if (spec.role == Role::expert) {
    const int64_t experts = spec.shape[0];
    part.shape[0] = parallel.expert_count(experts);
    part.first = parallel.first_expert(experts) * (spec.elements() / experts);
  }
  return part;
}

at::ScalarType value_type(const ParameterSpec& spec, at::ScalarType compute) {
  return spec.fp32 && compute == at::kBFloat16 ? at::kFloat : compute;
}

std::vector<Bucket> plan_buckets(const Catalogue& catalogue, const Parallel& parallel,
                                 at::ScalarType compute) {
  std::map<std::tuple<size_t, Role, at::ScalarType>, Bucket> buckets;
  for (size_t p = 0; p < catalogue.parameters.size(); ++p) {
    const ParameterSpec& spec = catalogue.parameters[p];
    const at::ScalarType type = value_type(spec, compute);
    Bucket& bucket = buckets[{spec.block, spec.role, type}];
    bucket.block = spec.block;
    bucket.role = spec.role;
    bucket.type = type;
    bucket.parameters.push_back(p);
    bucket.offsets.push_back(bucket.elements);
    bucket.elements += round_up(c10::multiply_integers(local_part(spec, parallel).shape), kAlignment);
  }
  std::vector<Bucket> result;
  for (auto& [key, bucket] : buckets) {
    const Group& sharing = bucket.role == Role::expert ? parallel.edp : parallel.dp;
    bucket.elements = round_up(bucket.elements, kAlignment * sharing.size());
    result.push_back(std::move(bucket));
  }
  return result;
}

void release(const at::Tensor& flat) {
  c10::StorageImpl& storage = storage_of(flat);
  storage.set_data_ptr_noswap(c10::GetCPUAllocator()->allocate(0));
  storage.set_nbytes(0);
}

void restore(const at::Tensor& flat) {
  c10::StorageImpl& storage = storage_of(flat);
  const size_t bytes = static_cast<size_t>(flat.numel()) * flat.element_size();
  storage.set_data_ptr_noswap(c10::GetCPUAllocator()->allocate(bytes));
  storage.set_nbytes(bytes);
}

bool is_present(const at::Tensor& flat) {
  return flat.storage().nbytes() > 0;
}

}  // namespace chorus
