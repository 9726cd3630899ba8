// Which frames are keys, and which of them serve a frame: plugin/keys.py and ocio/sequence.py are the definition.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace stpn {

using Frame = std::int64_t;

// The frame that a host's time means. Between two frames there is no plate to carry to, so that a retimed or
// motion-blurred render, which asks for such times, gets the nearest frame, as it does from footage.
Frame nearest_frame(double time);

// Frames of a range as people type it, such as 1001-1100x20,1093: ascending, each once. Throws Problem.
std::vector<Frame> parse_frames(const std::string& text);

// As the node's parameters say.
struct KeySettings {
    std::string key_frames;
    std::string first_key;
    int interval = 1;
    std::string used;  // both, previous or next
    std::optional<std::pair<double, double>> range;  // of the clip Keys
};

// What a render of one frame needs.
struct Plan {
    Frame frame;
    bool is_key;
    std::vector<Frame> keys;  // one or two, ascending
    Frame first, last;        // of the plate, both inclusive: every frame from key to key
};

// Throws Problem: settings that make no sense, or no key that serves the frame.
Plan make_plan(Frame frame, const KeySettings& settings);

}  // namespace stpn
