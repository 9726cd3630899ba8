// What a person at the host gets to see: errors at the node, lines in the log, progress.
#pragma once

#include <atomic>
#include <chrono>
#include <string>

#include "ofx_abi.h"

namespace stpn {

void show_error(OfxImageEffectHandle effect, const std::string& sentence);
void clear_error(OfxImageEffectHandle effect);
void write_log(OfxImageEffectHandle effect, const std::string& text);

// The host's progress bar for one render: shown only to people, and only when it takes long.
class Progress {
public:
    // `busy` is the instance's: a host has one bar for each, which one render has at a time.
    Progress(OfxImageEffectHandle effect, std::string label, std::atomic<bool>& busy);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    // 0 to 1. False when the person has pressed cancel.
    bool update(double done);

private:
    bool start();

    OfxImageEffectHandle effect_;
    std::string label_;
    std::atomic<bool>& busy_;
    std::chrono::steady_clock::time_point begun_;
    bool shown_ = false;
};

}  // namespace stpn
