// One direction of the propagation operator over one plane, by one block.
//
// A thread owns one pixel of the column that moves along the direction. Every `kSteps` columns make a strip, which goes
// like this:
//
//   1. Each warp fetches its patch of the strip, 32 pixels of a column by kSteps columns, from x and the three gates:
//      in the order of memory, 16 bytes a lane where the width allows, and then while the strip before is computed.
//   2. The patch goes through a tile in shared memory, out of which every lane takes the kSteps values of its pixel.
//      That turns the horizontal directions; the vertical ones take the same road.
//   3. kSteps times: publish the own value of the previous column in shared memory, one barrier, read both neighbours.
//      The column stays in float32, whatever the planes are stored in.
//   4. The results go back through the tile and are joined with what is in `out`, in the order of memory.
//
// A column longer than the block is done in segments. They overlap by kSteps pixels, because news moves one pixel a
// column: what is wrong at the rim of a segment cannot reach the pixels that it keeps within one strip.

#pragma once

constexpr int kLanes = 32;
constexpr int kSteps = 8;
constexpr int kMaxThreads = 512;
constexpr int kTileRow = kSteps + 1;  // one more than needed, so that the lanes of a warp fall into different banks

struct Half {
  unsigned short bits;
};

#ifdef __CUDACC__  // the stand-in that runs this file on a CPU brings its own
__device__ __forceinline__ float to_float(Half value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
__device__ __forceinline__ void store(Half& target, float value) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(target.bits) : "f"(value));
}
#endif
__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ void store(float& target, float value) { target = value; }

// The same number, but the compiler does not know: what follows from it is computed here and not kept from before.
__device__ __forceinline__ int anew(int number) {
  asm volatile("" : "+r"(number));
  return number;
}

extern __shared__ float stpn_shared[];

// What a scan computes, and how its result joins `out`.
enum Kind {
  kMaximum,       // y of equation (4); the larger one stays
  kSum,           // r of `gather`; added
  kKeepY,         // y, stored
  kKeepHeld,      // r + x of `gather`, stored
  kAdjoint,       // the gradient of y, stored
  kAdjointOfSum,  // the part of the gradient of r + x that comes from later columns, stored
};

// One direction over one plane. A column has `across` pixels, and `along` columns follow one another.
struct Way {
  bool horizontal, reverse;
  int across, along, width;

  __device__ Way(int direction, int height, int width)
      : horizontal(direction < 2),
        reverse(direction & 1),
        across(horizontal ? height : width),
        along(horizontal ? width : height),
        width(width) {}
  // From pixel 0 of column 0; fits, because a plane has less than 2^31 pixels.
  __device__ int offset(int pixel, int column) const {
    return horizontal ? pixel * width + column : column * width + pixel;
  }
};

// V values of memory that lie side by side.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T at[V];
};

// A lane's share of a patch of 32 pixels by kSteps columns, in the order of memory.
template <class T, int V>
struct Patch {
  Pack<T, V> piece[kSteps / V];
};

// Where the pieces of a lane lie: piece k is `k * step` from the first one, whichever way the columns run.
template <int V>
struct Share {
  int across, along, step_across, step_along;  // in the patch
  int offset, step_offset;                     // in the plane, from the patch's corner
  int tile, step_tile, next;                   // in the tile; `next` from one value of a piece to the next

  __device__ Share(const Way& way, int lane) {
    constexpr int in_row = kSteps / V, in_column = kLanes / V;  // pieces of a row of memory in either case
    across = way.horizontal ? lane / in_row : lane % in_column * V;
    along = way.horizontal ? lane % in_row * V : lane / in_column;
    step_across = way.horizontal ? kLanes / in_row : 0;
    step_along = way.horizontal ? 0 : kLanes / in_column;
    offset = way.offset(across, along);
    step_offset = way.offset(step_across, step_along);
    tile = across * kTileRow + along;
    step_tile = step_across * kTileRow + step_along;
    next = way.horizontal ? 1 : kTileRow;
  }
};

// Reads the part of a patch that lies in pixels low..high-1 of a column; the rest becomes 0.
template <class T, int V>
__device__ __forceinline__ void fetch(Patch<T, V>& patch, const T* plane, const Way& way, const Share<V>& share,
                                      int across, int along, int low, int high) {
  int a = across + share.across, l = along + share.along, offset = way.offset(across, along) + share.offset;
#pragma unroll
  for (int k = 0; k < kSteps / V; ++k) {
    patch.piece[k] = Pack<T, V>{};
    if (a >= low && a < high && l < way.along) patch.piece[k] = *reinterpret_cast<const Pack<T, V>*>(plane + offset);
    a += share.step_across, l += share.step_along, offset += share.step_offset;
  }
}

