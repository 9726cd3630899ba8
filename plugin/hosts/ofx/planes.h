// Copies between the host's rows, interleaved and from the bottom, and the worker's planes, from the top.
#pragma once

#include <functional>

#include "images.h"
#include "pictures.h"

namespace stpn {

// Calls `work` with parts of 0 to `count`; on two threads where there are many pixels, because one does not use all of
// the memory's speed.
void in_parallel(int count, std::int64_t pixels, const std::function<void(int first, int last)>& work);

// Writes what an image has in the window as planes; 0 where it has nothing.
void copy_in(const Image& image, const Bounds& window, const Picture& picture, std::uint8_t* planes);

// Writes a result into the part of the output that is to be rendered.
//
// The result covers the source's bounds; beyond them everything is 0. Its channels go to the channels of the same
// names. Those it has not are the source image's, converted to the output's depth; where that has none either, alpha is
// 1 and color 0. `source` may be null if the result has every channel of the output.
void copy_out(const Picture& result, const std::uint8_t* planes, const Bounds& bounds, const Image* source,
              const Image& output, const Bounds& part);

}  // namespace stpn
