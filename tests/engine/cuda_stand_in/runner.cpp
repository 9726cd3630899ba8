// Runs the kernels of `propagation.cuh` on a CPU, a block after the other, the threads of a block as fibers.

#include "cuda_stand_in.h"

// the stand-in's own names come first
#include KERNEL_FILE

#include <csetjmp>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <ucontext.h>
#include <vector>

Index threadIdx, blockIdx, blockDim;
alignas(16) float stpn_shared[64 * 1024];

float to_float(Half value) {
  _Float16 half;
  std::memcpy(&half, &value.bits, 2);
  return half;
}

void store(Half& target, float value) {
  const _Float16 half = value;
  std::memcpy(&target.bits, &half, 2);
}

namespace {

constexpr int kWarp = 32;
constexpr size_t kStackBytes = 64 * 1024;
constexpr int kGuardWords = 4096;

enum State { kReady, kAtWarpBarrier, kAtBlockBarrier, kDone };

struct Fiber {
  State state;
  bool started;
  jmp_buf here;
  ucontext_t first;
};

std::vector<Fiber> fibers;
std::vector<std::vector<char>> stacks;
jmp_buf scheduler;
int current;
void (*launch)(void* const*);
void* const* launch_arguments;

void stop(State state) {
  Fiber& fiber = fibers[current];
  fiber.state = state;
  if (_setjmp(fiber.here) == 0) _longjmp(scheduler, 1);
}

void run_fiber() {
  launch(launch_arguments);
  fibers[current].state = kDone;
  _longjmp(scheduler, 1);
}

void resume(int thread) {
  current = thread;
  threadIdx.x = thread;
  Fiber& fiber = fibers[thread];
  if (_setjmp(scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.here, 1);
  fiber.started = true;
  getcontext(&fiber.first);
  fiber.first.uc_stack.ss_sp = stacks[thread].data();
  fiber.first.uc_stack.ss_size = kStackBytes;
  fiber.first.uc_link = nullptr;
  makecontext(&fiber.first, run_fiber, 0);
  setcontext(&fiber.first);
}

bool all(int first, int last, State state) {
  return std::all_of(fibers.begin() + first, fibers.begin() + last, [=](const Fiber& f) { return f.state == state; });
}

void release(int first, int last) {
  for (int thread = first; thread < last; ++thread) fibers[thread].state = kReady;
}

}  // namespace

void __syncthreads() { stop(kAtBlockBarrier); }
void __syncwarp() { stop(kAtWarpBarrier); }

// The kernels by name: each takes its arguments as the CUDA driver does, a pointer to each.
#define CALL_FORWARD(name, T)                                                                                     \
  void run_##name(void* const* a) {                                                                               \
    name(*(const T**)a[0], *(const T**)a[1], *(int*)a[2], *(int*)a[3], *(int*)a[4], *(int*)a[5], *(int*)a[6],     \
         *(T**)a[7]);                                                                                             \
  }
CALL_FORWARD(stpn_propagate_f32, float)
CALL_FORWARD(stpn_propagate_f16, Half)
CALL_FORWARD(stpn_gather_f32, float)
CALL_FORWARD(stpn_gather_f16, Half)

