// The messages between a client and the worker, as docs/worker.md defines them: a verb, and lines of names and values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace stpn {

constexpr size_t MAXIMUM_MESSAGE = 1 << 20;  // of the text, in bytes

struct Message {
    std::string verb;
    std::vector<std::pair<std::string, std::string>> lines;

    Message& add(const std::string& name, const std::string& value) {
        lines.emplace_back(name, value);
        return *this;
    }
    // The first value of a name, else "".
    std::string one(const std::string& name) const;
};

// With its length in front. Bytes of values that are no UTF-8 become '?', because the worker takes nothing else. Empty
// where the message would be longer than allowed.
std::string encode(const Message& message);

// Of the text, without the length. Nothing where it is no message.
std::optional<Message> decode(const std::string& text);

// The values of a line, with spaces between them.
std::vector<std::string> words(const std::string& value);

// A number of digits only; nothing else, and nothing larger than `maximum`.
std::optional<std::uint64_t> whole_number(const std::string& text, std::uint64_t maximum);

}  // namespace stpn
