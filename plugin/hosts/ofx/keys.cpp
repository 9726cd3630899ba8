#include "keys.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <sstream>

#include "problem.h"

namespace stpn {

namespace {

constexpr Frame MAXIMUM_FRAMES = 1'000'000;  // of one range: above, a typing error is more likely than a shot
constexpr size_t MAXIMUM_DIGITS = 9;
constexpr double BOUNDLESS = 1e9;  // hosts write "without end" as INT_MAX, DBL_MAX or infinity

bool is_space(char letter) { return letter == ' ' || (letter >= '\t' && letter <= '\r'); }

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

std::string without_spaces(const std::string& text) {
    std::string kept;
    for (const char letter : text)
        if (!is_space(letter)) kept += letter;
    return kept;
}

// Reads a number at the place and moves the place behind it; nothing where none stands there.
std::optional<std::string> take_number(const std::string& text, size_t& place) {
    size_t end = place;
    if (end < text.size() && text[end] == '-') ++end;
    const size_t digits = end;
    while (end < text.size() && is_digit(text[end])) ++end;
    if (end == digits) return {};
    const auto found = text.substr(place, end - place);
    place = end;
    return found;
}

size_t digits_of(const std::string& number) { return number.size() - (number[0] == '-' ? 1 : 0); }

Frame value_of(const std::string& number, const std::string& item) {
    if (digits_of(number) > MAXIMUM_DIGITS)
        throw Problem("Key frames: expected numbers of up to 9 digits, got '" + item + "'.");
    return std::strtoll(number.c_str(), nullptr, 10);
}

struct Range {
    Frame first, last, step;
};

std::optional<Range> parse_item(const std::string& item) {
    size_t place = 0;
    const auto first = take_number(item, place);
    if (!first) return {};
    std::optional<std::string> last, step;
    if (place < item.size() && item[place] == '-') {
        if (!(last = take_number(item, ++place))) return {};
        if (place < item.size() && item[place] == 'x' && !(step = take_number(item, ++place))) return {};
    }
    if (place != item.size()) return {};
    const Frame begin = value_of(*first, item);
    return Range{begin, last ? value_of(*last, item) : begin, step ? value_of(*step, item) : 1};
}

std::optional<Frame> before(const std::vector<Frame>& keys, Frame frame) {
    const auto place = std::lower_bound(keys.begin(), keys.end(), frame);
    if (place == keys.begin()) return {};
    return *std::prev(place);
}

std::optional<Frame> from(const std::vector<Frame>& keys, Frame frame) {
    const auto place = std::lower_bound(keys.begin(), keys.end(), frame);
    if (place == keys.end()) return {};
    return *place;
}

Frame floor_divide(Frame value, Frame divisor) {
    return value / divisor - (value % divisor != 0 && (value < 0) != (divisor < 0) ? 1 : 0);
}

// Every `step` frames from `origin`, from `first` to `last` as far as there are such ends. Counted, not listed: some
// hosts give clips without end.
struct Steps {
    Frame origin, step;
    Frame first;
    std::optional<Frame> last;

    std::optional<Frame> before(Frame frame) const {
        const Frame limit = last ? std::min(frame - 1, *last) : frame - 1;
        const Frame found = origin + floor_divide(limit - origin, step) * step;
        if (found < first) return {};
        return found;
    }

