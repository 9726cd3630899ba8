#include "worker_start.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "problem.h"

#if defined(__GLIBC__)
#define STPN_GLIBC(major, minor) __GLIBC_PREREQ(major, minor)
#else
#define STPN_GLIBC(major, minor) 0
#endif

namespace stpn {

namespace {

std::mutex mutex;
std::map<pid_t, std::optional<End>> children;

void look_after(pid_t child, std::optional<End>& end) {
    if (end) return;
    int status = 0;
    pid_t found;
    do found = waitpid(child, &status, WNOHANG);
    while (found < 0 && errno == EINTR);
    if (found == child && WIFEXITED(status)) end = End{WEXITSTATUS(status), {}};
    if (found == child && WIFSIGNALED(status)) end = End{{}, WTERMSIG(status)};
    // A host that waits for all of its children, or ignores their signal, has taken the answer.
    if (found < 0 && errno == ECHILD && kill(child, 0) != 0) end = End{};
}

class Descriptor {
public:
    explicit Descriptor(int number) : number_(number) {}
    ~Descriptor() {
        if (number_ >= 0) close(number_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int number() const { return number_; }

private:
    int number_;
};

// What posix_spawn is told. It is used in place of fork because a host has many threads: between fork and exec only
// one of them lives, and locks that others held stay locked.
class Orders {
public:
    explicit Orders(int log) {
        posix_spawn_file_actions_init(&actions_);
        posix_spawnattr_init(&attributes_);
        posix_spawn_file_actions_adddup2(&actions_, log, 1);
        posix_spawn_file_actions_adddup2(&actions_, log, 2);
        // Last: in a host without standard input the log itself may be number 0.
        posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
#if defined(__APPLE__) || STPN_GLIBC(2, 29)
        // Where the system has no such call the worker keeps the host's folder: it only matters for unmounting.
        posix_spawn_file_actions_addchdir_np(&actions_, "/");
#endif
#if STPN_GLIBC(2, 34)
        // A file or pipe of the host that the worker keeps open would outlive its use in the host.
        posix_spawn_file_actions_addclosefrom_np(&actions_, 3);
#endif
        short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
#if defined(POSIX_SPAWN_SETSID)
        flags = static_cast<short>(flags | POSIX_SPAWN_SETSID);
#else
        flags = static_cast<short>(flags | POSIX_SPAWN_SETPGROUP);
        posix_spawnattr_setpgroup(&attributes_, 0);
#endif
#if defined(POSIX_SPAWN_CLOEXEC_DEFAULT)
        flags = static_cast<short>(flags | POSIX_SPAWN_CLOEXEC_DEFAULT);
#endif
        sigset_t none, all;
        sigemptyset(&none);
        sigfillset(&all);
        posix_spawnattr_setsigmask(&attributes_, &none);
        posix_spawnattr_setsigdefault(&attributes_, &all);
        posix_spawnattr_setflags(&attributes_, flags);
    }
    ~Orders() {
        posix_spawnattr_destroy(&attributes_);
        posix_spawn_file_actions_destroy(&actions_);
    }
    Orders(const Orders&) = delete;
    Orders& operator=(const Orders&) = delete;

    const posix_spawn_file_actions_t* actions() const { return &actions_; }
    const posix_spawnattr_t* attributes() const { return &attributes_; }

private:
    posix_spawn_file_actions_t actions_;
    posix_spawnattr_t attributes_;
};

std::vector<char*> as_pointers(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (auto& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

}  // namespace

pid_t start_worker(const Installation& installation, const Meeting& meeting) {
    const Descriptor log(open(meeting.log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (log.number() < 0)
        throw Problem("The worker's log " + meeting.log + " cannot be written: " + std::strerror(errno) + ".");
    std::vector<std::string> arguments = {installation.python, "-P", "-m", "stpn.plugin.cli", "worker",
                                          "--socket", meeting.socket, "--device", meeting.device};
    std::vector<std::string> environment = worker_environment();
    const Orders orders(log.number());
    pid_t child = 0;
    const int failure = posix_spawn(&child, installation.python.c_str(), orders.actions(), orders.attributes(),
                                    as_pointers(arguments).data(), as_pointers(environment).data());
    if (failure != 0)
        throw Problem("The worker cannot be started with " + installation.python + ": " + std::strerror(failure) +
                      ". Run install.py ofx again.");
    const std::lock_guard lock(mutex);
    children[child] = std::nullopt;
    return child;
}

std::optional<End> end_of(pid_t worker) {
    const std::lock_guard lock(mutex);
    const auto found = children.find(worker);
    if (found == children.end()) return {};
    look_after(found->first, found->second);
    return found->second;
}

void reap_workers() {
    const std::lock_guard lock(mutex);
    // What is known of their ends stays: whoever has started one may not have looked yet.
    for (auto& [child, end] : children) look_after(child, end);
}

}  // namespace stpn
