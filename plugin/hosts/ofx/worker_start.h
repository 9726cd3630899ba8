// Starting the worker's process, and what becomes of those that this process has started.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "runtime.h"

namespace stpn {

// Starts a worker and returns its process. Throws Problem.
pid_t start_worker(const Installation& installation, const Meeting& meeting);

// How a worker that this process has started has ended.
struct End {
    std::optional<int> code;    // with which it has exited
    std::optional<int> signal;  // by which it was killed
};

// Nothing while it runs, and of processes that are not this one's children.
std::optional<End> end_of(pid_t worker);

// Takes back what the system keeps of children that have ended, so that none stays as a zombie.
void reap_workers();

}  // namespace stpn