    std::optional<Frame> from(Frame frame) const {
        const Frame limit = std::max(frame, first);
        const Frame found = origin - floor_divide(origin - limit, step) * step;
        if (last && found > *last) return {};
        return found;
    }
};

Steps steps_of(const KeySettings& settings) {
    std::optional<Frame> begin, end;
    if (settings.range) {
        if (std::abs(settings.range->first) < BOUNDLESS)
            begin = static_cast<Frame>(std::ceil(settings.range->first - 1e-6));
        if (std::abs(settings.range->second) < BOUNDLESS)
            end = static_cast<Frame>(std::floor(settings.range->second + 1e-6));
    }
    if (settings.interval < 1)
        throw Problem("Interval: expected 1 or more frames, got " + std::to_string(settings.interval) + ".");
    const std::string typed = without_spaces(settings.first_key);
    if (typed.empty()) {
        if (!begin)
            throw Problem("Keys has no first frame that the host knows: set First key, or list the Key frames.");
        return Steps{*begin, settings.interval, *begin, end};
    }
    size_t place = 0;
    const auto number = take_number(typed, place);
    if (!number || place != typed.size() || digits_of(*number) > MAXIMUM_DIGITS)
        throw Problem("First key: expected a frame number such as 1001, or nothing, got '" + settings.first_key + "'.");
    const Frame origin = std::strtoll(number->c_str(), nullptr, 10);
    if (end && origin > *end)
        throw Problem("First key " + std::to_string(origin) + " lies behind the last frame of Keys, " +
                      std::to_string(*end) + ": give an earlier one.");
    return Steps{origin, settings.interval, begin ? std::max(*begin, origin) : origin, end};
}

template <class Keys>
Plan plan_among(const Keys& keys, Frame frame, const std::string& used) {
    if (keys.from(frame) == frame) return Plan{frame, true, {frame}, frame, frame};
    Plan plan{frame, false, {}, frame, frame};
    if (used != "next")
        if (const auto found = keys.before(frame)) plan.keys.push_back(*found);
    if (used != "previous")
        if (const auto found = keys.from(frame)) plan.keys.push_back(*found);
    if (plan.keys.empty()) {
        const std::string side = used == "previous" ? " before it" : used == "next" ? " after it" : "";
        throw Problem("Frame " + std::to_string(frame) + ": no key frame" + side +
                      " serves it. Check Interval, First key, Key frames and Keys used, and the frame range of Keys.");
    }
    plan.first = std::min(frame, plan.keys.front());
    plan.last = std::max(frame, plan.keys.back());
    return plan;
}

// The typed list. It is taken at its word, whatever the range of the clip: a still that stands for one key frame has a
// range of one frame in most hosts, and yet is there at all of them.
struct Listed {
    std::vector<Frame> frames;
    std::optional<Frame> before(Frame frame) const { return stpn::before(frames, frame); }
    std::optional<Frame> from(Frame frame) const { return stpn::from(frames, frame); }
};

}  // namespace

Frame nearest_frame(double time) {
    if (!(std::abs(time) < BOUNDLESS)) throw Problem("The host asks for a frame without a number.");
    return static_cast<Frame>(std::floor(time + 0.5));
}

std::vector<Frame> parse_frames(const std::string& text) {
    std::set<Frame> frames;
    Frame asked = 0;
    std::istringstream items(text + ",");
    std::string item;
    for (int position = 1; std::getline(items, item, ','); ++position) {
        item = without_spaces(item);
        const auto range = parse_item(item);
        if (!range)
            throw Problem("Key frames: expected a frame or range like 1001-1100x20 at place " +
                          std::to_string(position) + ", found " + (item.empty() ? "nothing" : "'" + item + "'") + ".");
        if (range->step < 1)
            throw Problem("Key frames: expected a step of 1 or more in '" + item + "', got " +
                          std::to_string(range->step) + ".");
        asked += std::abs(range->last - range->first) / range->step + 1;
        if (asked > MAXIMUM_FRAMES)
            throw Problem("Key frames: expected at most 1000000 frames, '" + item + "' exceeds that.");
        // A range may run backwards; its step is counted from its first frame.
        if (range->first <= range->last)
            for (Frame frame = range->first; frame <= range->last; frame += range->step) frames.insert(frame);
        else
            for (Frame frame = range->first; frame >= range->last; frame -= range->step) frames.insert(frame);
    }
    return {frames.begin(), frames.end()};
}

Plan make_plan(Frame frame, const KeySettings& settings) {
    if (!without_spaces(settings.key_frames).empty())
        return plan_among(Listed{parse_frames(settings.key_frames)}, frame, settings.used);
    return plan_among(steps_of(settings), frame, settings.used);
}

}  // namespace stpn
