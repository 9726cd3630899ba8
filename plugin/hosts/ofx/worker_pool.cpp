#include "worker_pool.h"

#include <unistd.h>

#include <mutex>
#include <thread>

#include "problem.h"
#include "worker_start.h"

namespace stpn {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto TICK = std::chrono::milliseconds(20);

std::mutex mutex;
std::vector<std::unique_ptr<Connection>> idle;
pid_t owner = 0;

// Held by the one thread that starts a worker; the others wait for it and then find that worker.
std::timed_mutex starting;

std::unique_ptr<Connection> take_idle(const std::string& socket) {
    const std::lock_guard lock(mutex);
    if (owner != getpid()) {
        // A host that has forked shares its sockets with its parent: two would talk on one connection.
        idle.clear();
        owner = getpid();
    }
    std::unique_ptr<Connection> found;
    for (auto entry = idle.begin(); entry != idle.end();) {
        if (!(*entry)->is_ready()) {
            entry = idle.erase(entry);
        } else if (found == nullptr && (*entry)->socket() == socket) {
            found = std::move(*entry);
            entry = idle.erase(entry);
        } else {
            ++entry;
        }
    }
    return found;
}

void give_back(std::unique_ptr<Connection> connection) {
    const std::lock_guard lock(mutex);
    if (connection->is_ready()) idle.push_back(std::move(connection));
}

class StartLock {
public:
    explicit StartLock(const std::function<bool()>& aborted) {
        while (!starting.try_lock_for(TICK))
            if (aborted()) throw Aborted();
    }
    ~StartLock() { starting.unlock(); }
    StartLock(const StartLock&) = delete;
    StartLock& operator=(const StartLock&) = delete;
};

std::unique_ptr<Connection> connect_or_start(const Installation& installation, const Meeting& meeting,
                                             const std::function<bool()>& aborted) {
    if (auto connection = Connection::open(meeting, aborted)) return connection;
    const StartLock lock(aborted);
    const auto begun = Clock::now();
    pid_t child = 0;
    bool has_ended = false;
    auto ended = begun;
    for (;;) {
        if (auto connection = Connection::open(meeting, aborted)) return connection;
        if (aborted()) throw Aborted();
        const auto now = Clock::now();
        if (now - begun > longest_silence())
            throw Problem("The worker has not come up; its last line: " + last_line(meeting.log) + " (" + meeting.log +
                          ")");
        const auto end = child != 0 ? end_of(child) : std::nullopt;
        if (end && (end->signal || end->code.value_or(0) != 0))
            throw Problem("The worker could not start: " + last_line(meeting.log) + " (its log: " + meeting.log + ")");
        // Code 0 means that another was first. That one may be on its way out, with its lock still held: after a
        // while the turn is ours again.
        if (end && !has_ended) ended = now;
        has_ended = end.has_value();
        if (child == 0 || (has_ended && now - ended > std::chrono::seconds(1))) {
            child = start_worker(installation, meeting);
            has_ended = false;
        }
        std::this_thread::sleep_for(TICK);
    }
}

}  // namespace

void run_job(const std::string& device, const Job& job, const JobHooks& hooks) {
    reap_workers();
    const Installation here = installation();
    const Meeting place = meeting(here, device);
    for (;;) {
        auto connection = take_idle(place.socket);
        const bool is_new = connection == nullptr;
        if (is_new) connection = connect_or_start(here, place, hooks.aborted);
        try {
            connection->run(job, hooks);
        } catch (const Gone&) {
            // Closed between two jobs, at the very moment at which this one was sent.
            if (is_new)
                throw Problem("The worker has ended as soon as it was given this frame. Its log: " + place.log);
            continue;
        } catch (...) {
            give_back(std::move(connection));
            throw;
        }
        return give_back(std::move(connection));
    }
}

void close_connections() {
    const std::lock_guard lock(mutex);
    idle.clear();
}

}  // namespace stpn
