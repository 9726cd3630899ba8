#include "host.h"

namespace stpn {

namespace {

OfxHost* the_host = nullptr;
Suites the_suites;

template <class Suite>
const Suite* fetch(const char* name, int version) {
    return static_cast<const Suite*>(the_host->fetchSuite(the_host->host, name, version));
}

}  // namespace

void set_host(OfxHost* host) { the_host = host; }

bool fetch_suites() {
    if (the_host == nullptr || the_host->fetchSuite == nullptr) return false;
    Suites found;
    found.host = the_host->host;
    found.property = fetch<OfxPropertySuiteV1>(ofx::suite::PROPERTY, 1);
    found.effect = fetch<OfxImageEffectSuiteV1>(ofx::suite::IMAGE_EFFECT, 1);
    found.parameter = fetch<OfxParameterSuiteV1>(ofx::suite::PARAMETER, 1);
    found.message = fetch<OfxMessageSuiteV2>(ofx::suite::MESSAGE, 2);
    found.messages_persist = found.message != nullptr;
    if (found.message == nullptr) found.message = fetch<OfxMessageSuiteV2>(ofx::suite::MESSAGE, 1);
    found.progress_v2 = fetch<OfxProgressSuiteV2>(ofx::suite::PROGRESS, 2);
    if (found.progress_v2 == nullptr) found.progress_v1 = fetch<OfxProgressSuiteV1>(ofx::suite::PROGRESS, 1);
    if (found.property == nullptr || found.effect == nullptr || found.parameter == nullptr) return false;
    the_suites = found;
    the_suites.is_background = host_properties().integer(ofx::prop::IS_BACKGROUND).value_or(0) != 0;
    return true;
}

const Suites& suites() { return the_suites; }

Properties host_properties() { return Properties(the_suites.host); }

std::optional<std::string> Properties::text(const char* name, int index) const {
    char* value = nullptr;
    if (the_suites.property->propGetString(handle_, name, index, &value) != ofx::OK || value == nullptr) return {};
    return value;
}

std::optional<int> Properties::integer(const char* name, int index) const {
    int value = 0;
    if (the_suites.property->propGetInt(handle_, name, index, &value) != ofx::OK) return {};
    return value;
}

std::optional<double> Properties::number(const char* name, int index) const {
    double value = 0;
    if (the_suites.property->propGetDouble(handle_, name, index, &value) != ofx::OK) return {};
    return value;
}

void* Properties::pointer(const char* name) const {
    void* value = nullptr;
    return the_suites.property->propGetPointer(handle_, name, 0, &value) == ofx::OK ? value : nullptr;
}

std::optional<std::vector<int>> Properties::integers(const char* name, int count) const {
    std::vector<int> values(static_cast<size_t>(count));
    if (the_suites.property->propGetIntN(handle_, name, count, values.data()) != ofx::OK) return {};
    return values;
}

std::optional<std::vector<double>> Properties::numbers(const char* name, int count) const {
    std::vector<double> values(static_cast<size_t>(count));
    if (the_suites.property->propGetDoubleN(handle_, name, count, values.data()) != ofx::OK) return {};
    return values;
}

bool Properties::set(const char* name, const std::string& value, int index) const {
    return set(name, value.c_str(), index);
}

bool Properties::set(const char* name, const char* value, int index) const {
    return the_suites.property->propSetString(handle_, name, index, value) == ofx::OK;
}

bool Properties::set(const char* name, int value, int index) const {
    return the_suites.property->propSetInt(handle_, name, index, value) == ofx::OK;
}

bool Properties::set(const char* name, double value, int index) const {
    return the_suites.property->propSetDouble(handle_, name, index, value) == ofx::OK;
}

bool Properties::set(const char* name, void* value) const {
    return the_suites.property->propSetPointer(handle_, name, 0, value) == ofx::OK;
}

bool Properties::set(const char* name, const std::vector<double>& values) const {
    const int count = static_cast<int>(values.size());
    return the_suites.property->propSetDoubleN(handle_, name, count, values.data()) == ofx::OK;
}

}  // namespace stpn
