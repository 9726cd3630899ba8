#include "runtime.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "messages.h"
#include "problem.h"

#if defined(__APPLE__)
#include <crt_externs.h>  // what is loaded at run time cannot name `environ` there
#else
extern char** environ;
#endif

namespace stpn {

namespace {

const char* const PASSED_ON[] = {"HOME",   "USER",            "LOGNAME",        "PATH", "LANG",
                                 "LC_ALL", "TMPDIR",          "TZ",             "OCIO", "XDG_RUNTIME_DIR",
                                 "XDG_CACHE_HOME", "CUDA_VISIBLE_DEVICES", "NUMBA_CACHE_DIR"};

std::string configuration_path() {
    Dl_info info{};
    if (dladdr(reinterpret_cast<const void*>(&configuration_path), &info) == 0 || info.dli_fname == nullptr)
        throw Problem("The plugin cannot find out where it lies. Run install.py ofx again.");
    std::string path = info.dli_fname;
    char absolute[PATH_MAX];
    if (realpath(path.c_str(), absolute) != nullptr) path = absolute;
    for (int level = 0; level < 2; ++level) path.erase(std::min(path.rfind('/'), path.size()));
    return path + "/Resources/stpn.conf";
}

std::string folder() {
    const std::string own = variable("STPN_RUNTIME_DIR"), session = variable("XDG_RUNTIME_DIR");
    const std::string path = !own.empty()       ? own
                             : !session.empty() ? session + "/stpn"
                                                : "/tmp/stpn-" + std::to_string(geteuid());
    const std::string advice = "set STPN_RUNTIME_DIR to a folder of your own.";
    if (path[0] != '/') throw Problem(path + ": expected a path that begins with /; " + advice);
    // The mode goes with it, so that there is no moment at which others may enter.
    if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        throw Problem("The folder " + path + " for the worker cannot be made: " + std::strerror(errno) + "; " + advice);
    struct stat found {};
    if (lstat(path.c_str(), &found) != 0)
        throw Problem("The folder " + path + " for the worker cannot be read: " + std::strerror(errno) + "; " + advice);
    if (!S_ISDIR(found.st_mode))
        throw Problem(path + ": expected a folder for the worker, got a link or a file; remove it, or " + advice);
    if (found.st_uid != geteuid())
        throw Problem(path + ": expected a folder of your own for the worker, got one of user " +
                      std::to_string(found.st_uid) + "; " + advice);
    if ((found.st_mode & 077) != 0)
        throw Problem(path + ": expected a folder that only you may enter, got one that is open to others; chmod 700 " +
                      "it, or " + advice);
    return path;
}

bool passes_on(const std::string& name) {
    return name.compare(0, 5, "STPN_") == 0 ||
           std::find(std::begin(PASSED_ON), std::end(PASSED_ON), name) != std::end(PASSED_ON);
}

bool is_file_name(const std::string& name) {
    constexpr auto LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.+_-";
    return !name.empty() && name.find_first_not_of(LETTERS) == std::string::npos;
}

}  // namespace

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

Installation installation() {
    const std::string path = configuration_path();
    std::ifstream file(path);
    if (!file) throw Problem("The plugin does not know where stpn is: " + path + " is missing. Run install.py ofx.");
    Installation found;
    for (std::string line; std::getline(file, line);) {
        if (!line.empty() && line.back() == '\r') line.pop_back();
        if (line.compare(0, 7, "python ") == 0) found.python = line.substr(7);
        if (line.compare(0, 5, "name ") == 0) found.name = line.substr(5);
    }
    if (found.python.empty() || !is_file_name(found.name))
        throw Problem(path + ": expected a line with python and its path and one with the installation's name. " +
                      "Run install.py ofx.");
    return found;
}

Meeting meeting(const Installation& installation, const std::string& device) {
    const std::string start = folder() + "/" + device + "-" + installation.name;
    return {device, start + ".sock", start + ".log"};
}

std::vector<std::string> worker_environment() {
#if defined(__APPLE__)
    char** const environ = *_NSGetEnviron();
#endif
    std::vector<std::string> passed;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string text = *entry;
        if (passes_on(text.substr(0, text.find('=')))) passed.push_back(text);
    }
    return passed;
}

std::chrono::milliseconds longest_silence() {
    const auto seconds = whole_number(variable("STPN_WORKER_SILENCE"), 86400);
    return std::chrono::seconds(seconds && *seconds > 0 ? *seconds : 30);
}

std::string last_line(const std::string& log) {
    std::ifstream file(log, std::ios::binary);
    if (!file) return "";
    file.seekg(0, std::ios::end);
    file.seekg(std::max<std::streamoff>(0, file.tellg() - std::streamoff{4096}));
    std::string last;
    for (std::string line; std::getline(file, line);)
        if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
    return last;
}

}  // namespace stpn
