// What ends a render early.
#pragma once

#include <stdexcept>

namespace stpn {

// What is wrong, as a sentence for the person at the node.
struct Problem : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The host wants the render no longer. Not an error: nobody reads a sentence about it.
struct Aborted : std::exception {};

}  // namespace stpn
