#include "worker_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "node.h"
#include "problem.h"

namespace stpn {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int TICK = 20;  // milliseconds from one look at the host's abort to the next

#if defined(MSG_NOSIGNAL)
constexpr int SEND_FLAGS = MSG_NOSIGNAL;
#else
constexpr int SEND_FLAGS = 0;  // there SO_NOSIGPIPE is set on the socket
#endif
#if defined(MSG_CMSG_CLOEXEC)
constexpr int RECEIVE_FLAGS = MSG_CMSG_CLOEXEC;
#else
constexpr int RECEIVE_FLAGS = 0;
#endif

int open_socket() {
#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK)
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
#else
    const int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
    if (descriptor < 0) return descriptor;
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
    const int on = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
    return descriptor;
#endif
}

}  // namespace

std::unique_ptr<Connection> Connection::open(const Meeting& meeting, const std::function<bool()>& aborted) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (meeting.socket.size() >= sizeof address.sun_path)
        throw Problem(meeting.socket + " is too long for a socket: set STPN_RUNTIME_DIR to a folder of a short name.");
    std::memcpy(address.sun_path, meeting.socket.data(), meeting.socket.size());
    const int descriptor = open_socket();
    if (descriptor < 0) throw Problem(std::string("The host has no socket left: ") + std::strerror(errno) + ".");
    std::unique_ptr<Connection> connection(new Connection(descriptor, meeting));
    int result;
    do result = connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    while (result != 0 && errno == EINTR);
    if (result != 0) {
        // EAGAIN: more clients than the worker has taken on yet. The caller tries again.
        if (errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN) return nullptr;
        throw Problem(meeting.socket + ": the worker cannot be reached: " + std::strerror(errno) + ".");
    }
    connection->check_peer();
    return connection->greet(aborted) ? std::move(connection) : nullptr;
}

Connection::~Connection() {
    if (passed_ >= 0) close(passed_);
    close(descriptor_);
}

