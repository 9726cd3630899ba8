#include "instance.h"

#include <algorithm>
#include <locale>
#include <sstream>

#include "notices.h"
#include "problem.h"

namespace stpn {

namespace {

const node::Parameter& described(const std::string& name) {
    for (const auto& one : node::PARAMETERS)
        if (one.name == name) return one;
    throw std::logic_error("no parameter " + name);
}

}  // namespace

Clip::Clip(OfxImageEffectHandle effect, const char* name) : name_(name) {
    if (suites().effect->clipGetHandle(effect, name, &handle_, &set_) != ofx::OK) handle_ = nullptr, set_ = nullptr;
}

bool Clip::connected() const {
    return handle_ != nullptr && properties().integer(ofx::prop::CLIP_CONNECTED).value_or(0) != 0;
}

std::optional<std::pair<double, double>> Clip::frame_range() const {
    const auto range = properties().numbers(ofx::prop::FRAME_RANGE, 2);
    if (!range) return {};
    return std::pair{(*range)[0], (*range)[1]};
}

Instance::Instance(OfxImageEffectHandle effect)
    : source(effect, "Source"),
      keys(effect, "Keys"),
      matte(effect, "Matte"),
      output(effect, "Output"),
      effect_(effect) {
    if (suites().effect->getParamSet(effect, &parameters_) != ofx::OK)
        throw Problem("The host gives no parameters to the node.");
    is_filter_ = properties().text(ofx::prop::CONTEXT).value_or("") == ofx::context::FILTER;
}

Instance& Instance::of(OfxImageEffectHandle effect) {
    OfxPropertySetHandle set = nullptr;
    if (suites().effect->getPropertySet(effect, &set) == ofx::OK)
        if (auto* found = static_cast<Instance*>(Properties(set).pointer(ofx::prop::INSTANCE_DATA))) return *found;
    throw Problem("The host asks a node that it has not created.");
}

Properties Instance::properties() const {
    OfxPropertySetHandle set = nullptr;
    suites().effect->getPropertySet(effect_, &set);
    return Properties(set);
}

OfxParamHandle Instance::parameter(const std::string& name) const {
    OfxParamHandle handle = nullptr;
    if (suites().parameter->paramGetHandle(parameters_, name.c_str(), &handle, nullptr) != ofx::OK)
        throw Problem("The host does not know the node's parameter " + name + ".");
    return handle;
}

std::string Instance::text(const std::string& name, double time) const {
    const auto& one = described(name);
    if (one.kind == node::Kind::CHOICE) {
        const int place = integer(name, time);
        // A scene saved by another version may hold a place that is not there.
        if (place < 0 || place >= static_cast<int>(one.choices.size()))
            throw Problem(one.label + ": choose one of the values it offers.");
        return one.choices[static_cast<size_t>(place)].value;
    }
    char* value = nullptr;
    if (suites().parameter->paramGetValueAtTime(parameter(name), time, &value) != ofx::OK || value == nullptr)
        throw Problem(one.label + ": the host does not tell its value.");
    return value;
}

int Instance::integer(const std::string& name, double time) const {
    int value = 0;
    if (suites().parameter->paramGetValueAtTime(parameter(name), time, &value) != ofx::OK)
        throw Problem(described(name).label + ": the host does not tell its value.");
    return value;
}

double Instance::number(const std::string& name, double time) const {
    double value = 0;
    if (suites().parameter->paramGetValueAtTime(parameter(name), time, &value) != ofx::OK)
        throw Problem(described(name).label + ": the host does not tell its value.");
    return value;
}

std::string Instance::written(const node::Parameter& one, double time) const {
    switch (one.kind) {
        case node::Kind::INTEGER:
            return std::to_string(integer(one.name, time));
        case node::Kind::SWITCH:
            return integer(one.name, time) != 0 ? "1" : "0";
        case node::Kind::NUMBER: {
            // A host may have set a locale that writes a comma.
            std::ostringstream written;
            written.imbue(std::locale::classic());
            written.precision(17);
            written << number(one.name, time);
            return written.str();
        }
        default:
            return text(one.name, time);
    }
}

void Instance::enable_what_applies() const {
    const std::string property = text("property", 0);
    for (const auto& one : node::PARAMETERS) {
        if (one.goes_with.empty()) continue;
        const bool applies = std::find(one.goes_with.begin(), one.goes_with.end(), property) != one.goes_with.end();
        OfxPropertySetHandle set = nullptr;
        if (suites().parameter->paramGetPropertySet(parameter(one.name), &set) == ofx::OK)
            Properties(set).set(ofx::prop::ENABLED, applies ? 1 : 0);
    }
}

void Instance::complain(const std::string& sentence) {
    const std::lock_guard lock(mutex_);
    show_error(effect_, sentence);
    complained_ = true;
}

void Instance::stop_complaining() {
    const std::lock_guard lock(mutex_);
    if (complained_) clear_error(effect_);
    complained_ = false;
}

void Instance::note(const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (notes_.insert(text).second) write_log(effect_, text);
}

}  // namespace stpn
