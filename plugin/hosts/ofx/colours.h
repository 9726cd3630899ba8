// What a host with OpenFX 1.5 colour management says of its clips, in the worker's terms.
#pragma once

#include <string>

#include "instance.h"

namespace stpn {

struct HostColours {
    std::string source, keys;  // names in the config, "" where the host says nothing
    std::string config;        // path or ocio:// name, "" where the host has none
};

HostColours host_colours(const Instance& node);

// Whether color-managed keys come out of a render as the numbers that they are.
bool keeps_key_numbers(const Instance& node, double time);

// The action that tells the host the result's color space.
OfxStatus output_colourspace(const Instance& node, const Properties& out);

}  // namespace stpn
