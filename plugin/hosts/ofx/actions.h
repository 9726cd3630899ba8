// The actions of an image effect, each in the terms of the node.
#pragma once

#include "instance.h"
#include "keys.h"

namespace stpn {

OfxStatus describe(OfxImageEffectHandle effect);
OfxStatus describe_in_context(OfxImageEffectHandle effect, const Properties& in);

OfxStatus clip_preferences(const Instance& node, const Properties& out);
OfxStatus region_of_definition(const Instance& node, const Properties& in, const Properties& out);
OfxStatus regions_of_interest(const Instance& node, const Properties& in, const Properties& out);
OfxStatus time_domain(const Instance& node, const Properties& out);
OfxStatus frames_needed(const Instance& node, const Properties& in, const Properties& out);
OfxStatus is_identity(const Instance& node, const Properties& in, const Properties& out);
OfxStatus render(Instance& node, const Properties& in);

// What the frame at a time needs. Throws Problem.
Plan plan_of(const Instance& node, double time);
// The plate frames of a plan, ascending: all from key to key, or, where the method looks at no motion, the keys' and
// the frame's alone. Throws Problem where they are too many.
std::vector<Frame> plate_frames(const Instance& node, const Plan& plan, double time);

}  // namespace stpn
