// Where the installation and its worker are.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace stpn {

// What install.py has written into the bundle.
struct Installation {
    std::string python;
    std::string name;
};

// Reads Contents/Resources/stpn.conf of the bundle. Throws Problem.
Installation installation();

// Files of the worker of one device. The folder is made where it is missing; throws Problem where it cannot be trusted.
struct Meeting {
    std::string device;
    std::string socket;
    std::string log;
};

Meeting meeting(const Installation& installation, const std::string& device);

// NAME=VALUE: all that the worker gets to know of the host's environment.
std::vector<std::string> worker_environment();

// How long a worker may be silent: 30 s, or STPN_WORKER_SILENCE seconds.
std::chrono::milliseconds longest_silence();

// The last line of a log that is not empty.
std::string last_line(const std::string& log);

// $NAME, "" where it is not set.
std::string variable(const char* name);

}  // namespace stpn
