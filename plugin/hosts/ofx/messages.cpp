#include "messages.h"

#include <sstream>

namespace stpn {

namespace {

// Bytes of the character that begins at the place; 0 where no UTF-8 stands there.
size_t character_at(const std::string& text, size_t place) {
    const auto byte = [&](size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u; };
    const unsigned first = byte(place);
    if (first < 0x80) return 1;
    const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4) return 0;
    for (size_t next = 1; next < length; ++next)
        if ((byte(place + next) & 0xc0) != 0x80) return 0;
    const unsigned second = byte(place + 1);
    // Shorter ways to write the character, surrogates, and numbers beyond Unicode.
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)) return 0;
    if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return 0;
    return length;
}

void append_escaped(std::string& text, const std::string& value) {
    for (size_t place = 0; place < value.size();) {
        const size_t length = character_at(value, place);
        if (length == 0)
            text += '?';
        else if (value[place] == '\n')
            text += "\\n";
        else if (value[place] == '\\')
            text += "\\\\";
        else
            text.append(value, place, length);
        place += length == 0 ? 1 : length;
    }
}

std::optional<std::string> unescaped(const std::string& value) {
    std::string text;
    for (size_t place = 0; place < value.size(); ++place) {
        if (value[place] != '\\') {
            text += value[place];
            continue;
        }
        if (++place == value.size() || (value[place] != 'n' && value[place] != '\\')) return {};
        text += value[place] == 'n' ? '\n' : '\\';
    }
    return text;
}

}  // namespace

std::string Message::one(const std::string& name) const {
    for (const auto& [found, value] : lines)
        if (found == name) return value;
    return "";
}

std::string encode(const Message& message) {
    std::string text = "1234" + message.verb;
    for (const auto& [name, value] : message.lines) {
        text += "\n" + name + " ";
        append_escaped(text, value);
    }
    const size_t length = text.size() - 4;
    if (length > MAXIMUM_MESSAGE) return "";
    for (int byte = 0; byte < 4; ++byte) text[static_cast<size_t>(byte)] = static_cast<char>(length >> 8 * byte & 255);
    return text;
}

std::optional<Message> decode(const std::string& text) {
    Message message;
    std::istringstream rows(text);
    std::string row;
    if (!std::getline(rows, message.verb) || message.verb.empty()) return {};
    while (std::getline(rows, row)) {
        const auto space = row.find(' ');
        if (space == std::string::npos || space == 0) return {};
        auto value = unescaped(row.substr(space + 1));
        if (!value) return {};
        message.lines.emplace_back(row.substr(0, space), std::move(*value));
    }
    return message;
}

std::vector<std::string> words(const std::string& value) {
    std::vector<std::string> found;
    std::istringstream rest(value);
    for (std::string word; rest >> word;) found.push_back(word);
    return found;
}

std::optional<std::uint64_t> whole_number(const std::string& text, std::uint64_t maximum) {
    if (text.empty() || text.size() > 19) return {};
    std::uint64_t number = 0;
    for (const char letter : text) {
        if (letter < '0' || letter > '9') return {};
        number = number * 10 + static_cast<std::uint64_t>(letter - '0');
    }
    if (number > maximum) return {};
    return number;
}

}  // namespace stpn
