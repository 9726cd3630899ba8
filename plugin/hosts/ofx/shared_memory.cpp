#include "shared_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "problem.h"

namespace stpn {

namespace {

// With the worker, because not all systems number shared memory.
using Name = std::tuple<pid_t, dev_t, ino_t, std::uint64_t>;

std::mutex mutex;
std::map<Name, std::weak_ptr<SharedMemory>> mapped;

}  // namespace

std::shared_ptr<SharedMemory> SharedMemory::of(int descriptor, std::uint64_t bytes, pid_t worker) {
    struct stat found {};
    if (fstat(descriptor, &found) != 0 || found.st_size < 0 || static_cast<std::uint64_t>(found.st_size) < bytes ||
        bytes == 0)
        throw Problem("The worker's shared memory is smaller than it says.");
    const std::lock_guard lock(mutex);
    for (auto entry = mapped.begin(); entry != mapped.end();)
        entry = entry->second.expired() ? mapped.erase(entry) : std::next(entry);
    auto& known = mapped[{worker, found.st_dev, found.st_ino, bytes}];
    if (auto memory = known.lock()) return memory;
    void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (start == MAP_FAILED)
        throw Problem(std::string("The worker's shared memory cannot be mapped: ") + std::strerror(errno) + ".");
    std::shared_ptr<SharedMemory> memory(new SharedMemory(static_cast<std::uint8_t*>(start), bytes));
    known = memory;
    return memory;
}

SharedMemory::~SharedMemory() { munmap(start_, bytes_); }

std::uint8_t* SharedMemory::part(std::uint64_t offset, std::uint64_t bytes) const {
    if (offset % 64 != 0 || offset > bytes_ || bytes > bytes_ - offset) return nullptr;
    return start_ + offset;
}

}  // namespace stpn
