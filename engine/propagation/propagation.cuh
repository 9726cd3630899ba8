// The propagation operator and its sum form on a GPU. The definitions: `reference.py` and `gathering.py` beside this.
//
// One block owns one plane, that is one channel of one frame, and runs the four directions after one another; no block
// waits for another, so one launch does everything. How one direction runs over one plane: `scan.cuh`. The gradient
// takes three launches: all scans of all directions at once, then two sums, each in a fixed order.
//
// Needs no header of CUDA's. Arguments stand as TensorRT passes them: inputs, int32 numbers, outputs; `launch.py` lists
// them.

#include "scan.cuh"

__device__ __forceinline__ bool multiple_of(const void* pointer, int bytes) {
  return reinterpret_cast<unsigned long long>(pointer) % bytes == 0;
}

// The three gates that direction `direction` uses for a channel; gates (B, 4, gate_channels, 3, H, W).
__device__ __forceinline__ long long gate_plane(int frame, int direction, int channel, int gate_channels,
                                                int switched) {
  const int set = gate_channels == 1 ? 0 : channel;
  return (((long long)frame * 4 + (direction ^ switched)) * gate_channels + set) * 3;
}

// All four directions of one plane, joined: grid B * C.
template <Kind kind, class T>
__device__ __forceinline__ void forward(const T* x, const T* gates, int channels, int height, int width,
                                        int gate_channels, int switched, T* out, unsigned char* chosen) {
  constexpr int wide = 16 / sizeof(T);
  const long long size = (long long)height * width, plane = blockIdx.x;
  const bool aligned = width % wide == 0 && multiple_of(x, 16) && multiple_of(gates, 16) && multiple_of(out, 16) &&
                       multiple_of(chosen, wide);
#pragma unroll 1
  for (int direction = 0; direction < 4; ++direction) {
    const int frame = blockIdx.x / channels, channel = blockIdx.x % channels;
    const T* const w = gates + gate_plane(frame, direction, channel, gate_channels, switched) * size;
    const Planes<T> planes{x + plane * size, w, out + plane * size,
                           chosen ? chosen + plane * size : nullptr};
    const Way way(direction, height, width);
    if (aligned)
      scan<kind, wide, T>(planes, way, direction);
    else
      scan<kind, 1, T>(planes, way, direction);
  }
}

// One direction of one plane, forwards again and backwards: grid B * C * 4 * 2. `values` and `gradients` are
// (B, C, 4, H, W).
template <Kind again, Kind back>
__device__ __forceinline__ void both_scans(const float* x, const float* gates, const unsigned char* chosen,
                                           const float* gradient, int channels, int height, int width,
                                           int gate_channels, int switched, float* values, float* gradients) {
  const int backwards = blockIdx.x % 2, direction = blockIdx.x / 2 % 4, plane = blockIdx.x / 8;
  const long long size = (long long)height * width, from = plane * size, to = (plane * 4LL + direction) * size;
  const float* const w =
      gates + gate_plane(plane / channels, direction, plane % channels, gate_channels, switched) * size;
  const float* const source = backwards ? gradient : x;
  float* const target = backwards ? gradients : values;
  const Planes<float> planes{source + from, w, target + to,
                             chosen ? const_cast<unsigned char*>(chosen) + from : nullptr};
  Way way(direction, height, width);
  way.reverse ^= backwards;
  const bool aligned = width % 4 == 0 && multiple_of(source, 16) && multiple_of(gates, 16) && multiple_of(target, 16) &&
                       multiple_of(chosen, 4);
  if (backwards && aligned)
    scan<back, 4, float>(planes, way, direction);
  else if (backwards)
    scan<back, 1, float>(planes, way, direction);
  else if (aligned)
    scan<again, 4, float>(planes, way, direction);
  else
    scan<again, 1, float>(planes, way, direction);
}

// One pixel a thread of `sets` planes one after another: false past the end.
__device__ __forceinline__ bool pixel_of(long long size, int& set, long long& pixel) {
  const int blocks = (size + blockDim.x - 1) / blockDim.x;
  set = blockIdx.x / blocks;
  pixel = (long long)(blockIdx.x % blocks) * blockDim.x + threadIdx.x;
  return pixel < size;
}

