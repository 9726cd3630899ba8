// One image of the host, held for as long as this object lives.
#pragma once

#include <cstdint>
#include <string>

#include "instance.h"
#include "keys.h"

namespace stpn {

// As the worker calls it: float, half, uint16 or uint8.
struct Depth {
    std::string type;
    int bytes;
};

// In pixels at the render scale; x2 and y2 are the first beyond. y counts from the bottom.
struct Bounds {
    int x1 = 0, y1 = 0, x2 = 0, y2 = 0;

    int width() const { return x2 - x1; }
    int height() const { return y2 - y1; }
    std::int64_t pixels() const { return std::int64_t{width()} * height(); }
    bool operator==(const Bounds& other) const {
        return x1 == other.x1 && y1 == other.y1 && x2 == other.x2 && y2 == other.y2;
    }
    bool operator!=(const Bounds& other) const { return !(*this == other); }
};

Bounds overlap(const Bounds& one, const Bounds& other);

class Image {
public:
    // Throws Problem where the host has none, or one that cannot be used. `what` names it in the sentence.
    static Image fetch(const Clip& clip, double time, const std::string& what);
    ~Image();
    Image(Image&& other) noexcept;
    Image(const Image&) = delete;
    Image& operator=(const Image&) = delete;
    Image& operator=(Image&&) = delete;

    const Bounds& bounds() const { return bounds_; }
    const Depth& depth() const { return depth_; }
    // RGBA, RGB or A, in the order in which they lie in memory.
    const std::string& channels() const { return channels_; }
    size_t pixel_bytes() const { return channels_.size() * static_cast<size_t>(depth_.bytes); }
    // Empty where the host gives none.
    const std::string& identifier() const { return identifier_; }

    // The pixel, which must lie within the bounds.
    std::uint8_t* at(int x, int y) const {
        return data_ + (std::ptrdiff_t{y} - bounds_.y1) * row_bytes_ +
               (std::ptrdiff_t{x} - bounds_.x1) * static_cast<std::ptrdiff_t>(pixel_bytes());
    }

private:
    explicit Image(OfxPropertySetHandle handle) : handle_(handle) {}
    void read(const std::string& what);

    OfxPropertySetHandle handle_;
    Bounds bounds_;
    Depth depth_{};
    std::string channels_;
    std::string identifier_;
    std::uint8_t* data_ = nullptr;
    std::ptrdiff_t row_bytes_ = 0;  // negative where the rows lie from the top to the bottom
};

}  // namespace stpn
