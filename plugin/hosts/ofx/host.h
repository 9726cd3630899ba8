// The host's suites, and properties read and written without a word about absent ones.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ofx_abi.h"

namespace stpn {

struct Suites {
    OfxPropertySetHandle host = nullptr;
    const OfxPropertySuiteV1* property = nullptr;
    const OfxImageEffectSuiteV1* effect = nullptr;
    const OfxParameterSuiteV1* parameter = nullptr;
    // Suites that a host may lack. Of the message suite a version 1 may be behind the pointer: see `messages_persist`.
    const OfxMessageSuiteV2* message = nullptr;
    bool messages_persist = false;
    const OfxProgressSuiteV1* progress_v1 = nullptr;
    const OfxProgressSuiteV2* progress_v2 = nullptr;
    bool is_background = false;
};

// Set by OfxSetHost or setHost.
void set_host(OfxHost* host);

// Fetches the suites; false where the host lacks one that nothing goes without.
bool fetch_suites();

// Valid after fetch_suites() has succeeded.
const Suites& suites();

// A property set. What is read is empty where the host has no such property; what is written is tried, because hosts
// differ in which of the optional properties they know.
class Properties {
public:
    explicit Properties(OfxPropertySetHandle handle) : handle_(handle) {}

    std::optional<std::string> text(const char* name, int index = 0) const;
    std::optional<int> integer(const char* name, int index = 0) const;
    std::optional<double> number(const char* name, int index = 0) const;
    void* pointer(const char* name) const;
    std::optional<std::vector<int>> integers(const char* name, int count) const;
    std::optional<std::vector<double>> numbers(const char* name, int count) const;

    bool set(const char* name, const std::string& value, int index = 0) const;
    bool set(const char* name, const char* value, int index = 0) const;
    bool set(const char* name, int value, int index = 0) const;
    bool set(const char* name, double value, int index = 0) const;
    bool set(const char* name, void* value) const;
    bool set(const char* name, const std::vector<double>& values) const;

private:
    OfxPropertySetHandle handle_;
};

// The host's own properties.
Properties host_properties();

}  // namespace stpn
