#include "actions.h"

#include <set>

#include "problem.h"

namespace stpn {

namespace {

constexpr Frame MAXIMUM_SPAN = 10'000;  // that the worker takes

bool is_text(const std::string& text) { return !text.empty(); }

void prefer(const Properties& out, const char* what, const Clip& clip, const std::string& value) {
    if (is_text(value)) out.set((what + clip.name()).c_str(), value);
}

OfxRectD whole_of(const Clip& clip, double time) {
    OfxRectD whole{};
    if (suites().effect->clipGetRegionOfDefinition(clip.handle(), time, &whole) != ofx::OK)
        throw Problem(clip.name() + " has no region at " + std::to_string(nearest_frame(time)) + ".");
    return whole;
}

std::vector<double> as_numbers(const OfxRectD& area) { return {area.x1, area.y1, area.x2, area.y2}; }

// Frames as pairs of a first and a last one.
std::vector<double> as_ranges(const std::vector<Frame>& frames) {
    std::vector<double> ranges;
    for (const Frame frame : frames) {
        const auto number = static_cast<double>(frame);
        if (!ranges.empty() && number == ranges.back() + 1)
            ranges.back() = number;
        else
            ranges.insert(ranges.end(), {number, number});
    }
    return ranges;
}

}  // namespace

Plan plan_of(const Instance& node, double time) {
    KeySettings settings;
    settings.key_frames = node.text("key_frames", time);
    settings.first_key = node.text("first_key", time);
    settings.interval = node.integer("interval", time);
    settings.used = node.text("keys_used", time);
    settings.range = node.keys.frame_range();
    return make_plan(nearest_frame(time), settings);
}

std::vector<Frame> plate_frames(const Instance& node, const Plan& plan, double time) {
    if (node.text("method", time) == "stpn") {
        std::set<Frame> frames(plan.keys.begin(), plan.keys.end());
        frames.insert(plan.frame);
        return {frames.begin(), frames.end()};
    }
    // A number that was mistyped must not make a list that fills the host's memory.
    if (plan.last - plan.first >= MAXIMUM_SPAN)
        throw Problem("Frame " + std::to_string(plan.frame) + " is served by keys from " +
                      std::to_string(plan.keys.front()) + " to " + std::to_string(plan.keys.back()) +
                      ": expected at most " + std::to_string(MAXIMUM_SPAN) +
                      " frames of the plate. Check Key frames, First key and Interval.");
    std::vector<Frame> frames;
    for (Frame frame = plan.first; frame <= plan.last; ++frame) frames.push_back(frame);
    return frames;
}

OfxStatus clip_preferences(const Instance& node, const Properties& out) {
    const std::string property = node.text("property", 0);
    const bool is_light = property == "color" || property == "hdr";
    // Alpha is the Source's for color and light, else what the keys have; either way it is handed on as it is.
    const Clip& pattern = is_light ? node.source : node.keys;
    const Clip& depths = property == "color" ? node.source : node.keys;
    // In the filter context the specification fixes the output's components to the Source's.
    if (!node.is_filter() && pattern.connected())
        prefer(out, ofx::prop::COMPONENTS_OF, node.output, pattern.components());
    const bool has_depths = host_properties().integer(ofx::prop::MULTIPLE_DEPTHS).value_or(0) != 0;
    if (has_depths && depths.connected()) prefer(out, ofx::prop::DEPTH_OF, node.output, depths.depth());
    if (pattern.connected() && is_text(pattern.premultiplication()))
        out.set(ofx::prop::PREMULTIPLICATION, pattern.premultiplication());
    // Keys that are no colors must not be converted as colors; the others may come in any space.
    if (!is_light) prefer(out, ofx::prop::PREFERRED_COLOURSPACES_OF, node.keys, ofx::value::RAW);
    // The confidence changes from frame to frame even under a still plate.
    out.set(ofx::prop::FRAME_VARYING, 1);
    return ofx::OK;
}

OfxStatus region_of_definition(const Instance& node, const Properties& in, const Properties& out) {
    if (!node.source.connected()) return ofx::REPLY_DEFAULT;
    const double time = in.number(ofx::prop::TIME).value_or(0);
    const OfxRectD whole = whole_of(node.source, static_cast<double>(nearest_frame(time)));
    return out.set(ofx::prop::REGION_OF_DEFINITION, as_numbers(whole)) ? ofx::OK : ofx::FAILED;
}

// Motion may come from anywhere in the frame, so that every input is needed whole. One region stands for all frames of
// an input that a render asks for; frames differ in size only where the render refuses them.
OfxStatus regions_of_interest(const Instance& node, const Properties& in, const Properties& out) {
    const double time = in.number(ofx::prop::TIME).value_or(0);
    for (const Clip* clip : {&node.source, &node.keys, &node.matte}) {
        if (!clip->connected()) continue;
        double at = static_cast<double>(nearest_frame(time));
        if (clip == &node.keys) {
            try {
                at = static_cast<double>(plan_of(node, time).keys.front());
            } catch (const Problem&) {
                continue;  // the render says it
            }
        }
        out.set((ofx::prop::REGION_OF + clip->name()).c_str(), as_numbers(whole_of(*clip, at)));
    }
    return ofx::OK;
}

// The frames of the Source. By default the host would add those of Keys, where there may be no plate.
OfxStatus time_domain(const Instance& node, const Properties& out) {
    const auto range = node.source.connected() ? node.source.frame_range() : std::nullopt;
    if (!range) return ofx::REPLY_DEFAULT;
    return out.set(ofx::prop::FRAME_RANGE, std::vector<double>{range->first, range->second}) ? ofx::OK : ofx::FAILED;
}

OfxStatus frames_needed(const Instance& node, const Properties& in, const Properties& out) {
    if (!node.source.connected() || !node.keys.connected()) return ofx::REPLY_DEFAULT;
    const double time = in.number(ofx::prop::TIME).value_or(0);
    std::vector<Frame> keys, plate;
    try {
        const Plan plan = plan_of(node, time);
        keys = plan.keys;
        plate = plate_frames(node, plan, time);
    } catch (const Problem&) {
        return ofx::REPLY_DEFAULT;  // the render says it
    }
    out.set((ofx::prop::FRAMES_OF + node.source.name()).c_str(), as_ranges(plate));
    out.set((ofx::prop::FRAMES_OF + node.keys.name()).c_str(), as_ranges(keys));
    if (node.matte.connected())
        out.set((ofx::prop::FRAMES_OF + node.matte.name()).c_str(), as_ranges({nearest_frame(time)}));
    return ofx::OK;
}

}  // namespace stpn
