// Kernels of ours on CUDA: a team is a block of threads. Compiled by nvcc alone; with one more body, it is listed below.
#include <algorithm>

#include "kernels/internal/device_columns.h"
#include "kernels/internal/device_norms.h"
#include "kernels/internal/device_routing.h"
#include "kernels/internal/device_rows.h"
#include "kernels/internal/device_sums.h"
#include "kernels/internal/launch.h"

namespace chorus::inline kernels {

namespace {

constexpr int kThreads = 256, kWarp = 32, kWarps = kThreads / kWarp;
constexpr unsigned kAll = 0xFFFFFFFF;

/// See HostTeam. What shares values begins by waiting for all threads, so that they are nobody's any more.
class CudaTeam {
 public:
  struct Shared {
    int bins[kBins];
    alignas(8) unsigned char values[kWarps * 8];
  };
  __device__ explicit CudaTeam(Shared& shared) : shared_(shared) {}

  __device__ static int64_t lane() { return threadIdx.x; }
  __device__ static int64_t lanes() { return kThreads; }
  template <class T>
  __device__ T sum(T x) {
    const T* const of_warps = share(sum_of_warp(x), threadIdx.x % kWarp == 0);
    T all = of_warps[0];
    for (int warp = 1; warp < kWarps; ++warp) all += of_warps[warp];
    return all;
  }
  template <class T>
  __device__ T max(T x) {
    for (int step = kWarp / 2; step > 0; step /= 2) x = greater(x, __shfl_xor_sync(kAll, x, step));
    const T* const of_warps = share(x, threadIdx.x % kWarp == 0);
    T all = of_warps[0];
    for (int warp = 1; warp < kWarps; ++warp) all = greater(all, of_warps[warp]);
    return all;
  }
  __device__ int64_t before(int64_t x, int64_t& all) {
    const int place = threadIdx.x % kWarp;
    int64_t up_to = x;
    for (int step = 1; step < kWarp; step *= 2) {
      const int64_t other = __shfl_up_sync(kAll, up_to, step);
      if (place >= step) up_to += other;
    }
    const int64_t* const of_warps = share(up_to, place == kWarp - 1);
    int64_t sum = up_to - x;
    all = 0;
    for (int warp = 0; warp < kWarps; ++warp) {
      if (warp < static_cast<int>(threadIdx.x) / kWarp) sum += of_warps[warp];
      all += of_warps[warp];
    }
    return sum;
  }
  __device__ void clear_bins() {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kThreads) shared_.bins[i] = 0;
    __syncthreads();
  }
  __device__ void add(int64_t bin) { atomicAdd(&shared_.bins[bin], 1); }
  __device__ int bin(int64_t i) const { return shared_.bins[i]; }
  __device__ static void sync() { __syncthreads(); }

  struct Squad {
    __device__ static int64_t lane() { return threadIdx.x % kWarp; }
    __device__ static int64_t lanes() { return kWarp; }
    template <class T>
    __device__ static T sum(T x) {
      return sum_of_warp(x);
    }
  };
  __device__ static Squad squad() { return {}; }
  __device__ static int64_t squad_number() { return threadIdx.x / kWarp; }
  __device__ static int64_t squads() { return kWarps; }

 private:
  template <class T>
  __device__ static T sum_of_warp(T x) {
    for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
    return x;
  }
  template <class T>
  __device__ static T greater(T a, T b) {
    return b > a ? b : a;
  }
  /// One value of each warp, that of the thread that `gives`.
  template <class T>
  __device__ const T* share(T x, bool gives) {
    static_assert(sizeof(T) <= 8);
    T* const values = reinterpret_cast<T*>(shared_.values);
    __syncthreads();
    if (gives) values[threadIdx.x / kWarp] = x;
    __syncthreads();
    return values;
  }

  Shared& shared_;
};

template <class Body>
__global__ void __launch_bounds__(kThreads) run(const __grid_constant__ Body body, int64_t pieces) {
  __shared__ CudaTeam::Shared shared;
  CudaTeam team(shared);
  for (int64_t piece = blockIdx.x; piece < pieces; piece += gridDim.x) body(team, piece);
}

}  // namespace

template <class Body>
const char* launch_on_cuda(const Body& body, int64_t pieces, void* stream) {
  constexpr int64_t kBlocks = int64_t{1} << 20;
  run<<<static_cast<unsigned>(std::min(pieces, kBlocks)), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      body, pieces);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

#define CHORUS_ON_CUDA(...) template const char* launch_on_cuda(const __VA_ARGS__&, int64_t, void*)
#define CHORUS_ON_CUDA_IN_BOTH_TYPES(Body) \
  CHORUS_ON_CUDA(Body<float>);             \
  CHORUS_ON_CUDA(Body<c10::BFloat16>)
#define CHORUS_ROWS_ON_CUDA(Body)       \
  CHORUS_ON_CUDA(EachRow<Body<float>>); \
  CHORUS_ON_CUDA(EachRow<Body<c10::BFloat16>>)

CHORUS_ON_CUDA(ChooseExperts);
CHORUS_ON_CUDA(KeepChoices);
CHORUS_ON_CUDA(PlaceRows);
CHORUS_ON_CUDA(Each<GateRow>);
CHORUS_ON_CUDA(RouterRow);
CHORUS_ROWS_ON_CUDA(CombineRow);
CHORUS_ON_CUDA(DrawStretch<float, DropBy>);
CHORUS_ON_CUDA(DrawStretch<c10::BFloat16, DropBy>);
CHORUS_ON_CUDA(DrawStretch<float, JitterBy>);
CHORUS_ON_CUDA(DrawStretch<c10::BFloat16, JitterBy>);
CHORUS_ROWS_ON_CUDA(ActivateRow);
CHORUS_ROWS_ON_CUDA(ActivateRowBackward);
CHORUS_ROWS_ON_CUDA(AddBiasRow);
CHORUS_ON_CUDA_IN_BOTH_TYPES(SumOfSegment);
CHORUS_ON_CUDA(Each<SumOfSegments>);
CHORUS_ON_CUDA_IN_BOTH_TYPES(AddWidened);
CHORUS_ROWS_ON_CUDA(NormRow);
CHORUS_ROWS_ON_CUDA(NormRowBackward);
CHORUS_ON_CUDA_IN_BOTH_TYPES(NormSegment);
CHORUS_ON_CUDA_IN_BOTH_TYPES(LossOfRow);
CHORUS_ON_CUDA(AdamWOfWeights);
CHORUS_ON_CUDA(SquaresOfStretches);

}  // namespace chorus::inline kernels
