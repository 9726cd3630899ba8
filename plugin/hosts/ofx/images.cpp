#include "images.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "problem.h"

namespace stpn {

namespace {

constexpr int MAXIMUM_SIDE = 1 << 20;

Depth depth_of(const std::string& name) {
    if (name == ofx::depth::FLOAT) return {"float", 4};
    if (name == ofx::depth::HALF) return {"half", 2};
    if (name == ofx::depth::SHORT) return {"uint16", 2};
    if (name == ofx::depth::BYTE) return {"uint8", 1};
    return {"", 0};
}

std::string channels_of(const std::string& name) {
    if (name == ofx::components::RGBA) return "RGBA";
    if (name == ofx::components::RGB) return "RGB";
    if (name == ofx::components::ALPHA) return "A";
    return "";
}

}  // namespace

Bounds overlap(const Bounds& one, const Bounds& other) {
    Bounds both{std::max(one.x1, other.x1), std::max(one.y1, other.y1), std::min(one.x2, other.x2),
                std::min(one.y2, other.y2)};
    both.x2 = std::max(both.x1, both.x2);
    both.y2 = std::max(both.y1, both.y2);
    return both;
}

Image Image::fetch(const Clip& clip, double time, const std::string& what) {
    OfxPropertySetHandle handle = nullptr;
    const auto status = suites().effect->clipGetImage(clip.handle(), time, nullptr, &handle);
    if (status == ofx::ERROR_MEMORY) throw std::bad_alloc();
    if (status != ofx::OK || handle == nullptr)
        throw Problem(clip.name() == "Output"
                          ? what + ": the host gives no image to render into."
                          : what + " has no image. Check that its input is there and can be read at that frame.");
    Image image(handle);
    image.read(what);
    return image;
}

Image::~Image() {
    if (handle_ != nullptr) suites().effect->clipReleaseImage(handle_);
}

Image::Image(Image&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)),
      bounds_(other.bounds_),
      depth_(std::move(other.depth_)),
      channels_(std::move(other.channels_)),
      identifier_(std::move(other.identifier_)),
      data_(other.data_),
      row_bytes_(other.row_bytes_) {}

void Image::read(const std::string& what) {
    const Properties properties(handle_);
    const std::string field = properties.text(ofx::prop::FIELD).value_or(ofx::value::FIELD_NONE);
    if (field != ofx::value::FIELD_NONE)
        throw Problem(what + " is a field of an interlaced frame. Motion is told from whole frames: deinterlace it.");
    const std::string depth = properties.text(ofx::prop::DEPTH).value_or("");
    const std::string components = properties.text(ofx::prop::COMPONENTS).value_or("");
    depth_ = depth_of(depth);
    channels_ = channels_of(components);
    if (depth_.bytes == 0 || channels_.empty())
        throw Problem(what + ": expected RGBA, RGB or Alpha of float, half, short or byte, got " + components + " of " +
                      depth + ".");
    const auto bounds = properties.integers(ofx::prop::BOUNDS, 4);
    const auto row_bytes = properties.integer(ofx::prop::ROW_BYTES);
    data_ = static_cast<std::uint8_t*>(properties.pointer(ofx::prop::DATA));
    if (!bounds || !row_bytes || data_ == nullptr) throw Problem(what + ": the host gives an image without pixels.");
    bounds_ = {(*bounds)[0], (*bounds)[1], (*bounds)[2], (*bounds)[3]};
    row_bytes_ = *row_bytes;
    const std::int64_t width = std::int64_t{bounds_.x2} - bounds_.x1, height = std::int64_t{bounds_.y2} - bounds_.y1;
    if (width < 1 || height < 1) throw Problem(what + " is empty: it has no pixels.");
    if (width > MAXIMUM_SIDE || height > MAXIMUM_SIDE ||
        (height > 1 && std::llabs(row_bytes_) < width * static_cast<std::int64_t>(pixel_bytes())))
        throw Problem(what + ": the host gives an image whose rows do not hold its width.");
    identifier_ = properties.text(ofx::prop::UNIQUE_IDENTIFIER).value_or("");
}

}  // namespace stpn
