#include "pictures.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "planes.h"

namespace stpn {

namespace {

constexpr size_t LANES = 8;
constexpr int BAND = 64;       // rows hashed on their own: the result must not depend on the number of threads
constexpr int SAMPLES = 384;   // pieces looked at of an image that the host has named
constexpr size_t PIECE = 64;   // bytes: a cache line

using Lanes = std::array<std::uint64_t, LANES>;

// Odd numbers without structure: the first 64 binary digits behind the point of square roots of primes.
constexpr Lanes SEEDS = {0x6a09e667f3bcc909, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
                         0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
constexpr std::uint64_t FACTOR = 0xcbbb9d5dc1059ed9;

// Each step is one-to-one for a given word, so that a lane forgets nothing that it has been told.
inline void stir(std::uint64_t& lane, std::uint64_t word) {
    lane = (lane ^ word) * FACTOR;
    lane ^= lane >> 29;
}

class Hash {
public:
    void add(const std::uint8_t* bytes, size_t count) {
        Lanes lanes = lanes_;
        size_t place = 0;
        for (; place + sizeof(Lanes) <= count; place += sizeof(Lanes)) {
            Lanes words;
            std::memcpy(words.data(), bytes + place, sizeof words);
            for (size_t lane = 0; lane < LANES; ++lane) stir(lanes[lane], words[lane]);
        }
        if (place < count) {
            Lanes words{};
            std::memcpy(words.data(), bytes + place, count - place);
            for (size_t lane = 0; lane < LANES; ++lane) stir(lanes[lane], words[lane]);
        }
        lanes_ = lanes;
        add(static_cast<std::uint64_t>(count));
    }

    void add(std::uint64_t word) { stir(lanes_[place_++ % LANES], word); }

    void add(const std::string& text) { add(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()); }

    // 128 bits, every one of them from every lane.
    std::array<std::uint64_t, 2> value() const {
        std::array<std::uint64_t, 2> halves{SEEDS[1], SEEDS[6]};
        for (size_t lane = 0; lane < LANES; ++lane) {
            stir(halves[0], lanes_[lane]);
            stir(halves[1], lanes_[LANES - 1 - lane] + halves[0]);
        }
        for (auto& half : halves)
            for (int round = 0; round < 3; ++round) stir(half, SEEDS[2]);
        return halves;
    }

private:
    Lanes lanes_ = SEEDS;
    size_t place_ = 0;
};

void add_pixels(Hash& hash, const Image& image, const Bounds& part) {
    const int bands = (part.height() + BAND - 1) / BAND;
    const size_t row = static_cast<size_t>(part.width()) * image.pixel_bytes();
    std::vector<std::array<std::uint64_t, 2>> found(static_cast<size_t>(bands));
    in_parallel(bands, part.pixels(), [&](int first, int last) {
        for (int band = first; band < last; ++band) {
            Hash own;
            const int end = std::min(part.y2, part.y1 + (band + 1) * BAND);
            for (int y = part.y1 + band * BAND; y < end; ++y) own.add(image.at(part.x1, y), row);
            found[static_cast<size_t>(band)] = own.value();
        }
    });
    for (const auto& [one, other] : found) hash.add(one), hash.add(other);
}

// Some hosts give the same name to images that differ, after a change upstream or between views. A few hundred pieces,
// spread over the image, cost microseconds and tell such images apart.
void add_samples(Hash& hash, const Image& image, const Bounds& part) {
    const size_t row = static_cast<size_t>(part.width()) * image.pixel_bytes();
    const size_t pieces = (row + PIECE - 1) / PIECE;
    std::uint64_t state = SEEDS[0];
    for (int sample = 0; sample < SAMPLES; ++sample) {
        const std::int64_t y = std::int64_t{sample} * part.height() / SAMPLES;
        stir(state, static_cast<std::uint64_t>(sample));
        const size_t start = (state >> 32) % pieces * PIECE;
        hash.add(image.at(part.x1, part.y1 + static_cast<int>(y)) + start, std::min(PIECE, row - start));
    }
}

std::string in_hexadecimal(const std::array<std::uint64_t, 2>& halves) {
    std::string text;
    for (const auto half : halves)
        for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[(half >> shift) & 15];
    return text;
}

}  // namespace

size_t bytes_of(const std::string& type) { return type == "float" ? 4 : type == "uint8" ? 1 : 2; }

size_t Picture::plane_bytes() const {
    return static_cast<size_t>(width) * static_cast<size_t>(height) * bytes_of(type);
}

size_t Picture::plane_stride() const { return (plane_bytes() + 63) / 64 * 64; }

size_t Picture::bytes() const { return (channels.size() - 1) * plane_stride() + plane_bytes(); }

std::string Picture::layout() const {
    return std::to_string(width) + " " + std::to_string(height) + " " + type + " " + channels;
}

Picture picture_of(const Image& image, const Bounds& window, double scale_x, double scale_y) {
    Hash hash;
    const Bounds part = overlap(image.bounds(), window);
    // Where the image lies in the window is part of what is shown, where the window lies in the scene is not.
    for (const int side : {part.x1 - window.x1, part.y1 - window.y1, part.x2 - window.x1, part.y2 - window.y1})
        hash.add(static_cast<std::uint64_t>(side));
    Picture picture{"", window.width(), window.height(), image.depth().type, image.channels()};
    hash.add(picture.layout());
    if (!image.identifier().empty()) {
        // A name holds within the host that gave it; the worker serves several.
        hash.add(static_cast<std::uint64_t>(getpid()));
        hash.add(image.identifier());
        for (const double scale : {scale_x, scale_y}) hash.add(static_cast<std::uint64_t>(scale * 0x100000000));
        if (part.pixels() > 0) add_samples(hash, image, part);
    } else if (part.pixels() > 0) {
        add_pixels(hash, image, part);
    }
    picture.id = in_hexadecimal(hash.value());
    return picture;
}

}  // namespace stpn
