// One connection to a worker, and a job run over it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "messages.h"
#include "pictures.h"
#include "runtime.h"
#include "shared_memory.h"

namespace stpn {

// What the side that renders does for a job.
struct JobHooks {
    // Asked every 20 ms: whether the render is wanted no longer.
    std::function<bool()> aborted;
    // 0 to 1.
    std::function<void(double)> progress;
    // Writes a picture's planes; what it throws ends the job.
    std::function<void(const std::string& id, std::uint8_t* planes)> fill;
    // Copies the result, whose id is empty; its channels may be fewer than wanted.
    std::function<void(const Picture& result, const std::uint8_t* planes)> finish;
    // What was decided otherwise than asked for.
    std::function<void(const std::string& note)> note;
};

struct Job {
    Message message;
    std::vector<Picture> pictures;  // those that the message names
    Picture wanted;                 // without an id
};

// The worker has gone without a word about the job: nothing is lost, and another may do it.
struct Gone : std::exception {};

// The connection broke; made into a sentence where it is known what was going on.
struct Broken : std::exception {};

class Connection {
public:
    // Null where nobody listens. Throws Problem, or Aborted.
    static std::unique_ptr<Connection> open(const Meeting& meeting, const std::function<bool()>& aborted);
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    const std::string& socket() const { return meeting_.socket; }
    // Whether the next job can be sent: it is open, and nothing is left unread.
    bool is_ready() const;
    // Throws Problem, Aborted, Gone, or what a hook throws.
    void run(const Job& job, const JobHooks& hooks);

private:
    explicit Connection(int descriptor, Meeting meeting) : descriptor_(descriptor), meeting_(std::move(meeting)) {}

    bool greet(const std::function<bool()>& aborted);
    void check_peer();
    void send(const Message& message, const std::function<bool()>& aborted);
    Message receive(const std::function<bool()>& aborted);
    bool read_more();
    void wait_for(short events, std::chrono::steady_clock::time_point since, const std::function<bool()>& aborted);
    void answer_need(const Message& need, const Job& job, const JobHooks& hooks);
    void take_result(const Message& done, const Job& job, const JobHooks& hooks);
    void cancel();
    [[noreturn]] void fail_broken();
    [[noreturn]] void fail_nonsense(const std::string& what);

    int descriptor_;
    Meeting meeting_;
    pid_t peer_ = 0;  // as the system says, 0 where it does not
    pid_t worker_ = 0;  // as the worker says
    std::string log_;
    std::shared_ptr<SharedMemory> memory_;
    std::string unread_;
    int passed_ = -1;  // a descriptor that came with a message
    bool is_usable_ = true;
    bool answered_ = true;  // since the last job was sent
};

}  // namespace stpn
