// Pictures as the worker knows them: by an identifier that is the same for the same pixels and only then.
#pragma once

#include <string>

#include "images.h"

namespace stpn {

struct Picture {
    std::string id;
    int width = 0, height = 0;
    std::string type;
    std::string channels;

    size_t plane_bytes() const;   // without what fills up to the next plane
    size_t plane_stride() const;  // from one plane to the next
    size_t bytes() const;         // that the planes take in the shared memory
    // As in the lines of the messages, identifier left out.
    std::string layout() const;
};

size_t bytes_of(const std::string& type);

// An image as a picture of what lies in the window; what the image does not cover is 0. The scale is the render's.
Picture picture_of(const Image& image, const Bounds& window, double scale_x, double scale_y);

}  // namespace stpn