// The kSteps values of the lane's own pixel, in the order in which the direction meets them.
template <class T, int V>
__device__ __forceinline__ void turn(float (&own)[kSteps], const Patch<T, V>& patch, const Way& way,
                                     const Share<V>& share, float* tile) {
  int to = share.tile;
#pragma unroll
  for (int k = 0; k < kSteps / V; ++k) {
#pragma unroll
    for (int v = 0; v < V; ++v) tile[to + v * share.next] = to_float(patch.piece[k].at[v]);
    to += share.step_tile;
  }
  __syncwarp();
  const int row = threadIdx.x % kLanes * kTileRow;
#pragma unroll
  for (int j = 0; j < kSteps; ++j) own[j] = tile[row + (way.reverse ? kSteps - 1 - j : j)];
  __syncwarp();
}

// What a scan reads and writes, all at the start of a plane. `chosen` is read by kAdjoint (null elsewhere: every value
// counts) and written by kMaximum (null: not wanted).
template <class T>
struct Planes {
  const T* source;
  const T* gates;  // the three planes of a set follow one another
  T* out;
  unsigned char* chosen;
};

// One direction over one plane. `direction` names the result, `way` the order of columns.
template <Kind kind, int V, class T>
__device__ __forceinline__ void scan(const Planes<T>& planes, const Way way, const int direction) {
  constexpr bool adjoint = kind == kAdjoint || kind == kAdjointOfSum;
  constexpr bool of_sum = kind == kSum || kind == kKeepHeld;
  const long long size = (long long)way.across * way.along;
  const int threads = blockDim.x;
  float* const line = stpn_shared + threads * kTileRow;  // [2 taking turns][2 neighbours][threads + 2]
  float* const above = line + 4 * (threads + 2);         // [kSteps] the segment before, as it was before this strip
  float* const column = above + kSteps;                  // [across] the last column of the strip before

  const int segments = way.across <= threads ? 1 : (way.across - 1) / (threads - 2 * kSteps) + 1;
  const int rim = segments == 1 ? 0 : kSteps, useful = threads - 2 * rim;
  const int strips = (way.along + kSteps - 1) / kSteps;
  const int start = way.reverse ? way.along - 1 : 0;

  // fetched while the strip before is computed; one value a piece would take too many registers for that
  constexpr bool early = V > 1;
  Patch<T, V> ahead[4];
  const auto fetch_ahead = [&](int me, int strip, int segment) {
    const Share<V> share(way, me % kLanes);
    const int along = (way.reverse ? strips - 1 - strip : strip) * kSteps;
    const int across = segment * useful - rim + me / kLanes * kLanes;
    fetch<T, V>(ahead[0], planes.source, way, share, across, along, 0, way.across);
#pragma unroll
    for (int n = 0; n < 3; ++n)
      fetch<T, V>(ahead[1 + n], planes.gates + n * size, way, share, across, along, 0, way.across);
    if constexpr (kind == kAdjoint) {  // the gradient goes to the direction that gave the maximum
      Patch<unsigned char, V> chosen;
      fetch<unsigned char, V>(chosen, planes.chosen, way, share, across, along, 0, way.across);
#pragma unroll
      for (int k = 0; k < kSteps / V; ++k)
#pragma unroll
        for (int v = 0; v < V; ++v)
          if (chosen.piece[k].at[v] != direction) ahead[0].piece[k].at[v] = T{};
    }
  };

  int turns = 0;
  if (early) fetch_ahead(threadIdx.x, 0, 0);
#pragma unroll 1
  for (int strip = 0; strip < strips; ++strip) {
    const int along = (way.reverse ? strips - 1 - strip : strip) * kSteps;
#pragma unroll 1
    for (int segment = 0; segment < segments; ++segment) {
      // were all addresses kept from strip to strip, the registers would not suffice
      const int me = anew(threadIdx.x);
      const int warp = me / kLanes, lane = me % kLanes;
      const Share<V> share(way, lane);
      float* const tile = stpn_shared + warp * kLanes * kTileRow;
      const int low = segment * useful, high = min(low + useful, way.across);
      const int across = low - rim + warp * kLanes, mine = low - rim + me;
      const bool inside = mine >= 0 && mine < way.across, has_above = mine > 0, has_below = mine < way.across - 1;

      float value[kSteps], w[3][kSteps];
      if (!early) fetch_ahead(me, strip, segment);
      turn<T, V>(value, ahead[0], way, share, tile);
#pragma unroll
      for (int n = 0; n < 3; ++n) turn<T, V>(w[n], ahead[1 + n], way, share, tile);
      if (early && segment + 1 < segments)
        fetch_ahead(me, strip, segment + 1);
      else if (early && strip + 1 < strips)
        fetch_ahead(me, strip + 1, 0);
      Patch<T, V> before;
      if constexpr (kind == kMaximum || kind == kSum) {
        const T* const joined = kind == kSum && direction == 0 ? planes.source : planes.out;
        if (kind == kSum || direction > 0) fetch<T, V>(before, joined, way, share, across, along, low, high);
      }

      // forwards the value of the previous column, backwards what the later columns hand to this one
      float held = 0;
      if (strip > 0 && inside) held = mine < low ? above[me] : column[mine];
      const float held_before = held;
#pragma unroll
      for (int j = 0; j < kSteps; ++j) {
        const int position = along + (way.reverse ? kSteps - 1 - j : j);
        if (position >= way.along) continue;  // all threads of the block alike
        float* const from_below = line + (turns++ & 1) * 2 * (threads + 2);
        float* const from_above = from_below + threads + 2;
        if constexpr (adjoint) {
          const float gradient = value[j] + held;
          value[j] = kind == kAdjoint ? gradient : held;
          from_below[me + 1] = w[0][j] * gradient;  // the first gate leads here from the pixel above
          from_above[me + 1] = w[2][j] * gradient;
          __syncthreads();
          held = w[1][j] * gradient;
          if (has_below) held += me + 1 < threads ? from_below[me + 2] : 0;
          if (has_above) held += me > 0 ? from_above[me] : 0;
          if (!inside) held = 0;
        } else {
          from_above[me + 1] = held;
          __syncthreads();
          const float x = value[j];
          const float up = me > 0 ? from_above[me] : 0, down = me + 1 < threads ? from_above[me + 2] : 0;
          if constexpr (of_sum) {
            float r = w[1][j] * held;
            if (has_above) r += w[0][j] * up;
            if (has_below) r += w[2][j] * down;
            if (position == start) r = 0;
            held = r + x;
            value[j] = kind == kSum ? r : held;
          } else {
            // (1 - sum w) x + sum w y, multiplied out: a constant map stays constant to the last bit
            float y = x + w[1][j] * (held - x);
            if (has_above) y += w[0][j] * (up - x);
            if (has_below) y += w[2][j] * (down - x);
            if (position == start) y = x;
            held = value[j] = y;
          }
        }
      }
      if (inside && mine >= low && mine < high) {
        if (mine >= high - kSteps) above[mine - (high - kSteps)] = held_before;
        column[mine] = held;
      }
      if (segments > 1) __syncthreads();  // the next segment reads both; one segment alone reads only its own

      const int row = lane * kTileRow;
#pragma unroll
      for (int j = 0; j < kSteps; ++j) tile[row + (way.reverse ? kSteps - 1 - j : j)] = value[j];
      __syncwarp();
#pragma unroll
      for (int k = 0; k < kSteps / V; ++k) {
        const int a = across + share.across + k * share.step_across, l = along + share.along + k * share.step_along;
        if (a < low || a >= high || l >= way.along) continue;
        const int offset = way.offset(a, l), from = share.tile + k * share.step_tile;
        Pack<T, V> result;
        Pack<unsigned char, V> chosen;
        unsigned char* const choice = planes.chosen + offset;
        if constexpr (kind == kMaximum)
          if (planes.chosen && direction > 0) chosen = *reinterpret_cast<const Pack<unsigned char, V>*>(choice);
#pragma unroll
        for (int v = 0; v < V; ++v) {
          const float found = tile[from + v * share.next];
          if constexpr (kind == kSum) {
            store(result.at[v], to_float(before.piece[k].at[v]) + found);
          } else {
            store(result.at[v], found);
          }
          if constexpr (kind == kMaximum) {
            const float now = to_float(result.at[v]), best = to_float(before.piece[k].at[v]);
            // the first of equals stays, and so does the first NaN
            const bool wins = direction == 0 || now > best || (now != now && best == best);
            if (!wins) result.at[v] = before.piece[k].at[v];
            if (wins) chosen.at[v] = direction;
          }
        }
        *reinterpret_cast<Pack<T, V>*>(planes.out + offset) = result;
        if constexpr (kind == kMaximum)
          if (planes.chosen) *reinterpret_cast<Pack<unsigned char, V>*>(choice) = chosen;
      }
      // no barrier: what this lane has just read of the tile, it alone writes in the next strip
    }
  }
  __syncthreads();  // the next direction reads what other threads wrote to `out`, and uses the shared memory again
}
