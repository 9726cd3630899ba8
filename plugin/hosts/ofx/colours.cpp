#include "colours.h"

namespace stpn {

namespace {

// The OCIO config whose names the native styles of OpenFX 1.5 use.
constexpr auto NATIVE_AS_OCIO = "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3";
const std::string CROSS_REFERENCE = "OfxColourspace_";

// Of the names that belong to no config only scene linear has an equal, the role of that name.
std::string in_config(const std::string& name) {
    if (name == ofx::value::SCENE_LINEAR) return "scene_linear";
    return name.compare(0, 4, "ofx_") == 0 ? "" : name;
}

}  // namespace

HostColours host_colours(const Instance& node) {
    const std::string style = node.properties().text(ofx::prop::COLOUR_STYLE).value_or("");
    const bool is_ocio = style == ofx::value::COLOURS_OCIO;
    const bool is_native = style == ofx::value::COLOURS_BASIC || style == ofx::value::COLOURS_CORE ||
                           style == ofx::value::COLOURS_FULL;
    if (!is_ocio && !is_native) return {};
    HostColours colours{in_config(node.source.colourspace()), node.keys.colourspace(), ""};
    if (colours.keys == CROSS_REFERENCE + node.source.name()) colours.keys = node.source.colourspace();
    colours.keys = in_config(colours.keys);
    if (is_ocio)
        colours.config = node.properties().text(ofx::prop::OCIO_CONFIG).value_or("");
    else if (!colours.source.empty() || !colours.keys.empty())
        colours.config = NATIVE_AS_OCIO;
    return colours;
}

bool keeps_key_numbers(const Instance& node, double time) {
    const std::string property = node.text("property", time);
    if (property == "hdr") return node.text("hdr_colorspace", time).empty();
    if (property != "color") return true;
    const HostColours colours = host_colours(node);
    std::string source = node.text("colorspace", time), keys = node.text("keys_colorspace", time);
    if (source == "auto" && !colours.source.empty()) source = colours.source;
    if (keys == "auto" && !colours.keys.empty()) keys = colours.keys;
    return source == keys;
}

OfxStatus output_colourspace(const Instance& node, const Properties& out) {
    const std::string property = node.text("property", 0);
    // A color result is in the Source's space; the others are the keys' numbers.
    std::string space = CROSS_REFERENCE + (property == "color" ? node.source.name() : node.keys.name());
    if (property == "hdr" && !node.text("hdr_colorspace", 0).empty()) space = node.text("hdr_colorspace", 0);
    if (node.text("output", 0) == "confidence") space = ofx::value::RAW;
    return out.set(ofx::prop::CLIP_COLOURSPACE, space) ? ofx::OK : ofx::FAILED;
}

}  // namespace stpn
