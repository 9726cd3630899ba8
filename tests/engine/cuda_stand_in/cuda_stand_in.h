// What `propagation.cuh` needs of CUDA, on a CPU: g++ includes this before the kernel.
//
// Every thread of a block is a fiber that runs until it comes to a barrier. So a block runs in one order of its
// threads, the same every time; `runner.cpp` chooses the order, and a missing barrier shows as a difference.

#pragma once

#include <algorithm>

#define __device__
#define __global__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct Index {
  int x;
};
extern Index threadIdx, blockIdx, blockDim;

void __syncthreads();
void __syncwarp();

using std::max;
using std::min;

struct Half;
float to_float(Half value);
void store(Half& target, float value);
