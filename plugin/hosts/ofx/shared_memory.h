// A worker's shared memory, mapped once in this process however many connections use it.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace stpn {

class SharedMemory {
public:
    // Maps what a worker's descriptor names, or finds the mapping that is there. Throws Problem. The descriptor stays
    // open.
    static std::shared_ptr<SharedMemory> of(int descriptor, std::uint64_t bytes, pid_t worker);
    ~SharedMemory();
    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;

    // Null where not all of it lies within the memory, or does not begin where planes begin.
    std::uint8_t* part(std::uint64_t offset, std::uint64_t bytes) const;

private:
    SharedMemory(std::uint8_t* start, std::uint64_t bytes) : start_(start), bytes_(bytes) {}

    std::uint8_t* start_;
    std::uint64_t bytes_;
};

}  // namespace stpn
