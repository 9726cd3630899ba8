#include "actions.h"
#include "colours.h"
#include "problem.h"

namespace stpn {

namespace {

bool alike(const Clip& one, const Clip& other) {
    return one.components() == other.components() && one.depth() == other.depth();
}

bool is_opaque(const Clip& clip) {
    return clip.components() == ofx::components::RGB || clip.premultiplication() == ofx::value::OPAQUE;
}

// Whether the key, handed through, is what a render of its frame gives. For color and light a render takes alpha from
// the Source, as it does at all other frames: handed through, alpha would jump at each key frame. So both must be
// opaque. Mattes and channels are the keys' own; a matte beside colors is not. Keys that a render refuses, such as
// light that ends at white, do not pass either: what is wrong must show at every frame.
bool is_whole_result(const Instance& node, double time) {
    const std::string property = node.text("property", time);
    if (property == "channels") return true;
    if (property == "mask") return node.keys.components() == ofx::components::ALPHA;
    const std::string depth = node.keys.depth();
    if (property == "hdr" && depth != ofx::depth::FLOAT && depth != ofx::depth::HALF) return false;
    return node.keys.components() != ofx::components::ALPHA && is_opaque(node.keys) && is_opaque(node.source);
}

}  // namespace

// A frame may pass through without a render only where a render would give the same bits: hosts ask or ask not, and a
// scene must look the same in both.
OfxStatus is_identity(const Instance& node, const Properties& in, const Properties& out) {
    const double time = in.number(ofx::prop::TIME).value_or(0);
    const std::string field = in.text(ofx::prop::FIELD_TO_RENDER).value_or(ofx::value::FIELD_NONE);
    if (field != ofx::value::FIELD_NONE || !node.source.connected()) return ofx::REPLY_DEFAULT;
    if (node.text("output", time) != "result") return ofx::REPLY_DEFAULT;
    const double mix = node.number("mix", time);
    // Object numbers are not mixed: where nothing is applied there is no object.
    const bool is_numbers = node.text("property", time) == "mask" && node.integer("mask_labels", time) != 0;
    if (mix == 0 && !is_numbers && alike(node.source, node.output)) {
        out.set(ofx::prop::NAME, node.source.name());
        out.set(ofx::prop::TIME, static_cast<double>(nearest_frame(time)));
        return ofx::OK;
    }
    if (mix != 1 || node.matte.connected() || !node.keys.connected()) return ofx::REPLY_DEFAULT;
    if (!alike(node.keys, node.output) || !is_whole_result(node, time) || !keeps_key_numbers(node, time))
        return ofx::REPLY_DEFAULT;
    try {
        const Plan plan = plan_of(node, time);
        if (!plan.is_key) return ofx::REPLY_DEFAULT;
        out.set(ofx::prop::NAME, node.keys.name());
        out.set(ofx::prop::TIME, static_cast<double>(plan.frame));
        return ofx::OK;
    } catch (const Problem&) {
        return ofx::REPLY_DEFAULT;  // the render says it
    }
}

}  // namespace stpn