void Connection::check_peer() {
    uid_t user = static_cast<uid_t>(-1);
#if defined(SO_PEERCRED)
    ucred credentials{};
    socklen_t length = sizeof credentials;
    if (getsockopt(descriptor_, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) {
        user = credentials.uid;
        peer_ = credentials.pid;
    }
#else
    gid_t group = 0;
    if (getpeereid(descriptor_, &user, &group) != 0) user = static_cast<uid_t>(-1);
#if defined(LOCAL_PEERPID)
    socklen_t length = sizeof peer_;
    if (getsockopt(descriptor_, 0, LOCAL_PEERPID, &peer_, &length) != 0) peer_ = 0;
#endif
#endif
    if (user != geteuid())
        throw Problem(meeting_.socket + " is served by another user; the plugin does not talk to it.");
}

bool Connection::greet(const std::function<bool()>& aborted) {
    Message welcome;
    try {
        send(Message{"hello", {}}.add("protocol", "1").add("client", std::string("OpenFX plugin ") + node::IDENTIFIER),
             aborted);
        welcome = receive(aborted);
    } catch (const Broken&) {
        return false;  // it was about to end when it was called
    }
    if (welcome.verb == "refused") throw Problem("The worker refuses the plugin: " + welcome.one("reason"));
    if (welcome.verb != "welcome" || welcome.one("protocol") != "1" || passed_ < 0)
        throw Problem(meeting_.socket +
                      ": something else than the worker of this version answers. Run install.py ofx.");
    const auto bytes = whole_number(welcome.one("memory"), std::uint64_t{1} << 50);
    worker_ = static_cast<pid_t>(whole_number(welcome.one("pid"), 0x7fffffff).value_or(0));
    memory_ = SharedMemory::of(passed_, bytes.value_or(0), worker_);
    close(passed_);
    passed_ = -1;
    log_ = welcome.one("log").empty() ? meeting_.log : welcome.one("log");
    return true;
}

bool Connection::is_ready() const {
    pollfd state{descriptor_, POLLIN, 0};
    return is_usable_ && unread_.empty() && poll(&state, 1, 0) == 0;
}

// Waits until the socket can do something; throws when the worker is silent for too long, or the render is aborted.
void Connection::wait_for(short events, Clock::time_point since, const std::function<bool()>& aborted) {
    for (;;) {
        pollfd state{descriptor_, events, 0};
        if (poll(&state, 1, TICK) > 0) return;
        if (aborted()) throw Aborted();
        const auto limit = longest_silence();
        if (Clock::now() - since < limit) continue;
        is_usable_ = false;
        const std::string seconds = std::to_string(std::chrono::duration_cast<std::chrono::seconds>(limit).count());
        std::string what = "The worker has said nothing for " + seconds + " s";
        // Only a process that the system itself names is ended: a wrong number would end somebody else's work.
        if (worker_ > 1 && worker_ == peer_) {
            kill(worker_, SIGKILL);
            what += " and was ended; the next frame starts a new one";
        }
        throw Problem(what + ". Its log: " + (log_.empty() ? meeting_.log : log_));
    }
}

void Connection::send(const Message& message, const std::function<bool()>& aborted) {
    const std::string bytes = encode(message);
    if (bytes.empty()) throw Problem("Too many frames lie between the key frames: add key frames between them.");
    const auto since = Clock::now();
    for (size_t sent = 0; sent < bytes.size();) {
        const auto count = ::send(descriptor_, bytes.data() + sent, bytes.size() - sent, SEND_FLAGS);
        if (count > 0) {
            sent += static_cast<size_t>(count);
            continue;
        }
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            is_usable_ = false;
            throw Broken();
        }
        try {
            wait_for(POLLOUT, since, aborted);
        } catch (const Aborted&) {
            is_usable_ = sent == 0 && is_usable_;  // half a message cannot be taken back
            throw;
        }
    }
}

// Takes what has arrived. False where nothing has.
bool Connection::read_more() {
    char bytes[16384];
    char control[CMSG_SPACE(4 * sizeof(int))];
    iovec piece{bytes, sizeof bytes};
    msghdr header{};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const auto count = recvmsg(descriptor_, &header, RECEIVE_FLAGS);
    if (count < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    if (count <= 0) {
        is_usable_ = false;
        throw Broken();
    }
    for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const size_t passed = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < passed; ++index) {
            int descriptor;
            std::memcpy(&descriptor, CMSG_DATA(part) + index * sizeof(int), sizeof descriptor);
            if (passed_ >= 0) close(passed_);
            passed_ = descriptor;
            fcntl(descriptor, F_SETFD, FD_CLOEXEC);
        }
    }
    unread_.append(bytes, static_cast<size_t>(count));
    answered_ = true;
    return true;
}

Message Connection::receive(const std::function<bool()>& aborted) {
    const auto since = Clock::now();
    for (;;) {
        if (unread_.size() >= 4) {
            size_t length = 0;
            for (size_t byte = 0; byte < 4; ++byte)
                length |= static_cast<size_t>(static_cast<unsigned char>(unread_[byte])) << 8 * byte;
            if (length == 0 || length > MAXIMUM_MESSAGE)
                fail_nonsense("a message of " + std::to_string(length) + " bytes");
            if (unread_.size() >= 4 + length) {
                const auto message = decode(unread_.substr(4, length));
                unread_.erase(0, 4 + length);
                if (!message) fail_nonsense("text that is no message");
                return *message;
            }
        }
        if (!read_more()) wait_for(POLLIN, since, aborted);
    }
}

void Connection::fail_nonsense(const std::string& what) {
    is_usable_ = false;
    throw Problem("The worker sends " + what + ", which the plugin does not understand. Its log: " +
                  (log_.empty() ? meeting_.log : log_));
}

}  // namespace stpn
