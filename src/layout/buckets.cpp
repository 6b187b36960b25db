#include "layout/buckets.h"

#include <map>
#include <tuple>

#include <c10/core/DeviceGuard.h>

namespace chorus::inline layout {

namespace {

constexpr int64_t kAlignment = 16;  // elements

int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

void give_memory(const at::Tensor& flat, size_t bytes) {
  const c10::DeviceGuard there(flat.device());
  c10::StorageImpl& storage = *flat.storage().unsafeGetStorageImpl();
  storage.set_data_ptr_noswap(storage.allocator()->allocate(bytes));
  storage.set_nbytes(bytes);
}

}  // namespace

LocalPart local_part(const ParameterSpec& spec, const Place& place) {
  LocalPart part = {.shape = spec.shape};
  const Mesh& mesh = place.mesh;
  const bool expert = spec.role == Role::expert;
  const int cut = expert ? mesh.etp_index(place.rank) : mesh.tp_index(place.rank);
  if (spec.cut >= 0) {
    int64_t& length = part.shape[spec.cut];
    part.rows = length / spec.cut_blocks;
    const Stretch own = part_of(part.rows, cut, expert ? mesh.etp : mesh.tp);
    part.first_row = own.first;
    part.row_count = own.count;
    length = own.count * spec.cut_blocks;
    part.width = c10::multiply_integers(spec.shape.begin() + spec.cut + 1, spec.shape.end());
  } else {
    part.rows = part.row_count = expert ? spec.elements() / spec.shape[0] : spec.elements();
    part.double_of_another = cut > 0;
  }
  if (expert) {
    const int64_t experts = spec.shape[0], groups = spec.elements() / (part.rows * part.width);
    part.shape[0] = experts / mesh.ep;
    part.first_group = part.shape[0] * mesh.ep_index(place.rank) * (groups / experts);
  }
  return part;
}

at::ScalarType value_type(const ParameterSpec& spec, at::ScalarType compute) {
  return spec.fp32 && compute == at::kBFloat16 ? at::kFloat : compute;
}

std::vector<Bucket> plan_buckets(const Catalogue& catalogue, const Place& place, at::ScalarType compute) {
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
    bucket.elements += round_up(c10::multiply_integers(local_part(spec, place).shape), kAlignment);
  }
  std::vector<Bucket> result;
  for (auto& [key, bucket] : buckets) {
    const int sharing = bucket.role == Role::expert ? place.mesh.edp() : place.mesh.dp();
    bucket.elements = round_up(bucket.elements, kAlignment * sharing);
    result.push_back(std::move(bucket));
  }
  return result;
}

void release(const at::Tensor& flat) {
  give_memory(flat, 0);
}

void restore(const at::Tensor& flat) {
  give_memory(flat, static_cast<size_t>(flat.numel()) * flat.element_size());
}

bool is_present(const at::Tensor& flat) {
  return flat.storage().nbytes() > 0;
}

}  // namespace chorus::inline layout
