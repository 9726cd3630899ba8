// Single values of every depth as numbers, for the rare channel that goes from one depth to another.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

namespace stpn {

inline float float_of_half(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16;
    const std::uint32_t exponent = (half >> 10) & 31, fraction = half & 1023;
    float value;
    if (exponent == 0) {
        value = std::ldexp(static_cast<float>(fraction), -24);
        return sign != 0 ? -value : value;
    }
    const std::uint32_t bits =
        sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | (fraction << 13);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Rounds to nearest, ties to even, as IEEE 754 does.
inline std::uint16_t half_of_float(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return static_cast<std::uint16_t>(sign | 0x7e00);
    if (bits >= 0x477ff000) return static_cast<std::uint16_t>(sign | 0x7c00);
    if (bits < 0x38800000) {  // below the smallest normal half: counted in steps of 2^-24
        const float steps = std::nearbyint(std::ldexp(std::fabs(value), 24));
        return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(steps));
    }
    const std::uint32_t rounded = bits + 0xfff + ((bits >> 13) & 1);
    return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

template <class Value>
Value one_of(const std::string& type) {
    if (type == "float") return static_cast<Value>(0x3f800000u);
    if (type == "half") return static_cast<Value>(0x3c00u);
    return static_cast<Value>(~Value{0});
}

// Whole numbers stand for 0 to 1.
inline float value_at(const std::uint8_t* from, const std::string& type) {
    if (type == "uint8") return static_cast<float>(*from) / 255.0f;
    if (type == "float") {
        float value;
        std::memcpy(&value, from, sizeof value);
        return value;
    }
    std::uint16_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return type == "half" ? float_of_half(bits) : static_cast<float>(bits) / 65535.0f;
}

inline void put_value(std::uint8_t* to, const std::string& type, float value) {
    if (type == "float") {
        std::memcpy(to, &value, sizeof value);
        return;
    }
    if (type == "half") {
        const std::uint16_t bits = half_of_float(value);
        std::memcpy(to, &bits, sizeof bits);
        return;
    }
    // Written so that a NaN becomes 0.
    const float clipped = value >= 1.0f ? 1.0f : value > 0.0f ? value : 0.0f;
    if (type == "uint8") {
        *to = static_cast<std::uint8_t>(std::lround(clipped * 255.0f));
        return;
    }
    const auto whole = static_cast<std::uint16_t>(std::lround(clipped * 65535.0f));
    std::memcpy(to, &whole, sizeof whole);
}

}  // namespace stpn
