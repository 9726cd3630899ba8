#include <cctype>
#include <map>

#include "actions.h"
#include "node.h"
#include "notices.h"

namespace stpn {

namespace {

const char* const ALL_COMPONENTS[] = {ofx::components::RGBA, ofx::components::RGB, ofx::components::ALPHA};
const char* const ALL_DEPTHS[] = {ofx::depth::FLOAT, ofx::depth::HALF, ofx::depth::SHORT, ofx::depth::BYTE};

const char* type_of(node::Kind kind) {
    switch (kind) {
        case node::Kind::CHOICE:
            return ofx::type::CHOICE;
        case node::Kind::INTEGER:
            return ofx::type::INTEGER;
        case node::Kind::NUMBER:
            return ofx::type::DOUBLE;
        case node::Kind::SWITCH:
            return ofx::type::BOOLEAN;
        default:
            return ofx::type::STRING;
    }
}

// The name under which a heading is saved: letters and underscores.
std::string group_name(const std::string& heading) {
    std::string name = "group_";
    for (const char letter : heading)
        name += letter == ' ' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    return name;
}

void define_clip(OfxImageEffectHandle effect, const std::string& name, const std::string& help, bool is_optional,
                 bool is_temporal, bool is_mask) {
    OfxPropertySetHandle set = nullptr;
    if (suites().effect->clipDefine(effect, name.c_str(), &set) != ofx::OK) return;
    const Properties clip(set);
    clip.set(ofx::prop::LABEL, name);
    // Not in the specification for clips; hosts that show a help text of inputs read it here.
    if (!help.empty()) clip.set(ofx::prop::HINT, help);
    int index = 0;
    for (const char* components : ALL_COMPONENTS) clip.set(ofx::prop::SUPPORTED_COMPONENTS, components, index++);
    clip.set(ofx::prop::TILES, 0);
    clip.set(ofx::prop::TEMPORAL_ACCESS, is_temporal ? 1 : 0);
    clip.set(ofx::prop::CLIP_OPTIONAL, is_optional ? 1 : 0);
    clip.set(ofx::prop::CLIP_IS_MASK, is_mask ? 1 : 0);
}

void set_limits(const Properties& set, const node::Parameter& one) {
    const auto write = [&](const char* name, const std::optional<double>& value) {
        if (!value) return;
        if (one.kind == node::Kind::INTEGER)
            set.set(name, static_cast<int>(*value));
        else
            set.set(name, *value);
    };
    write(ofx::prop::MINIMUM, one.minimum);
    write(ofx::prop::MAXIMUM, one.maximum);
    write(ofx::prop::DISPLAY_MINIMUM, one.minimum);
    write(ofx::prop::DISPLAY_MAXIMUM, one.maximum);
}

void define_parameter(OfxParamSetHandle parameters, const node::Parameter& one) {
    OfxPropertySetHandle handle = nullptr;
    if (suites().parameter->paramDefine(parameters, type_of(one.kind), one.name.c_str(), &handle) != ofx::OK) return;
    const Properties set(handle);
    set.set(ofx::prop::LABEL, one.label);
    set.set(ofx::prop::HINT, one.help);
    set.set(ofx::prop::SCRIPT_NAME, one.name);
    if (!one.group.empty()) set.set(ofx::prop::PARENT, group_name(one.group));
    // A choice of keys or of a method that changes within a shot would make frames that do not fit each other. Mix may
    // change: a result can be faded in.
    set.set(ofx::prop::ANIMATES, one.kind == node::Kind::NUMBER ? 1 : 0);
    // Every frame hangs on the keys and on what is done with them; where it is done changes nothing.
    if (one.name != "device") set.set(ofx::prop::INVALIDATION, ofx::value::INVALIDATE_ALL);
    switch (one.kind) {
        case node::Kind::CHOICE: {
            int index = 0;
            for (const auto& choice : one.choices) set.set(ofx::prop::CHOICE_OPTION, choice.label, index++);
            set.set(ofx::prop::DEFAULT, static_cast<int>(one.number));
            break;
        }
        case node::Kind::INTEGER:
        case node::Kind::SWITCH:
            set.set(ofx::prop::DEFAULT, static_cast<int>(one.number));
            set_limits(set, one);
            break;
        case node::Kind::NUMBER:
            set.set(ofx::prop::DEFAULT, one.number);
            set_limits(set, one);
            break;
        case node::Kind::FILE:
            set.set(ofx::prop::STRING_MODE, ofx::value::FILE_PATH);
            // A config may be a built-in one, ocio://..., which is no file.
            set.set(ofx::prop::FILE_EXISTS, 0);
            set.set(ofx::prop::DEFAULT, one.text);
            break;
        case node::Kind::TEXT:
            set.set(ofx::prop::STRING_MODE, ofx::value::SINGLE_LINE);
            set.set(ofx::prop::DEFAULT, one.text);
            break;
    }
}

void define_parameters(OfxParamSetHandle parameters) {
    OfxPropertySetHandle page = nullptr;
    const bool has_page = suites().parameter->paramDefine(parameters, ofx::type::PAGE, "page", &page) == ofx::OK;
    if (has_page) Properties(page).set(ofx::prop::LABEL, node::NAME);
    std::map<std::string, bool> groups;
    int child = 0;
    for (const auto& one : node::PARAMETERS) {
        if (!one.group.empty() && !groups[one.group]) {
            groups[one.group] = true;
            OfxPropertySetHandle group = nullptr;
            const std::string name = group_name(one.group);
            if (suites().parameter->paramDefine(parameters, ofx::type::GROUP, name.c_str(), &group) == ofx::OK) {
                Properties(group).set(ofx::prop::LABEL, one.group);
                if (has_page) Properties(page).set(ofx::prop::PAGE_CHILD, name, child++);
            }
        }
        define_parameter(parameters, one);
        if (has_page) Properties(page).set(ofx::prop::PAGE_CHILD, one.name, child++);
    }
    OfxPropertySetHandle all = nullptr;
    if (has_page && suites().parameter->paramSetGetPropertySet(parameters, &all) == ofx::OK)
        Properties(all).set(ofx::prop::PAGE_ORDER, "page");
}

}  // namespace

OfxStatus describe(OfxImageEffectHandle effect) {
    if (host_properties().integer(ofx::prop::TEMPORAL_ACCESS).value_or(1) == 0) {
        write_log(effect, "the host gives no other frames than the one it renders, so that no key can be reached.");
        return ofx::ERROR_MISSING_HOST_FEATURE;
    }
    OfxPropertySetHandle handle = nullptr;
    if (suites().effect->getPropertySet(effect, &handle) != ofx::OK) return ofx::ERROR_BAD_HANDLE;
    const Properties set(handle);
    set.set(ofx::prop::LABEL, node::NAME);
    set.set(ofx::prop::DESCRIPTION, node::HELP);
    set.set(ofx::prop::GROUPING, "STPN");
    set.set(ofx::prop::VERSION, static_cast<int>(node::VERSION_MAJOR), 0);
    set.set(ofx::prop::VERSION, static_cast<int>(node::VERSION_MINOR), 1);
    set.set(ofx::prop::SUPPORTED_CONTEXTS, ofx::context::GENERAL, 0);
    set.set(ofx::prop::SUPPORTED_CONTEXTS, ofx::context::FILTER, 1);
    int index = 0;
    for (const char* depth : ALL_DEPTHS) set.set(ofx::prop::SUPPORTED_DEPTHS, depth, index++);
    set.set(ofx::prop::TEMPORAL_ACCESS, 1);
    set.set(ofx::prop::TILES, 0);
    set.set(ofx::prop::MULTI_RESOLUTION, 1);
    set.set(ofx::prop::MULTIPLE_DEPTHS, 1);
    // Renders share nothing that changes but the pool of connections and the notices, which have locks of their own.
    set.set(ofx::prop::THREAD_SAFETY, ofx::value::FULLY_SAFE);
    set.set(ofx::prop::HOST_FRAME_THREADING, 0);
    index = 0;
    for (const char* name : {"property", "output"}) set.set(ofx::prop::PREFERENCES_PARAMETER, name, index++);
    // OCIO is the highest style and includes the others. Names are handed on; nothing is converted here.
    set.set(ofx::prop::COLOUR_STYLE, ofx::value::COLOURS_OCIO);
    set.set(ofx::prop::COLOUR_CONFIGS, ofx::value::NATIVE_CONFIG);
    return ofx::OK;
}

OfxStatus describe_in_context(OfxImageEffectHandle effect, const Properties& in) {
    const bool is_filter = in.text(ofx::prop::CONTEXT).value_or("") == ofx::context::FILTER;
    for (const auto& input : node::INPUTS) {
        // In the filter context the specification knows one mandatory input. Keys is called optional there although a
        // render needs it; a host that cannot connect it gets that as a sentence.
        const bool is_optional = input.optional || (is_filter && input.name != "Source");
        define_clip(effect, input.name, input.help, is_optional, input.temporal, input.name == "Matte");
    }
    define_clip(effect, "Output", "", false, false, false);
    OfxParamSetHandle parameters = nullptr;
    if (suites().effect->getParamSet(effect, &parameters) != ofx::OK) return ofx::FAILED;
    define_parameters(parameters);
    return ofx::OK;
}

}  // namespace stpn