namespace {

typedef const float* In;
typedef float* Out;
typedef unsigned char* Choice;

#define NUMBERS(from) *(int*)a[from], *(int*)a[from + 1], *(int*)a[from + 2], *(int*)a[from + 3], *(int*)a[from + 4]
#define AT(T, index) *(T*)a[index]

struct Entry {
  const char* name;
  void (*run)(void* const*);
};

const Entry kEntries[] = {
    {"stpn_propagate_f32", run_stpn_propagate_f32},
    {"stpn_propagate_f16", run_stpn_propagate_f16},
    {"stpn_gather_f32", run_stpn_gather_f32},
    {"stpn_gather_f16", run_stpn_gather_f16},
    {"stpn_propagate_training_f32",
     [](void* const* a) {
       stpn_propagate_training_f32(AT(In, 0), AT(In, 1), NUMBERS(2), AT(Out, 7), AT(Choice, 8));
     }},
    {"stpn_propagate_scans_f32",
     [](void* const* a) {
       stpn_propagate_scans_f32(AT(In, 0), AT(In, 1), AT(Choice, 2), AT(In, 3), NUMBERS(4), AT(Out, 9), AT(Out, 10));
     }},
    {"stpn_gather_scans_f32",
     [](void* const* a) {
       stpn_gather_scans_f32(AT(In, 0), AT(In, 1), AT(In, 2), NUMBERS(3), AT(Out, 8), AT(Out, 9));
     }},
    {"stpn_propagate_gate_gradient_f32",
     [](void* const* a) {
       stpn_propagate_gate_gradient_f32(AT(In, 0), AT(In, 1), AT(In, 2), NUMBERS(3), AT(Out, 8));
     }},
    {"stpn_gather_gate_gradient_f32",
     [](void* const* a) {
       stpn_gather_gate_gradient_f32(AT(In, 0), AT(In, 1), AT(In, 2), NUMBERS(3), AT(Out, 8));
     }},
    {"stpn_propagate_map_gradient_f32",
     [](void* const* a) { stpn_propagate_map_gradient_f32(AT(In, 0), AT(In, 1), NUMBERS(2), AT(Out, 7)); }},
    {"stpn_gather_map_gradient_f32",
     [](void* const* a) { stpn_gather_map_gradient_f32(AT(In, 0), AT(In, 1), NUMBERS(2), AT(Out, 7)); }},
};

}  // namespace

// Runs a kernel. `order` of warps and of lanes in a warp: 0 ascending, 1 descending, 2 shuffled after every barrier.
// Returns 0, or: 1 no such kernel, 2 more shared memory than there is, 3 threads wait at different barriers, 4 shared
// memory past the asked for bytes was written.
extern "C" int stand_in_launch(const char* name, int grid, int block, int shared_bytes, void* const* arguments,
                               int order) {
  const auto entry = std::find_if(std::begin(kEntries), std::end(kEntries),
                                  [=](const Entry& e) { return std::string(e.name) == name; });
  if (entry == std::end(kEntries)) return 1;
  if (shared_bytes < 0 || shared_bytes % 4 || (size_t)shared_bytes >= sizeof(stpn_shared)) return 2;
  launch = entry->run;
  launch_arguments = arguments;
  fibers.assign(block, Fiber{});
  while ((int)stacks.size() < block) stacks.emplace_back(kStackBytes);
  std::vector<int> warps, lanes;
  for (int first = 0; first < block; first += kWarp) warps.push_back(first);
  for (int lane = 0; lane < kWarp; ++lane) lanes.push_back(lane);
  if (order == 1) std::reverse(warps.begin(), warps.end()), std::reverse(lanes.begin(), lanes.end());
  std::mt19937 random(1);
  blockDim.x = block;
  const float poison = std::numeric_limits<float>::quiet_NaN();
  float* const shared_end = stpn_shared + shared_bytes / 4;
  float* const guard_end = std::min(shared_end + kGuardWords, std::end(stpn_shared));
  for (int index = 0; index < grid; ++index) {
    blockIdx.x = index;
    std::fill(stpn_shared, guard_end, poison);  // what nobody wrote is not a number
    for (Fiber& fiber : fibers) fiber.state = kReady, fiber.started = false;
    while (!all(0, block, kDone)) {
      if (order == 2) std::shuffle(warps.begin(), warps.end(), random);
      bool moved = false;
      for (const int first : warps) {  // each goes on alone until the whole block has to wait: as far ahead as it can
        const int last = std::min(first + kWarp, block);
        for (bool again = true; again;) {
          if (order == 2) std::shuffle(lanes.begin(), lanes.end(), random);
          for (const int lane : lanes)
            if (first + lane < last && fibers[first + lane].state == kReady) resume(first + lane), moved = true;
          again = all(first, last, kAtWarpBarrier);
          if (again) release(first, last);
        }
      }
      if (all(0, block, kAtBlockBarrier)) release(0, block), moved = true;
      if (!moved) return 3;
    }
    for (const float* word = shared_end; word < guard_end; ++word)
      if (std::memcmp(word, &poison, 4) != 0) return 4;
  }
  return 0;
}
