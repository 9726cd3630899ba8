#include "planes.h"

#include <array>
#include <cstring>
#include <system_error>
#include <thread>

#include "values.h"

namespace stpn {

namespace {

constexpr std::int64_t MANY_PIXELS = 1 << 20;

// Values are moved as bits of their size, never as numbers: a NaN keeps its payload.
template <class Value, int CHANNELS>
void split(const std::uint8_t* from, std::array<Value*, 4> planes, int count) {
    const Value* __restrict row = reinterpret_cast<const Value*>(from);
    Value* __restrict a = planes[0];
    Value* __restrict b = planes[1];
    Value* __restrict c = planes[2];
    Value* __restrict d = planes[3];
    for (int x = 0; x < count; ++x) {
        a[x] = row[CHANNELS * x];
        if constexpr (CHANNELS > 1) b[x] = row[CHANNELS * x + 1];
        if constexpr (CHANNELS > 2) c[x] = row[CHANNELS * x + 2];
        if constexpr (CHANNELS > 3) d[x] = row[CHANNELS * x + 3];
    }
}

template <class Value, int CHANNELS>
void join(std::array<const Value*, 4> planes, std::uint8_t* to, int count) {
    Value* __restrict row = reinterpret_cast<Value*>(to);
    const Value* __restrict a = planes[0];
    const Value* __restrict b = planes[1];
    const Value* __restrict c = planes[2];
    const Value* __restrict d = planes[3];
    for (int x = 0; x < count; ++x) {
        row[CHANNELS * x] = a[x];
        if constexpr (CHANNELS > 1) row[CHANNELS * x + 1] = b[x];
        if constexpr (CHANNELS > 2) row[CHANNELS * x + 2] = c[x];
        if constexpr (CHANNELS > 3) row[CHANNELS * x + 3] = d[x];
    }
}

// Calls a function that takes the number of channels as a constant, so that the loops above have fixed strides.
template <class Function>
void with_channels(size_t channels, Function function) {
    if (channels == 4)
        function(std::integral_constant<int, 4>());
    else if (channels == 3)
        function(std::integral_constant<int, 3>());
    else
        function(std::integral_constant<int, 1>());
}

template <class Function>
void with_value(size_t bytes, Function function) {
    if (bytes == 4)
        function(std::uint32_t());
    else if (bytes == 2)
        function(std::uint16_t());
    else
        function(std::uint8_t());
}

template <class Value>
void copy_in_as(const Image& image, const Bounds& window, const Picture& picture, std::uint8_t* planes) {
    const Bounds part = overlap(image.bounds(), window);
    const size_t width = static_cast<size_t>(window.width());
    const size_t left = static_cast<size_t>(part.x1 - window.x1), covered = static_cast<size_t>(part.width());
    with_channels(picture.channels.size(), [&](auto channels) {
        in_parallel(window.height(), window.pixels(), [&](int first, int last) {
            for (int top = first; top < last; ++top) {
                const int y = window.y2 - 1 - top;
                std::array<Value*, 4> rows{};
                for (size_t channel = 0; channel < picture.channels.size(); ++channel)
                    rows[channel] = reinterpret_cast<Value*>(planes + channel * picture.plane_stride()) +
                                    static_cast<size_t>(top) * width;
                const bool is_there = y >= part.y1 && y < part.y2 && covered > 0;
                if (!is_there || covered < width)
                    for (size_t channel = 0; channel < picture.channels.size(); ++channel)
                        std::memset(rows[channel], 0, width * sizeof(Value));
                if (!is_there) continue;
                for (size_t channel = 0; channel < picture.channels.size(); ++channel) rows[channel] += left;
                split<Value, channels()>(image.at(part.x1, y), rows, part.width());
            }
        });
    });
}

// One row of a channel that the result has not, in the output's depth.
template <class Value>
void fill_row(const Image* source, char channel, const std::string& type, int y, const Bounds& covered, Value* row) {
    const auto place = source == nullptr ? std::string::npos : source->channels().find(channel);
    if (place == std::string::npos) {
        const Value one = channel == 'A' ? one_of<Value>(type) : Value{0};
        for (int x = 0; x < covered.width(); ++x) row[x] = one;
        return;
    }
    const std::uint8_t* from = source->at(covered.x1, y) + place * static_cast<size_t>(source->depth().bytes);
    if (source->depth().type == type) {
        for (int x = 0; x < covered.width(); ++x)
            std::memcpy(row + x, from + static_cast<size_t>(x) * source->pixel_bytes(), sizeof(Value));
        return;
    }
    for (int x = 0; x < covered.width(); ++x) {
        const float value = value_at(from + static_cast<size_t>(x) * source->pixel_bytes(), source->depth().type);
        put_value(reinterpret_cast<std::uint8_t*>(row + x), type, value);
    }
}

template <class Value>
void copy_out_as(const Picture& result, const std::uint8_t* planes, const Bounds& bounds, const Image* source,
                 const Image& output, const Bounds& part) {
    const Bounds covered = overlap(bounds, part);
    const size_t width = static_cast<size_t>(bounds.width());
    with_channels(output.channels().size(), [&](auto channels) {
        in_parallel(part.height(), part.pixels(), [&](int first, int last) {
            std::array<std::vector<Value>, 4> own;
            for (int y = part.y1 + first; y < part.y1 + last; ++y) {
                if (covered.width() < part.width() || y < covered.y1 || y >= covered.y2)
                    std::memset(output.at(part.x1, y), 0, static_cast<size_t>(part.width()) * output.pixel_bytes());
                if (covered.width() == 0 || y < covered.y1 || y >= covered.y2) continue;
                const size_t start =
                    static_cast<size_t>(bounds.y2 - 1 - y) * width + static_cast<size_t>(covered.x1 - bounds.x1);
                std::array<const Value*, 4> rows{};
                for (size_t channel = 0; channel < output.channels().size(); ++channel) {
                    const auto plane = result.channels.find(output.channels()[channel]);
                    if (plane != std::string::npos) {
                        rows[channel] = reinterpret_cast<const Value*>(planes + plane * result.plane_stride()) + start;
                        continue;
                    }
                    own[channel].resize(static_cast<size_t>(covered.width()));
                    fill_row(source, output.channels()[channel], output.depth().type, y, covered, own[channel].data());
                    rows[channel] = own[channel].data();
                }
                join<Value, channels()>(rows, output.at(covered.x1, y), covered.width());
            }
        });
    });
}

}  // namespace

void in_parallel(int count, std::int64_t pixels, const std::function<void(int, int)>& work) {
    if (pixels < MANY_PIXELS || count < 2 || std::thread::hardware_concurrency() < 2) return work(0, count);
    std::exception_ptr failure;
    std::thread second;
    try {
        second = std::thread([&] {
            try {
                work(count / 2, count);
            } catch (...) {
                failure = std::current_exception();
            }
        });
    } catch (const std::system_error&) {  // the host has used up its threads
        return work(0, count);
    }
    try {
        work(0, count / 2);
    } catch (...) {
        second.join();
        throw;
    }
    second.join();
    if (failure) std::rethrow_exception(failure);
}

void copy_in(const Image& image, const Bounds& window, const Picture& picture, std::uint8_t* planes) {
    with_value(bytes_of(picture.type), [&](auto value) {
        copy_in_as<decltype(value)>(image, window, picture, planes);
    });
}

void copy_out(const Picture& result, const std::uint8_t* planes, const Bounds& bounds, const Image* source,
              const Image& output, const Bounds& part) {
    with_value(bytes_of(result.type), [&](auto value) {
        copy_out_as<decltype(value)>(result, planes, bounds, source, output, part);
    });
}

}  // namespace stpn
