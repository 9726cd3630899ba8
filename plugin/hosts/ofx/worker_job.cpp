// One job over a connection, from `job` to `release`.
#include <locale>
#include <sstream>

#include "problem.h"
#include "worker_client.h"

namespace stpn {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto CANCEL_TIME = std::chrono::seconds(5);
constexpr std::uint64_t MAXIMUM_OFFSET = std::uint64_t{1} << 50;

const std::function<bool()> NEVER = [] { return false; };

double number_of(const std::string& text) {
    std::istringstream stream(text);
    stream.imbue(std::locale::classic());
    double number = 0;
    stream >> number;
    return stream ? number : 0;
}

}  // namespace

void Connection::run(const Job& job, const JobHooks& hooks) {
    bool is_sent = false;
    try {
        answered_ = false;
        send(job.message, hooks.aborted);
        is_sent = true;
        for (;;) {
            const Message message = receive(hooks.aborted);
            if (message.verb == "progress") {
                hooks.progress(number_of(message.one("done")));
            } else if (message.verb == "need") {
                answer_need(message, job, hooks);
            } else if (message.verb == "done") {
                return take_result(message, job, hooks);
            } else if (message.verb == "failed") {
                const bool is_asked_for = message.one("kind") != "render";
                throw Problem(message.one("reason") + (is_asked_for ? "" : " The worker's log: " + log_));
            } else if (message.verb == "cancelled") {
                throw Problem("The worker has given up the frame without being asked to. Its log: " + log_);
            }
        }
    } catch (const Aborted&) {
        if (is_sent && is_usable_) cancel();
        throw;
    } catch (const Broken&) {
        if (!answered_) throw Gone();
        fail_broken();
    }
}

void Connection::answer_need(const Message& need, const Job& job, const JobHooks& hooks) {
    try {
        for (const auto& [name, value] : need.lines) {
            if (name != "picture") continue;
            if (hooks.aborted()) throw Aborted();
            const auto parts = words(value);
            const Picture* asked = nullptr;
            for (const auto& picture : job.pictures)
                if (!parts.empty() && picture.id == parts[0]) asked = &picture;
            const auto offset = parts.size() == 2 ? whole_number(parts[1], MAXIMUM_OFFSET) : std::nullopt;
            std::uint8_t* planes = asked != nullptr && offset ? memory_->part(*offset, asked->bytes()) : nullptr;
            if (planes == nullptr) fail_nonsense("need of '" + value + "'");
            hooks.fill(asked->id, planes);
        }
    } catch (const Aborted&) {
        throw;
    } catch (const std::exception&) {
        if (is_usable_) cancel();
        throw;
    }
    send(Message{"filled", {}}, hooks.aborted);
}

void Connection::take_result(const Message& done, const Job& job, const JobHooks& hooks) {
    const auto parts = words(done.one("picture"));
    if (parts.size() != 5) fail_nonsense("a result '" + done.one("picture") + "'");
    Picture result = job.wanted;
    result.channels = parts[4];
    const auto offset = whole_number(parts[0], MAXIMUM_OFFSET);
    bool is_wanted = !result.channels.empty() && result.channels.size() <= 4;
    for (size_t place = 0; place < result.channels.size(); ++place)
        is_wanted = is_wanted && job.wanted.channels.find(result.channels[place]) != std::string::npos &&
                    result.channels.find(result.channels[place]) == place;
    if (!is_wanted || !offset || done.one("picture") != parts[0] + " " + result.layout())
        fail_nonsense("a result '" + done.one("picture") + "' where " + job.wanted.layout() + " was wanted");
    const std::uint8_t* planes = memory_->part(*offset, result.bytes());
    if (planes == nullptr) fail_nonsense("a result outside its memory");
    const auto release = [this] {
        try {
            send(Message{"release", {}}, NEVER);
        } catch (const std::exception&) {
            is_usable_ = false;  // the frame is there all the same
        }
    };
    try {
        hooks.finish(result, planes);
    } catch (...) {
        release();
        throw;
    }
    release();
    for (const auto& [name, value] : done.lines)
        if (name == "note") hooks.note(value);
}

// Ends the job and waits for the answer, so that the connection can take another job. What it says is of no use.
void Connection::cancel() {
    const auto until = Clock::now() + CANCEL_TIME;
    const auto too_long = [until] { return Clock::now() > until; };
    try {
        send(Message{"cancel", {}}, too_long);
        for (;;) {
            const auto verb = receive(too_long).verb;
            if (verb == "done") send(Message{"release", {}}, too_long);
            if (verb == "done" || verb == "failed" || verb == "cancelled") return;
        }
    } catch (const std::exception&) {
        is_usable_ = false;  // closing cancels too
    }
}

void Connection::fail_broken() {
    throw Problem("The worker has ended while it made this frame; the next frame starts a new one. Its log: " + log_);
}

}  // namespace stpn