// The gradient of a direction's three gates at one pixel: grid B * 4 * gate_channels * ceil(H * W / threads). Channels
// that share gates are added in their order. `source` is x of equation (4), or the gradient of the result of `gather`.
template <bool of_sum>
__device__ __forceinline__ void gate_gradient(const float* source, const float* values, const float* gradients,
                                              int channels, int height, int width, int gate_channels, int switched,
                                              float* grad_gates) {
  const long long size = (long long)height * width;
  int set;
  long long pixel;
  if (!pixel_of(size, set, pixel)) return;
  const int direction = set / gate_channels % 4, frame = set / gate_channels / 4, gate = set % gate_channels;
  const Way way(direction, height, width);
  const int row = pixel / width, column = pixel % width;
  const int along = way.horizontal ? column : row, across = way.horizontal ? row : column;
  const int previous = along + (way.reverse ? 1 : -1);
  const long long to_previous = (way.horizontal ? 1 : width) * (way.reverse ? 1LL : -1LL);
  const long long to_below = way.horizontal ? width : 1;
  float sum[3] = {0, 0, 0};
  if (previous >= 0 && previous < way.along) {
    const int first = gate_channels == 1 ? 0 : gate, last = gate_channels == 1 ? channels : gate + 1;
    for (int channel = first; channel < last; ++channel) {
      const long long plane = (long long)frame * channels + channel, scan = (plane * 4 + direction) * size + pixel;
      const float x = source[plane * size + pixel];
      const float gradient = of_sum ? gradients[scan] + x : gradients[scan];
      const float* const value = values + scan + to_previous;
      const float less = of_sum ? 0 : x;
      if (across > 0) sum[0] += gradient * (value[-to_below] - less);
      sum[1] += gradient * (value[0] - less);
      if (across < way.across - 1) sum[2] += gradient * (value[to_below] - less);
    }
  }
  float* const target = grad_gates + gate_plane(frame, direction, gate, gate_channels, switched) * size + pixel;
#pragma unroll
  for (int n = 0; n < 3; ++n) target[n * size] = sum[n];
}

#define STPN_KERNEL extern "C" __global__ void __launch_bounds__(kMaxThreads)
#define STPN_NUMBERS int channels, int height, int width, int gate_channels, int switched
#define STPN_PASS channels, height, width, gate_channels, switched

#define STPN_FORWARD(name, kind, T)                                              \
  STPN_KERNEL name(const T* x, const T* gates, STPN_NUMBERS, T* out) {           \
    forward<kind, T>(x, gates, STPN_PASS, out, nullptr);                         \
  }
STPN_FORWARD(stpn_propagate_f32, kMaximum, float)
STPN_FORWARD(stpn_propagate_f16, kMaximum, Half)
STPN_FORWARD(stpn_gather_f32, kSum, float)
STPN_FORWARD(stpn_gather_f16, kSum, Half)

// Notes too which direction gave the maximum of each value, for the gradient.
STPN_KERNEL stpn_propagate_training_f32(const float* x, const float* gates, STPN_NUMBERS, float* out,
                                        unsigned char* chosen) {
  forward<kMaximum, float>(x, gates, STPN_PASS, out, chosen);
}

STPN_KERNEL stpn_propagate_scans_f32(const float* x, const float* gates, const unsigned char* chosen,
                                     const float* gradient, STPN_NUMBERS, float* values, float* gradients) {
  both_scans<kKeepY, kAdjoint>(x, gates, chosen, gradient, STPN_PASS, values, gradients);
}
STPN_KERNEL stpn_gather_scans_f32(const float* x, const float* gates, const float* gradient, STPN_NUMBERS,
                                  float* values, float* gradients) {
  both_scans<kKeepHeld, kAdjointOfSum>(x, gates, nullptr, gradient, STPN_PASS, values, gradients);
}

STPN_KERNEL stpn_propagate_gate_gradient_f32(const float* x, const float* values, const float* gradients, STPN_NUMBERS,
                                             float* grad_gates) {
  gate_gradient<false>(x, values, gradients, STPN_PASS, grad_gates);
}
STPN_KERNEL stpn_gather_gate_gradient_f32(const float* gradient, const float* values, const float* gradients,
                                          STPN_NUMBERS, float* grad_gates) {
  gate_gradient<true>(gradient, values, gradients, STPN_PASS, grad_gates);
}

// The gradient of x at one pixel, the four directions added in their order: grid B * C * ceil(H * W / threads).
STPN_KERNEL stpn_propagate_map_gradient_f32(const float* gates, const float* gradients, STPN_NUMBERS, float* grad_x) {
  const long long size = (long long)height * width;
  int plane;
  long long pixel;
  if (!pixel_of(size, plane, pixel)) return;
  const int row = pixel / width, column = pixel % width;
  float sum = 0;
  for (int direction = 0; direction < 4; ++direction) {
    const Way way(direction, height, width);
    const int along = way.horizontal ? column : row, across = way.horizontal ? row : column;
    const float* const w =
        gates + gate_plane(plane / channels, direction, plane % channels, gate_channels, switched) * size + pixel;
    float total = w[size];
    if (across > 0) total += w[0];
    if (across < way.across - 1) total += w[2 * size];
    if (along == (way.reverse ? way.along - 1 : 0)) total = 0;  // the first column is taken whole
    sum += (1 - total) * gradients[(plane * 4LL + direction) * size + pixel];
  }
  grad_x[plane * size + pixel] = sum;
}
STPN_KERNEL stpn_gather_map_gradient_f32(const float* gradient, const float* gradients, STPN_NUMBERS, float* grad_x) {
  const long long size = (long long)height * width;
  int plane;
  long long pixel;
  if (!pixel_of(size, plane, pixel)) return;
  float sum = gradient[plane * size + pixel];
  for (int direction = 0; direction < 4; ++direction) sum += gradients[(plane * 4LL + direction) * size + pixel];
  grad_x[plane * size + pixel] = sum;
}
