// What the generated header node.h is made of.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace stpn::node {

enum class Kind { CHOICE, INTEGER, NUMBER, SWITCH, TEXT, FILE };

struct Input {
    std::string name, help;
    bool optional, temporal;
};

struct Choice {
    std::string value, label;
};

struct Parameter {
    std::string name, label;
    Kind kind;
    std::string help, group;
    std::string text;  // the default of TEXT and FILE
    double number;     // the default of the others; of CHOICE the place of its value
    std::optional<double> minimum, maximum;
    std::vector<Choice> choices;
    std::vector<std::string> goes_with;
};

}  // namespace stpn::node
