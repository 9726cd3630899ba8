// The entry points. No exception leaves them: a host is not built to catch one.
#include <cstring>
#include <memory>
#include <new>

#include "actions.h"
#include "colours.h"
#include "node.h"
#include "notices.h"
#include "problem.h"
#include "worker_pool.h"
#include "worker_start.h"

#define STPN_EXPORT __attribute__((visibility("default")))

namespace stpn {

namespace {

// kOfxStatOK in place of "reply default": some hosts destroy only instances whose creation was answered with it.
OfxStatus create_instance(OfxImageEffectHandle effect) {
    OfxPropertySetHandle set = nullptr;
    if (suites().effect->getPropertySet(effect, &set) != ofx::OK) return ofx::ERROR_BAD_HANDLE;
    auto node = std::make_unique<Instance>(effect);
    node->enable_what_applies();
    if (!Properties(set).set(ofx::prop::INSTANCE_DATA, static_cast<void*>(node.get()))) return ofx::FAILED;
    node.release();
    return ofx::OK;
}

OfxStatus destroy_instance(OfxImageEffectHandle effect) {
    OfxPropertySetHandle set = nullptr;
    if (suites().effect->getPropertySet(effect, &set) != ofx::OK) return ofx::ERROR_BAD_HANDLE;
    const std::unique_ptr<Instance> node(static_cast<Instance*>(Properties(set).pointer(ofx::prop::INSTANCE_DATA)));
    Properties(set).set(ofx::prop::INSTANCE_DATA, static_cast<void*>(nullptr));
    return ofx::OK;
}

OfxStatus instance_changed(const Instance& node, const Properties& in) {
    const bool is_parameter = in.text(ofx::prop::TYPE).value_or("") == ofx::value::TYPE_PARAMETER;
    if (!is_parameter || in.text(ofx::prop::NAME).value_or("") != "property") return ofx::REPLY_DEFAULT;
    node.enable_what_applies();
    return ofx::OK;
}

OfxStatus unload() {
    close_connections();
    reap_workers();
    return ofx::OK;
}

OfxStatus act(const std::string& action, OfxImageEffectHandle effect, const Properties& in, const Properties& out) {
    if (action == ofx::action::LOAD) return fetch_suites() ? ofx::OK : ofx::ERROR_MISSING_HOST_FEATURE;
    if (action == ofx::action::UNLOAD) return unload();
    if (action == ofx::action::DESCRIBE) return describe(effect);
    if (action == ofx::action::DESCRIBE_IN_CONTEXT) return describe_in_context(effect, in);
    if (action == ofx::action::CREATE_INSTANCE) return create_instance(effect);
    if (action == ofx::action::DESTROY_INSTANCE) return destroy_instance(effect);
    if (action == ofx::action::INSTANCE_CHANGED) return instance_changed(Instance::of(effect), in);
    if (action == ofx::action::CLIP_PREFERENCES) return clip_preferences(Instance::of(effect), out);
    if (action == ofx::action::REGION_OF_DEFINITION) return region_of_definition(Instance::of(effect), in, out);
    if (action == ofx::action::REGIONS_OF_INTEREST) return regions_of_interest(Instance::of(effect), in, out);
    if (action == ofx::action::TIME_DOMAIN) return time_domain(Instance::of(effect), out);
    if (action == ofx::action::FRAMES_NEEDED) return frames_needed(Instance::of(effect), in, out);
    if (action == ofx::action::IS_IDENTITY) return is_identity(Instance::of(effect), in, out);
    if (action == ofx::action::OUTPUT_COLOURSPACE) return output_colourspace(Instance::of(effect), out);
    if (action == ofx::action::RENDER) return render(Instance::of(effect), in);
    return ofx::REPLY_DEFAULT;
}

// At the node where there is one, so that its next success takes the sentence away.
void tell(OfxImageEffectHandle effect, const std::string& sentence) {
    Instance* node = nullptr;
    try {
        node = &Instance::of(effect);
    } catch (const Problem&) {
        return show_error(effect, sentence);
    }
    node->complain(sentence);
}

OfxStatus main_entry(const char* action, const void* handle, OfxPropertySetHandle in, OfxPropertySetHandle out) {
    auto* effect = static_cast<OfxImageEffectHandle>(const_cast<void*>(handle));
    try {
        return act(action, effect, Properties(in), Properties(out));
    } catch (const std::bad_alloc&) {
        return ofx::ERROR_MEMORY;
    } catch (const std::exception& error) {
        try {
            if (effect != nullptr) tell(effect, error.what());
        } catch (...) {  // the status has to do
        }
        return ofx::FAILED;
    } catch (...) {
        return ofx::FAILED;
    }
}

OfxPlugin the_plugin = {
    ofx::value::PLUGIN_API, 1, node::IDENTIFIER, node::VERSION_MAJOR, node::VERSION_MINOR, set_host, main_entry,
};

}  // namespace

}  // namespace stpn

extern "C" {

STPN_EXPORT OfxStatus OfxSetHost(const OfxHost* host) {
    stpn::set_host(const_cast<OfxHost*>(host));
    return ofx::OK;
}

STPN_EXPORT int OfxGetNumberOfPlugins() { return 1; }

STPN_EXPORT OfxPlugin* OfxGetPlugin(int index) { return index == 0 ? &stpn::the_plugin : nullptr; }

}  // extern "C"
