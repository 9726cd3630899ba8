// One node in a scene: its clips, and its parameters read at a time.
#pragma once

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "host.h"
#include "node.h"

namespace stpn {

class Clip {
public:
    Clip() = default;
    Clip(OfxImageEffectHandle effect, const char* name);

    OfxImageClipHandle handle() const { return handle_; }
    const std::string& name() const { return name_; }
    bool connected() const;
    // Of what the host hands out, after clip preferences; empty where it says nothing.
    std::string components() const { return properties().text(ofx::prop::COMPONENTS).value_or(""); }
    std::string depth() const { return properties().text(ofx::prop::DEPTH).value_or(""); }
    std::string premultiplication() const { return properties().text(ofx::prop::PREMULTIPLICATION).value_or(""); }
    std::string colourspace() const { return properties().text(ofx::prop::CLIP_COLOURSPACE).value_or(""); }
    std::optional<std::pair<double, double>> frame_range() const;

private:
    Properties properties() const { return Properties(set_); }

    std::string name_;
    OfxImageClipHandle handle_ = nullptr;
    OfxPropertySetHandle set_ = nullptr;
};

// Nothing of it changes after construction but what is shown to people, so that a host may render on any number of
// threads.
class Instance {
public:
    explicit Instance(OfxImageEffectHandle effect);

    // The instance of a handle that the host passes; throws where it has none.
    static Instance& of(OfxImageEffectHandle effect);

    OfxImageEffectHandle effect() const { return effect_; }
    Properties properties() const;
    bool is_filter() const { return is_filter_; }

    // Text, or the value of a choice.
    std::string text(const std::string& parameter, double time) const;
    int integer(const std::string& parameter, double time) const;
    double number(const std::string& parameter, double time) const;
    // Any parameter as the worker reads it.
    std::string written(const node::Parameter& parameter, double time) const;

    // Enables the parameters that go with the property and disables the others.
    void enable_what_applies() const;

    // What is shown at the node until the next success.
    void complain(const std::string& sentence);
    void stop_complaining();
    // A line for the host's log, once for each text.
    void note(const std::string& text);

    Clip source, keys, matte, output;
    std::atomic<bool> shows_progress = false;

private:
    OfxParamHandle parameter(const std::string& name) const;

    OfxImageEffectHandle effect_;
    OfxParamSetHandle parameters_ = nullptr;
    bool is_filter_ = false;
    std::mutex mutex_;
    bool complained_ = false;
    std::set<std::string> notes_;
};

}  // namespace stpn
